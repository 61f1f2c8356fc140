"""Each scheme is found when it is there, and not when one thing about it is different."""

from __future__ import annotations

import pytest
from network_bank import Bank, limits


@pytest.fixture
def bank() -> Bank:
    return Bank()


def kinds(bank: Bank, **how) -> list[str]:
    return sorted(s.kind for s in bank.schemes(**how))


def round_trip(
    bank: Bank, accounts: str, amount: float = 5000, start: float = 20, hop: float = 1, keep: float = 1
) -> list[str]:
    tokens = []
    for place, payer in enumerate(accounts):
        payee = accounts[(place + 1) % len(accounts)]
        tokens.append(bank.pay(payer, payee, round(amount * keep**place, 2), start - place * hop))
    return tokens


@pytest.mark.parametrize("accounts", ["AB", "ABC", "ABCD", "ABCDE", "ABCDEF"])
def test_a_cycle_of_two_to_six_payments_is_found(bank, accounts):
    round_trip(bank, accounts, keep=0.9)
    (cycle,) = [s for s in bank.schemes() if s.kind == "cycle"]
    assert cycle.parts == {"member": sorted(accounts)}
    assert cycle.row["payments"] == cycle.row["accounts"] == len(accounts)
    assert cycle.amount == pytest.approx(5000 * 0.9 ** (len(accounts) - 1), abs=0.01)
    assert cycle.tokens == [row["transaction_token"] for row in bank.rows]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"accounts": "ABCDEFG"}, id="seven accounts"),
        pytest.param({"hop": 5.01}, id="a hop too late"),
        pytest.param({"keep": 0.79}, id="too much kept back"),
        pytest.param({"keep": 1.01}, id="growing amounts"),
        pytest.param({"hop": -1}, id="payments in the wrong order"),
        pytest.param({"start": 95}, id="begun before the lookback"),
    ],
)
def test_what_is_no_cycle(bank, changes):
    round_trip(bank, **{"accounts": "ABC", **changes})
    assert "cycle" not in kinds(bank)


def test_the_limits_of_a_hop_are_inclusive(bank):
    round_trip(bank, "ABC", hop=5, keep=0.8)
    assert "cycle" in kinds(bank)


def test_cycles_through_accounts_elsewhere_and_without_a_customer_are_found(bank):
    round_trip(bank, ["A", "x", "B", "Closed"])
    for row in bank.rows:
        if row["account_token"] == "Closed":
            row["customer_token"] = None
    (cycle,) = [s for s in bank.schemes() if s.kind == "cycle"]
    assert cycle.parts["member"] == ["A", "B", "Closed", "x"]
    assert bank.features().keys() == {"cA", "cB"}


def test_payments_of_one_moment_are_in_the_order_of_their_tokens(bank):
    round_trip(bank, "ABC", hop=0)
    assert "cycle" in kinds(bank)
    backwards = Bank()
    for payer, payee in ("CA", "BC", "AB"):
        backwards.pay(payer, payee, 5000, 20)
    # C pays A, then B pays C, then A pays B: only the first and the last are in time, and no two of them close.
    assert "cycle" not in kinds(backwards)


def test_accounts_of_one_customer_alone_make_no_cycle(bank):
    round_trip(bank, "AB")
    for row in bank.rows:
        row["customer_token"] = "c"
    assert "cycle" not in kinds(bank)


def fan(
    bank: Bank,
    count: int,
    inwards: bool = True,
    hub: str = "H",
    start: float = 20,
    amount: float = 900,
    step: float = 0.5,
) -> None:
    for place in range(count):
        other = f"{'S' if inwards else 'R'}{place}"
        bank.pay(*((other, hub) if inwards else (hub, other)), amount, start - place * step)


@pytest.mark.parametrize(("inwards", "kind", "part"), [(True, "fan_in", "payer"), (False, "fan_out", "payee")])
def test_a_fan_is_found(bank, inwards, kind, part):
    fan(bank, 8, inwards)
    (found,) = bank.schemes()
    assert (found.kind, found.parts["hub"], len(found.parts[part]), found.amount) == (kind, ["H"], 8, 7200)
    assert len(found.tokens) == 16, "both bookings of each payment are evidence"


@pytest.mark.parametrize("inwards", [True, False])
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"count": 7}, id="one account too few"),
        pytest.param({"amount": 10_000.01}, id="large payments"),
        pytest.param({"step": 1.01}, id="too slow"),
        pytest.param({"start": 97}, id="before the lookback"),
    ],
)
def test_what_is_no_fan(bank, inwards, changes):
    fan(bank, **{"count": 8, "inwards": inwards, **changes})
    assert bank.schemes() == []


