"""Replays: what a change would have done, and that none goes live without one."""

from __future__ import annotations

from datetime import timedelta

import pyarrow as pa
import pytest
from aml_night import ANNA, BERT, DAY, MODEL, NIGHT, Row, everything, evidence, publish_scores, token, write_policy

from pipelines import database
from pipelines.aml import cases as desk
from pipelines.aml.alerts import raise_alerts
from pipelines.aml.replay import proposed, replay
from pipelines.contracts import Blocked, DataFault
from pipelines.lake import Lake
from pipelines.settings import Settings

NEXT = DAY + timedelta(days=1)


@pytest.fixture
def stored(bank: Settings) -> Settings:
    """Two nights were raised; one case is closed as valuable, and an investigation of a quiet customer arrived."""
    raise_alerts(bank, MODEL, DAY, evidence())
    publish_scores(bank, [*NIGHT, Row("hal", 0.85)], NEXT)
    raise_alerts(bank, MODEL, NEXT, evidence())
    [row] = database.rows(bank, "SELECT case_no FROM vigil.alert WHERE token = :t AND kind = 'above'", t=token("cid"))
    desk.assign(bank, row["case_no"], ANNA, by=ANNA)
    desk.start(bank, row["case_no"], by=ANNA)
    desk.close(bank, row["case_no"], "valuable", by=BERT)
    investigations = pa.table(
        {
            "customer_token": [token("dan")],
            "opened_on": pa.array([DAY + timedelta(days=10)], pa.date32()),
            "outcome": ["cleared"],
            "business_date": pa.array([NEXT], pa.date32()),
        }
    )
    Lake(bank).replace_date("source/investigations", NEXT, investigations)
    return bank


def test_a_smaller_budget_loses_and_a_larger_one_gains(stored: Settings) -> None:
    made = replay(stored, MODEL, proposed(stored, MODEL, DAY, budget=4), DAY, NEXT, by=ANNA)
    assert [(n.raised, n.before, n.after, n.gained, n.lost) for n in made.nights] == [(3, 3, 4, 1, 0), (2, 3, 3, 1, 1)]
    assert made.change == {"budget": (3, 4)}
    fewer = replay(stored, MODEL, proposed(stored, MODEL, DAY, budget=2), DAY, DAY, by=ANNA)
    assert (fewer.gained.customers, fewer.lost.customers, fewer.both.customers) == (0, 1, 2)
    assert (fewer.lost.known.known, fewer.lost.known.productive) == (1, 1)
    assert fewer.lost.by_segment == {"mass": 1}
    assert fewer.replay_no == made.replay_no + 1


def test_outcomes_from_outside_count_within_their_days(stored: Settings) -> None:
    made = replay(stored, MODEL, proposed(stored, MODEL, DAY, threshold=0.55), DAY, DAY, by=ANNA)
    assert made.change["threshold"] == (None, 0.55)
    assert made.gained.customers == 1
    assert (made.gained.known.known, made.gained.known.productive, made.gained.known.rate) == (1, 0, 0.0)


def test_a_replay_leaves_the_desk_as_it_was(stored: Settings) -> None:
    before = everything(stored)
    replay(stored, MODEL, proposed(stored, MODEL, DAY, budget=4), DAY, NEXT, by=ANNA)
    assert everything(stored) == before


def test_the_same_replay_has_the_same_result(stored: Settings) -> None:
    one, other = (replay(stored, MODEL, proposed(stored, MODEL, DAY, budget=5), DAY, NEXT, by=ANNA) for _ in range(2))
    assert one.model_copy(update={"replay_no": 0}) == other.model_copy(update={"replay_no": 0})


def test_a_change_without_its_replay_does_not_go_live(stored: Settings) -> None:
    third = NEXT + timedelta(days=1)
    publish_scores(stored, NIGHT, third)
    write_policy(stored.project, budget=5)
    with pytest.raises(Blocked, match="has the same version"):
        raise_alerts(stored, MODEL, third, evidence())
    write_policy(stored.project, version="2", budget=5)
    with pytest.raises(Blocked, match="cites no replay"):
        raise_alerts(stored, MODEL, third, evidence())
    other = replay(stored, MODEL, proposed(stored, MODEL, DAY, budget=4), DAY, NEXT, by=ANNA)
    write_policy(stored.project, version="2", budget=5, replay=other.replay_no)
    with pytest.raises(Blocked, match="made for another change"):
        raise_alerts(stored, MODEL, third, evidence())
    write_policy(stored.project, version="2", budget=5, replay=99)
    with pytest.raises(Blocked, match="this model does not have"):
        raise_alerts(stored, MODEL, third, evidence())
    write_policy(stored.project, version="2", budget=5)
    made = replay(stored, MODEL, proposed(stored, MODEL, DAY), DAY, NEXT, by=ANNA)
    write_policy(stored.project, version="2", budget=5, replay=made.replay_no)
    done = raise_alerts(stored, MODEL, third, evidence())
    assert (done.budget, done.policy_version) == (5, "2")


def test_a_new_version_with_the_same_section_needs_none(stored: Settings) -> None:
    third = NEXT + timedelta(days=1)
    publish_scores(stored, NIGHT, third)
    write_policy(stored.project, version="2")
    assert raise_alerts(stored, MODEL, third, evidence()).policy_version == "2"


def test_what_cannot_be_replayed_is_refused(stored: Settings) -> None:
    with pytest.raises(DataFault, match="are those in force"):
        replay(stored, MODEL, proposed(stored, MODEL, DAY), DAY, NEXT, by=ANNA)
    later = NEXT + timedelta(days=9)
    with pytest.raises(Blocked, match="no stored night"):
        replay(stored, MODEL, proposed(stored, MODEL, DAY, budget=4), later, later, by=ANNA)
