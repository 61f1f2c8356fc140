"""The evidence pack: complete, offline, the same for the same records, and found out when it was changed."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from approved import APPROVER, TRAINER, answered, asked, permitted
from inventoried import DIGEST
from lender import AS_OF, Lender, new_lender
from small_night import MODEL as SMALL
from small_night import artefact_files, register, small_settings

from pipelines import database, mlflow_store, training
from pipelines.contracts import Blocked, DataFault, GateReport, GateVerdict, Verdict
from pipelines.registry import journal, verify
from pipelines.registry.evidence import MANIFEST
from pipelines.settings import REPOSITORY, Settings
from pipelines.spec import SECTIONS, Model
from pipelines.validation.documents import Tampered, copy_pack, evidence_pack, records, verify_pack
from pipelines.validation.documents.words import tables_of

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c63f80f0001010100e5dc2a5b"
    "0000000049454e44ae426082"
)


def verdict(
    gate: str,
    metric: str,
    observed: float | None,
    outcome: Verdict,
    segment: str = "",
    evidence: str = "600 rows, 95 events",
) -> GateVerdict:
    return GateVerdict(
        gate=gate,
        metric=metric,
        segment=segment,
        observed=observed,
        low=None if observed is None else observed - 0.02,
        high=None if observed is None else observed + 0.02,
        limit="at least 0.6",
        verdict=outcome,
        effect="block",
        evidence=evidence,
        rule=f"internal/{gate}.{metric}",
        policy="internal",
        policy_version="2026.1",
        source="the bank's own limit",
    )


def judge(settings: Settings, model: Model, version: int) -> tuple[int, str]:
    """A stored judgement with a comparison."""
    files = mlflow_store.version(settings, model.name, version).tags["vigil.artefact_digest"]
    report = GateReport(
        model=model.name,
        version=version,
        artefact_digest=files,
        judged_on=AS_OF,
        champion_version=None,
        champion_digest=None,
        policy="internal",
        policy_version="2026.1",
        verdicts=(
            verdict("discrimination", "auc", 0.7142, Verdict.PASS),
            verdict("fairness", "impact_ratio", 0.9321, Verdict.PASS, "sex female"),
            verdict("fairness", "impact_ratio", None, Verdict.NOT_ASSESSABLE, "citizenship XX"),
            verdict("stability", "psi", 0.01, Verdict.PASS, evidence="a month more; " * 1_000),
        ),
    )
    compared = {
        "opponent": {"version": 9, "role": "champion"},
        "rows": 600,
        "measures": [{"measure": "gini", "difference": {"value": 0.0314, "low": 0.01, "high": 0.05}}],
        "equal_approval": {"share": 0.9, "measures": [{"measure": "bad rate", "candidate": {"value": 0.02}}]},
    }
    [row] = database.rows(
        settings,
        "INSERT INTO vigil.gate_run (model, version, artefact_digest, judged_on, policy, policy_version, passed, digest, report, "
        "comparison) VALUES (:model, :version, :files, :on, 'internal', '2026.1', :passed, :digest, :report, :compared) "
        "RETURNING gate_run_no",
        model=model.name,
        version=version,
        files=files,
        on=report.judged_on,
        passed=report.passed,
        digest=report.digest,
        report=report.model_dump_json(),
        compared=json.dumps(compared),
    )
    return row["gate_run_no"], report.digest


@pytest.fixture
def lender(settings: Settings, tmp_path: Path) -> Lender:
    return new_lender(settings, tmp_path / "project")


@pytest.fixture
def model(lender: Lender) -> Model:
    """A model whose version 1 was trained, judged, compared, approved and journalled."""
    made = lender.model(algorithms=["scorecard"])
    made = made.model_copy(
        update={"assumptions": ("Income is that of the last payslip.",), "limits": ("Not for businesses.",)}
    )
    lender.build(made)
    training.train(lender.settings, made, AS_OF)
    gate_run = judge(lender.settings, made, 1)
    request = asked(lender.settings, 1, gate_run, model=made)
    answered(lender.settings, request)
    permitted(lender.settings, 1, gate_run, request, model=made)
    with database.transaction(lender.settings) as connection:
        journal.append(connection, made.name, "approved", {"version": 1, "request_no": request, "by": APPROVER})
    folder = lender.settings.home / "compared"
    folder.mkdir()
    (folder / "comparison.html").write_text("<p>compared</p>")
    (folder / "gini.png").write_bytes(PIXEL)
    run_id = mlflow_store.version(lender.settings, made.name, 1).run_id
    mlflow_store.log_folder(lender.settings, run_id, folder, "comparison")
    return made


class Outside(HTMLParser):
    """Everything a page loads or links to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "iframe", "base"), tag
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]


