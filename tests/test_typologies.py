"""Typology packs: strict, dated, and fitting the model they are named by."""

from __future__ import annotations

import re
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from lender import FEATURES, MODEL
from typology_packs import DOCUMENT, PACK

from pipelines.contracts import DataFault
from pipelines.settings import REPOSITORY
from pipelines.spec import Condition, EvidenceFilter, Model, Typology, TypologyPack, load_typologies


def changed(typology: int | None, **keys: Any) -> dict[str, Any]:
    document = deepcopy(DOCUMENT)
    (document if typology is None else document["typologies"][typology]).update(keys)
    return document


def written(folder: Path, document: dict[str, Any], name: str = "typologies") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(document))
    return folder


def test_a_pack_is_read_from_the_first_folder_that_has_it(tmp_path: Path) -> None:
    own, house = tmp_path / "own", written(tmp_path / "house", changed(None, version="house"))
    assert load_typologies([own, house], "typologies").version == "house"
    written(own, changed(None, version="own"))
    pack = load_typologies([own, house], "typologies")
    assert pack.version == "own"
    assert pack.typology("poor_shop").points == 0.7
    assert pack.features == ("enquiries", "purpose", "income")


def test_what_shows_a_typology_is_kept_for_the_alert() -> None:
    shown = PACK.typology("many_enquiries").evidence
    assert (shown.direction, shown.channel, shown.amount_between, shown.days) == (
        "credit",
        ("branch",),
        (8000.0, 9999.99),
        30,
    )
    assert PACK.typology("poor_shop").evidence.direction is None


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (changed(0, points=0), "typologies.0.points"),
        (changed(0, points=1), "typologies.0.points"),
        (changed(0, why="because"), "typologies.0.why"),
        (changed(0, pionts=0.2), "did you mean 'points'?"),
        (changed(0, all_of=[]), "many_enquiries: has neither all_of nor any_of"),
        (changed(0, any_of=[{"feature": "trend", "at_least": 1}]), "any_of has one condition only"),
        (changed(0, all_of=[{"feature": "enquiries"}]), "enquiries: needs either at_least"),
        (changed(0, all_of=[{"feature": "enquiries", "at_least": 1, "equals": 1}]), "or equals"),
        (changed(0, all_of=[{"feature": "enquiries", "at_least": 4, "at_most": 3}]), "which no value is"),
        (changed(0, all_of=[{"feature": "enquiries", "atleast": 4}]), "did you mean 'at_least'?"),
        (changed(0, evidence={"direction": "in"}), "evidence.direction"),
        (changed(0, evidence={"country_in": ["Iran"]}), "evidence.country_in.0"),
        (changed(0, evidence={"amount_between": [9, 8]}), "the smallest amount comes first"),
        (changed(1, name="many_enquiries"), "typologies named twice: many_enquiries"),
        (changed(None, typologies=[]), "typologies"),
        (changed(None, in_force_from="soon"), "in_force_from"),
        (changed(None, pack="others"), "it calls itself 'others'"),
    ],
)
def test_a_pack_that_cannot_be_meant(tmp_path: Path, document: dict[str, Any], said: str) -> None:
    with pytest.raises(DataFault) as raised:
        load_typologies([written(tmp_path / "policies", document)], "typologies")
    assert said in str(raised.value)
    assert "typologies.yaml" in str(raised.value)


def test_a_pack_that_is_not_there_names_the_closest(tmp_path: Path) -> None:
    with pytest.raises(DataFault, match=r"no typology pack file .*did you mean 'typologies'"):
        load_typologies([written(tmp_path / "policies", DOCUMENT)], "typology")


def test_a_pack_is_in_force_or_not() -> None:
    pack = TypologyPack.model_validate(changed(None, in_force_to="2026-06-30"))
    assert pack.require_in_force(date(2026, 6, 30)) is pack
    with pytest.raises(DataFault, match="not on 2026-07-01"):
        pack.require_in_force(date(2026, 7, 1))


def test_a_pack_fits_a_model_or_every_misfit_is_named() -> None:
    assert PACK.require_fits("loans", FEATURES) is PACK
    conditions = [
        {"feature": "enquirys", "at_least": 1},
        {"feature": "purpose", "at_least": 1},
        {"feature": "income", "equals": "much"},
    ]
    pack = TypologyPack.model_validate(changed(0, all_of=conditions))
    with pytest.raises(DataFault) as raised:
        pack.require_fits("loans", FEATURES)
    for said in (
        "policies/typologies.yaml does not fit model loans",
        "no feature 'enquirys' (did you mean 'enquiries'?)",
        "purpose is a category, so it needs equals with a text",
        "income is a number",
    ):
        assert said in str(raised.value)


def test_the_digest_is_of_the_content() -> None:
    assert PACK.digest == TypologyPack.model_validate(deepcopy(DOCUMENT)).digest
    assert PACK.digest == TypologyPack.model_validate_json(PACK.model_dump_json()).digest
    for other in (changed(0, points=0.51), changed(None, version="2026.2"), changed(1, evidence={"days": 7})):
        assert TypologyPack.model_validate(other).digest != PACK.digest


@pytest.mark.parametrize("equals", [True, 3.0, "shop"])
def test_a_value_keeps_its_kind_through_json(equals: Any) -> None:
    pack = TypologyPack.model_validate(changed(0, all_of=[{"feature": "purpose", "equals": equals}]))
    again = TypologyPack.model_validate_json(pack.model_dump_json())
    assert again == pack
    assert type(again.typologies[0].all_of[0].equals) is type(equals)


def test_combined_needs_typologies_and_only_combined_has_them() -> None:
    training = MODEL["training"] | {"algorithms": ["combined", "catboost"], "parameters": {}}
    assert Model.model_validate(MODEL | {"training": training, "typologies": "typologies"}).typologies == "typologies"
    for wrong in ({"training": training}, {"typologies": "typologies"}):
        with pytest.raises(ValueError, match="combined needs typologies, and typologies are for combined alone"):
            Model.model_validate(MODEL | wrong)


def test_a_model_without_typologies_is_written_as_it_always_was() -> None:
    model = Model.model_validate(MODEL)
    assert "typologies" not in model.model_dump_json()
    assert Model.model_validate_json(model.model_dump_json()) == model


def test_the_example_of_the_page_is_a_pack_and_its_tables_are_complete(tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "training.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(pack:.*?)```", page, re.DOTALL)
    (tmp_path / "aml_typologies.yaml").write_text(example)
    pack = load_typologies([tmp_path], "aml_typologies")
    assert pack.typology("structuring").evidence.amount_between == (8000, 9999.99)
    for kind in (TypologyPack, Typology, Condition, EvidenceFilter):
        for key in set(kind.model_fields) - {"typologies"}:
            assert f"`{key}`" in page, key
