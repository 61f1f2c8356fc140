"""Which protected group each judged row belongs to: the only place where protected attributes meet rows of a model.

They are read in the database role `vigil_fairness`, held in memory, and leave as counts and rates of groups only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from io import BytesIO
from itertools import pairwise

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from pipelines import database, lake
from pipelines.contracts import EvidenceMissing
from pipelines.ingest import protected as stored
from pipelines.lake import PARTITION, Lake
from pipelines.settings import Settings
from pipelines.spec import Contract, Fairness, Model, ProtectedAttribute, closest, load_contract
from pipelines.validation.candidate import Candidate

Groups = npt.NDArray[np.object_]


@dataclass(frozen=True, repr=False)
class Membership:
    """The group of each judged row for each attribute, in the order of the rows; None where it is not known.

    Not printable, so that no message or log can hold the values of a person.
    """

    groups: dict[str, Groups]


def membership(settings: Settings, candidate: Candidate, fairness: Fairness) -> Membership:
    """Join the protected attributes to the judged rows: of each customer the newest row not after the event.

    Raises:
        EvidenceMissing: the attributes are not held, or no source of the model leads to them.
        Blocked: the database login may not take the role.
        ConnectionBroken: the database or the lake did not answer.
    """
    contract = _contract_of(settings, fairness)
    person, link = _way(settings, candidate.model, contract)
    with lake.connect(settings) as duck:
        duck.register("judged", _judged(candidate))
        last = candidate.judged.event_date.max().astype(date)
        duck.register("attributes", _attributes(settings, contract, f"{person}_token", fairness, last))
        if link is None:
            duck.execute("CREATE TEMP VIEW persons AS SELECT place, event_date, token AS person FROM judged")
        else:
            _link(settings, candidate, duck, link, person)
        joined = _joined(duck, fairness)
    years = candidate.judged.event_date.astype("datetime64[Y]").astype(int) + 1970
    return Membership(
        {
            name: _named(joined[name].combine_chunks(), attribute, label_of(name, attribute), years)
            for name, attribute in fairness.attributes.items()
        }
    )


def label_of(name: str, attribute: ProtectedAttribute) -> str:
    """What the attribute is called in results: a year of birth is judged as age."""
    return "age" if attribute.is_birth_year else name


def _contract_of(settings: Settings, fairness: Fairness) -> Contract:
    if not (settings.expectations / f"{fairness.source}.yaml").is_file():
        raise EvidenceMissing(f"protected attributes are not held here: there is no source {fairness.source}")
    contract = load_contract(settings.expectations, fairness.source)
    held = [name for name, column in contract.columns.items() if column.protected]
    absent = [name for name in fairness.attributes if name not in held]
    if absent:
        raise EvidenceMissing(
            f"source {contract.source} has no protected column {absent[0]!r}{closest(absent[0], held)}; it has "
            f"{', '.join(held) or 'none'}"
        )
    for name, attribute in fairness.attributes.items():
        if attribute.bands and contract.columns[name].type not in ("integer", "float"):
            raise EvidenceMissing(f"{name} of source {contract.source} is no number, so it cannot be cut into bands")
    return contract


def _way(settings: Settings, model: Model, contract: Contract) -> tuple[str, str | None]:
    """The entity whose attributes are held, and the source that tells which one a row of the model belongs to.

    None as source where the model scores that entity itself.
    """
    held = _entities(contract)
    if model.entity in held:
        return model.entity, None
    for source in (model.population, *model.sources):
        both = [person for person in held if {person, model.entity} <= set(_entities(_source(settings, source)))]
        if both:
            return both[0], source
    raise EvidenceMissing(
        f"no source of model {model.name} ({', '.join(model.sources)}) has both {model.token} and "
        f"{' or '.join(f'{person}_token' for person in held)}, so its rows do not lead to protected attributes"
    )


def _source(settings: Settings, name: str) -> Contract:
    return load_contract(settings.expectations, name)


def _entities(contract: Contract) -> list[str]:
    return [column.token for column in contract.columns.values() if column.token and column.role is None]


def _judged(candidate: Candidate) -> pa.Table:
    rows = len(candidate.judged)
    return pa.table(
        {
            "place": np.arange(rows),
            "token": candidate.tokens,
            "event_date": pa.array(candidate.judged.event_date.astype("datetime64[D]")),
        }
    )


def _attributes(settings: Settings, contract: Contract, token: str, fairness: Fairness, last: date) -> pa.Table:
    """Rows of the protected table up to a date, with columns `token`, `known_from` and the attributes as text."""
    names = list(fairness.attributes)
    listed = ", ".join(f'"{name}"' for name in names)
    with database.transaction(settings) as connection:
        database.take_role(connection, stored.READER)
        if not database.execute(connection, "SELECT to_regclass(:name) AS found", name=stored.table(contract))[0][
            "found"
        ]:
            raise EvidenceMissing(f"nothing was ingested from source {contract.source} yet")
        text = database.copy_text(
            connection,
            f'SELECT "{token}" AS token, {PARTITION} AS known_from, {listed} FROM {stored.table(contract)} '
            f"WHERE {PARTITION} <= '{last}'",
        )
    kinds = {name: pa.string() for name in ("token", *names)} | {"known_from": pa.date32()}
    return csv.read_csv(
        BytesIO(text),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=kinds, strings_can_be_null=True, null_values=[""], quoted_strings_can_be_null=False
        ),
    )


def _link(settings: Settings, candidate: Candidate, duck: duckdb.DuckDBPyConnection, source: str, person: str) -> None:
    """The view `persons`: whose each row is, by the newest snapshot not after the event. Somebody of two is nobody's."""
    store, table = Lake(settings), f"source/{source}"
    version = candidate.provenance.training_set.pins.source_versions.get(source)
    last = candidate.judged.event_date.max().astype(date)
    dates = [on for on in store.dates(table, version) if on <= last]
    store.scan(duck, "linking", table, version=version, dates=dates)
    duck.execute(f"""
        CREATE TEMP VIEW persons AS
        WITH link AS (
            SELECT {candidate.model.token} AS token, {PARTITION} AS seen,
                   CASE WHEN min({person}_token) = max({person}_token) THEN min({person}_token) END AS person
            FROM linking WHERE {candidate.model.token} IN (SELECT token FROM judged) GROUP BY ALL
        )
        SELECT judged.place, judged.event_date, link.person
        FROM judged ASOF LEFT JOIN link ON judged.token = link.token AND judged.event_date >= link.seen""")


