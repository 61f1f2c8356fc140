"""The join of protected attributes: by the customer's token, as known at the event, in a role of its own, in memory only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from account_source import CONTRACT, DAY, DAY_BEFORE, contract, deliver, lake_rows, night, rows
from judged_rows import MEASURING
from small_night import MODEL
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ProgrammingError

from pipelines import database
from pipelines.contracts import Blocked, EvidenceMissing
from pipelines.features import TrainingPins
from pipelines.settings import Settings
from pipelines.spec import Contract, Fairness, ProtectedAttribute
from pipelines.training.rows import Rows
from pipelines.validation import protected
from pipelines.validation.candidate import Candidate
from pipelines.validation.fairness import assess, measure

PEOPLE: dict[str, Any] = {
    "source": "people",
    "description": "Protected attributes of those who joined.",
    "owner": "data@bank.example",
    "location": {"kind": "files", "path": "people/{business_date}.parquet", "format": "parquet"},
    "business_date": {"cadence": "day"},
    "key": ["customer_id"],
    "columns": {
        "customer_id": {"type": "string", "token": "customer"},
        "sex": {"type": "string", "nullable": True, "protected": True},
        "birth_year": {"type": "integer", "nullable": True, "protected": True},
    },
    "may_be_empty": True,
    "max_quarantined_fraction": 0.1,
}
FAIRNESS = Fairness(
    source="people",
    attributes={"sex": ProtectedAttribute(), "birth_year": ProtectedAttribute(bands=(25, 65), is_birth_year=True)},
    intersections=(("sex", "birth_year"),),
    min_group=20,
    min_known_share=0.5,
    significance=0.05,
)
ACCOUNTS = MODEL.model_copy(update={"sources": ("accounts",), "population": "accounts"})


@pytest.fixture
def lender(settings: Settings) -> Settings:
    """100 accounts of 50 customers on two days; people of the first day are half women, born in 1990."""
    made = settings.model_copy(update={"project": settings.home / "project"})
    made.expectations.mkdir(parents=True)
    for name, document in (("accounts", CONTRACT), ("people", PEOPLE)):
        (made.expectations / f"{name}.yaml").write_text(yaml.safe_dump(document))
    for day in (DAY_BEFORE, DAY):
        deliver(made, rows(100, day), day)
        night(made, contract(), day)
    people(made, DAY_BEFORE, {n: ("female" if n % 2 else "male", 1990) for n in range(50)})
    return made


def people(settings: Settings, day: date, found: dict[int, tuple[str | None, int | None]]) -> None:
    """The attributes of some customers, by their number, delivered and published on a day."""
    path = settings.sources / "people" / f"{day}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    sex, born = zip(*found.values(), strict=True)
    ids = [f"C{number:06d}" for number in found]
    pq.write_table(pa.table({"customer_id": ids, "sex": sex, "birth_year": pa.array(born, pa.int64())}), path)
    night(settings, Contract.model_validate(PEOPLE), day)


def candidate(settings: Settings, *days: date, model: Any = ACCOUNTS, token: str = "account_token") -> Candidate:
    """A version of which all accounts (or customers) of the days are judged, the first half with low scores."""
    found = [(row[token], day) for day in days for row in lake_rows(settings, "source/accounts", day)]
    tokens, dates = [token for token, _ in found], np.array([day for _, day in found], "datetime64[D]")
    pins = TrainingPins(source_versions={}, view_versions={}, definitions={})
    return Candidate(
        model=model,
        version=1,
        run_id="run",
        artefact_digest="",
        tags={},
        folder=settings.home,
        predictor=None,
        provenance=SimpleNamespace(training_set=SimpleNamespace(pins=pins)),
        development=None,
        judged=Rows(pa.table({"income": np.zeros(len(tokens))}), np.zeros(len(tokens), np.int8), dates),
        tokens=pa.chunked_array([tokens]),
        probability=np.linspace(0.01, 0.5, len(tokens)),
    )


def sex_of(settings: Settings, judged: Candidate, fairness: Fairness = FAIRNESS) -> dict[tuple[str, date], str | None]:
    """The group by sex of each judged row."""
    groups = protected.membership(settings, judged, fairness).groups["sex"]
    keys = zip(judged.tokens.to_pylist(), judged.judged.event_date.astype(date), strict=True)
    return dict(zip(keys, groups, strict=True))


def account(settings: Settings, number: int) -> str:
    """Token of the account that was delivered as that row."""
    [found] = [row for row in lake_rows(settings, "source/accounts") if row["balance"] == number + 0.25]
    return str(found["account_token"])


def test_an_account_gets_the_attributes_of_its_customer_as_known_at_the_event(lender: Settings) -> None:
    people(lender, DAY, {3: ("male", 1991)})  # corrected a day later; accounts 6 and 7 are of customer 3
    found = sex_of(lender, candidate(lender, DAY_BEFORE, DAY))
    assert len(found) == 200
    assert found[account(lender, 6), DAY_BEFORE] == "sex=female"
    assert found[account(lender, 6), DAY] == "sex=male"
    assert found[account(lender, 4), DAY] == "sex=male"
    assert found[account(lender, 10), DAY] == "sex=female"


def test_what_was_learnt_after_the_event_is_not_known_at_it(lender: Settings) -> None:
    deliver(lender, rows(102, DAY_BEFORE), DAY_BEFORE)
    night(lender, contract(), DAY_BEFORE)
    people(lender, DAY, {50: ("female", 1990)})
    deliver(lender, rows(102), DAY)
    night(lender, contract(), DAY)
    found = sex_of(lender, candidate(lender, DAY_BEFORE, DAY))
    assert found[account(lender, 100), DAY_BEFORE] is None
    assert found[account(lender, 100), DAY] == "sex=female"


def test_an_account_that_has_another_owner_is_judged_as_his(lender: Settings) -> None:
    customers = [f"C{n // 2:06d}" for n in range(100)]
    customers[6] = "C000002"
    deliver(lender, rows(100, customer_id=customers), DAY)
    night(lender, contract(), DAY)
    found = sex_of(lender, candidate(lender, DAY_BEFORE, DAY))
    assert found[account(lender, 6), DAY_BEFORE] == "sex=female"
    assert found[account(lender, 6), DAY] == "sex=male"


def test_a_model_of_customers_needs_no_other_source(lender: Settings) -> None:
    customers = MODEL.model_copy(update={"entity": "customer"})
    found = sex_of(lender, candidate(lender, DAY, model=customers, token="customer_token"))
    assert sorted(set(found.values())) == ["sex=female", "sex=male"]


def test_age_is_taken_at_the_event(lender: Settings) -> None:
    years = {0: (None, DAY.year - 24), 1: (None, DAY.year - 25), 2: (None, DAY.year - 70), 3: (None, None)}
    people(lender, DAY, years)
    judged = candidate(lender, DAY)
    groups = protected.membership(lender, judged, FAIRNESS).groups["birth_year"]
    age = dict(zip(judged.tokens.to_pylist(), groups, strict=True))
    assert [age[account(lender, 2 * n)] for n in range(4)] == [
        "age=under 25",
        "age=25 to under 65",
        "age=65 and over",
        None,
    ]


def test_the_groups_are_compared_and_measured(lender: Settings) -> None:
    measuring = MEASURING.model_copy(update={"fairness": FAIRNESS})
    judged = candidate(lender, DAY_BEFORE, DAY)
    table = assess(lender, judged, measuring)
    assert [g.name for g in table.groupings] == ["sex", "age", "sex & age"]
    assert [g.name for g in table.groupings[0].groups] == ["sex=female", "sex=male"]
    assert [g.name for g in table.groupings[2].groups] == [
        "sex=female & age=25 to under 65",
        "sex=male & age=25 to under 65",
    ]
    assert "1 of 1 groups" in table.groupings[1].reason
    found = list(measure(SimpleNamespace(settings=lender, candidate=judged, measuring=measuring)))
    assert {m.segment for m in found if m.metric == "adverse_impact_ratio"} == {
        "sex=female",
        "sex=male",
        "age",
        "sex=female & age=25 to under 65",
        "sex=male & age=25 to under 65",
    }


def test_nothing_that_comes_out_holds_a_value_of_one_person(
    lender: Settings, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    people(lender, DAY, {n: ("female", 1900 + n) for n in range(5, 25)})
    measuring = MEASURING.model_copy(update={"fairness": FAIRNESS})
    judged = candidate(lender, DAY)
    table = assess(lender, judged, measuring)
    found = list(measure(SimpleNamespace(settings=lender, candidate=judged, measuring=measuring)))
    said = table.model_dump_json() + str(found) + caplog.text + "".join(capfd.readouterr())
    said += repr(protected.membership(lender, judged, FAIRNESS))
    assert not re.findall(r"(?<![\d.])19(?:0[5-9]|1\d|2[0-4])(?![\d.])", said)
    assert not [token for token in judged.tokens.to_pylist() if token in said]
    for grouping in table.groupings:
        assert all(group.rows >= FAIRNESS.min_group for group in grouping.groups)


def test_values_of_persons_that_are_no_groups_are_not_listed(lender: Settings) -> None:
    people(lender, DAY, {n: ("female", 1700 + n) for n in range(50)})
    years = FAIRNESS.model_copy(update={"attributes": {"birth_year": ProtectedAttribute()}, "intersections": ()})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.validation.fairness._MOST_GROUPS", 20)
        table = assess(lender, candidate(lender, DAY), MEASURING.model_copy(update={"fairness": years}))
    assert table.groupings[0].reason == "50 different values are no groups: give it bands"
    assert not table.groupings[0].small


NO_WAY = [
    ({"source": "elsewhere"}, {}, "there is no source elsewhere"),
    ({"attributes": {"gender": ProtectedAttribute()}}, {}, "no protected column 'gender'"),
    ({"attributes": {"sex": ProtectedAttribute(bands=(1, 2))}}, {}, "sex of source people is no number"),
    ({}, {"entity": "loan"}, "no source of model small (accounts) has both loan_token and customer_token"),
    ({}, {}, "nothing was ingested from source people yet"),
]


def test_what_does_not_lead_to_attributes_is_not_assessable(lender: Settings) -> None:
    with database.transaction(lender) as connection:
        database.execute(connection, "DROP TABLE protected.people")
    for fairness, model, said in NO_WAY:
        judged = candidate(lender, DAY, model=ACCOUNTS.model_copy(update=model))
        asked = FAIRNESS.model_copy(update={"intersections": (), **fairness})
        with pytest.raises(EvidenceMissing) as raised:
            protected.membership(lender, judged, asked)
        assert said in str(raised.value)
        table = assess(lender, judged, MEASURING.model_copy(update={"fairness": asked}))
        assert said in str(table.reason)
        assert not table.groupings


def test_only_the_role_of_fairness_reads_what_is_published(lender: Settings) -> None:
    assert read_as(lender, "vigil_fairness", "protected.people") == 50
    for role, table in (
        ("vigil_fairness", "protected.people_staging"),
        ("vigil_fairness", "vigil.permit"),
        ("vigil_investigator", "protected.people"),
        ("vigil_sar_officer", "protected.people"),
    ):
        with pytest.raises(ProgrammingError, match="permission denied"):
            read_as(lender, role, table)
    said = "GRANT vigil_fairness TO outsider_of_fairness"
    with login(lender, "outsider_of_fairness") as outsider, pytest.raises(Blocked, match=said):
        protected.membership(outsider, candidate(lender, DAY), FAIRNESS)


def read_as(settings: Settings, role: str, table: str) -> int:
    """Rows of a table as the role sees them."""
    with database.transaction(settings) as connection:
        database.execute(connection, f"SET LOCAL ROLE {role}")
        return int(database.execute(connection, f"SELECT count(*) AS n FROM {table}")[0]["n"])


@contextmanager
def login(settings: Settings, name: str) -> Iterator[Settings]:
    """Settings with a database login of its own that is in no role."""
    with database.transaction(settings) as connection:
        database.execute(connection, f"CREATE ROLE {name} LOGIN PASSWORD 'outside'")
    url = make_url(settings.database_url).set(username=name, password="outside")
    made = settings.model_copy(update={"database_url": url.render_as_string(hide_password=False)})
    yield made
    database.engine(made.database_url).dispose()
    with database.transaction(settings) as connection:
        database.execute(connection, f"DROP ROLE {name}")
