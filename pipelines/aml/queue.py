"""The queue as investigators see it: alerts blind, whatever side of the line they came from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from pipelines import database
from pipelines.aml.desk import acting
from pipelines.contracts import Value
from pipelines.settings import Settings


class AlertLine(Value):
    """One alert in a list.

    Attributes:
        why: titles of the typologies met and why a person must look; without either the parts that the score rests on.
        transactions: booked in the window of its evidence.
        state: of its case, or `withdrawn`.
    """

    alert_id: str
    business_date: date
    case_no: int
    state: str
    token: str
    segment: str
    why: tuple[str, ...]
    transactions: int
    schemes: int


def alerts(settings: Settings, model: str, first: date, last: date) -> list[AlertLine]:
    """The alerts of a range of business dates, by date and then in an order that says nothing of the score."""
    with acting(settings) as connection:
        found = database.execute(
            connection,
            """SELECT a.alert_id, a.business_date, a.case_no, a.token, a.segment,
                   CASE WHEN a.mark = 'withdrawn' THEN 'withdrawn' ELSE c.state END AS state,
                   ARRAY(SELECT jsonb_array_elements(a.evidence -> 'typologies') ->> 'title')
                       || coalesce(string_to_array(a.review_reason, '; '), ARRAY[]::text[]) AS why,
                   a.evidence -> 'share_of_parts' AS share_of_parts,
                   (a.evidence ->> 'transactions_total')::bigint AS transactions,
                   jsonb_array_length(a.evidence -> 'schemes') AS schemes
            FROM vigil.alert_blind a JOIN vigil.case_now c USING (case_no)
            WHERE a.model = :model AND a.business_date BETWEEN :first AND :last
            ORDER BY a.business_date, a.alert_id""",
            model=model,
            first=first,
            last=last,
        )
    return [AlertLine.model_validate(_with_parts(row)) for row in found]


def _with_parts(row: Mapping[str, Any]) -> dict[str, Any]:
    """No alert is without a reason: where no typology is met, what its score rests on is one."""
    told = dict(row)
    shares = told.pop("share_of_parts") or {}
    parts = ", ".join(f"{name} {share:.0%}" for name, share in sorted(shares.items(), key=lambda s: -s[1]) if share)
    return told | {"why": told["why"] or ([f"no typology; the score rests on {parts}"] if parts else [])}
