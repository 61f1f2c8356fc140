"""Validation: a registered version is measured, compared and judged before a person is asked."""

from pipelines.validation.judgement import judge, judge_on_days
from pipelines.validation.records import GateRun, newest_run

__all__ = ["GateRun", "judge", "judge_on_days", "newest_run"]
