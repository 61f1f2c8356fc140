"""
Trains new versions of the model as of one business date and registers them as candidates: build_history, train.

**When**: on request only: *Trigger* with `business_date`, the as-of date. Only labels that had arrived and matured by then
are used.

**Reads** the lake's `source/` tables, pinned by version. **Writes** `features/<view>` of the dates that labels are known
for, then one MLflow run and one registered version for each algorithm of the model file. Who started the run is
kept with them. No alias moves and nothing is scored differently: `<model>_release` follows and asks for approval.

**If it fails**
- `build_history`: a source lacks a date that labels need, or a feature does not fit the sources. The message names both.
- `train`: too few rows or events, a feature that is only known after the event (leakage), or a result below the policy's
  floor. The message names feature and limit; correct models/ or feature_repo/.

**Rerun**: safe; features that are there are not built again, and the same training set gives identical predictions.
"""

from __future__ import annotations

from airflow.sdk import Asset, get_current_context
from vigil_dags import generate, started_by, step

from pipelines.contracts import champion_asset


@step
def build_history(settings, model, business_date):
    """Build the features of every business date whose labels had matured by the as-of date."""
    from pipelines import features

    dates = features.training_dates(settings, model, business_date)
    return {"dates": len(dates), "built": len(features.build_history(settings, model, dates))}


@step
def train(settings, model, business_date):
    """Pin the training set, train and calibrate each algorithm, validate out of time, register."""
    from pipelines import training

    return training.train(settings, model, business_date, by=started_by(get_current_context()))


def schedule(model) -> None:
    """Only on request."""


def wire(model) -> None:
    written = [Asset(champion_asset(model.name))]
    build_history(model.name) >> train.override(outlets=written)(model.name)


globals().update(generate("train", __doc__, schedule, wire))
