"""SIGKILL at every named point of raising alerts, then the same again: the rows of an undisturbed night, nothing twice."""

from __future__ import annotations

import pytest
from aml_killing_points import PLANTS, killed
from aml_night import ANNA, DAY, MODEL, Row, everything, evidence, publish_scores, token

from pipelines import database
from pipelines.aml import cases
from pipelines.aml.alerts import raise_alerts
from pipelines.settings import Settings

_undisturbed: list[str] = []


@pytest.fixture
def corrected(bank: Settings) -> Settings:
    """A bank with one touched and several untouched alerts whose batch has just been corrected."""
    raise_alerts(bank, MODEL, DAY, evidence())
    [row] = database.rows(bank, "SELECT case_no FROM vigil.alert WHERE token = :token", token=token("bob"))
    cases.assign(bank, row["case_no"], ANNA, by=ANNA)
    rows = [Row("ann", 0.9, "cash_in"), Row("bob", 0.8, "cash_in"), Row("cid", 0.7), Row("dan", 0.6), Row("eve", 0.5)]
    publish_scores(bank, rows, batch="b")
    return bank


@pytest.mark.parametrize("point", ["nowhere", *PLANTS])
def test_a_night_killed_and_run_again(corrected: Settings, point: str) -> None:
    before = everything(corrected)
    if point != "nowhere":
        assert killed(corrected, point) == -9
        assert (everything(corrected) == before) is (point != "after the commit")
    made = raise_alerts(corrected, MODEL, DAY, evidence())
    assert (made.attempt, made.kept, made.withdrawn, made.raised, made.carried) == (2, 1, 5, 3, 1)
    assert made.already_raised is (point == "after the commit")
    _undisturbed.append(everything(corrected))
    assert _undisturbed[-1] == _undisturbed[0]
