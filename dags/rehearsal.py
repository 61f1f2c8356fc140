"""
Rehearses a rollback of the model: rehearse.

**When**: every Monday at 10:00 in the model's time zone, when people are there to correct what it finds. By hand: *Trigger*.

**Reads** the journal, what it refers to, and the files of the champion and of the one before it. **Writes** a copy of them into
a PostgreSQL of its own, which is gone afterwards; the result goes to `vigil.rehearsal` and to the journal. The champion and
the aliases stay as they are.

**If it fails**
- `rehearse`: a rollback would not work now, or not in the time the policy allows. The message says why: most often the files
  of the champion before are damaged or its permit has expired. Correct that before a rollback is needed. A model that never
  had another champion is no failure: the record says `not_possible`.

**Rerun**: always safe; what a killed rehearsal left is removed by the next.
"""

from __future__ import annotations

from airflow.sdk import CronTriggerTimetable
from vigil_dags import act, generate

WEEKLY = "0 10 * * 1"


@act
def rehearse(settings, model, _context):
    """Roll back on a copy, look at what came of it, and record result and time."""
    from pipelines.stack import rehearsal

    return rehearsal.rehearse(settings, model)


def schedule(model) -> CronTriggerTimetable:
    return CronTriggerTimetable(WEEKLY, timezone=model.schedule.timezone)


def wire(model) -> None:
    rehearse(model.name)


globals().update(generate("rehearsal", __doc__, schedule, wire, dated=False))
