"""A typology pack for the random rows of lender.py, and rows of which nobody investigated most."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lender import FEATURES, MODEL, random_rows

from pipelines.spec import Model, TypologyPack
from pipelines.training.rows import Background, Rows

DOCUMENT: dict[str, Any] = {
    "pack": "typologies",
    "version": "2026.1",
    "description": "Typologies of the tests.",
    "in_force_from": "2020-01-01",
    "typologies": [
        {
            "name": "many_enquiries",
            "title": "Many enquiries at once",
            "why": "Found in no report: a typology of the tests.",
            "points": 0.5,
            "all_of": [{"feature": "enquiries", "at_least": 4}],
            "evidence": {"direction": "credit", "channel": ["branch"], "amount_between": [8000, 9999.99], "days": 30},
        },
        {
            "name": "poor_shop",
            "title": "A shop of little income",
            "why": "Found in no report: a typology of the tests.",
            "points": 0.7,
            "all_of": [{"feature": "purpose", "equals": "shop"}],
            "any_of": [{"feature": "income", "at_most": 15000}, {"feature": "enquiries", "at_least": 3}],
        },
    ],
}

PACK = TypologyPack.model_validate(DOCUMENT)


def partly_labelled(rows: int = 4_000, unlabelled: int = 12_000, seed: int = 3) -> Rows:
    """Random rows, and further ones without a label."""
    beside = random_rows(unlabelled, seed + 1)
    return replace(random_rows(rows, seed), background=Background(beside.features, beside.event_date))


PARAMETERS = {"catboost_iterations": 30, "catboost_depth": 3, "catboost_learning_rate": 0.1, "trees": 30}


def spec(**parameters: Any) -> Model:
    """The lender's model with the combined algorithm and this pack."""
    training = MODEL["training"] | {"algorithms": ["combined"], "parameters": {"combined": PARAMETERS | parameters}}
    features = {"application": {name: feature.model_dump() for name, feature in FEATURES.items()}}
    return Model.model_validate(MODEL | {"features": features, "training": training, "typologies": "typologies"})
