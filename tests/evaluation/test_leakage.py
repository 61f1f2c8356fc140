"""The leakage check: what must be refused, what must not, and that a refusal says why."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from lender import MODEL

from pipelines.contracts import Blocked
from pipelines.evaluation.leakage import LeakageVerdict, Suspicion, count_dated_later, judge
from pipelines.lake import Lake
from pipelines.settings import REPOSITORY, Settings
from pipelines.spec import Contract, Feature, Model, load_policy

LIMITS = load_policy(REPOSITORY / "policies", "internal").training
AS_OF = date(2026, 6, 30)

LOANS = Contract.model_validate(
    {
        "source": "loans",
        "description": "d",
        "owner": "o@bank.example",
        "location": {"kind": "files", "path": "{business_date}.csv", "format": "csv"},
        "business_date": {"column": "issued_on", "cadence": "day"},
        "key": ["loan_id"],
        "columns": {
            "loan_id": {"type": "string", "token": "loan", "known": "later"},
            "issued_on": {"type": "date"},
            "amount": {"type": "float"},
            "due_on": {"type": "date", "known": "at_event"},
            "paid_on": {"type": "timestamp"},
            "recovered": {"type": "float", "known": "later"},
        },
        "max_quarantined_fraction": 0.1,
    }
)


def check(
    columns: dict[str, Any],
    label: np.ndarray,
    features: dict[str, Feature] | None = None,
    lineage: dict[str, frozenset[tuple[str, str]]] | None = None,
    dated_later: dict[tuple[str, str], int] | None = None,
) -> LeakageVerdict:
    table = pa.table(columns)
    declared = {n: Feature(categorical=pa.types.is_string(table[n].type)) for n in columns} | (features or {})
    model = Model.model_validate(
        MODEL | {"features": {"application": {n: f.model_dump() for n, f in declared.items()}}}
    )
    return judge(
        model,
        AS_OF,
        table,
        label,
        LIMITS,
        lineage=lineage or {},
        contracts={"loans": LOANS},
        dated_later=dated_later or {},
    )


def outcomes(rows: int, rate: float, seed: int = 0) -> tuple[np.random.Generator, np.ndarray]:
    random = np.random.default_rng(seed)
    return random, (random.random(rows) < rate).astype(np.int8)


@pytest.mark.parametrize("rate", [0.01, 0.15, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_random_features_are_never_suspected(rate: float, seed: int) -> None:
    random, label = outcomes(20_000, rate, seed)
    numbers = {f"number_{i}": np.round(random.normal(size=20_000), i % 4) for i in range(12)}
    sparse = {f"sparse_{i}": pa.array(random.normal(size=20_000), mask=random.random(20_000) < 0.9) for i in range(4)}
    names = {f"name_{i}": pa.array([f"c{n}" for n in random.integers(0, 4**i + 1, 20_000)]) for i in range(7)}
    assert check(numbers | sparse | names, label).findings == ()


@pytest.mark.parametrize("distance", [0.5, 1.0, 1.2])
def test_strong_but_honest_features_are_not_suspected(distance: float) -> None:
    """Two normal distributions that far apart: AUC 0.64, 0.76 and 0.80, as the best bureau score reaches."""
    for seed, rows in enumerate((5_000, 50_000, 300_000)):
        random, label = outcomes(rows, 0.03, seed)
        score = random.normal(size=rows) + distance * label
        late = np.minimum(np.floor(np.exp(score) / 2) * 30, 60)
        assert check({"score": score, "days_late": late, "limit": random.uniform(1, 9, rows)}, label).findings == ()


@pytest.mark.parametrize(
    "leak",
    [
        lambda random, bad: np.where(bad, random.uniform(0, 100, len(bad)), 0.0),
        lambda random, bad: pa.array(random.uniform(0, 9, len(bad)), mask=~(bad & (random.random(len(bad)) < 0.2))),
        lambda random, bad: pa.array(random.uniform(0, 9, len(bad)), mask=bad & (random.random(len(bad)) < 0.2)),
        lambda random, bad: pa.array(np.where(bad & (random.random(len(bad)) < 0.2), "settled", "none")),
        lambda random, bad: pa.array([f"day {random.integers(500)}" if b else "" for b in bad]),
        lambda random, bad: np.where(bad, 1.0, random.choice([1.0, 2.0], len(bad))),
        lambda random, bad: random.normal(size=len(bad)) + 4 * bad,
        lambda random, bad: -random.normal(size=len(bad)) - 4 * bad,
    ],
    ids=["amount", "presence", "absence", "category", "rare", "value", "rising", "falling"],
)
def test_a_feature_that_knows_the_outcome_is_refused(leak: Any) -> None:
    random, label = outcomes(10_000, 0.15)
    verdict = check({"leak": leak(random, label == 1), "honest": random.normal(size=10_000)}, label)
    assert [f.feature for f in verdict.blocking] == ["leak"]
    assert verdict.blocking[0].suspicion is Suspicion.TOO_STRONG
    with pytest.raises(Blocked, match=r"model loans as of 2026-06-30: .*\n  leak: .*\nNothing was trained"):
        verdict.require_passed()


def test_what_was_paid_is_refused_because_of_what_was_lent() -> None:
    random, label = outcomes(10_000, 0.15)
    lent = random.lognormal(9, 0.8, 10_000)
    paid = lent * np.where(label == 1, random.uniform(0.1, 1, 10_000), random.uniform(0.95, 1.3, 10_000))
    verdict = check({"lent": lent, "paid": paid}, label)
    assert [f.feature for f in verdict.blocking] == ["paid"]
    assert "as a ratio with lent" in verdict.blocking[0].reason


def test_a_refusal_names_the_waiver_only_where_one_can_help() -> None:
    random, label = outcomes(5_000, 0.15)
    strong = check({"leak": label + 0.1 * random.normal(size=5_000)}, label)
    with pytest.raises(Blocked, match="leakage_waiver"):
        strong.require_passed()
    marked = check(
        {"honest": random.normal(size=5_000)}, label, lineage={"honest": frozenset({("loans", "recovered")})}
    )
    with pytest.raises(Blocked) as refused:
        marked.require_passed()
    assert "leakage_waiver" not in str(refused.value)


def test_a_constant_feature_is_refused_and_one_that_is_only_sometimes_absent_is_not() -> None:
    random, label = outcomes(5_000, 0.1)
    verdict = check(
        {
            "same": np.ones(5_000),
            "never": pa.nulls(5_000, pa.float64()),
            "word": pa.array(["x"] * 5_000),
            "flag": pa.array(np.ones(5_000), mask=random.random(5_000) < 0.5),
        },
        label,
    )
    assert {f.feature: f.suspicion for f in verdict.findings} == dict.fromkeys(
        ("same", "never", "word"), Suspicion.CONSTANT
    )


def test_a_waiver_lifts_a_statistical_suspicion_and_stays_on_record() -> None:
    random, label = outcomes(5_000, 0.1)
    reason = "89 days late on purpose; A. Validator looked at it"
    leak = {"late": random.normal(size=5_000) + 5 * label}
    verdict = check(leak, label, {"late": Feature(leakage_waiver=reason)})
    assert verdict.passed
    assert verdict.findings[0].waiver == reason
    by_lineage = check(
        leak, label, {"late": Feature(leakage_waiver=reason)}, {"late": frozenset({("loans", "recovered")})}
    )
    assert [f.suspicion for f in by_lineage.blocking] == [Suspicion.KNOWN_LATER]


def test_lineage_names_the_source_column_also_of_a_token() -> None:
    random, label = outcomes(2_000, 0.1)
    columns = {"one": random.normal(size=2_000), "two": random.normal(size=2_000)}
    lineage = {
        "one": frozenset({("loans", "recovered"), ("loans", "amount")}),
        "two": frozenset({("loans", "loan_token")}),
    }
    found = {f.feature: f.reason for f in check(columns, label, lineage=lineage).blocking}
    assert found["one"].startswith("comes from loans.recovered, known only after the event")
    assert found["two"].startswith("comes from loans.loan_id, known only after the event")


def test_dates_after_the_event_are_refused_unless_a_person_promised(settings: Settings) -> None:
    def day(text: str) -> date:
        return date.fromisoformat(text)

    lake = Lake(settings)
    for on in (date(2026, 5, 31), date(2026, 6, 30), date(2026, 7, 31)):
        rows = {
            "issued_on": pa.array([on] * 3, pa.date32()),
            "due_on": pa.array([day("2030-01-01")] * 3, pa.date32()),
            "paid_on": pa.array(["2026-06-30T23:59:59Z", "2026-01-01T00:00:00Z", None]).cast(pa.timestamp("us", "UTC")),
            "business_date": pa.array([on] * 3, pa.date32()),
        }
        lake.replace_date("source/loans", on, pa.table(rows))
    columns = {("loans", c) for c in ("issued_on", "due_on", "paid_on", "amount")}
    counted = count_dated_later(settings, [LOANS], AS_OF, columns)
    assert counted == {("loans", "due_on"): 6, ("loans", "paid_on"): 1}

    random, label = outcomes(2_000, 0.1)
    lineage = {"one": frozenset({("loans", "due_on"), ("loans", "paid_on")})}
    verdict = check({"one": random.normal(size=2_000)}, label, lineage=lineage, dated_later=counted)
    assert [f.suspicion for f in verdict.blocking] == [Suspicion.DATED_LATER]
    assert "loans.paid_on, which in 1 rows holds a date after" in verdict.blocking[0].reason


def test_the_dates_of_several_sources_are_counted(settings: Settings) -> None:
    """Found on a model over transactions and investigations: the second source stopped on the first one's open result."""
    others = LOANS.model_copy(update={"source": "other_loans"})
    on = date(2026, 3, 31)
    rows = pa.table({"paid_on": pa.array([datetime(2026, 4, 5, tzinfo=UTC)]), "business_date": pa.array([on])})
    for contract in (LOANS, others):
        Lake(settings).replace_date(f"source/{contract.source}", on, rows)
    columns = {("loans", "paid_on"), ("other_loans", "paid_on")}
    assert count_dated_later(settings, [LOANS, others], AS_OF, columns) == dict.fromkeys(sorted(columns), 1)


def test_a_check_of_nothing_has_not_passed() -> None:
    empty = LeakageVerdict(model="m", as_of=AS_OF, rows=0, features=(), findings=())
    with pytest.raises(Blocked, match="no feature was checked"):
        empty.require_passed()


def test_the_verdict_survives_json() -> None:
    verdict = check({"same": np.ones(2_000)}, outcomes(2_000, 0.1)[1])
    assert LeakageVerdict.model_validate_json(verdict.model_dump_json()) == verdict
    assert yaml.safe_load(verdict.model_dump_json())["rows"] == 2_000
