"""Transactions as they really come: through ingest and features with the sample bank's own contract and definitions.

Every bad row is quarantined under a reason or counted for what it is; nothing is lost, and nobody looks more harmless for it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from laundered_bank import END, LaunderedBank, copy_of, make_bank

from pipelines import features, ingest, night
from pipelines.contracts import Manifest
from pipelines.stack.postgres import EmbeddedPostgres

FIRST, MIDDLE = END - timedelta(days=2), END - timedelta(days=1)
NOON = datetime(END.year, END.month, END.day, 12, tzinfo=UTC)
HUB_EDGES, HUB_SECONDS = 200_000, 90
Row = dict[str, Any]


@pytest.fixture(scope="module")
def prepared(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> LaunderedBank:
    """Everything but the last two nights' transactions is taken in; one customer has left before the last."""
    bank = make_bank(postgres, tmp_path_factory.mktemp("bad") / "home", customers=700, months=5, nights=3)
    customers = bank.file("customer_snapshots", END)
    table = pq.read_table(customers)
    pq.write_table(table.filter(pc.not_equal(table["customer_id"], _people(bank)[GONE])), customers)
    for on in bank.dates:
        others = [source for source in bank.model.sources if source != "transactions"]
        bank.take_in(*(bank.model.sources if on <= FIRST else others), on=on)
    return bank


@pytest.fixture
def bank(postgres: EmbeddedPostgres, prepared: LaunderedBank, tmp_path: Path) -> Iterator[LaunderedBank]:
    with copy_of(postgres, prepared, tmp_path / "home") as made:
        yield made


SELF, BAD, TWICE, AGAIN, SKEWED, SAME_TIME, RING_1, RING_2, GONE, HUB, PAYER = range(11)


def _people(bank: LaunderedBank) -> list[str]:
    """Customers of the last night who are there all the time, in order; the places above say what they are used for."""
    ids = pq.read_table(bank.file("customer_snapshots", bank.dates[0]), columns=["customer_id"])["customer_id"]
    return sorted(set(ids.to_pylist()) - {None})[50:]


def account(customer: str) -> str:
    """The current account of a customer of the sample bank."""
    return f"A{int(customer[1:]) * 10:011d}"


def paid(name: str, customer: str | None, to: str, amount: float = 100.0, **changes: Any) -> Row:
    row = {"txn_id": name, "customer_id": customer, "account_id": account(customer) if customer else "A99999999990"}
    row |= {"counterparty_id": to, "booked_at": NOON, "amount": amount, "currency": "EUR", "channel": "transfer"}
    return row | {"country": "DE", "direction": "debit"} | changes


def with_rows(bank: LaunderedBank, rows: Sequence[Row]) -> Manifest:
    """Add rows to the last night's file and take it in again."""
    path = bank.file("transactions", END)
    table = pq.read_table(path)
    pq.write_table(pa.concat_tables([table, pa.Table.from_pylist(list(rows), table.schema)]), path)
    return night.ingest(bank.settings, bank.contract("transactions"), END)


def built(bank: LaunderedBank) -> dict[str, Row]:
    """The model's features of the last night by customer id, with the warnings of the network."""
    features.build(bank.settings, bank.model, END)
    rows = {row["customer_token"]: row for row in bank.lake("model_features/aml_customer", END)}
    for row in bank.lake("features/customer_network", END):
        rows[row["customer_token"]]["touches_bounded_hub"] = row["touches_bounded_hub"]
    people = _people(bank)
    return {
        who: rows[token] for who, token in zip(people, bank.tokens_of("customer", people), strict=True) if token in rows
    }


def test_bad_rows_are_named_and_odd_ones_counted_for_what_they_are(bank: LaunderedBank) -> None:
    bank.take_in("transactions", on=MIDDLE)
    clean, who = with_rows(bank, []), _people(bank)
    before = built(bank)
    earlier = pq.read_table(bank.file("transactions", MIDDLE)).to_pylist()
    repeated = next(row for row in earlier if row["customer_id"] == _busiest(earlier, before))
    hour = timedelta(hours=1)
    rows = [
        paid("self", who[SELF], account(who[SELF])),
        paid("negative", who[BAD], "X1", -50.0),
        paid("zero", who[BAD], "X1", 0.0),
        paid("yen", who[BAD], "X1", currency="JPY"),
        paid("twice", who[TWICE], "X2"),
        paid("twice", who[TWICE], "X2"),
        repeated,
        paid("nobody's", None, account(who[AGAIN])),
        paid("tomorrow", who[SKEWED], "X3", booked_at=NOON + timedelta(days=1)),
        *(paid(f"same {i}", who[SAME_TIME], f"X{10 + i}") for i in range(5)),
        # A circle through the account of somebody who is no customer any more: RING_1 -> GONE -> RING_2 -> RING_1.
        *ring(who[RING_1], who[GONE], "leg 1", 9_000.0, NOON - 30 * hour),
        *ring(who[GONE], who[RING_2], "leg 2", 8_900.0, NOON - 20 * hour),
        *ring(who[RING_2], who[RING_1], "leg 3", 8_800.0, NOON - 10 * hour),
    ]
    manifest = with_rows(bank, rows)
    assert manifest.rows_in == clean.rows_in + len(rows) == manifest.rows_published + manifest.rows_quarantined
    more = Counter(manifest.quarantine_reasons) - Counter(clean.quarantine_reasons)
    assert more.keys() == {"amount:below_min", "currency:not_allowed", "key:duplicate", "booked_at:future"}
    assert (more["amount:below_min"], more["currency:not_allowed"], more["booked_at:future"]) == (2, 1, 1)
    assert ingest.bad_rows(bank.settings, bank.contract("transactions"), END, "currency:not_allowed", 5)
    after = built(bank)

    def gained(place: int, feature: str) -> Any:
        return after[who[place]][feature] - before[who[place]][feature]

    assert (gained(SELF, "payments_1d"), gained(SELF, "payees_7d"), gained(SELF, "payers_7d")) == (1, 0, 0)
    assert (gained(SAME_TIME, "payments_1d"), gained(SAME_TIME, "payees_7d"), gained(SAME_TIME, "cycles")) == (5, 5, 0)
    assert _own(after[who[BAD]]) == _own(before[who[BAD]]), "what is quarantined is no payment"
    assert _own(after[who[SKEWED]]) == _own(before[who[SKEWED]]), "what is booked tomorrow is not seen today"
    assert gained(TWICE, "payments_1d") == more_rows(manifest, clean, len(rows) - sum(more.values()))
    assert [gained(place, "cycles") for place in (RING_1, RING_2)] == [1, 1]
    assert who[GONE] not in after
    again = repeated["customer_id"]
    assert after[again]["payments_30d"] == before[again]["payments_30d"], "delivered on two dates, it is one payment"
    involved = {who[place] for place in (SELF, TWICE, AGAIN, SAME_TIME, RING_1, RING_2)}
    for person in set(before) - involved:
        assert _own(after[person]) == _own(before[person])
    assert all(after[p]["fan_in_peak"] >= before[p]["fan_in_peak"] for p in before)
    assert all(after[p]["payments_90d"] >= before[p]["payments_90d"] for p in before)