def text_of(page: Path) -> str:
    return re.sub(r"<style>.*?</style>|<[^>]+>", " ", page.read_text(), flags=re.S)


def test_the_pack_of_an_approved_version(lender: Lender, model: Model) -> None:
    settings = lender.settings
    made = evidence_pack(settings, model, 1)
    folder = Path(made.location)
    assert made.not_recorded == ()
    assert folder == Path(settings.home) / "evidence" / "loans" / "1" / made.digest
    assert {f"{section}.html" for section in SECTIONS} | {"index.html", "mapping.html"} == {
        name for name in made.files if name.endswith(".html") and "/" not in name
    }
    expected = {
        "index.html": [
            "Loans, version 1",
            "blocked",
            "permit",
            "State of the records",
        ],
        "model_card.html": [
            "owner@bank.example",
            "validator@bank.example",
            "tier 1",
            "Charged off within 90 days",
            "auc",
        ],
        "training_data.html": ["3,000 labelled", "2024-12-31", "loans", "charged_off", "2024-05-01"],
        "features.html": ["loans.income", "down with it", "category of 3", "enquiries"],
        "gates.html": [
            "0.7142 [0.6942, 0.7342]",
            "at least 0.6",
            "600 rows, 95 events",
            "What blocks",
            "fairness: impact ratio",
        ],
        "comparison.html": ["gini", "0.0314 [0.01, 0.05]", "gini.png", "Equal approval: measures", "bad rate"],
        "fairness.html": ["sex female", "0.9321", "citizenship XX", "birth_year"],
        "approvals.html": [APPROVER, TRAINER, "requester@bank.example", "approve", "in a test"],
        "monitoring.html": ["0.1", "0.25", "every 365 days"],
        "journal.html": ["approved", APPROVER],
        "code_version.html": ["provenance.json", "SHA-256"],
        "sbom.html": ["catboost", "1.2.10", "CycloneDX"],
        "mapping.html": ["Annex IV", "SR 26-2", "2(d)", "Training data"],
    }
    for page, words in expected.items():
        text = text_of(folder / page)
        assert not [word for word in words if word not in text], page
    assert "Answers" in text_of(folder / "training_data.html")
    _opens_offline(folder)
    _holds_no_customer(folder)
    _lists_the_software(folder, model)
    [row] = database.rows(settings, "SELECT digest, location FROM vigil.evidence_pack")
    assert (row["digest"], row["location"]) == (made.digest, made.location)
    stored = mlflow_store.version(settings, "loans", 1)
    in_mlflow = mlflow_store.download_folder(settings, stored.run_id, "evidence", settings.home / "fetched")
    assert in_mlflow is not None
    assert verify_pack(in_mlflow / made.digest[:12], made.digest) == made.files


