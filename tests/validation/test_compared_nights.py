"""Both models on the published nights of a small model."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from small_night import MODEL, artefact_files, feature_columns, night, register, small_settings
from two_models import measuring, sides

from pipelines import registry, scoring
from pipelines.settings import Settings
from pipelines.spec import Feature
from pipelines.training import artefact
from pipelines.training.artefact import Predictor
from pipelines.validation.nights import on_stored_nights

DATES = [date(2026, 6, day) for day in (27, 28, 29, 30)]


@pytest.fixture(scope="module")
def predictors(tmp_path_factory: pytest.TempPathFactory) -> tuple[Predictor, Predictor]:
    return tuple(_loaded(tmp_path_factory.mktemp("model"), seed) for seed in (1, 2))  # type: ignore[return-value]


def _loaded(folder: Path, seed: int) -> Predictor:
    return artefact.load_verified(folder, artefact.save(folder, artefact_files(seed)))


def test_everyone_of_the_last_published_nights_is_scored_by_both(
    settings: Settings, predictors: tuple[Predictor, Predictor]
) -> None:
    settings = small_settings(settings)
    registry.bootstrap(settings, MODEL, [register(settings, artefact_files(1))])
    for on in DATES:
        night(settings, on, rows=600, seed=on.day)
        scoring.score(settings, MODEL, on)
    for on in DATES[:3]:
        scoring.publish(settings, MODEL, on)
    night(settings, DATES[2], rows=900, seed=99)  # built again since: what was published counts
    old, new = predictors
    candidate, opponent = sides([0, 1], [0.1, 0.2], [0.1, 0.2], our_card=new, their_card=old)
    limits = measuring(nights=2, approved_share=0.8)
    found = on_stored_nights(settings, candidate, opponent, limits)
    assert [one.business_date for one in found] == [DATES[2], DATES[1]]
    for one in found:
        table = _features(one.business_date.day)
        ours, theirs = new.predict(table), old.predict(table)
        assert (one.why_not, one.rows) == ("", 600)
        assert one.candidate == pytest.approx(np.quantile(ours, one.quantiles))
        assert one.opponent == pytest.approx(np.quantile(theirs, one.quantiles))
        cut = np.sort(theirs)[479]
        assert one.cut == cut
        assert one.opponent_approved == pytest.approx((theirs <= cut).mean())  # those of equal score too
        assert one.candidate_approved == pytest.approx((ours <= cut).mean())
        assert one.newly_approved == ((ours <= cut) & (theirs > cut)).sum()
        assert one.newly_refused == ((ours > cut) & (theirs <= cut)).sum() > 0
        assert one.known is None  # no outcome has arrived
        assert one.rank_correlation is not None
        assert 0.5 < one.rank_correlation < 1
        assert one.psi is not None
        assert one.psi > 0

    (itself,) = on_stored_nights(settings, replace(candidate, predictor=old), opponent, measuring(nights=1))
    assert (itself.psi, itself.newly_approved, itself.newly_refused) == (0, 0, 0)
    assert itself.rank_correlation == pytest.approx(1)

    schema = new.schema.model_copy(update={"features": {**new.schema.features, "bureau_score": Feature()}})
    (lacking,) = on_stored_nights(
        settings, replace(candidate, predictor=replace(new, schema=schema)), opponent, measuring(nights=1)
    )
    assert lacking.why_not == "the night's rows have no bureau_score"
    assert lacking.rows == 0


def test_a_model_that_was_never_published_has_no_nights(settings: Settings) -> None:
    candidate, opponent = sides([0, 1], [0.1, 0.2], [0.1, 0.2])
    assert on_stored_nights(settings, candidate, opponent, measuring()) == ()


def _features(seed: int) -> pa.Table:
    return pa.table(feature_columns(600, seed))
