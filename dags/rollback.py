"""
The button: makes the champion before the present one champion again: standing, rollback.

**When**: a person presses *Trigger* and says why. Who starts the run is who decides, and is recorded; the user name must be an
e-mail address.

**Reads** the journal, the permits and the files of earlier champions. **Writes** one journal entry, then the registry's alias.
It goes to the last champion whose permit holds and whose files still verify. Scores change with the next night; to change those
of tonight, clear the `score` DAG's run.

**If it fails**
- `standing`: the journal does not verify. Ask whoever keeps the database: `python -m pipelines registry verify`.
- `rollback`: no earlier champion can be used, and the message says for each one why; or the champion changed since `standing`
  looked. The champion was not changed.

**Rerun**: clear `rollback` alone: it goes back from the version that `standing` saw, never a step further. A new run, or
`standing` cleared, goes back once more.
"""

from __future__ import annotations

from airflow.sdk import Param
from vigil_dags import act, generate, started_by

REASON = Param(
    type="string",
    minLength=10,
    title="Reason",
    description="Why, in a sentence. It stays in the journal for good.",
)


@act
def standing(settings, model, _context):
    """Which version is champion as the run begins."""
    from pipelines import registry

    found = registry.standing(settings, model.name)
    return found.version if found else None


@act
def rollback(settings, model, context, champion):
    """Verify the champions before and make the last good one champion again."""
    from pipelines import registry

    reason, person = context["params"]["reason"], started_by(context)
    return registry.rollback(settings, model, reason=reason, by=person, expected_champion=champion)


def schedule(model) -> None:
    """Only on request."""


def wire(model) -> None:
    rollback(model.name, standing(model.name))


globals().update(generate("rollback", __doc__, schedule, wire, params={"reason": REASON}, dated=False))
