"""
Makes a trained version the champion: judge it, ask named persons, promote it.

**When**: as soon as a training has registered versions; the run's partition key is the training's business date and the version
is the newest of the model file's first algorithm. By hand: *Trigger* with `business_date`, the as-of date of the training, and
perhaps `version`. Whoever starts the run asks for the release and may not approve it; neither may who trained the version.

**Reads** the version's files, training set and gate rules. **Writes** the gate report, the request for approval, each answer,
the permit and the promotion in Postgres; then the registry's alias follows. Scores change with the next night.

**If it fails**, the champion stays, and:
- `judge`: GatesFailed names the rules that did not hold. Train a better version; nobody was asked.
- `approve`, `approve_first`, `approve_second`: ApprovalRefused is a validator's no, with the note; ApprovalTimedOut means that
  not enough persons answered in time; both are final for this run, so trigger a new one to ask anew. Blocked means that the
  answer did not count, as of somebody who trained the version: clear the task to ask again.
- `promote`: Blocked means that no permit covers these files now: an approval task was marked as success by hand, the version
  or the champion changed after the approval, or the permit has expired. Trigger a new run.

**Rerun**: safe. What was answered is not asked again, and a version that is champion already stays it.
"""

from __future__ import annotations

from airflow.sdk import Param, chain
from vigil_approval import approvals_of, longest_wait, version_of_run
from vigil_dags import after, generate, step

from pipelines.contracts import champion_asset

VERSION = Param(
    None,
    type=["null", "integer"],
    minimum=1,
    title="Version",
    description="Version to release; by default the newest of the model file's first algorithm as of the business date.",
)


@step
def judge(settings, model, business_date):
    """Compare the version with the champion and apply every gate; persons are asked only when all hold."""
    from pipelines import release

    return release.judge(settings, model, version_of_run(settings, model, business_date))


@step
def promote(settings, model, business_date):
    """Read the permit that the approvals gave, check all it is bound to again, and make the version champion."""
    from pipelines import release

    return release.promote(settings, model, version_of_run(settings, model, business_date), business_date)


def schedule(model):
    return after(champion_asset(model.name))


def wire(model) -> None:
    chain(judge.override(pool="vigil_train")(model.name), *approvals_of(model), promote(model.name))


globals().update(generate("release", __doc__, schedule, wire, params={"version": VERSION}, waits=longest_wait))
