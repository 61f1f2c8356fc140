"""An answer on the command line: in a demo by whoever says who he is, in production not at all."""

from __future__ import annotations

import pytest

from pipelines.cli.main import main
from pipelines.settings import Settings, get_settings

ANSWER = ("registry", "answer", "--request", "1", "--approve", "--by", "anna@bank.example")


@pytest.mark.parametrize(("environment", "code", "said"), [("production", 3, "in Airflow"), ("demo", 2, "no request")])
def test_a_command_line_does_not_know_who_types(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    environment: str,
    code: int,
    said: str,
) -> None:
    monkeypatch.setenv("VIGIL_ENVIRONMENT", environment)
    get_settings.cache_clear()
    assert main(ANSWER) == code
    assert said in capsys.readouterr().err
