"""The checks of feature rows: the population and nothing else, keyed once, finite, of this date."""

from __future__ import annotations

from datetime import date
from typing import Any

import pyarrow as pa
import pytest
from account_source import DAY, DAY_BEFORE

from pipelines import database, quality
from pipelines.contracts import Blocked, Check, FeatureSnapshot, QualityVerdict, fingerprint
from pipelines.features.records import record_snapshot
from pipelines.lake import Lake
from pipelines.settings import Settings
from pipelines.spec import Model

MODEL = Model.model_validate(
    {
        "name": "small",
        "title": "Small",
        "description": "Two views.",
        "owner": "owner@bank.example",
        "validator": "validator@bank.example",
        "tier": 3,
        "domain": "credit",
        "purpose": "tests",
        "policy": "internal",
        "entity": "account",
        "population": "accounts",
        "sources": ["accounts"],
        "features": {"behaviour": {"balance": {}, "days_late": {}}, "profile": {"income": {"missing": "allowed"}}},
        "label": {"view": "late", "maturity_days": 1, "description": "late"},
        "training": {
            "algorithms": ["scorecard"],
            "seed": 1,
            "validation": {"kind": "folds", "folds": 2, "why_no_time": "made up"},
        },
        "schedule": {"cron": None, "timeout_minutes": 5},
    }
)


def tokens(count: int, entity: str = "account") -> list[str]:
    return [fingerprint(entity, i)[:32] for i in range(count)]


def write(settings: Settings, table: str, day: date, columns: dict[str, Any]) -> int:
    length = len(next(iter(columns.values())))
    rows = pa.table({**columns, "business_date": pa.array([day] * length, pa.date32())})
    return Lake(settings).replace_date(table, day, rows)


def built(settings: Settings, day: date = DAY, **changed: Any) -> FeatureSnapshot:
    """A population of 50, its two views and its joined rows, with some columns of the joined rows changed."""
    population = write(settings, "source/accounts", DAY, {"account_token": tokens(50)})
    behaviour = {"account_token": tokens(50), "balance": [1.0] * 50, "days_late": [0] * 50}
    views = {
        "behaviour": write(settings, "features/behaviour", day, behaviour),
        "profile": write(
            settings, "features/profile", day, {"customer_token": tokens(20, "customer"), "income": [1.0] * 20}
        ),
    }
    joined: dict[str, Any] = {**behaviour, "income": [None] * 10 + [2.0] * 40, **changed}
    made = FeatureSnapshot(
        model="small",
        business_date=DAY,
        table="model_features/small",
        lake_version=write(settings, "model_features/small", DAY, joined),
        rows=len(joined["account_token"]),
        view_versions=views,
        source_versions={"accounts": population},
        content_digest=fingerprint("rows"),
    )
    with database.transaction(settings) as connection:
        record_snapshot(connection, made, fingerprint(made.lake_version))
    return made


def failed(verdict: QualityVerdict) -> list[str]:
    return sorted(check.name for check in verdict.blocking)


def check(verdict: QualityVerdict, name: str) -> Check:
    return next(c for c in verdict.checks if c.name == name)


def test_good_rows_pass_and_their_nulls_are_counted(settings: Settings) -> None:
    made = built(settings)

    verdict = quality.check_features(settings, MODEL, DAY)

    assert verdict.passed
    assert (verdict.subject, verdict.lake_version) == ("model_features/small", made.lake_version)
    assert check(verdict, "income: nulls counted").observed == "10 of 50 break it"
    assert check(verdict, "rows: the population").observed == "0 of 50 entities absent, 0 not of the population"
    assert quality.last_verdict(settings, "model_features/small", DAY) == verdict
    assert quality.check_features(settings, MODEL, DAY) == verdict


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({"balance": [float("nan")] + [1.0] * 49}, ["balance: finite"]),
        ({"balance": [float("-inf")] + [1.0] * 49}, ["balance: finite"]),
        ({"account_token": [*tokens(49), tokens(1)[0]]}, ["account_token: unique", "rows: the population"]),
        ({"account_token": [*tokens(49), "f" * 32]}, ["rows: the population"]),
        (
            {"account_token": [*tokens(49), None]},
            ["account_token: complete", "account_token: unique", "rows: the population"],
        ),
    ],
)
def test_rows_that_are_not_the_population_or_not_finite_block(
    settings: Settings, changed: dict[str, Any], names: list[str]
) -> None:
    built(settings, **changed)
    assert failed(quality.check_features(settings, MODEL, DAY)) == names


def test_views_of_another_date_block(settings: Settings) -> None:
    built(settings, day=DAY_BEFORE)
    assert {"behaviour: fresh", "profile: fresh"} <= set(failed(quality.check_features(settings, MODEL, DAY)))


def test_rows_built_again_are_judged_again(settings: Settings) -> None:
    built(settings)
    first = quality.check_features(settings, MODEL, DAY)
    built(settings, balance=[float("nan")] * 50)
    assert first.passed
    assert not quality.check_features(settings, MODEL, DAY).passed


def test_without_features_nothing_is_judged(settings: Settings) -> None:
    with pytest.raises(Blocked, match="python -m pipelines features --model small"):
        quality.check_features(settings, MODEL, DAY)