def test_a_marketplace_that_is_paid_all_the_time_is_no_burst(bank):
    for day in range(1, 80):
        bank.pay(f"S{day % 20}", "H", 900, day)
    assert kinds(bank) == []


def test_a_collector_who_shops_like_everybody_else_is_found(bank):
    fan(bank, 8, inwards=False)
    for day in range(1, 60):
        bank.pay("H", f"shop{day % 5}", 40, day)
    assert kinds(bank) == ["fan_out"]


def test_a_payer_who_pays_twice_counts_once(bank):
    fan(bank, 7)
    bank.pay("S0", "H", 900, 17)
    assert bank.schemes() == []
    assert bank.features()["cH"]["fan_in_peak"] == 7


def test_gather_scatter_is_fan_in_then_fan_out(bank):
    fan(bank, 8, start=20)
    fan(bank, 8, inwards=False, start=15, amount=800)
    assert kinds(bank) == ["fan_in", "fan_out", "gather_scatter"]
    (found,) = [s for s in bank.schemes() if s.kind == "gather_scatter"]
    assert (found.parts["hub"], found.amount, found.row["payments"]) == (["H"], 7200, 16)


@pytest.mark.parametrize(
    "out",
    [
        pytest.param({"start": 25}, id="out before in"),
        pytest.param({"start": 5}, id="much later"),
        pytest.param({"start": 15, "amount": 100}, id="little of the money"),
    ],
)
def test_what_is_no_gather_scatter(bank, out):
    fan(bank, 8, start=20)
    fan(bank, 8, inwards=False, **out)
    assert "gather_scatter" not in kinds(bank)


def fork(bank: Bank, middles: int, start: float = 20, gap: float = 2, keep: float = 0.9, step: float = 0.5) -> None:
    for place in range(middles):
        bank.pay("A", f"M{place}", 3000, start - place * step)
        bank.pay(f"M{place}", "Z", 3000 * keep, start - place * step - gap)


def test_scatter_gather_is_found(bank):
    fork(bank, 3)
    (found,) = [s for s in bank.schemes() if s.kind == "scatter_gather"]
    assert found.parts == {"source": ["A"], "middle": ["M0", "M1", "M2"], "sink": ["Z"]}
    assert (found.amount, found.row["payments"]) == (8100, 6)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"middles": 2}, id="two intermediaries"),
        pytest.param({"gap": 6}, id="held too long"),
        pytest.param({"gap": -1}, id="paid on before it came"),
        pytest.param({"keep": 0.7}, id="too much kept"),
        pytest.param({"step": 5}, id="spread over weeks"),
    ],
)
def test_what_is_no_scatter_gather(bank, changes):
    fork(bank, **{"middles": 3, **changes})
    assert "scatter_gather" not in kinds(bank)


def test_pass_through_is_found_beside_a_salary_that_stays(bank):
    bank.pay("employer", "A", 3000, 25)
    bank.pay("B", "A", 5000, 20)
    bank.pay("A", "C", 2500, 19)
    bank.pay("A", "D", 2400, 18.5)
    (found,) = [s for s in bank.schemes() if s.kind == "pass_through"]
    assert found.parts == {"source": ["B"], "middle": ["A"], "sink": ["C", "D"]}
    assert found.amount == 4900


@pytest.mark.parametrize(
    ("amount", "left", "after"),
    [
        pytest.param(5000, 4400, 1, id="too much stays"),
        pytest.param(5000, 5000, 2.01, id="too late"),
        pytest.param(1900, 1900, 1, id="small"),
        pytest.param(5000, 5000, -1, id="left before it came"),
    ],
)
def test_what_is_no_pass_through(bank, amount, left, after):
    bank.pay("B", "A", amount, 20)
    bank.pay("A", "C", left, 20 - after)
    assert "pass_through" not in kinds(bank)


def test_a_scheme_has_the_same_id_in_every_run_and_another_with_another_payment(bank):
    fan(bank, 8)
    (first,) = bank.schemes()
    assert bank.schemes(rows=bank.rows[::-1], threads=1) == [first]
    bank.pay("S99", "H", 50, 18)
    (second,) = bank.schemes()
    assert first.scheme_id != second.scheme_id


def test_other_limits_find_other_schemes(bank):
    fan(bank, 5)
    assert kinds(bank, under=limits(fans={"least_parties": 5})) == ["fan_in"]
