"""Models trained elsewhere: a package is read without trust, kept in quarantine, and becomes a version to be judged."""

from pipelines.registry.foreign.importing import import_package
from pipelines.registry.foreign.packing import Ingredients, Made, make_package
from pipelines.registry.foreign.receive import Package, receive
from pipelines.registry.foreign.records import PackageRecord, packages
from pipelines.registry.foreign.refusal import PackageRefused

__all__ = [
    "Ingredients",
    "Made",
    "Package",
    "PackageRecord",
    "PackageRefused",
    "import_package",
    "make_package",
    "packages",
    "receive",
]
