"""The sections about the model itself: card, training data, features, assumptions and limits, software, code."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from io import StringIO

from pipelines.spec import Feature
from pipelines.validation.documents.blocks import Block, Bullets, Facts, Links, Missing, Picture, Section, Table, Text
from pipelines.validation.documents.records import Records
from pipelines.validation.documents.sbom import Package
from pipelines.validation.documents.words import NONE, counted, number, spaced

_PICTURES = {"roc.png": "ROC curve", "calibration.png": "Calibration", "scores.png": "Scores"}
_MOST_IMPORTANT = 15
_MISSING_RULES = {
    "reject": "the row is not scored",
    "review": "scored, and a person looks",
    "allowed": "absence is a documented state",
}


def model_card(records: Records) -> Section:
    model, provenance = records.model, records.provenance
    algorithm = provenance.algorithm if provenance else records.schema.algorithm
    blocks: list[Block] = [
        Text(model.description.strip()),
        Facts(
            (
                ("Model", f"{model.title} ({model.name})"),
                ("Version", str(records.version)),
                ("Intended use", model.purpose),
                ("Domain, tier", f"{model.domain}, tier {model.tier}"),
                ("Owner", model.owner),
                ("Validator", model.validator),
                ("Algorithm", algorithm),
                (
                    "Calibration",
                    model.training.calibration if provenance is None else provenance.model.training.calibration,
                ),
                ("Input", f"{len(records.schema.features)} features of one {model.entity}, one row per business date"),
                ("Output", f"calibrated probability in 0 to 1: {model.label.description}"),
                ("Population", f"every row of source {model.population} on the business date"),
                ("Policy", f"{records.policy.policy}, version {records.policy.version}"),
                ("Digest of the files", records.artefact_digest),
            )
        ),
        *_performance(records),
    ]
    return Section("model_card", "Model card", f"{model.title}: {model.purpose}", tuple(blocks))


def _performance(records: Records) -> Iterator[Block]:
    if not records.metrics:
        yield Missing("performance; the version's run in MLflow holds no measures")
    else:
        judged = f", {records.provenance.judged}" if records.provenance else ""
        rows = tuple((spaced(name), number(records.metrics[name])) for name in sorted(records.metrics))
        yield Table(f"Performance at training{judged}", ("measure", "value"), rows, (2, 1))
    for name, caption in _PICTURES.items():
        if f"report/{name}" in records.kept:
            yield Picture(f"report/{name}", f"{caption}, on the rows the version was judged on at training")
    ranked = list(csv.DictReader(StringIO(records.kept.get("report/importance.csv", b"").decode())))
    if ranked:
        shown = tuple((row["feature"], number(float(row["importance"]))) for row in ranked[:_MOST_IMPORTANT])
        yield Table(
            f"Most important features ({len(shown)} of {len(ranked)})", ("feature", "importance"), shown, (2, 1)
        )
    else:
        yield Missing("importance of the features; training left no table")


def training_data(records: Records) -> Section:
    provenance = records.provenance
    if provenance is None:
        missing = Missing(f"training data; {records.why_no_provenance}")
        return Section("training_data", "Training data", missing.text, (missing, *_files_of(records, "provenance")))
    made, recorded = provenance.training_set, provenance.model
    facts = [
        ("As of", f"{made.as_of}: only what was known then"),
        ("Rows", f"{made.rows:,} labelled"),
        ("Events", f"{made.events:,} ({made.events / made.rows:.2%})" if made.rows else "0"),
        ("Rows nobody investigated", f"{made.unlabelled:,}" if made.unlabelled is not None else "none by definition"),
        ("First event used", str(recorded.training.history_from or "the earliest there is")),
        ("Outcome", f"{recorded.label.description} (view {recorded.label.view})"),
        ("Maturity", f"{recorded.label.maturity_days} days after the event"),
        ("Judged on", provenance.judged),
        ("Seed", str(recorded.training.seed)),
        ("Digest of the training set", made.digest),
    ]
    versions = sorted(made.pins.source_versions.items())
    sources = [(n, str(v), records.contracts[n].description if n in records.contracts else NONE) for n, v in versions]
    views = [
        (name, str(made.pins.view_versions.get(name, NONE)), digest)
        for name, digest in sorted(made.pins.definitions.items())
    ]
    blocks: list[Block] = [
        Facts(tuple(facts)),
        Table(
            "Sources, by the Delta version that was read",
            ("source", "version", "what it is"),
            tuple(sources),
            (2, 1, 5),
        ),
        Table(
            "Views, by Delta version and digest of the definition",
            ("view", "version", "digest"),
            tuple(views),
            (2, 1, 5),
        ),
    ]
    months = list(csv.reader(StringIO(records.kept.get("report/months.csv", b"").decode())))
    if len(months) > 1:
        rows = tuple(tuple(_short(cell) for cell in row) for row in months[1:])
        blocks.append(Table("Judged rows by month", tuple(spaced(c) for c in months[0]), rows))
    else:
        blocks.append(Missing("rows by month; training left no table"))
    told = f"{made.rows:,} rows with {made.events:,} events as of {made.as_of}, pinned by version and digest"
    return Section("training_data", "Training data", told, (*blocks, *_files_of(records, "provenance")))


def feature_definitions(records: Records) -> Section:
    recorded = records.provenance.model if records.provenance else records.model
    view_of = {name: view for view, named in recorded.features.items() for name in named}
    taken = records.schema.features
    rows = [_feature(records, name, feature, view_of.get(name, NONE)) for name, feature in taken.items()]
    pins = records.provenance.training_set.pins.definitions if records.provenance else {}
    views = [
        (v, records.described.get(v) or NONE, pins.get(v, NONE))
        for v in dict.fromkeys(view_of[n] for n in taken if n in view_of)
    ]
    waived = tuple(f"{name}: {f.leakage_waiver}" for name, f in taken.items() if f.leakage_waiver)
    blocks: list[Block] = [
        Table(
            "Features, in the model's order",
            ("feature", "view", "kind", "the score moves", "when absent", "source columns"),
            tuple(rows),
            (4, 3, 2, 2, 3, 6),
        ),
        Table(
            "Views and their definitions", ("view", "what it computes", "digest at training"), tuple(views), (2, 5, 4)
        ),
    ]
    if records.why_no_lineage:
        blocks.append(Missing(f"source columns; {records.why_no_lineage}"))
    if waived:
        blocks += [Text("Suspicions of leakage that a person looked at and found unfounded:"), Bullets(waived)]
    counts = f"{counted(len(rows), 'feature')} of {counted(len(views), 'view')}"
    summary = f"{counts}, each with its direction, its rule for absence and its source columns"
    return Section("features", "Features and definitions", summary, tuple(blocks))


def _feature(records: Records, name: str, feature: Feature, view: str) -> tuple[str, ...]:
    moves = {"increasing": "up with it", "decreasing": "down with it", "none": "either way"}[feature.monotone]
    kind = f"category of {len(records.schema.categories.get(name, ()))}" if feature.categorical else "number"
    return name, view, kind, moves, f"{feature.missing}: {_MISSING_RULES[feature.missing]}", _sources(records, name)


def _sources(records: Records, name: str) -> str:
    """The columns a feature comes from; a source all of whose columns count is named once."""
    columns: dict[str, list[str]] = {}
    for source, column in records.lineage.get(name, ()):
        columns.setdefault(source, []).append(column)
    said = []
    for source, own in columns.items():
        contract = records.contracts.get(source)
        whole = contract is not None and len(own) >= len(contract.columns) > 1
        said += [f"every column of {source}"] if whole else [f"{source}.{column}" for column in own]
    return ", ".join(said) or NONE


def assumptions_and_limits(records: Records) -> Section:
    model = records.model
    blocks: list[Block] = []
    for title, sentences, key in (
        ("Assumptions", model.assumptions, "assumptions"),
        ("Limits", model.limits, "limits"),
    ):
        blocks.append(Text(f"{title}:"))
        blocks.append(
            Bullets(sentences) if sentences else Missing(f"{key}; models/{model.name}.yaml has no list `{key}`")
        )
    count = f"{len(model.assumptions)} assumptions and {len(model.limits)} limits, as the owner states them"
    summary = count if model.assumptions or model.limits else f"not recorded: models/{model.name}.yaml states none"
    return Section("assumptions_and_limits", "Assumptions and limits", summary, tuple(blocks))


def software(records: Records, packages: tuple[Package, ...]) -> Section:
    trained = records.provenance.libraries if records.provenance else {}
    held = {package.name: package.version for package in packages}
    hashed = sum(bool(package.hashes) for package in packages)
    source = (
        f"from the lock file, {hashed} with hashes" if hashed else "from what is installed; there is no lock file here"
    )
    blocks: list[Block] = [
        Text(f"{len(packages)} packages, {source}. The complete list with hashes is in sbom.cdx.json (CycloneDX 1.6)."),
        Links("Bill of materials", (("CycloneDX 1.6, JSON", "sbom.cdx.json"),)),
    ]
    if trained:
        rows = tuple((name, version, held.get(name, NONE)) for name, version in sorted(trained.items()))
        blocks.append(Table("Libraries that make the model", ("library", "at training", "in the list"), rows))
    else:
        blocks.append(Missing(f"versions of the libraries at training; {records.why_no_provenance}"))
    listed = tuple((p.name, p.version, str(len(p.hashes))) for p in packages)
    whole = Table("All packages", ("package", "version", "hashes"), listed, (3, 2, 1))
    return Section(
        "sbom",
        "Software bill of materials",
        f"{len(packages)} packages {source}",
        (*blocks, whole),
        in_print=tuple(blocks),
    )


def code_version(records: Records) -> Section:
    provenance = records.provenance
    blocks: list[Block] = []
    if provenance is None:
        blocks.append(Missing(f"code version; {records.why_no_provenance}"))
    else:
        blocks.append(
            Facts(
                (
                    ("Code version", provenance.code_version),
                    ("Digest of the code that makes a model", provenance.code_digest),
                    ("Pins of the training", provenance.pins),
                    ("Policy at training", provenance.policy),
                )
            )
        )
        blocks.append(
            Text(
                f"Made again and compared by: python -m pipelines reproduce --model {records.model.name} "
                f"--version {records.version}"
            )
        )
    rows = tuple(sorted(records.files.items()))
    blocks.append(Facts((("Digest of the files", records.artefact_digest), ("Run in MLflow", records.run_id))))
    blocks.append(Table("Files of the version", ("file", "SHA-256"), rows, (1, 3)))
    summary = provenance.code_version if provenance else f"not recorded: {records.why_no_provenance}"
    return Section("code_version", "Code version and digests", summary, tuple(blocks))


def _files_of(records: Records, name: str) -> tuple[Block, ...]:
    return (Links("As recorded", ((f"{name}.json", f"records/{name}.json"),)),)


def _short(cell: str) -> str:
    try:
        return number(float(cell))
    except ValueError:
        return cell
