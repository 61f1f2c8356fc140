"""
Takes in every source of the model for one business date: land, check, publish.

**When**: at the model's cron once this DAG is switched on, for the calendar day before it in the model's time zone (the
run at 02:00 on 1 July is the night of 30 June). By hand: *Trigger* with `business_date`, or
`airflow dags trigger <model>_ingest --conf '{"business_date": "2026-06-30"}'`. The other DAGs of the night follow by
themselves.

**Reads** the sources in expectations/, wherever their `location` says. **Writes** the lake tables `landing/`, `source/`
and `quarantine/` for that date, and Data Docs. Readers see a source's date only after `publish`.

**If it fails**
- `land`: a file is missing, unreadable or breaks its contract too often. The message names source, date and reason. Get
  the file corrected, or correct expectations/, and clear the task.
- `check_source`: a critical expectation failed; its page is in Data Docs. Nothing was published; the last good date is
  still served. Get a corrected file and trigger the date again.
- `publish`: refuses what is not landed and passed. Clear from `land`.
- A broken connection is tried three more times, over about ten minutes, before anyone is called.

**Rerun**: always safe. The same file changes nothing; a corrected file replaces its date; nothing is ever added twice.
A missed night is not rerun by itself: `python -m pipelines status` shows the gap, trigger it with its date.
"""

from __future__ import annotations

from airflow.sdk import Asset
from vigil_dags import generate, nightly, of_every_source, step

from pipelines.contracts import source_asset, sources_asset


@step
def land(settings, model, business_date):
    """Read each source, quarantine rows that break its contract, keep the rest aside."""
    from pipelines import ingest

    return of_every_source(settings, model, business_date, ingest.land)


@step
def check_source(settings, model, business_date):
    """Judge each landed source as a whole: volume, freshness, totals, references, expectations."""
    from pipelines import quality

    def judge(*source):
        return quality.check_source(*source).require_passed()

    return of_every_source(settings, model, business_date, judge)


@step
def publish(settings, model, business_date):
    """Make each source that passed visible, in one commit per source."""
    from pipelines import ingest

    return of_every_source(settings, model, business_date, ingest.publish)


def wire(model) -> None:
    written = [Asset(sources_asset(model.name)), *(Asset(source_asset(source)) for source in model.sources)]
    land(model.name) >> check_source(model.name) >> publish.override(outlets=written)(model.name)


globals().update(generate("ingest", __doc__, nightly, wire))
