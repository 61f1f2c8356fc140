"""Contributions become the reasons of the catalogue; what is no reason is refused where it is written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.settings import REPOSITORY
from pipelines.spec import Fairness, ProtectedAttribute, Reasons, load_model
from pipelines.training.contributions import NONE, Contributions
from pipelines.training.reasons import by_reason, prohibited_reasons

BALANCES = {"text": "Balances are high", "features": ["used_now", "used_before"]}
INCOME = {"text": "Income is low for the amount", "features": ["income"]}


def catalogue(**changed: Any) -> Reasons:
    whole = {"catalogue": {"income": INCOME, "balances": BALANCES}, "untold": {"rate": "the bank set it itself"}}
    return Reasons.model_validate(whole | changed)


def test_features_of_one_reason_count_together_and_the_untold_is_left_out() -> None:
    features = ("used_now", "rate", "income", "used_before")
    found = Contributions(-2.0, np.array([[0.3, 5.0, 0.4, 0.2], [0.5, 0.0, 0.1, -0.6]]), features, calibrated=True)
    told = by_reason(found, catalogue())
    assert (told.features, told.baseline, told.calibrated) == (("income", "balances"), -2.0, True)
    np.testing.assert_allclose(told.values, [[0.4, 0.5], [0.1, -0.1]])
    np.testing.assert_array_equal(told.adverse(), [[1, 0], [0, NONE]])


def test_a_version_without_a_feature_of_the_catalogue_is_told_by_what_it_has() -> None:
    found = Contributions(0.0, np.array([[0.3]]), ("used_now",))
    np.testing.assert_array_equal(by_reason(found, catalogue()).values, [[0.0, 0.3]])


def test_parts_of_a_combined_score_can_be_reasons() -> None:
    found = Contributions(0.0, np.array([[0.3, 0.7]]), ("used_now", "part anomaly"))
    unusual = {"text": "Payments unlike all others", "parts": ["anomaly"]}
    told = by_reason(found, catalogue(catalogue={"balances": BALANCES, "unusual": unusual}))
    np.testing.assert_array_equal(told.values, [[0.3, 0.7]])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Your score is too low", "Your score|score"),
        ("You did not meet our internal standards", "internal"),
        ("The model refused the application", "model"),
        ("Too few points were reached", "points"),
        ("Low income", "at least 15 characters"),
    ],
)
def test_a_text_that_says_nothing_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        catalogue(catalogue={"income": INCOME | {"text": text}})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"untold": {"income": "named in a reason too"}}, "named twice in reasons: income"),
        ({"catalogue": {"aa": INCOME, "bb": BALANCES | {"text": INCOME["text"].upper()}}}, "the same text"),
        ({"catalogue": {"aa": {"text": "What nobody has measured"}}}, "needs features or parts"),
        ({"most": 5}, "less than or equal to 4"),
        ({"catalogue": {}}, "at least 1 item"),
    ],
)
def test_a_catalogue_that_cannot_be_right_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        catalogue(**changed)


def test_a_prohibited_basis_is_found_in_texts_and_features() -> None:
    limits = {"min_group": 100, "min_known_share": 0.8, "significance": 0.05, "prohibited_inputs": ("marital_status",)}
    fairness = Fairness(source="people", attributes={"sex": ProtectedAttribute()}, **limits)
    reasons = {
        "sex": {"text": "The sex of the applicant", "features": ["aa"]},
        "home": {"text": "Marital status of the applicant", "features": ["bb"]},
        "hidden": {"text": "Other circumstances of life", "features": ["marital_status"]},
        "essex": {"text": "The branch is that of Essex", "features": ["cc"]},
    }
    made = catalogue(catalogue=reasons)
    assert prohibited_reasons(made, fairness) == {"sex": "sex", "home": "Marital status", "hidden": "marital_status"}
    assert prohibited_reasons(made, None) == {}


@pytest.mark.parametrize("change", ["forgotten", "unknown"])
def test_each_feature_of_a_model_has_its_place_in_the_catalogue(change: str) -> None:
    model = load_model(REPOSITORY / "models", "credit_default").model_dump()
    if change == "forgotten":
        del model["reasons"]["catalogue"]["cash_advances"]
    else:
        model["reasons"]["untold"]["shoe_size"] = "nobody measures it"
    said = "cash_advance_share_3m" if change == "forgotten" else "no feature of the model: shoe_size"
    with pytest.raises(ValidationError, match=said):
        type(load_model(REPOSITORY / "models", "credit_default")).model_validate(model)
