"""
Builds the features of the model for one business date: build, check, materialise.

**When**: as soon as every source of the model is published for a date; the run's partition key is that business date. By
hand: *Trigger* with `business_date`.

**Reads** the lake's `source/` tables up to the date, never later ones. **Writes** `features/<view>` and
`model_features/<model>` for that date, and the online store. Scoring starts when `check_features` has passed; it does not
wait for the online store.

**If it fails**
- `build`: a feature of feature_repo/ or of the model file does not fit the sources, or a source's date is missing. The
  message names both.
- `check_features`: a critical expectation on the features failed; its page is in Data Docs. Nothing is scored from these
  rows; last night's scores are still served.
- `materialise`: the online store is behind or incomplete. Scores are not affected. Clear the task.

**Rerun**: always safe; the same sources give the same rows, byte for byte.
"""

from __future__ import annotations

from airflow.sdk import Asset
from vigil_dags import after, generate, step

from pipelines.contracts import features_asset, sources_asset


@step
def build(settings, model, business_date):
    """Compute each feature view, then join the model's features to its population at the business date."""
    from pipelines import features

    return features.build(settings, model, business_date)


@step
def check_features(settings, model, business_date):
    """Judge the feature rows of the date; scoring needs this verdict."""
    from pipelines import quality

    return quality.check_features(settings, model, business_date).require_passed()


@step
def materialise(settings, model, business_date):
    """Bring the date's features to the online store and count them there; a repaired date never replaces a newer one."""
    from pipelines.features import feast_store

    newest = feast_store.newest_online(settings, model) or business_date
    return feast_store.materialise(settings, model, business_date, max(business_date, newest))


def schedule(model):
    return after(sources_asset(model.name))


def wire(model) -> None:
    written = [Asset(features_asset(model.name))]
    build(model.name) >> check_features.override(outlets=written)(model.name) >> materialise(model.name)


globals().update(generate("features", __doc__, schedule, wire))
