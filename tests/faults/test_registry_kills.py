"""SIGKILL at every named point of a promotion and of a rollback, then the same again: one entry, and the alias after it."""

from __future__ import annotations

import pytest
from approved import approved
from bank_fixtures import bank_template, lasting_bank
from dying import killed
from killing_points import REGISTRY_PLANTS, promote, roll_back
from small_night import MODEL

from pipelines import mlflow_store, registry
from pipelines.settings import Settings

__all__ = ["bank_template", "lasting_bank"]


@pytest.mark.parametrize("point", REGISTRY_PLANTS)
def test_killed_and_run_again(lasting_bank: Settings, point: str) -> None:
    before = registry.champion(lasting_bank, MODEL).version
    assert before == 1
    approved(lasting_bank, 2)
    entries = len(registry.entries(lasting_bank))

    assert killed(lasting_bank, point, "promote") == -9
    done = promote(lasting_bank)

    assert (done.version, done.previous_champion, done.entry_no) == (2, 1, entries + 1)
    assert registry.champion(lasting_bank, MODEL).version == 2

    assert killed(lasting_bank, point, "rollback") == -9
    back = roll_back(lasting_bank)

    assert (back.from_version, back.to_version, back.entry_no) == (2, 1, entries + 2)
    assert registry.champion(lasting_bank, MODEL).version == 1
    assert mlflow_store.get_aliases(lasting_bank, "small") == {"champion": 1}
    verified = registry.verify(lasting_bank)
    assert (verified.ok, verified.entries, verified.not_anchored) == (True, entries + 2, 0)
