"""What is expected of the feature rows of a model on a business date, before anything is scored with them."""

from __future__ import annotations

from contextlib import closing
from datetime import date

from duckdb import DuckDBPyConnection

from pipelines import database, lake
from pipelines.contracts import Blocked, Check, FeatureSnapshot, QualityVerdict, Severity, fingerprint
from pipelines.ingest import records
from pipelines.quality import gx
from pipelines.quality.gx import Expected
from pipelines.quality.recording import record
from pipelines.quality.suites import LARGEST
from pipelines.settings import Settings
from pipelines.spec import Model

_FEATURES, _POPULATION, _VIEW = "feature_rows", "population_rows", "view_rows"


def check_features(settings: Settings, model: Model, business_date: date) -> QualityVerdict:
    """Judge the newest feature rows of a model and date; write the verdict and its Data Docs page.

    Critical: one row for each entity of the population, no token twice or absent, no NaN or infinity, every feature view
    built for this very date, unique by its token. Recorded: the nulls of every feature. Rows judged already keep their
    verdict.

    Raises Blocked when no features were built.
    """
    built = _snapshot(settings, model, business_date)
    rules = fingerprint(model.model_dump_json())
    with database.transaction(settings) as connection:
        judged = records.newest_verdict(connection, built.table, business_date)
    if judged and (judged.rules, judged.verdict.lake_version) == (rules, built.lake_version):
        return judged.verdict
    house = lake.Lake(settings)
    with closing(lake.connect(settings)) as duck:
        checks = (*_row_checks(house, duck, model, built), *_view_checks(house, duck, model, built))
    verdict = QualityVerdict(
        subject=built.table,
        business_date=business_date,
        lake_version=built.lake_version,
        checks=checks,
        data_docs="",
    )
    return record(settings, verdict, rules)


def _snapshot(settings: Settings, model: Model, business_date: date) -> FeatureSnapshot:
    found = database.rows(
        settings,
        "SELECT snapshot FROM vigil.feature_snapshot WHERE model = :model AND business_date = :day "
        "ORDER BY id DESC LIMIT 1",
        model=model.name,
        day=business_date,
    )
    if not found:
        raise Blocked(
            f"model {model.name}, business date {business_date}: no features were built. Nothing was judged; the last "
            f"published scores are still served. Run `python -m pipelines features --model {model.name} "
            f"--date {business_date}`."
        )
    return FeatureSnapshot.model_validate(found[0]["snapshot"])


def _row_checks(house: lake.Lake, duck: DuckDBPyConnection, model: Model, built: FeatureSnapshot) -> tuple[Check, ...]:
    day = [built.business_date]
    house.scan(duck, _FEATURES, built.table, version=built.lake_version, dates=day)
    population = f"source/{model.population}"
    house.scan(duck, _POPULATION, population, version=built.source_versions[model.population], dates=day)
    floats = {name for name, kind, *_ in duck.execute(f"DESCRIBE {_FEATURES}").fetchall() if kind == "DOUBLE"}
    expected = [
        Expected("rows: as many as built", Severity.CRITICAL, "expect_table_row_count_to_equal", {"value": built.rows}),
        Expected("rows: at least one", Severity.CRITICAL, "expect_table_row_count_to_be_between", {"min_value": 1}),
        *_keyed_by(model.token, built.rows),
    ]
    for name in model.feature_names:
        nulls = {"column": name, "mostly": 0.0}
        expected.append(
            Expected(f"{name}: nulls counted", Severity.WARNING, "expect_column_values_to_not_be_null", nulls)
        )
        if name in floats:
            finite = {"column": name, "min_value": -LARGEST, "max_value": LARGEST}
            expected.append(
                Expected(f"{name}: finite", Severity.CRITICAL, "expect_column_values_to_be_between", finite)
            )
    return (_population_check(duck, model), *gx.assess(duck, _FEATURES, expected))


def _population_check(duck: DuckDBPyConnection, model: Model) -> Check:
    """Keys out = keys in: the same tokens, not only as many."""
    token = model.token
    entities, absent, strange = duck.execute(
        f"SELECT (SELECT count(DISTINCT {token}) FROM {_POPULATION}), "
        f"(SELECT count(*) FROM (SELECT {token} FROM {_POPULATION} EXCEPT SELECT {token} FROM {_FEATURES})), "
        f"(SELECT count(*) FROM (SELECT {token} FROM {_FEATURES} EXCEPT SELECT {token} FROM {_POPULATION}))"
    ).fetchall()[0]
    return Check(
        name="rows: the population",
        severity=Severity.CRITICAL,
        passed=entities > 0 and absent == 0 and strange == 0,
        observed=f"{absent:,} of {entities:,} entities absent, {strange:,} not of the population",
        expected=f"One row for each entity of {model.population} on this date.",
    )


def _view_checks(house: lake.Lake, duck: DuckDBPyConnection, model: Model, built: FeatureSnapshot) -> list[Check]:
    checks = []
    for view in model.features:
        house.scan(duck, _VIEW, f"features/{view}", version=built.view_versions[view], dates=[built.business_date])
        rows = duck.execute(f"SELECT count(*) FROM {_VIEW}").fetchall()[0][0]
        columns = [row[0] for row in duck.execute(f"DESCRIBE {_VIEW}").fetchall()]
        token = next(name for name in columns if name.endswith("_token"))
        fresh = Check(
            name=f"{view}: fresh",
            severity=Severity.CRITICAL,
            passed=rows > 0,
            observed=f"{rows:,} rows of {built.business_date}",
            expected="Built for this business date.",
        )
        keyed = [Expected(f"{view} {e.name}", e.severity, e.type, e.arguments) for e in _keyed_by(token, rows)]
        checks += [fresh, *gx.assess(duck, _VIEW, keyed)]
    return checks


def _keyed_by(token: str, rows: int) -> list[Expected]:
    unique = {"column": token, "min_value": rows, "max_value": rows}
    return [
        Expected(f"{token}: complete", Severity.CRITICAL, "expect_column_values_to_not_be_null", {"column": token}),
        Expected(f"{token}: unique", Severity.CRITICAL, "expect_column_unique_value_count_to_be_between", unique),
    ]
