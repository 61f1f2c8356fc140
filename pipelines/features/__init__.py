"""Features: definitions in Ibis, built per business date, joined point in time, and given to Feast.

What a step of the night needs is here; `feast_store` is imported by itself, because Feast takes seconds to import.
"""

from pipelines.features.definitions import Definitions, load_definitions
from pipelines.features.lineage import source_columns
from pipelines.features.point_in_time import JoinedView, point_in_time_join
from pipelines.features.snapshots import build, build_history, features_table, snapshot
from pipelines.features.training_set import TrainingPins, TrainingRows, known_labels, training_dates, training_rows

__all__ = [
    "Definitions",
    "JoinedView",
    "TrainingPins",
    "TrainingRows",
    "build",
    "build_history",
    "features_table",
    "known_labels",
    "load_definitions",
    "point_in_time_join",
    "snapshot",
    "source_columns",
    "training_dates",
    "training_rows",
]
