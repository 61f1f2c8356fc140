"""Scoring a date: what is scored, rejected and reviewed, what a batch is, and what must stop it."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from small_night import MODEL, artefact_files, feature_columns, night, register, write_policy

from pipelines import database, mlflow_store, registry
from pipelines.contracts import Blocked, DataFault, ScoredBatch
from pipelines.lake import Lake, connect
from pipelines.scoring import score
from pipelines.settings import Settings
from pipelines.spec import Model
from pipelines.training.artefact import load_verified

DAY = date(2026, 6, 30)
ROWS = 2_000


def lake_rows(settings: Settings, table: str, day: date = DAY) -> list[dict[str, object]]:
    with connect(settings) as connection:
        Lake(settings).scan(connection, "t", table, dates=[day])
        return connection.sql("FROM t ORDER BY account_token").to_arrow_table().to_pylist()


def versions(settings: Settings) -> dict[str, int | None]:
    lake = Lake(settings)
    return {t: lake.version(f"{t}/small") for t in ("staging_scores", "rejected", "shadow_scores", "scores")}


def with_bad_rows() -> dict[str, pa.Array]:
    """Ten rows without utilisation, five with an infinite trend, four of a product never seen."""
    good = feature_columns(ROWS, 9)
    utilisation, trend, product = (good[n].to_pylist() for n in ("utilisation", "trend", "product"))
    utilisation[:10] = [None] * 10
    trend[8:13] = [math.inf] * 5
    product[100:104] = ["lease"] * 4
    return {"utilisation": pa.array(utilisation), "trend": pa.array(trend), "product": pa.array(product)}


def test_every_row_is_scored_or_rejected_with_its_reason_and_all_add_up(bank: Settings) -> None:
    night(bank, DAY, ROWS, quarantined=7, changed=with_bad_rows())
    batch = score(bank, MODEL, DAY)
    assert (batch.rows_in, batch.rows_scored, batch.rows_rejected, batch.rows_quarantined) == (2007, 1987, 13, 7)
    assert batch.reject_reasons == {"utilisation missing": 10, "trend not a finite number": 5}
    rejected = lake_rows(bank, "rejected/small")
    assert len(rejected) == 13
    both = "utilisation missing; trend not a finite number"
    assert sum(row["reason"] == both for row in rejected) == 2
    assert {row["batch_id"] for row in rejected} == {batch.batch_id}
    staged = lake_rows(bank, "staging_scores/small")
    assert not {r["account_token"] for r in staged} & {r["account_token"] for r in rejected}
    in_review = [row for row in staged if row["review_reason"]]
    assert len(in_review) == batch.rows_review
    assert sum("product not seen in training" in row["review_reason"] for row in in_review) == 4
    recorded = database.rows(bank, "SELECT review_reasons FROM vigil.batch")[0]["review_reasons"]
    assert recorded["product not seen in training"] == 4
    assert recorded["income missing"] == sum("income missing" in row["review_reason"] for row in in_review)


def test_the_scores_are_the_champions_own(bank: Settings) -> None:
    snapshot = night(bank, DAY)
    batch = score(bank, MODEL, DAY)
    champion = registry.champion(bank, MODEL)
    predictor = load_verified(registry.fetch(bank, champion), champion.artefact_digest)
    features = pa.Table.from_pylist(lake_rows(bank, snapshot.table))
    staged = lake_rows(bank, "staging_scores/small")
    assert [r["account_token"] for r in staged] == features["account_token"].to_pylist()
    assert np.array_equal(predictor.predict(features), [r["probability"] for r in staged])
    assert (batch.model_version, batch.artefact_digest) == (1, champion.artefact_digest)
    assert 0 < batch.psi < 0.1


@pytest.mark.parametrize("chunk_rows", [64, 1_000, 1_000_000])
def test_the_digest_does_not_depend_on_how_rows_are_cut_or_stored(bank: Settings, chunk_rows: int) -> None:
    snapshot = night(bank, DAY, changed=with_bad_rows())
    first = score(bank, MODEL, DAY)
    lake = Lake(bank)
    shuffled = pa.Table.from_pylist(lake_rows(bank, snapshot.table)[::-1], schema=lake_schema(bank, snapshot.table))
    lake.replace_date(snapshot.table, DAY, shuffled)
    database.rows(bank, "DELETE FROM vigil.shadow RETURNING 1")
    database.rows(bank, "DELETE FROM vigil.batch RETURNING 1")
    again = score(bank.model_copy(update={"chunk_rows": chunk_rows}), MODEL, DAY)
    same = {"staged"}
    assert again.model_dump(exclude=same) == first.model_dump(exclude=same)


def lake_schema(settings: Settings, table: str) -> pa.Schema:
    with connect(settings) as connection:
        Lake(settings).scan(connection, "t", table)
        return connection.sql("FROM t LIMIT 0").to_arrow_table().schema


def test_scoring_again_gives_the_recorded_batch_and_writes_nothing(bank: Settings) -> None:
    night(bank, DAY)
    first, before = score(bank, MODEL, DAY), versions(bank)
    assert score(bank, MODEL, DAY) == first
    assert versions(bank) == before
    assert len(database.rows(bank, "SELECT 1 FROM vigil.batch")) == 1


def test_whatever_decides_the_result_changes_the_batch_id(bank: Settings) -> None:
    ids = [_scored_id(bank, lambda: night(bank, DAY))]
    ids.append(_scored_id(bank, lambda: night(bank, DAY, seed=10)))
    ids.append(_scored_id(bank, lambda: night(bank, DAY, quarantined=4)))
    ids.append(_scored_id(bank, lambda: write_policy(bank.project, version="2026.2")))
    ids.append(_scored_id(bank, lambda: None, model=_income_allowed()))
    assert len(set(ids)) == 5
    assert _scored_id(bank, lambda: write_policy(bank.project)) == ids[2]


def _scored_id(settings: Settings, prepare: Callable[[], object], model: Model = MODEL) -> str:
    prepare()
    return score(settings, model, DAY).batch_id


def _income_allowed() -> Model:
    plain = MODEL.model_dump()
    plain["features"]["behaviour"]["income"]["missing"] = "allowed"
    return Model.model_validate(plain)


@pytest.mark.parametrize(
    ("passed", "said"), [(None, r"\(version 0\) were not checked"), (False, r"did not pass: rows \(.*\). See docs")]
)
def test_features_without_a_passed_verdict_are_not_scored(bank: Settings, passed: bool | None, said: str) -> None:
    night(bank, DAY, passed=passed)
    with pytest.raises(Blocked, match=said):
        score(bank, MODEL, DAY)
    assert versions(bank)["staging_scores"] is None


def test_a_verdict_on_an_earlier_build_does_not_count(bank: Settings) -> None:
    night(bank, DAY)
    night(bank, DAY, seed=10, passed=None)
    with pytest.raises(Blocked, match=r"\(version 1\) were not checked"):
        score(bank, MODEL, DAY)


def test_a_date_without_features_names_the_command_to_run(bank: Settings) -> None:
    with pytest.raises(
        Blocked, match=r"no features were built.*python -m pipelines features --model small --date 2026-06-30"
    ):
        score(bank, MODEL, DAY)


def test_features_older_than_their_population_are_not_scored(bank: Settings) -> None:
    night(bank, DAY)
    database.rows(
        bank,
        "UPDATE vigil.source_publication SET manifest = jsonb_set(manifest, '{lake_version}', '5') RETURNING 1",
    )
    with pytest.raises(Blocked, match="published again after its features were built"):
        score(bank, MODEL, DAY)


def test_rows_that_do_not_add_up_are_neither_staged_nor_recorded(bank: Settings) -> None:
    night(bank, DAY)
    database.rows(
        bank, "UPDATE vigil.source_publication SET manifest = jsonb_set(manifest, '{rows_in}', '2004') RETURNING 1"
    )
    with pytest.raises(Blocked, match=r"2,004 came in, but 2,000 scored \+ 0 rejected \+ 3 quarantined"):
        score(bank, MODEL, DAY)
    assert versions(bank)["staging_scores"] is None
    assert database.rows(bank, "SELECT 1 FROM vigil.batch") == []


def test_a_token_that_comes_twice_stops_the_batch(bank: Settings) -> None:
    snapshot = night(bank, DAY)
    rows = lake_rows(bank, snapshot.table)
    rows[1]["account_token"] = rows[0]["account_token"]
    Lake(bank).replace_date(snapshot.table, DAY, pa.Table.from_pylist(rows, schema=lake_schema(bank, snapshot.table)))
    database.rows(
        bank, "UPDATE vigil.feature_snapshot SET snapshot = jsonb_set(snapshot, '{lake_version}', '1') RETURNING 1"
    )
    database.rows(
        bank,
        "UPDATE vigil.quality_verdict SET lake_version = 1, verdict = jsonb_set(verdict, '{lake_version}', '1') "
        "WHERE subject = 'model_features/small' RETURNING 1",
    )
    with pytest.raises(DataFault, match="occurs twice"):
        score(bank, MODEL, DAY)
    assert versions(bank)["staging_scores"] is None


def test_challengers_score_the_same_rows_in_the_shadow_only(bank: Settings) -> None:
    night(bank, DAY, changed=with_bad_rows())
    batch = score(bank, MODEL, DAY)
    assert batch.challenger_versions == (2,)
    shadow = lake_rows(bank, "shadow_scores/small")
    staged = lake_rows(bank, "staging_scores/small")
    assert [r["account_token"] for r in shadow] == [r["account_token"] for r in staged]
    assert {(r["model_version"], r["batch_id"]) for r in shadow} == {(2, batch.batch_id)}
    assert [r["probability"] for r in shadow] != [r["probability"] for r in staged]
    recorded = database.rows(bank, "SELECT version, rows FROM vigil.shadow")
    assert recorded == [{"version": 2, "rows": len(staged)}]


def test_a_challenger_that_may_not_be_used_is_noted_and_does_not_hold_up_the_champion(bank: Settings) -> None:
    number = register(bank, artefact_files(seed=3))
    mlflow_store.set_alias(bank, "small", "challenger", number)
    night(bank, DAY)
    batch = score(bank, MODEL, DAY)
    assert (batch.rows_scored, batch.challenger_versions) == (ROWS, ())
    note = database.rows(bank, "SELECT shadow_note FROM vigil.batch")[0]["shadow_note"]
    assert "version 3 may not be used as challenger" in note


def test_a_challenger_whose_files_were_changed_is_noted(bank: Settings) -> None:
    challenger = registry.challengers(bank, MODEL)[0]
    folder = bank.home / "cache" / "artefacts" / challenger.artefact_digest
    (folder / "model.cbm").write_bytes(b"changed")
    stored = mlflow_store.version(bank, "small", 2)
    damaged = mlflow_store.download_artefact(bank, stored, bank.home / "look")
    for file in (bank.home / "mlflow").rglob(f"{stored.run_id}/**/model.cbm"):
        file.write_bytes(b"changed")
    assert damaged.is_dir()
    night(bank, DAY)
    assert score(bank, MODEL, DAY).challenger_versions == ()
    assert "changed: model.cbm" in database.rows(bank, "SELECT shadow_note FROM vigil.batch")[0]["shadow_note"]


def test_a_challenger_added_later_is_scored_beside_the_recorded_batch(bank: Settings) -> None:
    mlflow_store.delete_alias(bank, "small", "challenger")
    night(bank, DAY)
    first = score(bank, MODEL, DAY)
    assert first.challenger_versions == ()
    mlflow_store.set_alias(bank, "small", "challenger", 2)
    later = score(bank, MODEL, DAY)
    assert later == ScoredBatch.model_validate(first.model_dump() | {"challenger_versions": (2,)})
    assert versions(bank)["staging_scores"] == 0


def test_a_champion_whose_features_left_the_model_file_is_not_used(bank: Settings) -> None:
    night(bank, DAY)
    plain = MODEL.model_dump()
    del plain["features"]["behaviour"]["trend"]
    with pytest.raises(
        DataFault, match=r"version 1 was trained on features that the model file no longer has.*: trend"
    ):
        score(bank, Model.model_validate(plain), DAY)


def test_a_feature_the_champion_does_not_know_rejects_no_row(bank: Settings) -> None:
    night(bank, DAY, changed={"age": pa.array([None] * ROWS, pa.float64())})
    plain = MODEL.model_dump()
    plain["features"]["behaviour"]["age"] = {"missing": "reject"}
    assert score(bank, Model.model_validate(plain), DAY).rows_scored == ROWS
