"""Scores put together from parts: the parts go with them into the lake, and change nothing for other models."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from small_night import IN_PARTS, MODEL, TYPOLOGIES, artefact_files, feature_columns, night, register

from pipelines import database, registry
from pipelines.lake import Lake, connect
from pipelines.registry import bootstrap
from pipelines.scoring import publish, score, verify_batch
from pipelines.scoring.judge import Rules, judge, with_more_review
from pipelines.scoring.stream import PART_COLUMNS, load_staged, part_columns
from pipelines.settings import Settings
from pipelines.spec import Feature
from pipelines.training.artefact import load_verified

DAY = date(2026, 6, 30)
NEXT = date(2026, 7, 1)
ROWS = 2_000
COLUMNS = ["account_token", "probability", "review_reason", "part_supervised", "part_anomaly", "part_typologies"]


def lake_rows(settings: Settings, table: str) -> list[dict[str, object]]:
    with connect(settings) as connection:
        Lake(settings).scan(connection, "t", table, dates=[DAY])
        return connection.sql("FROM t ORDER BY account_token").to_arrow_table().to_pylist()


@pytest.fixture
def in_parts(bank: Settings) -> Settings:
    """The bank with a permitted combined model beside the small one, and a night of features."""
    bootstrap(bank, IN_PARTS, [register(bank, artefact_files(seed, model=IN_PARTS), IN_PARTS) for seed in (1, 2)])
    trend = feature_columns(ROWS, 9)["trend"].to_pylist()
    income = feature_columns(ROWS, 9)["income"].to_pylist()
    income[:40] = [None] * 40
    night(bank, DAY, ROWS, model=IN_PARTS, changed={"income": pa.array(income), "trend": pa.array(trend)})
    return bank


def test_the_parts_of_every_score_are_staged_and_published_with_it(in_parts: Settings) -> None:
    batch = score(in_parts, IN_PARTS, DAY)
    staged = lake_rows(in_parts, "staging_scores/in_parts")
    assert list(staged[0]) == [*COLUMNS, "typologies_met", "business_date"]
    publish(in_parts, IN_PARTS, DAY)
    published = lake_rows(in_parts, "scores/in_parts")
    kept = [*COLUMNS, "typologies_met"]
    assert [{n: row[n] for n in kept} for row in published] == [{n: row[n] for n in kept} for row in staged]
    champion = registry.champion(in_parts, IN_PARTS)
    predictor = load_verified(registry.fetch(in_parts, champion), champion.artefact_digest)
    features = pa.Table.from_pylist(lake_rows(in_parts, batch.feature_snapshot.table))
    expected = predictor.predict_in_parts(features)
    np.testing.assert_array_equal([row["probability"] for row in staged], expected.probability)
    for name, value in expected.values.items():
        np.testing.assert_array_equal([row[f"part_{name}"] for row in staged], value)
    met = [row["typologies_met"] for row in staged]
    assert met == expected.typologies_met.to_pylist()
    assert {"", "stretched", "steep_card", "stretched; steep_card"} == set(met)
    assert predictor.typologies == TYPOLOGIES
    assert verify_batch(in_parts, IN_PARTS, DAY).rows == ROWS
    assert {row["route"] for row in published} == {"scored", "review"}


def test_a_typology_that_cannot_be_judged_sends_the_row_to_a_person_by_name(in_parts: Settings) -> None:
    """Income is absent and `missing: review`: who uses little of the limit is not stretched, whatever the income. With an
    input gone, an absent trend is no documented state any more either."""
    batch = score(in_parts, IN_PARTS, DAY)
    rows = {row["account_token"]: row for row in lake_rows(in_parts, batch.feature_snapshot.table)}
    unsure = 0
    for row in lake_rows(in_parts, "staging_scores/in_parts"):
        features = rows[row["account_token"]]
        absent = features["income"] is None
        cannot = absent and features["utilisation"] >= 0.4
        unsure += cannot
        steep = absent and features["product"] == "card" and features["trend"] is None
        reasons = ["income missing"] * absent + ["typology stretched cannot be judged"] * cannot
        reasons += ["typology steep_card cannot be judged"] * steep
        assert row["review_reason"] == ("; ".join(reasons) or None)
    counted = database.rows(in_parts, "SELECT review_reasons FROM vigil.batch WHERE model = 'in_parts'")[0]
    assert unsure > 5
    assert counted["review_reasons"]["typology stretched cannot be judged"] == unsure
    assert batch.rows_review == sum(row["income"] is None for row in rows.values())


@pytest.mark.parametrize("chunk_rows", [64, 1_000_000])
def test_scoring_again_in_other_chunks_stages_the_same_rows(in_parts: Settings, chunk_rows: int) -> None:
    first, rows = score(in_parts, IN_PARTS, DAY), lake_rows(in_parts, "staging_scores/in_parts")
    database.rows(in_parts, "DELETE FROM vigil.shadow RETURNING 1")
    database.rows(in_parts, "DELETE FROM vigil.batch RETURNING 1")
    again = score(in_parts.model_copy(update={"chunk_rows": chunk_rows}), IN_PARTS, DAY)
    assert again.model_dump(exclude={"staged"}) == first.model_dump(exclude={"staged"})
    assert lake_rows(in_parts, "staging_scores/in_parts") == rows


def test_a_challenger_in_parts_scores_in_the_shadow_as_any_other(in_parts: Settings) -> None:
    assert score(in_parts, IN_PARTS, DAY).challenger_versions == (2,)
    assert set(lake_rows(in_parts, "shadow_scores/in_parts")[0]) == {
        *("account_token", "model_version", "probability", "batch_id", "business_date")
    }


def test_other_models_have_the_columns_they_always_had(bank: Settings) -> None:
    night(bank, DAY, ROWS)
    score(bank, MODEL, DAY)
    publish(bank, MODEL, DAY)
    assert list(lake_rows(bank, "staging_scores/small")[0]) == [*COLUMNS[:3], "business_date"]
    assert list(lake_rows(bank, "scores/small")[0]) == [
        *("account_token", "probability", "route", "review_reason", "batch_id", "model_version", "business_date")
    ]


def test_a_batch_without_parts_after_one_with_them_has_none(in_parts: Settings) -> None:
    """A champion of another algorithm follows: the lake's table keeps the columns, its rows have nothing in them."""
    batch = score(in_parts, IN_PARTS, DAY)
    with connect(in_parts) as connection:
        load_staged(in_parts, connection, IN_PARTS, batch)
        assert part_columns(connection, "scored") == tuple(PART_COLUMNS)
        plain = connection.sql(
            f"SELECT token AS account_token, probability, review_reason, DATE '{NEXT}' AS business_date FROM scored"
        ).to_arrow_table()
    version = Lake(in_parts).replace_date("staging_scores/in_parts", NEXT, plain)
    later = batch.model_copy(update={"business_date": NEXT, "staged": f"staging_scores/in_parts@{version}"})
    with connect(in_parts) as connection:
        load_staged(in_parts, connection, IN_PARTS, later)
        assert connection.execute("SELECT count(*), count(part_anomaly) FROM scored").fetchone() == (ROWS, 0)


