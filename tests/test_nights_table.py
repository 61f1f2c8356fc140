"""What `status` tells on-call: what is published, which nights are missing, which runs failed and were not made good."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import pytest

from pipelines import database, failure, report, sample_bank
from pipelines.cli.main import main
from pipelines.spec import load_model

SATURDAY, SUNDAY, MONDAY, TUESDAY = (date(2026, 6, day) for day in (27, 28, 29, 30))


@pytest.fixture
def machine(settings):
    """A machine whose source has four nights, the second of which is published."""
    sample_bank.generate(settings.sources, customers=200, months=1, nights=4, end=TUESDAY)
    publish(settings, SUNDAY, "a")
    return settings


@pytest.fixture
def model(settings):
    return load_model(settings.models, "credit_default")


def publish(settings, on, mark):
    """A published batch as scoring records it, without its rows."""
    with database.transaction(settings) as connection:
        database.execute(
            connection,
            "WITH made AS (INSERT INTO vigil.batch (batch_id, model, business_date, model_version, artefact_digest, policy, "
            "policy_version, rows_in, rows_scored, rows_rejected, rows_quarantined, rows_review, reject_reasons, "
            "review_reasons, digest, psi, feature_snapshot, staged) VALUES (:batch, 'credit_default', :on, 1, 'd', 'internal', "
            "'1', 10, 7, 2, 1, 3, '{}', '{}', 'e', 0.01, '{}', 's') RETURNING batch_no) "
            "INSERT INTO vigil.published (model, business_date, batch_no, lake_version) "
            "SELECT 'credit_default', :on, batch_no, 1 FROM made",
            batch=mark * 64,
            on=on,
        )


def fail(settings, part, on, at):
    failure.record(
        settings.home,
        failure.Failure(
            at=at,
            model="credit_default",
            business_date=on,
            dag_id=f"credit_default_{part}",
            run_id=f"{part} {at}",
            task="land",
            reason="task_failure",
            kind="DataFault",
            message="no file",
            next_command=failure.next_command(part, "credit_default", on),
            log_url=None,
        ),
    )


def test_a_published_night_keeps_the_equation_of_its_rows(machine, model):
    (night,) = report.published(machine, model)
    assert night.business_date == SUNDAY
    assert night.rows_in == night.scored + night.rejected + night.quarantined == 10


def test_gaps_are_the_nights_after_the_first_published_that_the_source_has(machine, model):
    assert [gap.business_date for gap in report.gaps(machine, model)] == [MONDAY, TUESDAY]
    publish(machine, TUESDAY, "b")
    (gap,) = report.gaps(machine, model)
    assert gap.next_command == "python -m pipelines night --model credit_default --date 2026-06-29"


def test_before_anything_is_published_nothing_is_missing(settings, model):
    sample_bank.generate(settings.sources, customers=200, months=1, nights=2, end=TUESDAY)
    assert report.gaps(settings, model) == ()


def test_failed_runs_are_listed_until_their_night_is_published(machine, model):
    fail(machine, "ingest", MONDAY, datetime(2026, 6, 30, 2, tzinfo=UTC))
    fail(machine, "ingest", MONDAY, datetime(2026, 6, 30, 3, tzinfo=UTC))
    fail(machine, "score", SUNDAY, datetime(2026, 6, 29, 2, tzinfo=UTC))
    (run,) = report.failed_runs(machine, model)
    assert (run.business_date, run.at.hour) == (MONDAY, 3)
    publish(machine, MONDAY, "c")
    assert report.failed_runs(machine, model) == ()


def test_status_says_all_of_it(machine, capsys):
    fail(machine, "ingest", TUESDAY, datetime(2026, 7, 1, 2, tzinfo=UTC))
    assert main(["status", "--json"]) == 0
    stack, *records = map(json.loads, capsys.readouterr().out.splitlines())
    assert stack == {"phase": "down"}
    assert [r["record"] for r in records] == ["Night", "Gap", "Gap", "FailedRun"]
    assert main(["status"]) == 0
    shown = capsys.readouterr().out
    for words in ("The stack is down", "credit_default: published", "missing nights", "failed runs", "2026-06-29"):
        assert words in shown
