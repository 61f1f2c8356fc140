"""Land, check, publish: the two ends of it. Between them stands `quality.check_source`, whose verdict publish reads."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from duckdb import DuckDBPyConnection
from pyarrow import RecordBatchReader

from pipelines import database, lake, tokens
from pipelines.contracts import Blocked, IngestState, Manifest, fingerprint
from pipelines.database import Connection
from pipelines.ingest import deliveries, faults, judging, protected, records, tables
from pipelines.ingest.deliveries import Delivery
from pipelines.ingest.staging import Staged, dates_in
from pipelines.settings import Settings
from pipelines.spec import Contract, FilesLocation, PostgresLocation

LANDING, SOURCE, QUARANTINE = "landing", "source", "quarantine"


def land(settings: Settings, contract: Contract, business_date: date) -> Manifest:
    """Take in what the source delivered for a date: good rows to the lake's landing table, bad ones to quarantine.

    The same delivery again changes nothing. Readers see nothing of it before `publish`.

    Raises:
        DataFault: the delivery as a whole is missing, unreadable, of another date, or not what the contract says.
        Blocked: too many rows are quarantined, or the sender's control file disagrees. The quarantine is kept.
        ConnectionBroken: a database or bucket did not answer; run again.
    """
    deliveries.require_business_date(contract, business_date)
    with (
        _one_at_a_time(settings, contract) as connection,
        _scratch(settings) as scratch,
        faults.told(contract, business_date),
    ):
        delivery = deliveries.fetch(settings, contract, business_date, scratch)
        landed = _Landing(settings, contract, business_date, connection, delivery).run()
    judging.require_acceptable(contract, landed)
    return landed


def publish(settings: Settings, contract: Contract, business_date: date) -> Manifest:
    """Make the landed rows of a date what readers see: one Delta commit, after reading the verdict of that very landing.

    Raises Blocked when nothing landed, no check has passed on exactly this landing under exactly this contract, or too many
    rows are quarantined.
    """
    with _one_at_a_time(settings, contract) as connection:
        landed = records.landed(connection, contract.source, business_date)
        if landed is None:
            raise Blocked(faults.sentence(contract, business_date, "nothing has landed.", "Land it first."))
        before = records.published(connection, contract.source, business_date)
        if before and before.landing_no == landed.landing_no and _is_in_lake(settings, SOURCE, before.manifest):
            return before.manifest.model_copy(update={"state": IngestState.UNCHANGED})
        judging.require_acceptable(contract, landed.manifest)
        verdict_no = _passed_verdict(connection, contract, landed.manifest)
        version = _copy_to_source(settings, contract, landed.manifest)
        protected.publish(connection, contract, business_date)
        manifest = landed.manifest.model_copy(update={"lake_version": version})
        records.record_publication(connection, manifest, landed.landing_no, verdict_no)
    return manifest


def manifest(settings: Settings, source: str, business_date: date) -> Manifest | None:
    """The manifest of what readers see of a source for a date; None when nothing is published."""
    with database.transaction(settings) as connection:
        found = records.published(connection, source, business_date)
    return found.manifest if found else None


def available_dates(settings: Settings, contract: Contract) -> list[date]:
    """Business dates the source has something for, ascending.

    Per-date files: by their names. Otherwise by the distinct values of the business-date column, as month ends where the
    cadence is `month`. A delivery without any date (`once`) is available for whatever date is asked; listed are the dates
    it was published for.
    """
    location = contract.location
    if not isinstance(location, PostgresLocation) and location.per_date:
        return deliveries.available_dates(settings, contract)
    if contract.business_date.cadence == "once":
        with database.transaction(settings) as connection:
            return records.published_dates(connection, contract.source)
    if isinstance(location, PostgresLocation):
        days = tables.available_dates(contract, location)
    else:
        days = _dates_in_file(settings, contract, location)
    if contract.business_date.cadence == "month":
        return sorted({deliveries.month_end(day) for day in days})
    return days


@dataclass(frozen=True)
class _Landing:
    """One delivery on its way into the landing table."""

    settings: Settings
    contract: Contract
    business_date: date
    connection: Connection
    delivery: Delivery

    def run(self) -> Manifest:
        """Land the delivery unless the newest landing of the date is the same one."""
        key = tokens.load_key(self.settings)
        rules = fingerprint(_row_rules(self.contract), tokens.key_id(key))
        latest = records.landed(self.connection, self.contract.source, self.business_date)
        if latest and not _is_in_lake(self.settings, LANDING, latest.manifest):
            latest = None
        content = fingerprint(*sorted(self.delivery.digests.items()), rules)
        if latest and latest.content == content:
            return self._again(latest)
        with closing(lake.connect(self.settings)) as duck:
            staged = Staged(duck, self.contract, self.delivery, self.business_date, tokens.SqlTokens(duck, key))
            if not self.delivery.whole:
                content = fingerprint(staged.content(), rules)
                if latest and latest.content == content:
                    return self._again(latest)
            judging.require_own_delivery(self.connection, self.contract, self.business_date, staged)
            judging.require_whole(self.contract, self.business_date, staged)
            judging.require_sender_agrees(self.contract, self.business_date, staged)
            protected.stage(self.connection, duck, self.contract, self.business_date, staged)
            landed = self._manifest(staged, self._write(duck, staged))
        records.record_landing(self.connection, landed, content, self.delivery.digest)
        return landed

    def _again(self, latest: records.Landing) -> Manifest:
        before = records.published(self.connection, self.contract.source, self.business_date)
        if before and before.landing_no == latest.landing_no:
            return latest.manifest.model_copy(update={"state": IngestState.UNCHANGED})
        return latest.manifest

    def _write(self, duck: DuckDBPyConnection, staged: Staged) -> int:
        """Quarantine first, then the good rows: a landing whose bad rows are not kept anywhere never exists."""
        house = lake.Lake(self.settings)
        quarantine, landing = _table(QUARANTINE, self.contract), _table(LANDING, self.contract)
        if staged.counts.quarantined or self.business_date in house.dates(quarantine):
            house.replace_date(quarantine, self.business_date, self._stream(duck, staged.quarantine()))
        return house.replace_date(landing, self.business_date, self._stream(duck, staged.good(staged.lake_columns)))

    def _stream(self, duck: DuckDBPyConnection, query: str) -> RecordBatchReader:
        return duck.sql(query).to_arrow_reader(self.settings.chunk_rows)

    def _manifest(self, staged: Staged, lake_version: int) -> Manifest:
        dates = records.published_dates(self.connection, self.contract.source)
        replaces = self.business_date in dates
        late = bool(dates) and dates[-1] > self.business_date and not replaces
        notes = []
        if staged.opened.extra:
            notes.append(f"{len(staged.opened.extra)} columns that the contract does not name were left out")
        if replaces:
            notes.append("a corrected delivery: replaces the rows published for this date before")
        if late:
            notes.append(f"late: {dates[-1]} is published already")
        return Manifest(
            source=self.contract.source,
            business_date=self.business_date,
            state=IngestState.REPLACED if replaces else IngestState.PUBLISHED,
            file_digests=self.delivery.digests,
            rows_in=staged.counts.rows_in,
            rows_published=staged.counts.good,
            rows_quarantined=staged.counts.quarantined,
            quarantine_reasons=staged.counts.reasons,
            control_totals=staged.totals(self.contract.totals),
            lake_version=lake_version,
            late=late,
            notes=tuple(notes),
        )


def _is_in_lake(settings: Settings, area: str, recorded: Manifest) -> bool:
    """Whether the lake still has what the record says; not after it was moved away or restored from an older copy."""
    version = lake.Lake(settings).version(f"{area}/{recorded.source}")
    return version is not None and version >= recorded.lake_version


def _passed_verdict(connection: Connection, contract: Contract, landed: Manifest) -> int:
    """Number of the verdict that lets this landing pass. Raises Blocked when there is none."""
    found = records.newest_verdict(connection, _table(LANDING, contract), landed.business_date)
    rules = records.contract_fingerprint(contract)
    if found is None or found.verdict.lake_version != landed.lake_version or found.rules != rules:
        problem, remedy = "no check has judged these rows under this contract.", "Check it."
    elif not found.verdict.passed:
        problem, remedy = f"the quality check did not pass: {found.verdict.reasons}.", f"See {found.verdict.data_docs}."
    else:
        return found.verdict_no
    raise Blocked(faults.sentence(contract, landed.business_date, problem, remedy))


def _copy_to_source(settings: Settings, contract: Contract, landed: Manifest) -> int:
    house = lake.Lake(settings)
    with closing(lake.connect(settings)) as duck:
        landing = _table(LANDING, contract)
        house.scan(duck, "landed", landing, version=landed.lake_version, dates=[landed.business_date])
        names = [contract.lake_name(name) for name, column in contract.columns.items() if not column.protected]
        listed = ", ".join(f'"{name}"' for name in [*names, lake.PARTITION])
        rows = duck.sql(f"SELECT {listed} FROM landed").to_arrow_reader(settings.chunk_rows)
        return house.replace_date(_table(SOURCE, contract), landed.business_date, rows)


def _dates_in_file(settings: Settings, contract: Contract, location: FilesLocation) -> list[date]:
    """Distinct dates of the business-date column of a file that holds all dates."""
    alone = contract.model_copy(update={"location": location.model_copy(update={"control": None})})
    with _scratch(settings) as scratch, closing(lake.connect(settings)) as duck, faults.told(contract, None):
        return dates_in(duck, alone, deliveries.fetch(settings, alone, None, scratch))


def _row_rules(contract: Contract) -> str:
    """What of a contract decides which rows are good and what they look like; changing it means landing again."""
    per_column = {"description", "severity", "max_null_fraction", "known", "delay_days"}
    return contract.model_dump_json(
        include={"source", "location", "business_date", "key", "columns", "totals", "extra_columns"},
        exclude={"columns": {"__all__": per_column}},
    )


def _table(area: str, contract: Contract) -> str:
    return f"{area}/{contract.source}"


@contextmanager
def _one_at_a_time(settings: Settings, contract: Contract) -> Iterator[Connection]:
    """A transaction that holds the source's lock: two models that share a source do not ingest it at once."""
    with database.transaction(settings) as connection:
        database.lock(connection, f"ingest {contract.source}")
        yield connection


@contextmanager
def _scratch(settings: Settings) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=lake.local_folder(settings.home / "scratch")) as folder:
        yield Path(folder)
