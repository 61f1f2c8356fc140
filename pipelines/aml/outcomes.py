"""What is known of customers by now: outcomes of the desk's own cases, and of investigations that arrived from outside.

A report counts as valuable here as everywhere; only pipelines.aml.sar knows more.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

from pipelines import database
from pipelines.aml.bounds import Yield, yield_of
from pipelines.aml.state import LIVE
from pipelines.lake import Lake, connect
from pipelines.settings import Settings
from pipelines.spec import AlertLimits, Model


def known_outcomes(
    settings: Settings, model: Model, limits: AlertLimits, first_seen: Mapping[str, date]
) -> dict[str, bool]:
    """Whether an alert of each customer was or would have been productive; customers of whom nothing is known are absent.

    Args:
        first_seen: business date of the alert, by token. A closed case of the desk counts first, then an investigation
            opened within the policy's days of that date.
    """
    found = _investigated(settings, model, limits, first_seen)
    return found | {token: productive for token, productive in closed(settings, model).items() if token in first_seen}


def closed(settings: Settings, model: Model) -> dict[str, bool]:
    """By customer with a closed case, whether one of them was closed as valuable."""
    found = database.rows(
        settings,
        f"""SELECT a.token, bool_or(c.outcome = 'valuable') AS productive
        FROM vigil.alert a JOIN vigil.case_now c USING (case_no)
        WHERE a.model = :model AND c.state = 'closed' AND {LIVE} GROUP BY a.token""",
        model=model.name,
    )
    return {row["token"]: row["productive"] for row in found}


def rate(tokens: Mapping[str, object] | frozenset[str], known: Mapping[str, bool], limits: AlertLimits) -> Yield:
    """The yield among these customers."""
    there = [known[token] for token in tokens if token in known]
    return yield_of(len(there), sum(there), limits.confidence)


def _investigated(
    settings: Settings, model: Model, limits: AlertLimits, first_seen: Mapping[str, date]
) -> dict[str, bool]:
    rule, lake = limits.outcomes, Lake(settings)
    if rule is None or not first_seen or lake.version(f"source/{rule.source}") is None:
        return {}
    with connect(settings) as connection:
        lake.scan(connection, "held", f"source/{rule.source}")
        rows = connection.execute(
            f'SELECT {model.token}, CAST("{rule.opened}" AS DATE), "{rule.outcome}" = ? FROM held '
            f'WHERE "{rule.outcome}" IS NOT NULL',
            [rule.productive],
        ).fetchall()
    found: dict[str, bool] = {}
    for token, opened, productive in rows:
        seen = first_seen.get(token)
        if seen is not None and seen <= opened <= seen + timedelta(days=rule.days):
            found[token] = found.get(token, False) or bool(productive)
    return found
