"""The desk on a batch that scoring really published, with a combined model, its typologies and the payment network."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from aml_night import ANNA, TRANSACTIONS, pay, token
from approved import approved
from bank_fixtures import bank as scored_bank
from bank_fixtures import bank_template
from small_night import IN_PARTS, TYPOLOGIES, artefact_files, night, register, write_policy

from pipelines import database, registry
from pipelines.aml.alerts import raise_alerts
from pipelines.aml.batch import published_batch
from pipelines.aml.house import evidence_of, rules_of
from pipelines.aml.replay import proposed, replay
from pipelines.contracts import Blocked, DataFault
from pipelines.lake import Lake, connect
from pipelines.registry import bootstrap
from pipelines.scoring import publish, score
from pipelines.settings import REPOSITORY, Settings
from pipelines.spec import EvidenceFilter, TypologyPack
from pipelines.spec.alerting import EvidenceLimits

__all__ = ["bank_template", "scored_bank"]

DAY, NEXT = date(2026, 6, 30), date(2026, 7, 1)
ROWS = 2_000
AT = datetime(2026, 6, 20, 12, tzinfo=UTC)


def pack(**changed: Any) -> dict[str, Any]:
    """The pack as a document; changes by typology name."""
    document = TYPOLOGIES.model_dump(mode="json", exclude_none=True)
    for typology in document["typologies"]:
        typology |= changed.get(typology["name"], {})
    return document


CHANGED = TypologyPack.model_validate(pack(steep_card={"points": 0.99}, stretched={"points": 0.01}) | {"version": "3"})


TRAINED = TypologyPack.model_validate(
    pack(steep_card={"evidence": {"direction": "credit", "amount_between": [8000, 9999], "days": 30}})
)


def top_of_those_who_met(settings: Settings) -> str:
    """The account with the highest score among those that met a typology."""
    with connect(settings) as connection:
        Lake(settings).scan(connection, "scores", "scores/in_parts", dates=[DAY])
        found = connection.execute(
            "SELECT account_token FROM scores WHERE typologies_met LIKE '%steep_card%' ORDER BY probability DESC, 1 LIMIT 1"
        ).fetchone()
    return str(found[0])


@pytest.fixture
def published(scored_bank: Settings) -> Settings:
    """A published batch of a combined model, with transactions of a few of its accounts."""
    trained = artefact_files(1, model=IN_PARTS, typologies=TRAINED)
    bootstrap(scored_bank, IN_PARTS, [register(scored_bank, trained, IN_PARTS)])
    alerts = yaml.safe_load((REPOSITORY / "policies" / "internal_aml.yaml").read_text())["alerts"]
    write_policy(scored_bank.project, alerts=alerts | {"budget": 20, "outcomes": None})
    folder = scored_bank.project / "policies"
    (folder / "aml_network.yaml").write_text((REPOSITORY / "policies" / "aml_network.yaml").read_text())
    edited = pack(steep_card={"title": "Edited after the training", "evidence": {"direction": "debit"}})
    (folder / "small_typologies.yaml").write_text(yaml.safe_dump(edited))
    night(scored_bank, DAY, ROWS, model=IN_PARTS)
    score(scored_bank, IN_PARTS, DAY)
    publish(scored_bank, IN_PARTS, DAY)
    mine = {"account_token": top_of_those_who_met(scored_bank), "direction": "credit", "business_date": DAY}
    cash = [pay(f"t{i}", "c", f"x-{i}", 9_000 + i) | mine | {"booked_at": AT} for i in range(9)]
    old = [pay("old", "c", "x-1", 9_000) | mine | {"booked_at": AT - timedelta(days=40)}]
    Lake(scored_bank).replace_date("source/transactions", DAY, pa.Table.from_pylist(cash + old, TRANSACTIONS))
    return scored_bank


def test_a_published_batch_becomes_alerts_with_typologies_and_schemes(published: Settings) -> None:
    made = raise_alerts(published, IN_PARTS, DAY)
    assert (made.rows_scored, made.raised, made.budget_used) == (ROWS, 20, 1.0)
    assert made.review_items > 20
    [first] = database.rows(
        published,
        "SELECT a.*, evidence FROM vigil.alert a JOIN vigil.alert_evidence USING (alert_id) WHERE token = :token",
        token=top_of_those_who_met(published),
    )
    assert set(first["parts"]) == {"supervised", "anomaly", "typologies"}
    met = {m["name"]: m for m in first["evidence"]["typologies"]}
    assert met["steep_card"]["title"] == "A card whose trend is steep", (
        "the pack it was trained with, not the edited file"
    )
    assert (met["steep_card"]["transactions"], met["steep_card"]["amount"]) == (9, "81036.00")
    [fan] = first["evidence"]["schemes"]
    assert (fan["kind"], fan["payments"], len(fan["accounts"])) == ("fan_in", 9, 10)
    assert first["token"] in fan["accounts"]
    assert raise_alerts(published, IN_PARTS, DAY).already_raised


def test_a_changed_pack_is_replayed_with_the_version_that_scored_the_night(published: Settings, tmp_path: Path) -> None:
    from pipelines.aml.rescoring import with_pack

    raise_alerts(published, IN_PARTS, DAY)
    before = proposed(published, IN_PARTS, DAY)
    file = tmp_path / "small_typologies.yaml"
    file.write_text(yaml.safe_dump(pack() | {"version": "2"}))
    made = replay(published, IN_PARTS, before, DAY, DAY, by=ANNA, pack=file, rescore=with_pack)
    assert (made.gained.customers, made.lost.customers, made.both.customers) == (0, 0, 20)
    file.write_text(yaml.safe_dump(CHANGED.model_dump(mode="json", exclude_none=True)))
    made = replay(published, IN_PARTS, before, DAY, DAY, by=ANNA, pack=file, rescore=with_pack)
    assert made.gained.customers == made.lost.customers > 0
    assert made.change == {"typologies": ("small_typologies 1", "small_typologies 3")}
    file.write_text(
        yaml.safe_dump(pack(steep_card={"all_of": [{"feature": "shoe_size", "at_least": 1}]}) | {"version": "4"})
    )
    with pytest.raises(DataFault, match="shoe_size"):
        replay(published, IN_PARTS, before, DAY, DAY, by=ANNA, pack=file, rescore=with_pack)
    with pytest.raises(DataFault, match="no part for typologies"):
        replay(published, IN_PARTS, before, DAY, DAY, by=ANNA, pack=file)


def test_a_pack_trained_under_the_same_version_with_other_content_is_not_replayed(
    published: Settings, tmp_path: Path
) -> None:
    from pipelines.aml.rescoring import with_pack

    raise_alerts(published, IN_PARTS, DAY)
    register(published, artefact_files(1, model=IN_PARTS, typologies=CHANGED), IN_PARTS)
    file = tmp_path / "small_typologies.yaml"
    file.write_text(yaml.safe_dump(pack() | {"version": CHANGED.version}))
    with pytest.raises(DataFault, match="small_typologies 3 is not what version 2 was trained with"):
        replay(published, IN_PARTS, proposed(published, IN_PARTS, DAY), DAY, DAY, by=ANNA, pack=file, rescore=with_pack)


def test_a_champion_with_another_pack_raises_nothing_until_its_replay_is_cited(
    published: Settings, tmp_path: Path
) -> None:
    from pipelines.aml.rescoring import with_pack

    raise_alerts(published, IN_PARTS, DAY)
    succeed(published, register(published, artefact_files(1, model=IN_PARTS, typologies=CHANGED), IN_PARTS))
    night(published, NEXT, ROWS, model=IN_PARTS)
    score(published, IN_PARTS, NEXT)
    publish(published, IN_PARTS, NEXT)
    Lake(published).replace_date("source/transactions", NEXT, TRANSACTIONS.empty_table())
    with pytest.raises(Blocked, match="made with small_typologies 3, those of the last alerts with small_typologies 1"):
        raise_alerts(published, IN_PARTS, NEXT)
    file = tmp_path / "small_typologies.yaml"
    file.write_text(yaml.safe_dump(CHANGED.model_dump(mode="json", exclude_none=True)))
    limits = proposed(published, IN_PARTS, NEXT)
    made = replay(published, IN_PARTS, limits, DAY, DAY, by=ANNA, pack=file, rescore=with_pack)
    policy = yaml.safe_load((published.project / "policies" / "small.yaml").read_text())
    write_policy(published.project, alerts=policy["alerts"] | {"replay": made.replay_no})
    assert raise_alerts(published, IN_PARTS, NEXT).policy_version == policy["version"]
    kept = database.rows(published, "SELECT typologies FROM vigil.alert_run ORDER BY run_no")
    assert [row["typologies"] for row in kept] == [TRAINED.identity, CHANGED.identity]


def succeed(settings: Settings, version: int) -> None:
    """Approve the version and make it champion."""
    approved(settings, version, model=IN_PARTS)
    registry.promote(settings, IN_PARTS, version, expected_champion=1, by="release@bank.example")


def test_filters_of_a_pack_pick_the_transactions_they_name(published: Settings) -> None:
    filters = {
        "cash": EvidenceFilter(channel=("branch", "atm"), days=30),
        "away": EvidenceFilter(country_not_in=("DE", "AT")),
        "corridor": EvidenceFilter(country_in=("SY",), direction="debit"),
        "fan": EvidenceFilter(schemes=("fan_in",)),
        "whole": EvidenceFilter(days=30),
    }
    one = TYPOLOGIES.typologies[0]
    made = TypologyPack(
        pack="made_up",
        version="1",
        description="d",
        in_force_from=date(2020, 1, 1),
        typologies=tuple(one.model_copy(update={"name": n, "evidence": f}) for n, f in filters.items()),
    )
    rules = rules_of(made, DAY)
    assert rules["whole"].evidence is None
    mine = {"business_date": DAY, "account_token": token("me")}
    rows = [
        pay("c1", "c", "x-1", 10, channel="branch") | mine,
        pay("c2", "c", "x-1", 10, channel="branch", booked_at=AT - timedelta(days=40)) | mine,
        pay("a1", "c", "x-2", 10, country="NL") | mine,
        pay("s1", "c", "x-3", 10, country="SY") | mine,
        pay("s2", "c", "x-3", 10, country="SY", direction="credit") | mine,
    ]
    Lake(published).replace_date("source/transactions", DAY, pa.Table.from_pylist(rows, TRANSACTIONS))
    limits = EvidenceLimits(source="transactions", days=90, transactions=60, edges=60)
    with database.transaction(published) as connection:
        house = evidence_of(published, IN_PARTS, limits, published_batch(connection, IN_PARTS, DAY))
    found = house.__class__(IN_PARTS, rules, house.network).find(published, limits, DAY, {token("me"): tuple(filters)})
    met = {m.name: m for m in found[token("me")].typologies}
    assert {name: met[name].transactions for name in filters} == {
        "cash": 1,
        "away": 3,
        "corridor": 1,
        "fan": 0,
        "whole": 0,
    }
    assert "as a whole" in met["whole"].note
    assert "no transaction of the window" in met["fan"].note
