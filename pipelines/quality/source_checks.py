"""The checks of a source on a business date: its landed rows against its contract."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import date
from math import floor

from duckdb import DuckDBPyConnection

from pipelines import database, lake
from pipelines.contracts import Blocked, Check, DataFault, Manifest, QualityVerdict, Severity
from pipelines.ingest import faults, protected, records
from pipelines.quality import gx
from pipelines.quality.recording import record
from pipelines.quality.references import reference_check
from pipelines.quality.suites import Suite
from pipelines.settings import Settings
from pipelines.spec import Contract

_CHECKED = "checked"


def check_source(settings: Settings, contract: Contract, business_date: date) -> QualityVerdict:
    """Judge the newest landing of a source and date by its contract; write the verdict and its Data Docs page.

    A landing that is published already, under the same contract, keeps its verdict. Whether the verdict passes is for
    `ingest.publish` to act on.

    Raises:
        Blocked: nothing has landed.
        DataFault: the contract names an expectation, or arguments, that Great Expectations does not know.
    """
    table, rules = f"landing/{contract.source}", records.contract_fingerprint(contract)
    with database.transaction(settings) as connection:
        landed = records.landed(connection, contract.source, business_date)
        before = records.published(connection, contract.source, business_date)
        judged = records.newest_verdict(connection, table, business_date)
    if landed is None:
        raise Blocked(faults.sentence(contract, business_date, "nothing has landed.", "Land it first."))
    version = landed.manifest.lake_version
    settled = before is not None and before.landing_no == landed.landing_no
    if settled and judged and (judged.rules, judged.verdict.lake_version) == (rules, version):
        return judged.verdict
    with closing(lake.connect(settings)) as duck:
        _open_landing(settings, duck, contract, business_date, version)
        with _about(settings, contract):
            checks = _source_checks(settings, duck, contract, landed)
    verdict = QualityVerdict(
        subject=table, business_date=business_date, lake_version=version, checks=checks, data_docs=""
    )
    return record(settings, verdict, rules)


@contextmanager
def _about(settings: Settings, contract: Contract) -> Iterator[None]:
    """Name the contract's file in an error about what it asks for."""
    try:
        yield
    except DataFault as error:
        raise DataFault(f"{settings.expectations / contract.source}.yaml: {error}") from None


def _open_landing(
    settings: Settings, duck: DuckDBPyConnection, contract: Contract, business_date: date, version: int
) -> None:
    """The view `checked`: the landed rows of the date, with the protected columns that wait in Postgres."""
    lake.Lake(settings).scan(duck, "landed", f"landing/{contract.source}", version=version, dates=[business_date])
    # Named, not *: the lake's schema only grows, and may hold columns of an older contract.
    kept = ", ".join(f'l."{contract.lake_name(name)}"' for name, c in contract.columns.items() if not c.protected)
    if not protected.columns(contract):
        duck.execute(f"CREATE TEMP VIEW {_CHECKED} AS SELECT {kept} FROM landed l")
        return
    protected.load_staged(settings, duck, contract, business_date, "protected_rows")
    keys = " AND ".join(f'l."{name}" = p."{name}"' for name in map(contract.lake_name, contract.key))
    added = ", ".join(f'p."{name}"' for name, column in contract.columns.items() if column.protected)
    duck.execute(
        f"CREATE TEMP VIEW {_CHECKED} AS SELECT {kept}, {added} FROM landed l LEFT JOIN protected_rows p ON {keys}"
    )


def _source_checks(
    settings: Settings, duck: DuckDBPyConnection, contract: Contract, landed: records.Landing
) -> tuple[Check, ...]:
    manifest = landed.manifest
    most = contract.volume.dates if contract.volume else 0
    earlier = records.earlier_manifests(settings, contract.source, manifest.business_date, max(most, 1))
    suite = Suite(contract, manifest, tuple(m.rows_published for m in earlier[:most]))
    checks = gx.assess(duck, _CHECKED, suite.expectations())
    references = () if manifest.rows_in == 0 else contract.references
    return (
        _quarantine_check(contract, landed),
        *_repeat_checks(contract, manifest, earlier),
        *checks,
        *(reference_check(settings, duck, _CHECKED, r, manifest.business_date) for r in references),
    )


def _quarantine_check(contract: Contract, landed: records.Landing) -> Check:
    manifest = landed.manifest
    allowed = floor(contract.max_quarantined_fraction * manifest.rows_in)
    return Check(
        name="rows: quarantined",
        severity=Severity.CRITICAL,
        passed=manifest.rows_quarantined <= allowed,
        observed=f"{manifest.rows_quarantined:,} of {manifest.rows_in:,}",
        expected=f"At most {contract.max_quarantined_fraction:.2%} of the rows delivered.",
    )


def _repeat_checks(contract: Contract, manifest: Manifest, earlier: Sequence[Manifest]) -> tuple[Check, ...]:
    """As many rows with the very same totals as the date before are yesterday's rows under today's date."""
    if not contract.totals or not earlier or manifest.rows_published == 0 or contract.business_date.cadence == "once":
        return ()
    last = earlier[0]
    known = (manifest.rows_published, manifest.control_totals)
    return (
        Check(
            name="rows: of the date before",
            severity=contract.repeated,
            passed=known != (last.rows_published, last.control_totals),
            observed=f"{manifest.rows_published:,} rows, {_changed(manifest, last)} of {len(contract.totals)} totals changed",
            expected=f"Another number of rows, or other totals, than on {last.business_date}; `repeated: warning` in the "
            "contract where it is normal that nothing changes.",
        ),
    )


def _changed(manifest: Manifest, last: Manifest) -> int:
    return sum(last.control_totals.get(name) != total for name, total in manifest.control_totals.items())
