"""The planted laundering asked back: what the truth says is in the files, each typology is what its name says, and ordinary
people do things that look like it."""

from __future__ import annotations

from datetime import date, timedelta
from math import sqrt
from typing import Any

import duckdb
import pytest

from pipelines.sample_bank import Planted
from pipelines.sample_bank.bookings import HIGH_RISK_COUNTRIES
from pipelines.sample_bank.investigations import CASH_IN_A_MONTH
from pipelines.sample_bank.truth import LOOK_ALIKES, Laundering
from pipelines.sample_bank.typologies import TYPOLOGIES

FULL_FROM, END = date(2025, 7, 1), date(2026, 6, 30)
RULES = Laundering()
NAMES = tuple(typology.name for typology in TYPOLOGIES)
SIDES = "count(DISTINCT counterparty_id)"
ABROAD = f"country IN {HIGH_RISK_COUNTRIES}"


def one(bank: duckdb.DuckDBPyConnection, question: str) -> Any:
    """The single row of an answer."""
    return bank.sql(question).fetchall()[0]


def count(bank: duckdb.DuckDBPyConnection, rows: str) -> int:
    return int(one(bank, f"SELECT count(*) FROM {rows}")[0])


@pytest.fixture(scope="module")
def money(bank: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """The bank with `clean`: transactions that no rule refuses; `planted`: those of schemes, as the files have them, with their
    scheme; `over`: schemes that ended ten days before the end, so that nothing of them is cut off."""
    bank.execute(
        "CREATE OR REPLACE TABLE clean AS SELECT DISTINCT * FROM transactions WHERE txn_id IS NOT NULL AND amount > 0 AND "
        "currency = 'EUR' AND direction IN ('credit', 'debit') AND booked_at < on_date + 1"
    )
    bank.execute(
        "CREATE OR REPLACE TABLE planted AS SELECT c.*, scheme_id, typology FROM clean c JOIN true_transactions USING (txn_id)"
    )
    bank.execute(f"CREATE OR REPLACE TABLE over AS FROM true_schemes WHERE first_day < '{END - timedelta(days=60)}'")
    return bank


def test_about_one_customer_in_seventy_launders(money: duckdb.DuckDBPyConnection, planted: Planted) -> None:
    (launderers,) = one(money, "SELECT count(DISTINCT customer_id) FROM true_accounts")
    assert launderers == planted.laundering["customers"]["launderers"]
    assert 0.01 < launderers / planted.customers < 0.015


@pytest.mark.parametrize("table", ["transactions", "accounts", "schemes"])
def test_the_truth_has_the_counts_written_down_for_every_typology(
    money: duckdb.DuckDBPyConnection, planted: Planted, table: str
) -> None:
    found = dict(money.sql(f"SELECT typology, count(*) FROM true_{table} GROUP BY 1").fetchall())
    assert found == planted.laundering[table]
    assert set(found) == set(NAMES)
    assert min(found.values()) > 10


def test_every_transaction_of_the_truth_is_in_the_files_and_clean(money: duckdb.DuckDBPyConnection) -> None:
    same = "txn_id, account_id, customer_id, counterparty_id, booked_at, amount, direction"
    assert count(money, f"(SELECT {same} FROM true_transactions EXCEPT SELECT {same} FROM planted)") == 0
    assert count(money, "planted") == count(money, "true_transactions") > 2000


def test_accounts_and_schemes_follow_from_the_transactions(money: duckdb.DuckDBPyConnection) -> None:
    days = "min(CAST(booked_at AS DATE)) AS first_day, max(CAST(booked_at AS DATE)) AS last_day"
    by_account = f"SELECT scheme_id, typology, account_id, customer_id, {days} FROM true_transactions GROUP BY ALL"
    assert count(money, f"(({by_account}) EXCEPT SELECT * EXCLUDE part FROM true_accounts)") == 0
    by_scheme = (
        f"SELECT scheme_id, typology, {days}, count(DISTINCT account_id), count(*) FROM true_transactions GROUP BY ALL"
    )
    assert count(money, f"(({by_scheme}) EXCEPT FROM true_schemes)") == 0
    assert count(money, "true_accounts") == one(money, "SELECT sum(accounts)::INT FROM true_schemes")[0]


def test_schemes_begin_all_year_and_go_on_to_the_end(money: duckdb.DuckDBPyConnection) -> None:
    months = money.sql("SELECT date_trunc('month', first_day), count(*) FROM true_schemes GROUP BY 1").fetchall()
    assert len(months) == 12
    assert min(n for _, n in months) >= 5
    assert one(money, "SELECT min(first_day) >= '2025-07-01', max(last_day) FROM true_schemes") == (True, END)
    lasted = one(money, "SELECT avg(last_day - first_day), max(last_day - first_day) FROM over")
    assert 5 < lasted[0] < lasted[1] < 90


def test_launderers_were_customers_before_and_live_an_ordinary_life_besides(money: duckdb.DuckDBPyConnection) -> None:
    known = "(SELECT customer_id, min(on_date) AS since FROM customer_snapshots GROUP BY 1)"
    assert count(money, f"true_accounts JOIN {known} USING (customer_id) WHERE since > first_day - 180") == 0
    ordinary = "SELECT account_id FROM clean ANTI JOIN planted USING (txn_id)"
    alone = money.sql(f"SELECT typology, count(*) FROM true_accounts WHERE account_id NOT IN ({ordinary}) GROUP BY 1")
    assert [name for name, _ in alone.fetchall()] == ["dormant_waking"]


# ---------------------------------------------------------------------------------------------------------- typologies


def test_structuring_is_cash_in_just_under_the_threshold(money: duckdb.DuckDBPyConnection) -> None:
    cash = (
        "SELECT scheme_id, count(*) AS n, min(amount) AS low, max(amount) AS high, sum(amount) AS brought FROM planted "
        "WHERE typology = 'structuring' AND channel = 'branch' AND direction = 'credit' GROUP BY 1"
    )
    low, high, fewest = one(money, f"SELECT min(low), max(high), min(n) FROM ({cash}) SEMI JOIN over USING (scheme_id)")
    assert 8_000 < low < high < RULES.threshold
    assert fewest >= 5
    sent = "SELECT scheme_id, sum(amount) AS sent FROM planted WHERE direction = 'debit' GROUP BY 1"
    both = f"({cash}) JOIN ({sent}) USING (scheme_id) SEMI JOIN over USING (scheme_id)"
    kept = one(money, f"SELECT min(sent / brought), max(sent / brought) FROM {both}")
    assert 0.85 < kept[0] < kept[1] < 1


def by_leader(typology: str) -> str:
    """In- and outflows of the leading accounts of the schemes that are over."""
    return (
        "SELECT scheme_id, count(DISTINCT counterparty_id) FILTER (direction = 'credit') AS payers, "
        "count(DISTINCT counterparty_id) FILTER (direction = 'debit') AS payees, "
        "sum(amount) FILTER (direction = 'debit') / sum(amount) FILTER (direction = 'credit') AS passed_on, "
        "max(booked_at) FILTER (direction = 'credit') AS last_in, min(booked_at) FILTER (direction = 'debit') AS first_out, "
        "date_diff('day', min(booked_at), max(booked_at)) AS days "
        "FROM planted JOIN true_accounts a USING (scheme_id, account_id) SEMI JOIN over USING (scheme_id) "
        f"WHERE a.typology = '{typology}' AND part IN ('collector', 'distributor', 'hub') GROUP BY 1"
    )


@pytest.mark.parametrize(
    ("typology", "payers", "payees"),
    [("fan_in", (8, 40), (1, 1)), ("fan_out", (1, 1), (8, 40)), ("gather_scatter", (5, 20), (5, 20))],
)
def test_fans_gather_from_or_scatter_to_many_within_days(
    money: duckdb.DuckDBPyConnection, typology: str, payers: tuple[int, int], payees: tuple[int, int]
) -> None:
    found = money.sql(by_leader(typology)).df()
    assert len(found) > 10
    assert payers[0] <= found.payers.min() <= found.payers.max() <= payers[1]
    assert payees[0] <= found.payees.min() <= found.payees.max() <= payees[1]
    assert 0.84 < found.passed_on.min() <= found.passed_on.max() < 1
    assert found.days.max() <= 20
    assert (found.last_in < found.first_out).all()


def test_a_cycle_of_three_to_six_accounts_brings_the_money_back_a_little_smaller(
    money: duckdb.DuckDBPyConnection,
) -> None:
    """Each payment once, whether the bank saw it at the payer, the payee or both."""
    paid = (
        "SELECT DISTINCT scheme_id, booked_at, amount, if(direction = 'debit', account_id, counterparty_id) AS payer, "
        "if(direction = 'debit', counterparty_id, account_id) AS payee FROM planted SEMI JOIN over USING (scheme_id) "
        "WHERE typology = 'cycle'"
    )
    sizes = one(
        money, f"SELECT min(n), max(n) FROM (SELECT count(DISTINCT payer) AS n FROM ({paid}) GROUP BY scheme_id)"
    )
    assert sizes == (3, 6)
    followed = (
        "SELECT *, lead(payer) OVER w = payee AS goes_on, lead(amount) OVER w / amount AS left_over, "
        "date_diff('hour', booked_at, lead(booked_at) OVER w) AS hours, "
        f"row_number() OVER w AS step, count(*) OVER (PARTITION BY scheme_id) AS steps FROM ({paid}) "
        "WINDOW w AS (PARTITION BY scheme_id ORDER BY booked_at)"
    )
    ((links, broken),) = money.sql(
        f"SELECT count(*), count(*) FILTER (NOT goes_on) FROM ({followed}) WHERE step < steps"
    ).fetchall()
    assert links > 100
    assert broken == 0
    within = money.sql(f"SELECT left_over, hours FROM ({followed}) WHERE left_over BETWEEN 0.9 AND 1").df()
    assert (within.left_over < 0.996).all()
    assert len(within) > 0.6 * links
    assert 24 < within.hours.mean() < 72
    home = f"SELECT scheme_id, min_by(payer, booked_at) AS f, max_by(payee, booked_at) AS l FROM ({paid}) GROUP BY 1"
    assert count(money, f"({home}) WHERE f <> l") == 0


def test_what_passes_through_is_gone_within_hours(money: duckdb.DuckDBPyConnection) -> None:
    pairs = (
        "SELECT i.scheme_id, i.txn_id, min(date_diff('minute', i.booked_at, o.booked_at)) AS minutes FROM planted i "
        "JOIN planted o ON o.scheme_id = i.scheme_id AND o.account_id = i.account_id AND o.direction = 'debit' "
        "AND o.booked_at > i.booked_at AND o.amount BETWEEN 0.95 * i.amount AND i.amount "
        "WHERE i.typology = 'pass_through' AND i.direction = 'credit' GROUP BY ALL"
    )
    longest, passes = one(money, f"SELECT max(minutes), count(*) FROM ({pairs}) SEMI JOIN over USING (scheme_id)")
    came = "planted SEMI JOIN over USING (scheme_id) WHERE typology = 'pass_through' AND direction = 'credit'"
    assert passes == count(money, came) > 50
    assert longest <= 1.2 * 24 * 60 + 1


def test_a_dormant_account_wakes_for_its_scheme_alone(money: duckdb.DuckDBPyConnection) -> None:
    sleepers = "true_accounts WHERE typology = 'dormant_waking'"
    assert count(money, f"clean SEMI JOIN (FROM {sleepers}) USING (account_id) ANTI JOIN planted USING (txn_id)") == 0
    credited = "planted WHERE typology = 'dormant_waking' AND direction = 'credit'"
    large = f"SELECT sum(amount) AS came FROM {credited} GROUP BY scheme_id"
    assert one(money, f"SELECT min(came) FROM ({large})")[0] > 3000
    assert one(money, "SELECT max(last_day - first_day) FROM true_schemes WHERE typology = 'dormant_waking'")[0] < 14


def test_round_amounts_are_whole_thousands(money: duckdb.DuckDBPyConnection) -> None:
    assert count(money, "planted WHERE typology = 'round_amounts'") > 100
    assert count(money, "planted WHERE typology = 'round_amounts' AND amount % 1000 <> 0") == 0


def test_corridors_lead_to_several_people_in_high_risk_countries(money: duckdb.DuckDBPyConnection) -> None:
    sent = (
        "SELECT scheme_id, account_id, count(*) AS n, count(DISTINCT counterparty_id) AS payees, sum(amount) AS total "
        f"FROM planted SEMI JOIN over USING (scheme_id) WHERE typology = 'high_risk_corridor' AND {ABROAD} GROUP BY ALL"
    )
    fewest, payees, total = one(money, f"SELECT min(n), min(payees), min(total) FROM ({sent})")
    assert fewest >= 4
    assert payees >= 2
    assert total > 3600


# --------------------------------------------------------------------------------------------------------- look-alikes


def test_payments_within_the_bank_are_booked_on_both_sides(money: duckdb.DuckDBPyConnection, planted: Planted) -> None:
    """Apart from those of which one side is spoiled."""
    within = "clean WHERE counterparty_id LIKE 'A%' AND counterparty_id <> account_id"
    other = (
        "SELECT counterparty_id AS account_id, account_id AS counterparty_id, booked_at, amount, "
        "if(direction = 'debit', 'credit', 'debit') AS direction FROM clean"
    )
    key = "(account_id, counterparty_id, booked_at, amount, direction)"
    alone = count(money, f"(FROM {within}) w ANTI JOIN ({other}) o USING {key}")
    everything = count(money, within)
    assert everything > 40_000
    spoiling = sum(planted.truth["dirty_rates"]["transactions"].values())
    assert alone < 2 * spoiling * everything
    assert count(money, f"(FROM {within}) w SEMI JOIN planted USING (txn_id) ANTI JOIN ({other}) o USING {key}") == 0


def test_look_alikes_are_those_written_down_and_launder_nothing(
    money: duckdb.DuckDBPyConnection, planted: Planted
) -> None:
    found = dict(money.sql("SELECT kind, count(*) FROM true_look_alikes GROUP BY 1").fetchall())
    assert found == planted.laundering["look_alikes"]
    for kind, share in LOOK_ALIKES.items():
        assert abs(found[kind] - share * planted.customers) <= 3
    assert count(money, "true_look_alikes SEMI JOIN true_accounts USING (customer_id)") == 0


def monthly(kind: str, what: str, where: str) -> str:
    """Something of each look-alike of a kind in each month; customers without it in a month are left out."""
    return (
        f"SELECT customer_id, {what} AS x FROM clean SEMI JOIN (FROM true_look_alikes WHERE kind = '{kind}') "
        f"USING (customer_id) WHERE on_date BETWEEN '2025-07-31' AND '2026-05-31' AND {where} GROUP BY customer_id, on_date"
    )


@pytest.mark.parametrize(
    ("kind", "what", "where", "usual"),
    [
        ("small_employers", SIDES, "direction = 'debit' AND counterparty_id LIKE 'A%' AND amount > 800", 5),
        ("landlords", SIDES, "direction = 'credit' AND channel = 'transfer' AND amount BETWEEN 250 AND 4000", 10),
        ("market_sellers", SIDES, "direction = 'credit' AND channel = 'online'", 20),
        ("cash_heavy_shops", "count(*)", "direction = 'credit' AND channel = 'branch'", 5),
        ("remitters_to_high_risk_countries", "count(*)", ABROAD, 1.5),
    ],
    ids=("small_employers", "landlords", "market_sellers", "cash_heavy_shops", "remitters"),
)  # fmt: skip
def test_ordinary_people_look_like_launderers(
    money: duckdb.DuckDBPyConnection, planted: Planted, kind: str, what: str, where: str, usual: float
) -> None:
    people, average = one(money, f"SELECT count(DISTINCT customer_id), avg(x) FROM ({monthly(kind, what, where)})")
    assert people > 0.9 * planted.laundering["look_alikes"][kind]
    assert average > usual


def test_shops_deposit_near_the_threshold_without_keeping_below_it(money: duckdb.DuckDBPyConnection) -> None:
    shares = money.sql(
        "SELECT avg((amount BETWEEN 8200 AND 9999)::INT) AS near, avg((amount >= 10000)::INT) AS above FROM clean SEMI JOIN "
        "(FROM true_look_alikes WHERE kind = 'cash_heavy_shops') USING (customer_id) WHERE channel = 'branch' "
        "AND direction = 'credit'"
    ).fetchall()
    near, above = shares[0]
    assert 0.01 < near < 0.08
    assert 0.01 < above < 0.08
    deposits = monthly("cash_heavy_shops", "sum(amount)", "direction = 'credit' AND channel = 'branch'")
    assert one(money, f"SELECT avg((x >= {CASH_IN_A_MONTH})::INT) FROM ({deposits})")[0] > 0.5


def test_old_accounts_wake_for_an_ordinary_life(money: duckdb.DuckDBPyConnection) -> None:
    lives = (
        "SELECT customer_id, min(booked_at) AS woke, count(*) AS n, max(booked_at) AS last FROM clean SEMI JOIN "
        "(FROM true_look_alikes WHERE kind = 'people_who_wake_an_account') USING (customer_id) GROUP BY 1"
    )
    assert count(money, f"({lives})") > 100
    assert one(money, f"SELECT min(woke) >= '{FULL_FROM}' FROM ({lives})") == (True,)
    early = f"({lives}) WHERE woke < '{END - timedelta(days=60)}'"
    assert one(money, f"SELECT min(n) > 5, min(last) > '{END - timedelta(days=45)}' FROM {early}") == (True, True)


def test_wages_rents_and_savings_go_on_through_the_year(money: duckdb.DuckDBPyConnection) -> None:
    """Each customer's wage comes once a month, month files hold the whole month."""
    wages = (
        "SELECT customer_id, on_date, count(*) AS n FROM clean WHERE direction = 'credit' AND channel = 'transfer' AND "
        "extract(hour FROM booked_at) < 6 AND amount > 900 AND on_date BETWEEN '2025-07-31' AND '2026-05-31' GROUP BY ALL"
    )
    once, average = one(money, f"SELECT avg((n = 1)::INT), count(*) / 11 FROM ({wages})")
    assert once > 0.95
    assert average > 15_000
    (saved,) = one(money, "SELECT count(*) FROM clean WHERE amount IN (1000, 2000) AND channel = 'transfer'")
    assert saved > 3000


def test_an_account_without_a_customer_never_has_one(money: duckdb.DuckDBPyConnection, planted: Planted) -> None:
    owners = "SELECT account_id, count(*) AS n, count(customer_id) AS known FROM clean GROUP BY 1"
    assert count(money, f"({owners}) WHERE known NOT IN (0, n)") == 0
    current = f"({owners}) WHERE known = 0 AND account_id LIKE '%0'"
    unknown = planted.laundering["customers"]["accounts_without_customer"]
    assert 0.9 * unknown < count(money, current) <= unknown
    assert abs(unknown - RULES.accounts_without_customer * planted.customers) < 5 * sqrt(0.003 * planted.customers)


# ------------------------------------------------------------------------------------------------------ investigations


@pytest.fixture(scope="module")
def judged(money: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """`judged`: investigations with whether the customer was laundering by the day of opening."""
    money.execute(
        "CREATE OR REPLACE TABLE judged AS SELECT i.*, coalesce(since <= opened_on, false) AS guilty FROM investigations i "
        "LEFT JOIN (SELECT a.customer_id, min(s.first_day) AS since FROM true_accounts a JOIN true_schemes s USING (scheme_id) "
        "GROUP BY 1) USING (customer_id)"
    )
    return money


def test_enough_is_investigated_before_the_last_three_nights(judged: duckdb.DuckDBPyConnection) -> None:
    closed, suspicious, earliest = one(
        judged,
        "SELECT count(*), count(*) FILTER (outcome = 'suspicious'), min(opened_on) FROM judged WHERE on_date < '2026-06-28'",
    )
    assert closed >= 600
    assert suspicious >= 150
    assert earliest >= date(2025, 9, 1)


def test_outcomes_are_reported_three_to_ten_weeks_after_opening_in_the_file_of_their_report(
    judged: duckdb.DuckDBPyConnection, planted: Planted
) -> None:
    delay = "reported_on - opened_on"
    assert one(judged, f"SELECT min({delay}), max({delay}) FROM judged") == (21, 70)
    assert one(judged, "SELECT min(reported_on - closed_on), max(reported_on - closed_on) FROM judged") == (0, 5)
    for before, day in zip(planted.business_dates, planted.business_dates[1:], strict=False):
        assert (
            count(
                judged, f"judged WHERE on_date = '{day}' AND reported_on NOT BETWEEN '{before}'::DATE + 1 AND '{day}'"
            )
            == 0
        )


def test_investigators_miss_some_and_suspect_some_wrongly(judged: duckdb.DuckDBPyConnection) -> None:
    for guilty, rate in ((True, RULES.missed), (False, RULES.wrongly_suspected)):
        outcome = "cleared" if guilty else "suspicious"
        cases, wrong = one(
            judged, f"SELECT count(*), count(*) FILTER (outcome = '{outcome}') FROM judged WHERE guilty = {guilty}"
        )
        assert abs(wrong - rate * cases) < 4 * sqrt(rate * cases)
        assert wrong > 0
    missing, cases = one(judged, "SELECT count(*) FILTER (closed_on IS NULL), count(*) FROM judged")
    assert abs(missing - RULES.not_dated * cases) < 4 * sqrt(RULES.not_dated * cases)


def test_rules_referrals_and_chance_bring_customers_to_the_investigators(judged: duckdb.DuckDBPyConnection) -> None:
    by_reason = judged.sql("SELECT reason, count(*), avg(guilty::INT) FROM judged GROUP BY 1").fetchall()
    found = {reason: (cases, share) for reason, cases, share in by_reason}
    assert set(found) == {"rule_alert", "referral", "random_review"}
    assert found["rule_alert"][0] > 200
    assert 0.05 < found["rule_alert"][1] < 0.3
    assert found["referral"][0] > 100
    assert found["referral"][1] > 0.99
    assert found["random_review"][0] > 100
    assert found["random_review"][1] < 0.05


def test_a_part_of_the_launderers_is_never_investigated(judged: duckdb.DuckDBPyConnection) -> None:
    early = "true_accounts a SEMI JOIN over USING (scheme_id)"
    (share,) = one(judged, f"SELECT avg((customer_id IN (SELECT customer_id FROM investigations))::INT) FROM {early}")
    assert 0.5 < share < 0.9


def test_nobody_is_investigated_twice_at_a_time(judged: duckdb.DuckDBPyConnection) -> None:
    gap = "SELECT opened_on - lag(opened_on) OVER (PARTITION BY customer_id ORDER BY opened_on) AS days FROM judged"
    assert one(judged, f"SELECT min(days) >= {RULES.investigated_once_in_days} FROM ({gap})") == (True,)
    rows, distinct = one(judged, "SELECT count(*), count(DISTINCT investigation_id) FROM judged")
    assert rows == distinct
