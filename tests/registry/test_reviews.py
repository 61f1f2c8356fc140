"""Reviews: by an independent validator of the tier, kept in the journal, with a consequence when the model is unfit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from inventoried import VALIDATOR, project_of, promote, write_model

from pipelines import database
from pipelines.contracts import Blocked, DataFault
from pipelines.registry import journal
from pipelines.registry.incidents import incidents
from pipelines.registry.oversight import require_reviewed
from pipelines.registry.reviews import record
from pipelines.settings import Settings
from pipelines.spec import Model, load_model, load_policy

NOW = datetime.now(UTC)


@pytest.fixture
def bank(settings: Settings) -> Settings:
    made = project_of(settings, "kept", overdue="stop")
    promote(made, "kept", 4, granted=NOW - timedelta(days=9), expires=NOW + timedelta(days=9))
    return made


@pytest.fixture
def model(bank: Settings) -> Model:
    return load_model(bank.models, "kept")


def test_a_validator_of_the_tier_reviews_the_champion_and_the_journal_says_so(bank: Settings, model: Model) -> None:
    made = record(bank, model, outcome="fit", note=" Stable for a year. ", by="Second-Validator@Bank.example")
    assert (made.version, made.outcome, made.person) == (4, "fit", "second-validator@bank.example")
    entry = journal.entries(bank, "kept")[-1]
    assert entry.kind == "reviewed"
    assert entry.facts == {
        "review_no": made.review_no,
        "version": 4,
        "outcome": "fit",
        "note": "Stable for a year.",
        "by": "second-validator@bank.example",
    }


@pytest.mark.parametrize(
    ("by", "error", "why"),
    [
        ("owner@bank.example", Blocked, "they own it"),
        ("head-of-validation@bank.example", Blocked, "other validators for tier 3"),
        ("stranger@bank.example", Blocked, "second-validator@bank.example"),
        ("anna", DataFault, "no person"),
    ],
)
def test_nobody_else_may(bank: Settings, model: Model, by: str, error: type[Exception], why: str) -> None:
    with pytest.raises(error, match=why):
        record(bank, model, outcome="fit", note="Fine.", by=by)
    assert database.rows(bank, "SELECT 1 FROM vigil.review") == []
    assert [e.kind for e in journal.entries(bank, "kept")] == ["promoted"]


def test_the_owner_may_not_even_when_named_as_validator(bank: Settings) -> None:
    write_model(bank.project, "kept", owner=VALIDATOR)
    with pytest.raises(Blocked, match="they own it"):
        record(bank, load_model(bank.models, "kept"), outcome="fit", note="Fine.", by=VALIDATOR.upper())


def test_a_review_says_what_was_found(bank: Settings, model: Model) -> None:
    with pytest.raises(DataFault, match="reason"):
        record(bank, model, outcome="fit", note="  ", by=VALIDATOR)


def test_unfit_makes_the_review_overdue_at_once_until_the_model_is_found_fit(bank: Settings, model: Model) -> None:
    policy = load_policy(bank.policies, "small")
    require_reviewed(bank, model, policy, NOW.date())
    record(bank, model, outcome="unfit", note="Income is stale.", by=VALIDATOR)
    with pytest.raises(Blocked, match="found the model unfit"):
        require_reviewed(bank, model, policy, NOW.date())
    assert [i.kind for i in incidents(bank)] == ["review_overdue"]
    record(bank, model, outcome="fit", note="Income is back.", by=VALIDATOR)
    require_reviewed(bank, model, policy, NOW.date())
    assert incidents(bank) == ()


def test_a_new_approval_after_unfit_counts_anew(bank: Settings, model: Model) -> None:
    record(bank, model, outcome="unfit", note="Income is stale.", by=VALIDATOR)
    promote(bank, "kept", 5, granted=datetime.now(UTC), expires=NOW + timedelta(days=9))
    require_reviewed(bank, model, load_policy(bank.policies, "small"), NOW.date())
