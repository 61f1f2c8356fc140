"""From the sample bank's files to alerts against money laundering, and what happens when a file does not come.

The real contracts, features, model file, typologies and policy (with fewer rows asked of a training set), against the truth
that the sample bank keeps of what it planted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from laundered_bank import END, LaunderedBank, copy_of, make_bank

from pipelines import database, features, registry, report, training
from pipelines.aml import cases as desk
from pipelines.contracts import Blocked, RaisedAlerts, TrainedVersion
from pipelines.evaluation.metrics import auc
from pipelines.lake import Lake, connect
from pipelines.spec import load_typologies
from pipelines.stack.postgres import EmbeddedPostgres
from pipelines.training.rows import typed
from pipelines.training.rules import judge

FIRST, MIDDLE = END - timedelta(days=2), END - timedelta(days=1)
BUDGET = 12
ANNA, OLGA = "anna@bank.example", "olga@bank.example"
Truth = list[dict[str, object]]


@dataclass(frozen=True)
class Prepared:
    """A bank with a champion. Of the last two nights only the customers are there: no transactions, no investigations."""

    bank: LaunderedBank
    trained: tuple[TrainedVersion, ...]


@dataclass(frozen=True)
class Watched:
    """The same with everything taken in and the last night alerted."""

    bank: LaunderedBank
    trained: tuple[TrainedVersion, ...]
    raised: RaisedAlerts

    def alerts(self, kind: str) -> list[str]:
        """Customers alerted, by token."""
        found = database.rows(self.bank.settings, "SELECT token FROM vigil.alert WHERE kind = :kind", kind=kind)
        return [row["token"] for row in found]


@pytest.fixture(scope="module")
def prepared(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    bank = make_bank(postgres, tmp_path_factory.mktemp("laundered") / "home", customers=8_000, nights=3)
    for on in bank.dates:
        bank.take_in(*(bank.model.sources if on <= FIRST else ["customer_snapshots", "protected_attributes"]), on=on)
    trained = bank.train(FIRST)
    registry.bootstrap(bank.settings, bank.model, [version.version for version in trained])
    return Prepared(bank, trained)


@pytest.fixture(scope="module")
def watched(
    postgres: EmbeddedPostgres, prepared: Prepared, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    with copy_of(postgres, prepared.bank, tmp_path_factory.mktemp("watched") / "home") as bank:
        for on in (MIDDLE, END):
            bank.take_in(on=on)
        yield Watched(bank, prepared.trained, bank.night(END))


def active(bank: LaunderedBank, since_days: int) -> set[str]:
    """Customers with a payment in a scheme in the days before the end."""
    since = END - timedelta(days=since_days)
    return {row["customer_token"] for row in bank.truth(f"FROM accounts WHERE last_day > DATE '{since}'")}


def test_the_champion_ranks_what_investigators_found_later(watched: Watched) -> None:
    [trained] = watched.trained
    assert trained.algorithm == "combined"
    assert trained.metrics["auc"] > 0.75, "out of time, among those who were investigated"
    assert trained.metrics["unlabelled_rows"] > trained.rows, (
        "most were never investigated, and count for the anomaly part"
    )


def test_everybody_has_a_score_in_parts(watched: Watched) -> None:
    scores, known = watched.bank.scores(END), load_typologies(watched.bank.settings.typology_folders, "aml_typologies")
    assert len(scores) == watched.raised.rows_scored == len(watched.bank.lake("source/customer_snapshots", END))
    for row in scores.values():
        parts = [row[f"part_{part}"] for part in ("supervised", "anomaly", "typologies")]
        assert all(0 <= part <= 1 for part in parts)
        assert (row["part_typologies"] > 0) == (row["typologies_met"] != "")
    met = {name for row in scores.values() for name in row["typologies_met"].split("; ") if name}
    assert met <= {typology.name for typology in known.typologies}
    assert len(met) >= 5


def test_the_truth_is_ranked_far_above_chance(watched: Watched) -> None:
    scores, guilty = list(watched.bank.scores(END).values()), active(watched.bank, 60)
    labels = np.array([row["customer_token"] in guilty for row in scores], np.int8)
    assert labels.sum() > 25
    assert auc(labels, np.array([row["probability"] for row in scores])) > 0.8


def test_the_budget_goes_to_true_launderers(watched: Watched) -> None:
    raised, guilty = watched.raised, active(watched.bank, 60)
    assert (raised.budget, raised.raised, raised.budget_used, raised.review_items) == (BUDGET, BUDGET, 1.0, 0)
    found = sum(token in guilty for token in watched.alerts("above"))
    assert found >= 0.7 * BUDGET
    assert found / BUDGET > 50 * len(guilty) / raised.rows_scored
    assert raised.sampled == len(watched.alerts("below")) > 0


def test_typologies_meet_their_hubs_and_nobody_innocent(watched: Watched) -> None:
    """Over every date that features were built for; a scheme counts when it ended within the typologies' month."""
    bank = watched.bank
    accounts, innocent = (
        bank.truth("FROM accounts"),
        {row["customer_token"]: row["kind"] for row in bank.truth("FROM look_alikes")},
    )
    launderers = {row["customer_token"] for row in accounts}
    leading = {"collector", "distributor", "member", "relay", "sleeper", "mover", "sender", "depositor", "hub"}
    hubs, hit, wrong, rows = Counter[str](), Counter[str](), Counter[str](), 0
    for on in Lake(bank.settings).dates("features/customer_network"):
        met = typologies_met(bank, on)
        rows += len(met)
        for account in accounts:
            if account["part"] in leading and timedelta(0) <= on - account["last_day"] < timedelta(days=30):
                hubs[account["typology"]] += 1
                hit[account["typology"]] += account["typology"] in met[account["customer_token"]]
        for token in innocent:
            wrong.update(met.get(token, set()) if token not in launderers else ())
    assert {"cycle", "pass_through", "structuring", "dormant_waking", "high_risk_corridor", "fan_in"} <= set(hubs)
    found = {name: hit[name] / hubs[name] for name in hubs}
    assert all(found[name] >= 0.7 for name in ("cycle", "pass_through", "dormant_waking", "high_risk_corridor")), found
    assert all(share > 0.3 for share in found.values()), found
    assert sum(hit.values()) > 0.6 * sum(hubs.values()), found
    watched_for = set(hubs)
    assert sum(wrong[name] for name in watched_for) < 0.02 * rows * len(innocent) / watched.raised.rows_scored, wrong


