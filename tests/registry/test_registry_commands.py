"""The registry's commands, as people and scripts use them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from approved import approved
from bank_fixtures import bank_template, copied
from small_night import MODEL

from pipelines import database, mlflow_store, registry
from pipelines.cli.main import main
from pipelines.settings import Settings, get_settings
from pipelines.stack.postgres import EmbeddedPostgres

__all__ = ["bank_template"]

Vigil = Callable[..., tuple[int, str, str]]
DONE, DATA_FAULT, BLOCKED = 0, 2, 3
BY = ("--by", "anna@bank.example")


@pytest.fixture(scope="module")
def bank(
    postgres: EmbeddedPostgres, bank_template: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """Champion is version 1; all tests of this file work on it, one after the other."""
    with copied(postgres, bank_template, tmp_path_factory.mktemp("commands") / "home") as made:
        (made.project / "models").mkdir(exist_ok=True)
        model = MODEL.model_dump(mode="json")
        (made.project / "models" / "small.yaml").write_text(yaml.safe_dump(model))
        yield made


@pytest.fixture
def vigil(bank: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Vigil]:
    for name in (
        "home",
        "environment",
        "project",
        "database_url",
        "lake_url",
        "mlflow_tracking_uri",
        "mlflow_artifacts",
    ):
        monkeypatch.setenv(f"VIGIL_{name.upper()}", str(getattr(bank, name)))
    get_settings.cache_clear()

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["registry", *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    yield run
    get_settings.cache_clear()


def test_promote_champion_and_journal(bank: Settings, vigil: Vigil) -> None:
    before = datetime.now(UTC).isoformat()
    approved(bank, 2)
    code, _, err = vigil("promote", "--version", "2", "--expect", "none", *BY)
    assert (code, "the conflict is journal entry 2" in err) == (BLOCKED, True)
    assert vigil("promote", "--version", "2", "--expect", "one", *BY)[0] == DATA_FAULT
    code, out, _ = vigil("promote", "--version", "2", "--expect", "1", *BY)
    assert (code, "version 2 is champion, by permit 3 and journal entry 3" in out) == (DONE, True)
    assert "was champion already" in vigil("promote", "--version", "2", "--expect", "1", *BY)[1]
    code, out, _ = vigil("champion", "--model", "small")
    assert code == DONE
    for told in ("champion is version 2", "approve by validator@bank.example (validator) on ", "gate run 1, report ",
                 "asked for by requester@bank.example", "under policy small 2026.1", "champion before: 1"):  # fmt: skip
        assert told in out
    earlier = json.loads(vigil("champion", "--at", before, "--json")[1])
    assert (earlier["version"], earlier["kind"]) == (1, "bootstrap")
    assert "no champion yet" in vigil("champion", "--at", "2020-01-01T00:00Z")[1]
    for no_moment in ("yesterday", "2020-01-01T00:00"):  # without a zone nobody knows when
        assert vigil("champion", "--at", no_moment)[0] == DATA_FAULT
    listed = [json.loads(line) for line in vigil("journal", "--json")[1].splitlines()]
    assert [(row["entry_no"], row["kind"]) for row in listed] == [(1, "bootstrap"), (2, "conflict"), (3, "promoted")]
    assert listed == [{"record": "Entry"} | json.loads(e.model_dump_json()) for e in registry.entries(bank)]
    assert "promoted" in vigil("journal", "--model", "small", "--most", "1")[1]


def test_align_puts_back_what_was_moved_by_hand(bank: Settings, vigil: Vigil) -> None:
    now = registry.standing(bank, "small")
    assert now is not None
    mlflow_store.delete_alias(bank, "small", "champion")
    assert f"alias `champion` set to version {now.version}" in vigil("align", "--model", "small")[1]
    assert vigil("align")[1].endswith("the aliases were as the journal says\n")


def test_rollback_shows_first_and_then_does(bank: Settings, vigil: Vigil) -> None:
    why = ("--reason", "scores moved", *BY)
    code, out, _ = vigil("rollback", *why, "--dry-run")
    assert (code, out) == (DONE, "small: would be rolled back from version 2 to version 1\n")
    assert vigil("rollback", *why, "--expect", "1")[0] == BLOCKED
    code, out, _ = vigil("rollback", *why, "--expect", "2")
    assert (code, out.splitlines()[0]) == (DONE, "small: rolled back from version 2 to version 1 (journal entry 4)")
    assert "Published scores stay as they are" in out
    assert "reason: scores moved" in vigil("champion")[1]


def test_retire(bank: Settings, vigil: Vigil) -> None:
    code, out, _ = vigil("retire", "--reason", "replaced", *BY)
    assert (code, out) == (DONE, "small is retired, by anna@bank.example (replaced; journal entry 5)\n")
    assert "was retired already" in vigil("retire", "--reason", "again", *BY)[1]
    assert "small: retired since" in vigil("champion")[1]
    assert vigil("rollback", "--reason", "no", *BY)[0] == BLOCKED


def test_verify_and_anchor_and_what_a_change_looks_like(bank: Settings, vigil: Vigil) -> None:
    assert vigil("verify")[:2] == (
        DONE,
        "5 entries are as they were written, and each agrees with its anchor outside the database\n",
    )
    code, out, _ = vigil("anchor")
    assert code == DONE
    assert Path(out.split()[-1]).is_file()
    with database.transaction(bank) as connection:
        database.execute(connection, "ALTER TABLE vigil.journal DISABLE TRIGGER journal_append_only")
        database.execute(connection, "UPDATE vigil.journal SET kind = 'promoted' WHERE entry_no = 2")
    code, out, err = vigil("verify")
    assert (code, out.splitlines()[0]) == (BLOCKED, "first bad entry: 2, edited")
    assert "First bad entry: 2 (edited): entry 2 was edited" in err
    code, out, _ = vigil("verify", "--json")
    found = json.loads(out)
    assert (code, found["ok"], found["first_bad"], found["what"]) == (BLOCKED, False, 2, "edited")
