"""Why a package is not taken."""

from __future__ import annotations

from pipelines.contracts import DataFault


class PackageRefused(DataFault):
    """The package itself is wrong: its form, its content, or what its model does. The text is the reason alone."""
