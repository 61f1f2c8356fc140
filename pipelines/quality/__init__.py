"""Quality: the contract's expectations on landed rows, and a model's expectations on its features, judged and recorded."""

from pipelines.quality.feature_checks import check_features
from pipelines.quality.recording import last_verdict
from pipelines.quality.source_checks import check_source

__all__ = ["check_features", "check_source", "last_verdict"]