def test_more_reasons_come_after_those_there_are() -> None:
    chunk = pa.record_batch({"token": list("abcd"), "x": pa.array([1.0, None, 1.0, None])})
    judged = judge(Rules("token", {"x": Feature(missing="review")}, {}), chunk)
    more = {"one": np.array([1, 1, 0, 0], bool), "two": np.array([1, 0, 0, 0], bool), "none": np.zeros(4, bool)}
    both = with_more_review(judged, more)
    assert both.review_reason.to_pylist() == ["one; two", "x missing; one", None, "x missing"]
    assert both.review_counts == {"x missing": 2, "one": 2, "two": 1}
    assert with_more_review(judged, {"none": np.zeros(4, bool)}) is judged
    nobody = judge(Rules("token", {"x": Feature(missing="review")}, {}), chunk.slice(0, 1))
    assert with_more_review(nobody, {"one": np.array([True])}).review_reason.to_pylist() == ["one"]


def test_the_batch_keeps_the_pack_its_champion_carries(in_parts: Settings) -> None:
    first = score(in_parts, IN_PARTS, DAY)
    assert score(in_parts, IN_PARTS, DAY) == first
    night(in_parts, NEXT, ROWS)
    score(in_parts, MODEL, NEXT)
    kept = {r["model"]: r["typologies"] for r in database.rows(in_parts, "SELECT model, typologies FROM vigil.batch")}
    assert kept == {"in_parts": f"small_typologies 1 {TYPOLOGIES.digest}", "small": None}
