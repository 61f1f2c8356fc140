"""What `status` tells on-call: what is published, which nights are missing, which runs failed and were not made good."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import pytest

from pipelines import completion, database, failure, report, sample_bank
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
    """A published batch as scoring records it, without its rows; the night has ended."""
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
        completion.record(connection, "credit_default", "publish", on)


def take_in(settings, source, on):
    """A source published for a date, as ingest records it."""
    with database.transaction(settings) as connection:
        database.execute(
            connection,
            "WITH l AS (INSERT INTO vigil.landing (source, business_date, content, delivery, manifest) VALUES "
            "(:source, :on, repeat('a', 64), repeat('a', 64), '{\"rows_in\": 0, \"rows_published\": 0, "
            '"rows_quarantined": 0}\') RETURNING landing_no), v AS (INSERT INTO vigil.quality_verdict (subject, '
            "business_date, lake_version, rules, passed, verdict) VALUES (:source, :on, 1, repeat('a', 64), true, '{}') "
            "RETURNING verdict_no) INSERT INTO vigil.source_publication (source, business_date, landing_no, verdict_no, "
            "manifest) SELECT :source, :on, landing_no, verdict_no, '{}' FROM l, v",
            source=source,
            on=on,
        )


def fail(settings, part, on, at, task="land"):
    failure.record(
        settings.home,
        failure.Failure(
            at=at,
            model="credit_default",
            business_date=on,
            dag_id=f"credit_default_{part}",
            run_id=f"{part} {at}",
            task=task,
            reason="task_failure",
            kind="DataFault",
            message="no file",
            next_command=failure.next_command(part, task, "credit_default", on),
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


def test_a_night_is_out_of_date_when_one_of_its_sources_was_taken_in_after_it(machine, model):
    publish(machine, MONDAY, "b")
    publish(machine, TUESDAY, "c")
    take_in(machine, "account_snapshots", SUNDAY)
    (gap,) = report.gaps(machine, model)
    assert (gap.business_date, gap.why) == (SUNDAY, "published before account_snapshots was taken in again")
    with database.transaction(machine) as connection:
        completion.record(connection, model.name, "publish", SUNDAY)
    assert report.gaps(machine, model) == ()


def test_a_source_that_did_not_come_for_a_date_is_missing_until_it_is_taken_in(machine, model):
    publish(machine, MONDAY, "b")
    publish(machine, TUESDAY, "c")
    for on in (SATURDAY, SUNDAY, TUESDAY):
        take_in(machine, model.population, on)
    for on in (SUNDAY, TUESDAY):
        with database.transaction(machine) as connection:
            completion.record(connection, model.name, "publish", on)
    source = next(name for name in model.sources if name != model.population)
    assert report.gaps(machine, model) == (), "a source that never came began with no date"
    take_in(machine, source, SATURDAY)
    missing = report.gaps(machine, model)
    assert [(gap.business_date, gap.why) for gap in missing] == [
        (on, f"{source} was not taken in, {model.population} was") for on in (SUNDAY, TUESDAY)
    ]
    assert missing[0].next_command == f"python -m pipelines ingest --source {source} --date {SUNDAY}"


def test_failed_runs_are_listed_until_a_night_of_their_date_ends_well(machine, model):
    fail(machine, "ingest", MONDAY, datetime(2026, 6, 30, 2, tzinfo=UTC))
    fail(machine, "ingest", MONDAY, datetime(2026, 6, 30, 3, tzinfo=UTC))
    fail(machine, "score", SUNDAY, datetime(2026, 6, 29, 2, tzinfo=UTC))
    (run,) = report.failed_runs(machine, model)
    assert (run.business_date, run.at.hour) == (MONDAY, 3)
    publish(machine, MONDAY, "c")
    assert report.failed_runs(machine, model) == ()


def test_a_failed_run_of_a_published_date_is_listed_until_the_night_is_run_again(machine, model):
    soon = datetime.now(UTC)
    fail(machine, "ingest", SUNDAY, soon)
    (run,) = report.failed_runs(machine, model)
    assert (run.business_date, run.at) == (SUNDAY, soon)
    with database.transaction(machine) as connection:
        completion.record(connection, model.name, "publish", SUNDAY)
    assert report.failed_runs(machine, model) == ()


def test_a_failed_training_is_made_good_by_a_training_alone(machine, model):
    fail(machine, "train", SUNDAY, datetime(2026, 6, 29, 2, tzinfo=UTC))
    (run,) = report.failed_runs(machine, model)
    assert run.dag_id == "credit_default_train"
    with database.transaction(machine) as connection:
        completion.record(connection, model.name, "train", SUNDAY)
    assert report.failed_runs(machine, model) == ()


def test_what_failed_on_the_way_to_the_online_store_is_made_good_there(machine, model):
    fail(machine, "features", SUNDAY, datetime(2026, 6, 29, 2, tzinfo=UTC), task="materialise")
    (run,) = report.failed_runs(machine, model)
    assert run.next_command == "python -m pipelines feast materialise --model credit_default --date 2026-06-28"
    with database.transaction(machine) as connection:
        completion.record(connection, model.name, "materialise", SUNDAY)
    assert report.failed_runs(machine, model) == ()


def test_alerts_that_failed_are_made_good_by_raising_them(machine, model):
    fail(machine, "score", SUNDAY, datetime(2026, 6, 29, 2, tzinfo=UTC), task="raise_alerts")
    (run,) = report.failed_runs(machine, model)
    assert run.next_command == "python -m pipelines raise-alerts --model credit_default --date 2026-06-28"
    with database.transaction(machine) as connection:
        completion.record(connection, model.name, "raise_alerts", SUNDAY)
    assert report.failed_runs(machine, model) == ()


def test_published_scores_of_an_aml_model_without_alerts_are_a_gap(machine, model):
    publish(machine, MONDAY, "b")
    publish(machine, TUESDAY, "c")
    aml = model.model_copy(update={"domain": "aml"})
    found = report.gaps(machine, aml)
    assert [gap.business_date for gap in found] == [SUNDAY, MONDAY, TUESDAY]
    assert {gap.why for gap in found} == {"its scores are published, but no alerts were raised from them"}
    assert report.gaps(machine, model) == ()


def test_status_says_all_of_it(machine, capsys):
    fail(machine, "ingest", TUESDAY, datetime(2026, 7, 1, 2, tzinfo=UTC))
    assert main(["status", "--json"]) == 0
    stack, *records = map(json.loads, capsys.readouterr().out.splitlines())
    assert stack == {"phase": "down"}
    assert [r["record"] for r in records] == ["Night", "Gap", "Gap", "FailedRun"]
    assert main(["status"]) == 0
    shown = capsys.readouterr().out
    for words in ("The stack is down", "credit_default: published", "nights to run", "failed runs", "2026-06-29"):
        assert words in shown
