"""The commands of a vendor and of the bank: make a package, bring it in, list what came of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from foreign_packages import PURPOSES, catboost_parts
from lender import AS_OF, new_lender

from pipelines.cli.main import main
from pipelines.settings import Settings

VENDOR = [
    *("--trained-until", "2024-04-30", "--trained-by", "vera@vendor.example", "--organisation", "Vendor"),
    *("--licence", "contract 7", "--output-kind", "log_odds", "--categories", f"purpose={','.join(PURPOSES)}"),
    *("--accepts-missing", "amount,income,enquiries,days_to_due,purpose"),
]


def test_what_a_vendor_makes_the_bank_brings_in_and_lists(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new_lender(settings, tmp_path / "project").model()
    vendor = catboost_parts()[0].unpacked(tmp_path / "vendor")
    project = ["--project", str(tmp_path / "project"), "--json"]

    def told(*arguments: str) -> tuple[int, list[dict[str, object]]]:
        code = main([*project, "registry", *arguments])
        return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    made = ["--model", "loans", "--format", "catboost", "--file", str(vendor / "model.cbm")]
    made += ["--golden", str(vendor / "golden.csv"), "--documents", str(vendor / "documents"), *VENDOR]
    code, [package] = told("package", *made, "--to", str(tmp_path / "it.zip"))
    assert (code, package["model"], package["features"], package["files"]) == (0, "loans", 5, 5)
    bring = ["import", str(tmp_path / "it.zip"), "--model", "loans", "--as-of", str(AS_OF)]
    code, [version] = told(*bring, "--by", "anna@bank.example")
    assert (code, version["version"], version["algorithm"]) == (0, 1, "catboost")
    (vendor / "vigil-model.yaml").unlink()
    code, nothing = told("import", str(vendor), "--model", "loans", "--as-of", str(AS_OF), "--by", "anna@bank.example")
    assert (code, nothing) == (2, [])
    code, listed = told("packages", "--model", "loans")
    assert code == 0
    assert [(p["state"], p["reason"]) for p in listed if p["state"] == "refused"] == [
        ("refused", "it has no vigil-model.yaml")
    ]
    assert [p["state"] for p in listed] == ["quarantined", "registered", "refused"]


def test_a_package_needs_the_categories_of_a_category_and_only_features_of_the_model(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new_lender(settings, tmp_path / "project").model()
    vendor = catboost_parts()[0].unpacked(tmp_path / "vendor")
    made = ["--project", str(tmp_path / "project"), "registry", "package", "--model", "loans", "--format", "catboost"]
    made += ["--file", str(vendor / "model.cbm"), "--documents", str(vendor / "documents"), *VENDOR]
    made += ["--to", str(tmp_path / "it.zip")]
    without = [word for word in made if not word.startswith("purpose=") and word != "--categories"]
    assert main([*without, "--golden", str(vendor / "golden.csv")]) == 2
    assert "name those the model knows, --categories purpose=one,other" in capsys.readouterr().err
    (tmp_path / "golden.csv").write_text("amount,salary,probability\n1,2,0.5\n")
    assert main([*made, "--golden", str(tmp_path / "golden.csv")]) == 2
    assert "has also: salary" in capsys.readouterr().err
    (vendor / "documents" / "macro.docx").write_bytes(b"PK")
    assert main([*made, "--golden", str(vendor / "golden.csv")]) == 2
    assert "the bank would refuse this package: documents/macro.docx is of a kind" in capsys.readouterr().err
    assert not (tmp_path / "it.zip").exists()
