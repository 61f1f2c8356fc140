"""
Scores the whole population of the model on one business date and publishes the result: score, publish.

**When**: as soon as the features of a date have passed their checks; the run's partition key is that business date. By
hand: *Trigger* with `business_date`.

**Reads** `model_features/<model>` of the date, the champion (pinned at the start, its files verified before they are
loaded) and the challengers, which are scored in the shadow and never used. **Writes** a staged batch, then in one step
the lake's `scores/<model>`, Postgres' `vigil.score` and the pointer that readers follow. Of an AML model the published scores
then become alerts and cases within the team's budget.

**If it fails**
- `score`: Blocked means no passed verdict on the features, no champion, or no valid permit: see
  `python -m pipelines status --model <model>`. Rows in = scored + rejected + quarantined, or the batch fails.
- `publish`: the batch broke a limit of the policy (rejected rows, PSI) or the permit is gone. The message says which.
  Readers still see the last good batch.
- `raise_alerts` (AML only): the scores are published and stay so; no investigator has the night's alerts yet. The message
  says what is wrong with the alert limits of the policy or the evidence; clear the task.

**Rerun**: always safe; the same inputs give the same batch id and the same rows. A kill at any line leaves the old batch
or the new one visible, never a mix.
"""

from __future__ import annotations

from airflow.sdk import Asset
from vigil_dags import after, generate, step

from pipelines.contracts import features_asset, scores_asset


@step
def score(settings, model, business_date):
    """Score everyone with the champion and, in the shadow, with each challenger; stage the batch."""
    from pipelines import scoring

    return scoring.score(settings, model, business_date)


@step
def publish(settings, model, business_date):
    """Check permit and policy again, then make the staged batch the one that readers see."""
    from pipelines import scoring

    return scoring.publish(settings, model, business_date)


@step
def raise_alerts(settings, model, business_date):
    """Turn the published scores into alerts with their evidence, and group them into cases."""
    from pipelines.aml import alerts

    return alerts.raise_alerts(settings, model, business_date)


def schedule(model):
    return after(features_asset(model.name))


def wire(model) -> None:
    written = [Asset(scores_asset(model.name))]
    published = score(model.name) >> publish.override(outlets=written)(model.name)
    if model.domain == "aml":
        published >> raise_alerts(model.name)


globals().update(generate("score", __doc__, schedule, wire))
