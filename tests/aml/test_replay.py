"""Replays: what a change would have done, and that none goes live without one."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from aml_night import (
    ANNA,
    BERT,
    DAY,
    MODEL,
    NIGHT,
    Row,
    everything,
    evidence,
    publish_scores,
    score_table,
    token,
    write_policy,
)
from small_night import TYPOLOGIES

from pipelines import database
from pipelines.aml import cases as desk
from pipelines.aml.alerts import raise_alerts
from pipelines.aml.batch import Batch
from pipelines.aml.limits import digest_of
from pipelines.aml.replay import proposed, replay
from pipelines.contracts import Blocked, DataFault, RaisedAlerts
from pipelines.lake import Lake
from pipelines.settings import Settings
from pipelines.spec import Model, TypologyPack

NEXT = DAY + timedelta(days=1)
THIRD = DAY + timedelta(days=2)
OLD = TYPOLOGIES
INHERITED = "+internal-2026.1"  # internal_aml inherits from it, and a version names all packs
NEW = OLD.model_copy(update={"version": "2"})


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
    assert [(n.raised, n.before, n.after, n.gained, n.lost) for n in made.nights] == [(3, 3, 4, 1, 0), (2, 2, 1, 0, 1)]
    assert [n.before for n in made.nights] == [n.raised for n in made.nights], "who was drawn below the line rests too"
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
    assert (done.budget, done.policy_version) == (5, f"2{INHERITED}")


def test_a_new_version_with_the_same_section_needs_none(stored: Settings) -> None:
    third = NEXT + timedelta(days=1)
    publish_scores(stored, NIGHT, third)
    write_policy(stored.project, version="2")
    assert raise_alerts(stored, MODEL, third, evidence()).policy_version == f"2{INHERITED}"


def test_what_cannot_be_replayed_is_refused(stored: Settings) -> None:
    with pytest.raises(DataFault, match="are those in force"):
        replay(stored, MODEL, proposed(stored, MODEL, DAY), DAY, NEXT, by=ANNA)
    later = NEXT + timedelta(days=9)
    with pytest.raises(Blocked, match="no stored night"):
        replay(stored, MODEL, proposed(stored, MODEL, DAY, budget=4), later, later, by=ANNA)


@pytest.fixture
def with_pack(bare: Settings) -> Settings:
    """Two nights were raised from scores made with the old pack; the scores of the third were made with the new one."""
    for day in (DAY, NEXT):
        publish_scores(bare, NIGHT, day, typologies=OLD.identity)
        raise_alerts(bare, MODEL, day, evidence())
    publish_scores(bare, NIGHT, THIRD, typologies=NEW.identity)
    return bare


def third_night(settings: Settings) -> RaisedAlerts:
    return raise_alerts(settings, MODEL, THIRD, evidence())


def pack_file(settings: Settings, pack: TypologyPack, **changed: Any) -> Path:
    file = settings.project / "policies" / f"{pack.pack}.yaml"
    file.write_text(yaml.safe_dump(pack.model_dump(mode="json", exclude_none=True) | changed))
    return file


def rescored(settings: Settings, model: Model, batch: Batch, pack: TypologyPack) -> pa.Table:
    """As scored then, but Gus is now above the line."""
    rows = [Row(row.name, 0.95 if row.name == "gus" else row.probability, row.met) for row in NIGHT]
    return score_table(rows, batch.business_date, batch.batch_id)


def replay_pack(settings: Settings, file: Path, **changed: Any) -> int:
    limits = proposed(settings, MODEL, DAY, **changed)
    return replay(settings, MODEL, limits, DAY, NEXT, by=ANNA, pack=file, rescore=rescored).replay_no


def test_a_changed_pack_does_not_go_live_without_its_replay(with_pack: Settings) -> None:
    before = everything(with_pack)
    with pytest.raises(Blocked) as refused:
        third_night(with_pack)
    assert str(refused.value) == (
        "model watched: the typology pack changed: the scores were made with small_typologies 2, those of the last alerts "
        "with small_typologies 1, and the section cites no replay that shows what the change does. Nothing was raised; the "
        f"scores stay published. Run: python -m pipelines replay --model watched --by YOU --from {DAY} --to {NEXT} "
        "--typologies policies/small_typologies.yaml (the file as small_typologies 2 has it), and put the number it prints "
        "into the section as `replay:`. The policy keeps its version."
    )
    assert everything(with_pack) == before
    assert database.rows(with_pack, "SELECT 1 FROM vigil.published WHERE business_date = :d", d=THIRD)
    other = replay_pack(with_pack, pack_file(with_pack, NEW, version="3"))
    write_policy(with_pack.project, replay=other)
    with pytest.raises(Blocked, match="made for another change"):
        third_night(with_pack)
    limits_only = replay(with_pack, MODEL, proposed(with_pack, MODEL, DAY, budget=5), DAY, NEXT, by=ANNA)
    write_policy(with_pack.project, replay=limits_only.replay_no)
    with pytest.raises(Blocked, match="made for another change"):
        third_night(with_pack)
    write_policy(with_pack.project, replay=replay_pack(with_pack, pack_file(with_pack, NEW)))
    assert third_night(with_pack).policy_version == f"1{INHERITED}"
    kept = database.rows(with_pack, "SELECT typologies FROM vigil.alert_run ORDER BY run_no")
    assert [row["typologies"] for row in kept] == [OLD.identity, OLD.identity, NEW.identity]


def test_what_was_replayed_for_one_pack_does_not_let_it_go_back(with_pack: Settings) -> None:
    write_policy(with_pack.project, replay=replay_pack(with_pack, pack_file(with_pack, NEW)))
    third_night(with_pack)
    later = THIRD + timedelta(days=1)
    publish_scores(with_pack, NIGHT, later, typologies=OLD.identity)
    with pytest.raises(Blocked, match="made with small_typologies 1, those of the last alerts with small_typologies 2"):
        raise_alerts(with_pack, MODEL, later, evidence())


def test_a_replay_of_a_pack_names_both_packs_and_what_is_gained(with_pack: Settings) -> None:
    file = pack_file(with_pack, NEW)
    made = replay(with_pack, MODEL, proposed(with_pack, MODEL, DAY), DAY, NEXT, by=ANNA, pack=file, rescore=rescored)
    assert made.change == {"typologies": ("small_typologies 1", "small_typologies 2")}
    assert made.gained.customers > 0
    [run] = database.rows(with_pack, "SELECT limits_digest FROM vigil.alert_run WHERE business_date = :d", d=NEXT)
    assert made.before_digest == run["limits_digest"] != made.after_digest


def test_pack_and_section_changed_together_need_one_replay_of_both(with_pack: Settings) -> None:
    pack_only = replay_pack(with_pack, pack_file(with_pack, NEW))
    write_policy(with_pack.project, budget=5, replay=pack_only)
    with pytest.raises(Blocked, match=r"the typology pack changed.* and the alerts section of policy .* same version"):
        third_night(with_pack)
    write_policy(with_pack.project, version="2", budget=5, replay=pack_only)
    with pytest.raises(Blocked, match="made for another change") as refused:
        third_night(with_pack)
    assert "--typologies" in str(refused.value)
    assert "keeps its version" not in str(refused.value)
    both = replay_pack(with_pack, pack_file(with_pack, NEW))
    write_policy(with_pack.project, version="2", budget=5, replay=both)
    assert third_night(with_pack).budget == 5


def test_a_changed_section_alone_is_replayed_with_the_pack_in_force(with_pack: Settings) -> None:
    publish_scores(with_pack, NIGHT, THIRD, batch="b", typologies=OLD.identity)
    write_policy(with_pack.project, version="2", budget=5)
    with pytest.raises(Blocked, match="cites no replay") as refused:
        third_night(with_pack)
    assert "--typologies" not in str(refused.value)
    made = replay(with_pack, MODEL, proposed(with_pack, MODEL, DAY), DAY, NEXT, by=ANNA)
    write_policy(with_pack.project, version="2", budget=5, replay=made.replay_no)
    assert third_night(with_pack).budget == 5


def test_other_content_under_the_same_version_of_a_pack_is_refused(with_pack: Settings) -> None:
    silent = OLD.model_copy(update={"description": "Changed."})
    with pytest.raises(DataFault, match="calls itself small_typologies 1, but has other content"):
        replay_pack(with_pack, pack_file(with_pack, silent))
    publish_scores(with_pack, NIGHT, THIRD, batch="b", typologies=silent.identity)
    with pytest.raises(Blocked, match="the same version with other content"):
        third_night(with_pack)


def test_a_pack_is_compared_with_the_last_one_whatever_scored_between(with_pack: Settings) -> None:
    """A version without a pack is a change of model, which its permit answers for; the pack last replayed stays known."""
    publish_scores(with_pack, NIGHT, THIRD, batch="b")
    assert third_night(with_pack).limits_digest == digest_of(proposed(with_pack, MODEL, DAY))
    later = THIRD + timedelta(days=1)
    publish_scores(with_pack, NIGHT, later, typologies=NEW.identity)
    with pytest.raises(Blocked, match="the typology pack changed"):
        raise_alerts(with_pack, MODEL, later, evidence())
    publish_scores(with_pack, NIGHT, later, batch="b", typologies=OLD.identity)
    assert raise_alerts(with_pack, MODEL, later, evidence()).attempt == 1


def test_the_first_pack_of_a_model_needs_no_replay(stored: Settings) -> None:
    publish_scores(stored, NIGHT, THIRD, typologies=OLD.identity)
    done = third_night(stored)
    assert (done.rows_scored, done.already_raised) == (len(NIGHT), False)


def test_a_pack_that_shows_nothing_is_not_replayed(with_pack: Settings) -> None:
    with pytest.raises(DataFault, match="is the typology pack in force, small_typologies 1"):
        replay_pack(with_pack, pack_file(with_pack, OLD))
    with pytest.raises(DataFault, match="is the typology pack in force"):
        replay_pack(with_pack, pack_file(with_pack, OLD), budget=5)
    write_policy(with_pack.project, replay=replay_pack(with_pack, pack_file(with_pack, NEW)))
    third_night(with_pack)
    with pytest.raises(Blocked, match=r"2 of 2 nights, the first .* another typology pack \(small_typologies 1\)"):
        replay_pack(with_pack, pack_file(with_pack, NEW, version="3"))