def typologies_met(bank: LaunderedBank, on: date) -> dict[str, set[str]]:
    """Typologies by customer token, from the built features and the pack as it is."""
    pack = load_typologies(bank.settings.typology_folders, "aml_typologies")
    with connect(bank.settings) as connection:
        for view in bank.model.features:
            Lake(bank.settings).scan(connection, view, f"features/{view}", dates=[on])
        table = connection.sql("FROM customer_activity JOIN customer_network USING (customer_token)").to_arrow_table()
    allowed = [name for name, feature in bank.model.feature.items() if feature.missing == "allowed"]
    found = judge(pack, allowed, typed(table, bank.model.feature)).met.to_pylist()
    return {
        token: set(met.split("; ")) - {""}
        for token, met in zip(table["customer_token"].to_pylist(), found, strict=True)
    }


def test_members_of_a_scheme_are_one_case(watched: Watched) -> None:
    of_case = {
        row["token"]: row["case_no"]
        for row in database.rows(watched.bank.settings, "SELECT token, case_no FROM vigil.alert WHERE kind = 'above'")
    }
    members: dict[str, set[str]] = {}
    for row in watched.bank.truth(
        f"FROM accounts WHERE typology = 'cycle' AND last_day > DATE '{END - timedelta(days=80)}'"
    ):
        members.setdefault(row["scheme_id"], set()).add(row["customer_token"])
    together = [[of_case[token] for token in ring if token in of_case] for ring in members.values()]
    rings = [found for found in together if len(found) > 1]
    assert rings, "no ring has two members above the line"
    assert all(len(set(found)) == 1 for found in rings), rings
    assert len({found[0] for found in rings}) == len(rings), "rings that have nothing in common are cases of their own"