def more_rows(manifest: Manifest, clean: Manifest, expected: int) -> int:
    """How often the repeated row was kept: what was published beyond all the others."""
    return manifest.rows_published - clean.rows_published - expected + 1


def ring(payer: str, payee: str, name: str, amount: float, at: datetime) -> list[Row]:
    """Both bookings of a payment within the bank."""
    there = paid(f"{name} out", payer, account(payee), amount, booked_at=at)
    return [there, paid(f"{name} in", payee, account(payer), amount, booked_at=at, direction="credit")]


def _busiest(rows: list[Row], known: dict[str, Row]) -> str:
    return Counter(row["customer_id"] for row in rows if row["customer_id"] in known).most_common(1)[0][0]


def _own(row: Row) -> Row:
    """Without what compares a customer with the peers, which others' payments move too."""
    return {name: value for name, value in row.items() if name != "amount_to_peers"}


def test_a_day_missing_in_the_middle_is_nobodys_quiet_day(bank: LaunderedBank) -> None:
    with_rows(bank, [])
    rows = built(bank)
    counted = [
        name for name, feature in bank.model.features["customer_activity"].items() if feature.missing == "review"
    ]
    assert all(row[name] is None for row in rows.values() for name in counted), "every row goes to review"
    bank.take_in("transactions", on=MIDDLE)
    repaired = built(bank)
    assert all(row[name] is not None for row in repaired.values() for name in counted)


def test_a_hub_of_very_many_payments_is_bounded_and_reported(bank: LaunderedBank) -> None:
    """Payments of one size in and out of one account on one day could be linked into four billion chains."""
    bank.take_in("transactions", on=MIDDLE)
    with_rows(bank, [])
    before, who = built(bank), _people(bank)
    half = HUB_EDGES // 2
    path = bank.file("transactions", END)
    table = pq.read_table(path)
    hub = table.schema.empty_table()
    for side, direction in ((0, "credit"), (1, "debit")):
        number = pa.array(range(half))
        moments = [NOON + timedelta(seconds=side * 20_000 + i * 20_000 // half) for i in range(half)]
        columns = paid("", who[HUB], "", direction=direction) | {"amount": 3_000.0}
        made = {
            name: pa.repeat(pa.scalar(value, table.schema.field(name).type), half) for name, value in columns.items()
        }
        made["txn_id"] = pc.binary_join_element_wise(f"H{side}-", number.cast(pa.string()), "")
        made["counterparty_id"] = pc.binary_join_element_wise(f"Y{side}-", number.cast(pa.string()), "")
        made["booked_at"] = pa.array(moments, table.schema.field("booked_at").type)
        hub = pa.concat_tables([hub, pa.table(made, table.schema)])
    pq.write_table(pa.concat_tables([table, hub]), path)
    manifest = with_rows(bank, ring(who[PAYER], who[HUB], "into the hub", 3_000.0, NOON))
    assert manifest.rows_in == table.num_rows + HUB_EDGES + 2 == manifest.rows_published + manifest.rows_quarantined
    started = time.monotonic()
    after = built(bank)
    assert time.monotonic() - started < HUB_SECONDS
    assert after[who[HUB]]["payers_7d"] >= half
    assert after[who[HUB]]["payees_7d"] >= half
    for place in (HUB, PAYER):
        assert after[who[place]]["touches_bounded_hub"]
        assert after[who[place]]["cycles"] is None or after[who[place]]["cycles"] > 0, (
            "not followed is not zero: to review"
        )
    others = set(before) - {who[HUB], who[PAYER]}
    assert all(not after[person]["touches_bounded_hub"] for person in others)
    assert all(_own(after[person]) == _own(before[person]) for person in others)