def _opens_offline(folder: Path) -> None:
    for page in folder.rglob("*.html"):
        looked = Outside()
        looked.feed(page.read_text())
        for target in looked.found:
            if target.startswith("data:image/"):
                continue
            assert not re.match(r"[a-z]+:|//|/", target), f"{page.name} loads or links {target}"
            assert (page.parent / target).is_file(), f"{page.name} links {target}, which is not in the pack"
        assert not re.search(r"url\(|@import", page.read_text()), page
    pdf = (folder / "evidence.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert b"/URI" not in pdf


def _holds_no_customer(folder: Path) -> None:
    """Tokens of the lender's loans are 32 hex digits that begin with zeros."""
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".png":
            assert not re.search(rb"\b0{20}[0-9a-f]{12}\b|loan_id", path.read_bytes()), path


def _lists_the_software(folder: Path, model: Model) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = (folder / "sbom.cdx.json").read_text()
    assert not JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    bill = json.loads(text)
    assert (bill["metadata"]["component"]["name"], bill["metadata"]["component"]["version"]) == (model.name, "1")
    held = {part["name"]: part for part in bill["components"]}
    lines = (REPOSITORY / "requirements.txt").read_text().splitlines()
    assert len(held) == sum("==" in line for line in lines)
    assert held["catboost"]["version"] == "1.2.10"
    assert held["catboost"]["purl"] == "pkg:pypi/catboost@1.2.10"
    assert held["catboost"]["hashes"][0]["alg"] == "SHA-256"
    assert "timestamp" not in bill["metadata"]


def test_the_same_records_give_the_same_digest_and_another_record_another(lender: Lender, model: Model) -> None:
    settings = lender.settings
    first = evidence_pack(settings, model, 1)
    elsewhere = settings.model_copy(update={"evidence": str(settings.home / "elsewhere")})
    assert evidence_pack(elsewhere, model, 1).digest == first.digest
    assert evidence_pack(settings, model, 1) == first
    assert len(database.rows(settings, "SELECT 1 FROM vigil.evidence_pack")) == 1
    with database.transaction(settings) as connection:
        journal.append(connection, model.name, "promoted", {"version": 1, "by": APPROVER})
    second = evidence_pack(settings, model, 1)
    assert second.digest != first.digest
    assert verify_pack(first.location, first.digest) == first.files


@pytest.fixture
def bare(settings: Settings) -> Settings:
    """A version of a small model about which next to nothing is recorded."""
    ready = small_settings(settings)
    register(ready, artefact_files(rows=500))
    return ready


def test_what_is_not_recorded_is_said_and_not_left_out(bare: Settings) -> None:
    made = evidence_pack(bare, SMALL, 1)
    assert set(made.not_recorded) == {
        *("training_data", "assumptions_and_limits", "gates", "comparison", "fairness", "approvals", "journal"),
    }
    for section in (*made.not_recorded, "model_card", "features", "code_version"):
        assert "not recorded: " in text_of(Path(made.location) / f"{section}.html"), section
    index = text_of(Path(made.location) / "index.html")
    assert index.count("not recorded: ") >= len(made.not_recorded)
    assert "not judged" in index


def test_assumptions_and_limits_are_those_of_the_model_file(bare: Settings) -> None:
    stated = SMALL.model_copy(
        update={"assumptions": ("Income is that of the last payslip.",), "limits": ("Not for businesses.",)}
    )
    made = evidence_pack(bare, stated, 1)
    text = text_of(Path(made.location) / "assumptions_and_limits.html")
    assert "Income is that of the last payslip." in text
    assert "Not for businesses." in text
    assert "assumptions_and_limits" not in made.not_recorded


def test_tampering_is_found_and_named(bare: Settings) -> None:
    made = evidence_pack(bare, SMALL, 1)
    folder = Path(made.location)
    page, manifest = folder / "gates.html", folder / MANIFEST
    kept, listed = page.read_bytes(), manifest.read_bytes()
    page.write_text("all passed")
    with pytest.raises(Tampered, match=r"gates\.html was changed"):
        verify_pack(folder, made.digest)
    with pytest.raises(Tampered):
        evidence_pack(bare, SMALL, 1)
    manifest.write_bytes(
        listed.replace(hashlib.sha256(kept).hexdigest().encode(), hashlib.sha256(b"all passed").hexdigest().encode())
    )
    with pytest.raises(Tampered, match=f"{MANIFEST} was changed"):
        verify_pack(folder, made.digest)
    manifest.write_bytes(listed)
    page.unlink()
    with pytest.raises(Tampered, match=r"gates\.html is missing"):
        verify_pack(folder, made.digest)
    page.write_bytes(kept)
    (folder / "more.html").write_text("all passed")
    with pytest.raises(Tampered, match=r"more\.html does not belong there"):
        verify_pack(folder, made.digest)
    (folder / "more.html").unlink()
    assert verify_pack(folder, made.digest) == made.files


@pytest.mark.parametrize(("harm", "said"), [("file", "gates.html is missing"), ("record", "is not recorded any more")])
def test_the_journal_does_not_verify_without_the_pack_it_names(bare: Settings, harm: str, said: str) -> None:
    made = evidence_pack(bare, SMALL, 1)
    with database.transaction(bare) as connection:
        journal.append(
            connection, SMALL.name, "promoted", {"version": 1, "evidence_digest": made.digest, "by": APPROVER}
        )
    assert verify(bare).ok
    if harm == "file":
        (Path(made.location) / "gates.html").unlink()
    else:
        with database.transaction(bare) as connection:
            database.execute(connection, "ALTER TABLE vigil.evidence_pack DISABLE TRIGGER USER")
            database.execute(connection, "TRUNCATE vigil.evidence_pack")
    found = verify(bare)
    assert (found.ok, found.first_bad, found.what) == (False, 1, "evidence")
    assert said in found.message


def test_both_sides_of_a_comparison_are_named() -> None:
    side = {"version": 1, "role": "x"}
    calibration = [[{"decile": 1, "rows": 60}], [{"decile": 1, "rows": 61}]]
    tables = tables_of({"candidate": side, "opponent": side, "calibration": calibration, "nights": []})
    assert [table.title for table in tables] == ["Overview", "Calibration, candidate", "Calibration, opponent"]
    assert ("nights", "–") in tables[0].rows


def test_a_pack_is_copied_only_when_it_verifies(bare: Settings, tmp_path: Path) -> None:
    made = evidence_pack(bare, SMALL, 1)
    copied = copy_pack(made.location, made.digest, tmp_path / "for_the_auditor")
    assert verify_pack(copied, made.digest) == made.files
    with pytest.raises(DataFault, match="not empty"):
        copy_pack(made.location, made.digest, copied)
    with pytest.raises(Tampered):
        copy_pack(made.location, DIGEST, tmp_path / "other")


def test_packs_in_a_bucket(bare: Settings, s3_server: str) -> None:
    in_bucket = bare.model_copy(update={"evidence": "s3://vigil/evidence/"})
    made = evidence_pack(in_bucket, SMALL, 1)
    assert made.location == f"s3://vigil/evidence/small/1/{made.digest}"
    assert verify_pack(made.location, made.digest) == made.files
    assert evidence_pack(bare, SMALL, 1).digest == made.digest


def test_an_altered_gate_report_makes_no_pack(bare: Settings) -> None:
    number, _ = judge(bare, SMALL, 1)
    with database.transaction(bare) as connection:
        database.execute(connection, "ALTER TABLE vigil.gate_run DISABLE TRIGGER gate_run_append_only")
        database.execute(connection, "UPDATE vigil.gate_run SET report = replace(report, 'not_assessable', 'pass')")
    with pytest.raises(Blocked, match=f"gate run {number} is not the one"):
        evidence_pack(bare, SMALL, 1)
    assert database.rows(bare, "SELECT 1 FROM vigil.evidence_pack") == []


def test_a_judgement_of_other_files_is_not_shown_as_this_versions(bare: Settings) -> None:
    judge(bare, SMALL, 1)
    with database.transaction(bare) as connection:
        database.execute(connection, "ALTER TABLE vigil.gate_run DISABLE TRIGGER gate_run_append_only")
        [row] = database.execute(connection, "SELECT report FROM vigil.gate_run")
        other = GateReport.model_validate_json(row["report"]).model_copy(update={"artefact_digest": DIGEST})
        database.execute(
            connection,
            "UPDATE vigil.gate_run SET report = :report, digest = :digest, artefact_digest = :files",
            report=other.model_dump_json(),
            digest=other.digest,
            files=DIGEST,
        )
    assert "gates" in evidence_pack(bare, SMALL, 1).not_recorded


def test_the_pdf_takes_any_script(bare: Settings) -> None:
    stated = SMALL.model_copy(
        update={"title": "Überschuldung – Łódź, Αθήνα, Пловдив", "limits": ("Ab 5 000 € nur mit Prüfung.",)}
    )
    made = evidence_pack(bare, stated, 1)
    assert (Path(made.location) / "evidence.pdf").stat().st_size > 10_000


def test_models_that_state_nothing_keep_their_records() -> None:
    assert "assumptions" not in SMALL.model_dump_json()
    assert "limits" not in SMALL.model_dump_json()
    assert Model.model_validate_json(SMALL.model_dump_json()) == SMALL


@pytest.mark.parametrize(
    ("kind", "facts", "is_about"),
    [
        ("promoted", {"version": 3, "expected_champion": 1}, True),
        ("rolled_back", {"version": 1, "expected_champion": 3}, True),
        ("promoted", {"version": 4, "expected_champion": 3}, True),
        ("promoted", {"version": 4, "expected_champion": 1}, False),
        ("retired", {}, True),
    ],
)
def test_a_pack_tells_of_the_end_of_its_version_too(kind: str, facts: dict[str, int], is_about: bool) -> None:
    entry = journal.Entry(
        entry_no=8, at=datetime.now(UTC), model="m", kind=kind, payload=json.dumps(facts), previous_hash="", hash=""
    )
    assert records._about(entry, 3) is is_about
