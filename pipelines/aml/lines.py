"""What lies above and below the line, and what the line misses. The unit is the customer, once over all nights asked for.

A customer who was alerted above the line on any of the nights is above it. One who could have been drawn below it on some
night, and never was above, is below it. Yields come from closed cases; what was not looked at is estimated from what was
drawn, with exact binomial bounds (bounds.py) carried over to the customers not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from pipelines import database
from pipelines.aml.bounds import Yield, yield_of
from pipelines.aml.candidates import SCORE_BAND, TYPOLOGY
from pipelines.aml.desk import acting
from pipelines.aml.limits import limits_of, policy_of
from pipelines.aml.sar import filed_cases
from pipelines.aml.state import LIVE
from pipelines.contracts import Blocked, DataFault, Value
from pipelines.settings import Settings
from pipelines.spec import Model

ALL = "all"


class Side(Value):
    """Customers on one side of the line, how many of them were looked at, and what the closed cases say."""

    customers: int
    looked_at: int
    found: Yield


class Missed(Value):
    """Productive customers expected among those below the line whom nobody looked at.

    Attributes:
        expected: None when no drawn customer's case is closed; then only the upper bound, everybody, is known.
    """

    not_looked_at: int
    expected: float | None
    at_least: float
    at_most: float


class Segment(Value):
    """Both sides of the line for one segment, or for all."""

    segment: str
    above: Side
    below: Side
    missed: Missed


class Reports(Value):
    """Customers alerted above the line, and in how many closed cases a report was filed. Only officers get this."""

    segment: str
    alerted: int
    filed: Yield


class Lines(Value):
    """Above and below the line for a range of business dates.

    Attributes:
        typology: only customers who meet it; below the line are those of them who were not alerted.
        threshold: only scores from here on, on either side: what moving the line there would bring in.
        segments: the first is all of them together.
        reports: by segment; None unless an officer asked.
    """

    model: str
    first_date: date
    last_date: date
    nights: int
    confidence: float
    typology: str | None
    threshold: float | None
    segments: tuple[Segment, ...]
    reports: tuple[Reports, ...] | None


@dataclass(frozen=True)
class _Customer:
    token: str
    segment: str
    looked_at: bool
    productive: bool | None
    cases: frozenset[int]


def lines(
    settings: Settings,
    model: Model,
    first: date,
    last: date,
    *,
    typology: str | None = None,
    threshold: float | None = None,
    officer: bool = False,
) -> Lines:
    """Yield above and below the line, by segment, with what is missed.

    Raises:
        Blocked: no alerts were raised in the range, or `officer` with a login that is none.
        DataFault: nobody met the typology on any of the nights.
    """
    limits = limits_of(policy_of(settings, model, last), model)
    nights = _nights(settings, model, first, last)
    least = 0.0 if threshold is None else threshold
    above = _above(settings, model, first, last, typology, least)
    below = _below(settings, model, first, last, SCORE_BAND if typology is None else TYPOLOGY + typology, least)
    if typology is not None and not above and not below:
        raise DataFault(f"model {model.name}: nobody met typology {typology!r} from {first} to {last}. Check its name.")
    alerted = {customer.token for customer in above}
    under = [customer for customer in below if customer.token not in alerted]
    names = sorted({customer.segment for customer in (*above, *under)})
    return Lines(
        model=model.name,
        first_date=first,
        last_date=last,
        nights=nights,
        confidence=limits.confidence,
        typology=typology,
        threshold=threshold,
        segments=tuple(_segment(name, above, under, limits.confidence) for name in (ALL, *names)),
        reports=_reports(settings, model, above, names, limits.confidence) if officer else None,
    )


def _segment(name: str, above: Iterable[_Customer], under: Iterable[_Customer], confidence: float) -> Segment:
    lower = _side([c for c in under if name in (ALL, c.segment)], confidence)
    rest = lower.customers - lower.looked_at
    return Segment(
        segment=name,
        above=_side([c for c in above if name in (ALL, c.segment)], confidence),
        below=lower,
        missed=Missed(
            not_looked_at=rest,
            expected=None if lower.found.rate is None else rest * lower.found.rate,
            at_least=rest * lower.found.at_least,
            at_most=rest * lower.found.at_most,
        ),
    )


def _side(customers: list[_Customer], confidence: float) -> Side:
    known = [c.productive for c in customers if c.productive is not None]
    return Side(
        customers=len(customers),
        looked_at=sum(c.looked_at for c in customers),
        found=yield_of(len(known), sum(known), confidence),
    )


def _reports(
    settings: Settings, model: Model, above: list[_Customer], names: list[str], confidence: float
) -> tuple[Reports, ...]:
    with acting(settings, officer=True) as connection:
        filed = filed_cases(connection, model.name)
    found = []
    for name in (ALL, *names):
        customers = [c for c in above if name in (ALL, c.segment)]
        closed = [c for c in customers if c.productive is not None]
        reported = sum(bool(c.cases & filed) for c in closed)
        found.append(Reports(segment=name, alerted=len(customers), filed=yield_of(len(closed), reported, confidence)))
    return tuple(found)


_RUNS = """SELECT DISTINCT ON (business_date) run_no FROM vigil.alert_run
    WHERE model = :model AND business_date BETWEEN :first AND :last ORDER BY business_date, attempt DESC"""

_OUTCOME = """bool_or(c.state = 'closed') AS known, bool_or(c.state = 'closed' AND c.outcome = 'valuable') AS productive,
    array_agg(DISTINCT c.case_no) FILTER (WHERE c.case_no IS NOT NULL) AS cases"""


def _nights(settings: Settings, model: Model, first: date, last: date) -> int:
    found = database.rows(settings, f"SELECT count(*) AS n FROM ({_RUNS}) r", model=model.name, first=first, last=last)
    if not found[0]["n"]:
        raise Blocked(
            f"model {model.name}: no alerts were raised from {first} to {last}, so there is no line to look at. "
            f"Run: python -m pipelines raise-alerts --model {model.name} --date {last}"
        )
    return int(found[0]["n"])


def _above(
    settings: Settings, model: Model, first: date, last: date, typology: str | None, least: float
) -> list[_Customer]:
    found = database.rows(
        settings,
        f"""SELECT a.token, max(a.segment) AS segment, true AS looked_at, {_OUTCOME}
        FROM vigil.alert a JOIN vigil.case_now c USING (case_no)
        WHERE a.model = :model AND a.business_date BETWEEN :first AND :last AND a.kind = 'above' AND {LIVE}
          AND (CAST(:typology AS text) IS NULL OR :typology = ANY (a.typologies)) AND a.probability >= :least
        GROUP BY a.token ORDER BY a.token""",
        model=model.name,
        first=first,
        last=last,
        typology=typology,
        least=least,
    )
    return [_customer(row) for row in found]


def _below(settings: Settings, model: Model, first: date, last: date, stratum: str, least: float) -> list[_Customer]:
    found = database.rows(
        settings,
        f"""SELECT b.token, max(b.segment) AS segment, bool_or(b.drawn) AS looked_at, {_OUTCOME}
        FROM vigil.alert_below b
        LEFT JOIN vigil.alert a ON a.run_no = b.run_no AND a.token = b.token AND a.kind = 'below' AND b.drawn
        LEFT JOIN vigil.case_now c USING (case_no)
        WHERE b.run_no IN (SELECT run_no FROM ({_RUNS}) r) AND b.stratum = :stratum AND b.probability >= :least
        GROUP BY b.token ORDER BY b.token""",
        model=model.name,
        first=first,
        last=last,
        stratum=stratum,
        least=least,
    )
    return [_customer(row) for row in found]


def _customer(row: Mapping[str, object]) -> _Customer:
    cases = row["cases"]
    return _Customer(
        token=str(row["token"]),
        segment=str(row["segment"]),
        looked_at=bool(row["looked_at"]),
        productive=bool(row["productive"]) if row["known"] else None,
        cases=frozenset(cases) if isinstance(cases, list) else frozenset(),
    )
