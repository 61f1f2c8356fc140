"""How a trained version becomes champion: judged by its gates, approved by persons, promoted.

The release DAG calls these functions, one for each of its tasks; they believe nothing that an earlier task hands on, and read
reports, requests, answers and permits from Postgres.
"""

from pipelines.release.steps import ask, give_up, judge, promote, record, version_of

__all__ = ["ask", "give_up", "judge", "promote", "record", "version_of"]