def test_the_evidence_holds_the_planted_payments(watched: Watched) -> None:
    bank = watched.bank
    since = END - timedelta(days=29)
    planted = bank.truth(f"FROM transactions WHERE booked_at >= TIMESTAMPTZ '{since} 00:00:00+00'")
    tokens = bank.tokens_of("transaction", [str(row["txn_id"]) for row in planted])
    of_customer: dict[str, set[str]] = {}
    for row, token in zip(planted, tokens, strict=True):
        of_customer.setdefault(row["customer_token"], set()).add(token)
    found = database.rows(bank.settings, "SELECT case_no, token FROM vigil.alert WHERE kind = 'above'")
    shown = {}
    for case in {row["case_no"] for row in found}:
        for alert in desk.case_file(bank.settings, case).alerts:
            shown[alert.token] = {row["transaction_token"] for row in alert.evidence["transactions"]}
    asked = [row["token"] for row in found if row["token"] in of_customer]
    assert len(asked) >= 3
    for token in asked:
        assert len(of_customer[token] & shown[token]) >= 0.9 * len(of_customer[token])


def test_the_night_again_is_the_same_to_the_byte(watched: Watched) -> None:
    bank = watched.bank
    before = everything(bank)
    assert bank.night(END) == watched.raised.model_copy(update={"already_raised": True})
    assert everything(bank) == before


def everything(bank: LaunderedBank) -> list[object]:
    """The batch's digest, the alerts and their evidence."""
    return [
        [night.digest for night in report.published(bank.settings, bank.model)],
        database.rows(bank.settings, "SELECT * FROM vigil.alert ORDER BY alert_id"),
        database.rows(bank.settings, "SELECT * FROM vigil.alert_evidence ORDER BY alert_id"),
    ]


def test_the_champion_is_made_again_from_its_run(watched: Watched) -> None:
    [trained] = watched.trained
    again = training.reproduce(watched.bank.settings, watched.bank.model, trained.version)
    assert again.identical
    assert (again.rows_that_differ, again.largest_difference) == (0, 0.0)


def test_that_a_report_was_filed_is_known_to_officers_alone(watched: Watched) -> None:
    settings = watched.bank.settings
    numbers = sorted(
        {row["case_no"] for row in database.rows(settings, "SELECT case_no FROM vigil.alert WHERE kind = 'above'")}
    )
    for number, outcome in zip(numbers[:2], (desk.SAR_FILED, desk.VALUABLE), strict=True):
        desk.assign(settings, number, ANNA, by=ANNA)
        desk.start(settings, number, by=ANNA)
        desk.close(settings, number, outcome, by=OLGA, reference="FIU-1" if outcome == desk.SAR_FILED else "")
    seen = {number: desk.case_file(settings, number).case.outcome for number in numbers[:2]}
    assert set(seen.values()) == {"valuable"}
    told = {number: desk.case_file(settings, number, officer=True).case.outcome for number in numbers[:2]}
    assert set(told.values()) == {"valuable", "sar_filed"}


def test_a_file_that_does_not_come_makes_nobody_look_harmless(
    watched: Watched, prepared: Prepared, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    with copy_of(postgres, prepared.bank, tmp_path / "home") as bank:
        settings, model = bank.settings, bank.model
        with pytest.raises(Blocked, match="transactions, investigations was not published for this date"):
            features.build(settings, model, END)
        bank.take_in("transactions", on=END)
        with pytest.raises(Blocked, match="investigations was not published for this date"):
            features.build(settings, model, END)
        bank.take_in("investigations", on=END)
        features.build(settings, model, END)
        [row] = bank.lake(
            "model_features/aml_customer",
            END,
            "count(*) AS rows, count(payments_90d) AS counted, count(cash_in_30d) AS cash",
        )
        assert row["rows"] == watched.raised.rows_scored
        assert (row["counted"], row["cash"]) == (0, 0), "a day is missing in the middle, and nobody can be counted"
        with pytest.raises(Blocked, match=r"its scores moved away from training.* rows lack an input \(.* missing: "):
            bank.night(END)
        assert report.published(settings, model) == ()
        staged = bank.lake("staging_scores/aml_customer", END, "customer_token, probability, review_reason")
        assert len(staged) == watched.raised.rows_scored
        assert all("payments_90d missing" in row["review_reason"] for row in staged), (
            "whatever the score, a person looks"
        )
        for source in ("transactions", "investigations"):
            bank.take_in(source, on=MIDDLE)
        made = bank.night(END)
        assert everything(bank) == everything(watched.bank), "the repaired night is the night as it should have been"
        assert made.raised == BUDGET
        assert report.gaps(settings, model) == ()
