"""Who a candidate is compared with, on really trained versions of a small lender."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lender import AS_OF, MONTHS, Lender, loans_of, new_lender
from two_models import measuring

from pipelines import mlflow_store, registry, training
from pipelines.cli.main import main
from pipelines.contracts import Blocked
from pipelines.lake import Lake
from pipelines.settings import Settings, get_settings
from pipelines.spec import Model
from pipelines.validation import page
from pipelines.validation.candidate import load_candidate
from pipelines.validation.comparison import Comparison, compare
from pipelines.validation.opponent import load_opponent, opponent_of

MAY = MONTHS[-1]


@pytest.fixture
def lender(settings: Settings, tmp_path: Path) -> Lender:
    return new_lender(settings, tmp_path / "project")


def trained(lender: Lender, model: Model) -> Model:
    lender.build(model)
    training.train(lender.settings, model, AS_OF)
    return model


def judged_differently(model: Model, months: int, *without: str) -> Model:
    """The model judged on more months, and without some features."""
    document = model.model_dump()
    document["training"]["validation"]["out_of_time_months"] = months
    for name in without:
        del document["features"]["application"][name], document["reasons"]["catalogue"][name]
    return Model.model_validate(document)


def test_a_first_model_meets_its_sibling_later_ones_the_champion_and_none_a_champion_that_is_gone(
    lender: Lender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = lender.settings
    model = trained(lender, lender.model())
    candidate = load_candidate(settings, model, 1)
    benchmark = load_opponent(settings, model, candidate)
    assert benchmark is not None
    assert (benchmark.version, benchmark.role, benchmark.learnt_from) == (2, "benchmark", 0)
    assert benchmark.matched.all()
    np.testing.assert_array_equal(benchmark.probability, benchmark.predictor.predict(candidate.judged.features))

    registry.bootstrap(settings, model, [2, 1])
    champion = load_opponent(settings, model, candidate)
    assert champion is not None
    assert (champion.version, champion.role) == (2, "champion")
    named = opponent_of(settings, model, candidate, 1)
    assert (named.version, named.provenance.algorithm, named.role) == (1, "catboost", "champion")

    found = compare(settings, model, candidate, champion, measuring())
    page.log(settings, candidate, champion, found, measuring())
    logged = next(Path(settings.mlflow_artifacts).rglob(f"{candidate.run_id}/artifacts/comparison"))
    assert {path.name for path in logged.iterdir()} == {"comparison.html", "comparison.json", "speed.json"}

    _compare_by_command(lender, tmp_path, monkeypatch, capsys)

    mlflow_store.delete_alias(settings, model.name, "champion")
    with pytest.raises(Blocked, match="alias `champion` is gone"):
        load_opponent(settings, model, candidate)


def test_features_the_candidate_lacks_are_made_again_and_what_the_champion_learnt_is_counted(lender: Lender) -> None:
    """The champion was judged on May and learnt from April; the candidate is judged on both, without the income."""
    settings = lender.settings
    model = trained(lender, lender.model(algorithms=["scorecard"]))
    own = load_candidate(settings, model, 1)
    assert load_opponent(settings, model, own) is None  # no champion, and no sibling of another algorithm
    registry.bootstrap(settings, model, [1])
    later = trained(lender, judged_differently(model, 2, "income"))
    candidate = load_candidate(settings, later, 2)
    assert len(candidate.judged) == 1_200

    champion = load_opponent(settings, later, candidate)
    assert champion is not None
    assert champion.matched.all()
    assert "income" in champion.features.schema.names
    assert champion.learnt_from == 600
    may = candidate.judged.event_date == np.datetime64(MAY)
    np.testing.assert_array_equal(champion.probability[may], own.probability)  # whose judged rows are those of May

    Lake(settings).replace_date("source/loans", MAY, loans_of(MAY, 500, seed=MONTHS.index(MAY)))
    fewer = load_opponent(settings, later, load_candidate(settings, later, 2))
    assert fewer is not None
    assert fewer.matched.sum() == len(fewer.probability) == 1_100
    assert (~fewer.matched[may]).sum() == 100
    found = compare(settings, later, candidate, fewer, measuring())
    assert (found.rows, found.unmatched, found.learnt_from) == (1_100, 100, 600)


def test_in_folds_of_the_same_rows_neither_has_seen_what_it_is_judged_on(lender: Lender) -> None:
    validation = {"kind": "folds", "folds": 3, "why_no_time": "rows of a test without time"}
    model = trained(lender, lender.model(validation=validation, algorithms=["scorecard", "catboost"]))
    candidate = load_candidate(lender.settings, model, 2)
    benchmark = load_opponent(lender.settings, model, candidate)
    assert benchmark is not None
    own = load_candidate(lender.settings, model, 1)
    np.testing.assert_array_equal(benchmark.probability, own.probability)
    seen = benchmark.predictor.predict(candidate.judged.features)
    assert (benchmark.probability != seen).any()


def _compare_by_command(
    lender: Lender, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Against the champion, and with another version into a folder of one's own."""
    monkeypatch.setenv("VIGIL_PROJECT", str(lender.settings.project))
    get_settings.cache_clear()
    capsys.readouterr()
    assert main(["compare", "--model", "loans", "--version", "1"]) == 0
    assert "against champion version 2" in capsys.readouterr().out
    page_folder = folder / "page"
    assert main(["compare", "--version", "2", "--with", "1", "--page", str(page_folder), "--json"]) == 0
    found = Comparison.model_validate_json(capsys.readouterr().out)
    assert (found.candidate.version, found.opponent.version) == (2, 1)
    assert {path.name for path in page_folder.iterdir()} == {"comparison.html", "comparison.json", "speed.json"}
