"""
Looks after the registry of all models: verify, anchor, watch, check_aliases.

**When**: every day at 12:00 UTC, when people are there and before the night. By hand: *Trigger*; it needs no business date.

**Reads** the journal and what it refers to, its anchors, every model file and policy, and MLflow's aliases. **Writes** the
anchors that are missing and the head of the day, and incidents: of an overdue review, an expired permit, a model file that
cannot be read, an alias moved by hand. What has recovered is resolved. No alias is moved and no model is stopped here: scoring
looks for itself each time.

**If it fails**
- `verify`: somebody changed the journal, an anchor, or a permit, gate report or answer that the journal recorded. The message
  names the first bad entry. Nothing is anchored then. Keep the database as it is and ask whoever may write to it.
- `anchor`: an anchor is another entry's, or the store did not answer.
- `watch`: it could not look. Incidents that it opened do not make it fail: `python -m pipelines registry incidents` lists them.
- `check_aliases`: an alias is not where the journal says; the next batch of that model refuses. The message names the model
  and what puts the alias back.

**Rerun**: always safe.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, CronTriggerTimetable
from vigil_dags import FaultsAreFinal, of_no_model, report_failure

NOON = "0 12 * * *"


@of_no_model
def verify(settings):
    """Verify the journal, its anchors and what it refers to."""
    from pipelines.registry import oversight

    return oversight.require_verified(settings)


@of_no_model
def anchor(settings):
    """Put the missing anchors and the head of the day outside the database."""
    from pipelines import registry

    return registry.anchor(settings)


@of_no_model
def watch(settings):
    """Look at every model of the inventory; open incidents, and resolve those of what recovered."""
    from pipelines.registry import oversight

    return oversight.watch(settings, datetime.now(UTC).date())


@of_no_model
def check_aliases(settings):
    """Find aliases that somebody moved by hand."""
    from pipelines.registry import oversight

    return oversight.require_aliases(oversight.check_aliases(settings))


with DAG(
    dag_id="vigil_registry",
    description="All models: journal, inventory, aliases",
    doc_md=__doc__,
    schedule=CronTriggerTimetable(NOON, timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    dagrun_timeout=timedelta(hours=2),
    tags=["registry"],
    on_failure_callback=report_failure,
    default_args={
        "owner": "vigil",
        "pool": "vigil_release",
        "execution_timeout": timedelta(hours=1),
        "retries": 3,
        "retry_delay": timedelta(seconds=20),
        "retry_exponential_backoff": 4,
        "max_retry_delay": timedelta(minutes=15),
        "retry_policy": FaultsAreFinal(),
    },
) as dag:
    verify() >> anchor()
    watch()
    check_aliases()
