"""What a source sent for a business date: find it, copy it to a scratch file, take its digest."""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import date, datetime
from hashlib import file_digest
from pathlib import Path

from pipelines import objects
from pipelines.contracts import ConnectionBroken, DataFault
from pipelines.ingest import tables
from pipelines.ingest.faults import Unreadable, sentence
from pipelines.settings import Settings
from pipelines.spec import Contract, FilesLocation, PostgresLocation

_PLACEHOLDER = re.compile(r"\{business_date(?::([^}]*))?\}")


@dataclass(frozen=True)
class Delivery:
    """One delivery as a local file.

    Attributes:
        origin: where it came from, as a person would name it.
        digests: SHA-256 of every file read, by origin.
        layout: how to read the local file; a table arrives as the CSV of COPY.
        whole: the file holds this date's rows only; otherwise they are cut from it.
        control: the sender's control file, when the contract names one.
    """

    origin: str
    local: Path
    digests: dict[str, str]
    layout: FilesLocation
    whole: bool
    control: Path | None = None
    from_table: bool = False

    @property
    def digest(self) -> str:
        """Of the bytes of the data itself, without the control file."""
        return self.digests[self.origin]


def require_business_date(contract: Contract, business_date: date) -> None:
    """A monthly source is keyed by the last day of its month. Raises DataFault for any other day."""
    last = month_end(business_date)
    if contract.business_date.cadence == "month" and business_date != last:
        raise DataFault(
            f"source {contract.source} comes by month, and its business dates are the last days of months: "
            f"{business_date} is none. Nothing was read. Ask for {last}."
        )


def month_end(day: date) -> date:
    return day.replace(day=monthrange(day.year, day.month)[1])


def fetch(settings: Settings, contract: Contract, business_date: date | None, scratch: Path) -> Delivery:
    """Copy the delivery of a date into the folder `scratch`. Without a date: the one file that holds all dates.

    Raises:
        Unreadable: nothing was delivered.
        DataFault: the table or bucket refuses.
        ConnectionBroken: the bucket or database did not answer.
    """
    try:
        if isinstance(contract.location, PostgresLocation):
            assert business_date is not None
            return _fetch_table(contract, contract.location, business_date, scratch)
        return _fetch_file(settings, contract, contract.location, business_date, scratch)
    except (ConnectionBroken, DataFault) as error:
        remedy = "Check that the source can be reached and read."
        raise type(error)(sentence(contract, business_date, str(error), remedy)) from error


def available_dates(settings: Settings, contract: Contract) -> list[date]:
    """Business dates a per-date file exists for, ascending. A file counts under the name its business date gives it."""
    location = contract.location
    assert isinstance(location, FilesLocation)
    pattern = resolve(settings, location.path)
    found = set()
    for uri in objects.list_under(_static_part(pattern)):
        day = _date_in_name(pattern, uri)
        if day is None:
            continue
        if contract.business_date.cadence == "month":
            day = month_end(day)
        if pattern.format(business_date=day) == uri:
            found.add(day)
    return sorted(found)


def resolve(settings: Settings, path: str) -> str:
    """The path of a contract as a URI; relative ones are below VIGIL_SOURCES."""
    return path if objects.is_s3(path) else str(settings.sources / path)


def _fetch_file(
    settings: Settings, contract: Contract, location: FilesLocation, business_date: date | None, scratch: Path
) -> Delivery:
    uri = resolve(settings, location.path.format(business_date=business_date))
    if not objects.exists(uri):
        raise Unreadable(f"no file at {uri}.", _what_there_is(settings, contract))
    local = objects.fetch(uri, scratch / "delivery")
    digests = {uri: sha256_of(local)}
    control = None
    if location.control:
        control_uri = resolve(settings, location.control.format(business_date=business_date))
        if not objects.exists(control_uri):
            raise Unreadable(f"no control file at {control_uri}.", "Ask the sender for it.")
        control = objects.fetch(control_uri, scratch / "control")
        digests[control_uri] = sha256_of(control)
    whole = location.per_date or contract.business_date.cadence == "once"
    return Delivery(uri, local, digests, location, whole, control)


def _what_there_is(settings: Settings, contract: Contract) -> str:
    location = contract.location
    if not isinstance(location, FilesLocation) or not location.per_date:
        return "Put the file there or correct the contract's path."
    dates = available_dates(settings, contract)
    newest = f"the newest there is {dates[-1]}" if dates else "there is none for any date"
    return f"Ask the sender for it ({newest}), or correct the contract's path."


def _fetch_table(contract: Contract, location: PostgresLocation, business_date: date, scratch: Path) -> Delivery:
    local = tables.copy_rows(contract, location, business_date, scratch / "delivery")
    origin = f"table {location.table} at {location.url_variable}"
    layout = FilesLocation(kind="files", path=location.table, format="csv", null_values=("",))
    return Delivery(origin, local, {origin: sha256_of(local)}, layout, whole=True, from_table=True)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _static_part(pattern: str) -> str:
    return pattern[: pattern.index("{")].rpartition("/")[0]


def _date_in_name(pattern: str, uri: str) -> date | None:
    expression, position, formats = "", 0, []
    for placeholder in _PLACEHOLDER.finditer(pattern):
        expression += re.escape(pattern[position : placeholder.start()]) + "(.+?)"
        formats.append(placeholder.group(1) or "%Y-%m-%d")
        position = placeholder.end()
    found = re.fullmatch(expression + re.escape(pattern[position:]), uri)
    if not found:
        return None
    try:  # the last placeholder is the file's own name; folders before it repeat parts of the same date
        return datetime.strptime(found.group(len(formats)), formats[-1]).date()
    except ValueError:
        return None