def _joined(duck: duckdb.DuckDBPyConnection, fairness: Fairness) -> pa.Table:
    listed = ", ".join(f'attributes."{name}"' for name in fairness.attributes)
    return duck.sql(f"""
        SELECT {listed} FROM persons
        ASOF LEFT JOIN attributes ON persons.person = attributes.token AND persons.event_date >= attributes.known_from
        ORDER BY persons.place""").to_arrow_table()


def _named(values: pa.Array, attribute: ProtectedAttribute, label: str, years: npt.NDArray[np.int64]) -> Groups:
    if attribute.bands:
        numbers = pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False)
        return banded(years - numbers if attribute.is_birth_year else numbers, attribute.bands, label)
    return np.array([None if value is None else f"{label}={value}" for value in values.to_pylist()], object)


def banded(numbers: npt.NDArray[np.float64], bands: Sequence[float], label: str) -> Groups:
    """The band of each number, as `age=25 to under 35`; None where it is not a number."""
    starts = sorted(bands)
    names = [f"{label}=under {starts[0]:g}"]
    names += [f"{label}={low:g} to under {high:g}" for low, high in pairwise(starts)]
    names.append(f"{label}={starts[-1]:g} and over")
    known = np.isfinite(numbers)
    found = np.array(names, object)[np.searchsorted(starts, np.where(known, numbers, 0.0), side="right")]
    found[~known] = None
    return found
