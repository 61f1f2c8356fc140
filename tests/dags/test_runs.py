"""Which business date a run has, which errors are tried again, and what a task hands on."""

from __future__ import annotations

from datetime import UTC, date, datetime
from types import SimpleNamespace

import pytest

from pipelines.contracts import Blocked, ConnectionBroken, DataFault, PublishedBatch

MADRID = "Europe/Madrid"


def run(run_type="manual", logical_date=None, partition_key=None, business_date=None):
    dag_run = SimpleNamespace(
        dag_id="m_ingest", run_type=run_type, logical_date=logical_date, partition_key=partition_key
    )
    return {"dag_run": dag_run, "params": {"business_date": business_date}}


def test_a_person_names_the_date(vigil_dags):
    assert vigil_dags.business_date(run(business_date="2026-06-30"), MADRID) == date(2026, 6, 30)


def test_a_run_started_by_an_asset_has_the_date_of_the_run_that_wrote_it(vigil_dags):
    assert vigil_dags.business_date(run("asset_triggered", partition_key="2026-06-30"), MADRID) == date(2026, 6, 30)


@pytest.mark.parametrize(
    ("utc", "zone", "night"),
    [
        (datetime(2026, 7, 1, 0, 0, tzinfo=UTC), MADRID, date(2026, 6, 30)),  # 02:00 local, summer
        (datetime(2026, 6, 30, 22, 30, tzinfo=UTC), MADRID, date(2026, 6, 30)),  # 00:30 local: already 1 July
        (datetime(2026, 7, 1, 3, 0, tzinfo=UTC), "America/New_York", date(2026, 6, 29)),  # 23:00 local: still 30 June
        (datetime(2026, 1, 1, 1, 0, tzinfo=UTC), "UTC", date(2025, 12, 31)),
    ],
)
@pytest.mark.parametrize("run_type", ["scheduled", "backfill"])
def test_a_scheduled_run_is_for_the_local_day_before(vigil_dags, utc, zone, night, run_type):
    assert vigil_dags.business_date(run(run_type, logical_date=utc), zone) == night


def test_a_date_is_never_guessed(vigil_dags):
    with pytest.raises(DataFault, match=r"never guessed.*airflow dags trigger m_ingest --conf"):
        vigil_dags.business_date(run(logical_date=datetime(2026, 7, 1, tzinfo=UTC)), MADRID)


def test_two_different_dates_are_refused(vigil_dags):
    with pytest.raises(DataFault, match="2026-06-29 but the run's partition key is 2026-06-30"):
        vigil_dags.business_date(run(partition_key="2026-06-30", business_date="2026-06-29"), MADRID)


@pytest.mark.parametrize(
    ("error", "try_number", "action"),
    [
        (DataFault("x"), 1, "fail"),
        (Blocked("x"), 1, "fail"),
        (ConnectionBroken("x"), 1, "default"),
        (ConnectionBroken("x"), 4, "default"),
        (KeyError("x"), 1, "default"),
        (KeyError("x"), 2, "fail"),
    ],
)
def test_only_what_may_heal_is_tried_again(vigil_dags, error, try_number, action):
    assert vigil_dags.FaultsAreFinal().evaluate(error, try_number, 4).action.value == action


def test_values_cross_as_plain_json(vigil_dags):
    batch = PublishedBatch(
        model="m",
        business_date=date(2026, 6, 30),
        batch_id="b",
        model_version=1,
        digest="d",
        rows_scored=2,
        published_at=datetime(2026, 7, 1, tzinfo=UTC),
        lake_version=3,
        already_published=False,
    )
    crossed = vigil_dags._as_json({"one": batch, "many": (batch,)})
    assert crossed["one"]["business_date"] == "2026-06-30"
    assert crossed["many"] == [crossed["one"]]


@pytest.mark.parametrize(
    ("broken", "kind"),
    [({"b": DataFault("b is empty")}, DataFault), ({"b": ConnectionBroken("b is away")}, ConnectionBroken)],
)
def test_one_bad_source_does_not_hide_the_next(vigil_dags, monkeypatch, broken, kind):
    """The worst error decides whether it is tried again; the text names every source that failed."""
    monkeypatch.setattr(vigil_dags, "load_contract", lambda folder, source: source)
    broken = {"a": ConnectionBroken("a did not answer"), **broken}
    seen = []

    def work(settings, contract, day):
        seen.append(contract)
        if contract in broken:
            raise broken[contract]

    model = SimpleNamespace(sources=("a", "b", "c"))
    with pytest.raises(kind, match=f"a did not answer\n{broken['b']}"):
        vigil_dags.of_every_source(SimpleNamespace(expectations=None), model, date(2026, 6, 30), work)
    assert seen == ["a", "b", "c"]
