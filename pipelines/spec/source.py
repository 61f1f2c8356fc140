"""Source contracts: expectations/<source>.yaml."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipelines.contracts import Severity
from pipelines.spec.base import Email, Fraction, Name, Strict, closest


class FilesLocation(Strict):
    """CSV or Parquet in a folder or at s3://. `{business_date}` in the path (ISO, or strftime as
    `{business_date:%Y%m%d}`) means one file per date; without it every date is cut from the same file by the contract's
    business-date column."""

    kind: Literal["files"]
    path: str
    format: Literal["csv", "parquet"]
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    encoding: Literal["utf-8", "latin-1", "utf-16"] = "utf-8"
    null_values: tuple[str, ...] = ("",)
    control: str | None = Field(
        default=None,
        description="Optional path of a JSON control file from the sender: {rows: N, totals: {column: sum}}.",
    )

    @property
    def per_date(self) -> bool:
        return "{business_date" in self.path


class PostgresLocation(Strict):
    """A table or view read by COPY in chunks. `url_variable` names the environment variable that holds the URL."""

    kind: Literal["postgres"]
    url_variable: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
    table: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?$")]


Location = Annotated[FilesLocation | PostgresLocation, Field(discriminator="kind")]


class Column(Strict):
    """One column of a source and the row rules for it. A row that breaks a rule is quarantined with the reason.

    Attributes:
        source_name: the column's name in the file, when it differs from the key used here.
        format: strptime format of a date or timestamp kept as text, e.g. `%b-%Y`.
        strip: characters removed before a number is parsed, e.g. `"%"` or `" months"`.
        token: entity whose id this is; the column becomes `<entity>_token` (keyed HMAC, 32 hex digits) and the id is gone.
        role: what the entity is in this row, where a row names two of one entity, as the counterparty of a payment is an
            account too. The column becomes `<role>_token`, hashed as the entity: one account has one token in either column.
        id_from: columns of the file that together are the id, where the file has none. Equal values are one entity, so name
            what is known from the start and never corrected. Or `line`, the row's place in the file, where nothing tells the
            rows apart: only for a file that is delivered once, as a reordered one would give everybody another's token.
        may_be_future: a timestamp column that may lie after the business date, such as a planned payment.
        known: `later` marks what is known only after the event being predicted; no feature may come from it.
        delay_days: with `known: later`, after how many days from its business date the value is known to everybody. Feature
            views then see it in rows at least that old on their own business date, and an absent value in younger ones.
        protected: goes to the protected schema only, never to the lake's ordinary tables.
        max_null_fraction: completeness of the whole table; severity as given in `severity`.
    """

    type: Literal["string", "integer", "float", "boolean", "date", "timestamp"]
    description: str = ""
    source_name: str | None = None
    format: str | None = None
    strip: str | None = None
    nullable: bool = False
    min: float | None = None
    max: float | None = None
    allowed: tuple[str, ...] | None = None
    token: Name | None = None
    role: Name | None = None
    id_from: tuple[str, ...] | Literal["line"] = ()
    may_be_future: bool = False
    known: Literal["at_event", "later"] = "at_event"
    delay_days: Annotated[int, Field(ge=1)] | None = None
    protected: bool = False
    max_null_fraction: Fraction | None = None
    severity: Severity = Severity.WARNING

    @model_validator(mode="after")
    def _rules_fit_the_type(self) -> Column:
        if (self.min is not None or self.max is not None) and self.type not in ("integer", "float"):
            raise ValueError("min and max need type integer or float")
        if self.allowed is not None and self.type != "string":
            raise ValueError("allowed needs type string")
        if self.format is not None and self.type not in ("date", "timestamp"):
            raise ValueError("format needs type date or timestamp")
        if self.token is not None and self.type not in ("string", "integer"):
            raise ValueError("token needs type string or integer")
        if self.token is not None and self.protected:
            raise ValueError("a token is not a protected column: a token gives nothing away")
        if self.role is not None and self.token is None:
            raise ValueError("role needs a token: it says what the entity of an id is in this row")
        if self.may_be_future and self.type != "timestamp":
            raise ValueError("may_be_future needs type timestamp")
        if self.delay_days is not None and (self.known != "later" or self.token is not None or self.protected):
            raise ValueError("delay_days needs known: later, and no token or protected column")
        if self.id_from and (self.token is None or self.type != "string" or self.source_name is not None):
            raise ValueError("id_from needs a token and type string, and takes the place of source_name")
        return self

    def file_columns(self, name: str) -> tuple[str, ...]:
        """The columns of the file that this column, known as `name` in the contract, is read from."""
        if self.id_from == "line":
            return ()
        return self.id_from or (self.source_name or name,)


class BusinessDateRule(Strict):
    """Which rows belong to a business date.

    Attributes:
        column: date or timestamp column; its date is the row's business date. Rows of another date are quarantined in a
            per-date file, and belong to their own date in an all-dates file. None for a per-date file without one.
        cadence: how often a date is expected; gaps are found with it, and `month` also lets a row carry any day of the
            business date's month.
        reaches_back_days: a per-date file also holds rows dated up to this many days before its business date, as one of all
            that was booked since the file before. They belong to the file's business date.
    """

    column: str | None = None
    cadence: Literal["day", "week", "month", "once"] = "day"
    reaches_back_days: Annotated[int, Field(ge=0, le=366)] = 0


class Volume(Strict):
    """Rows of a date against the median of up to `dates` earlier dates. With fewer than 3 earlier dates it is recorded,
    not judged."""

    dates: Annotated[int, Field(ge=3, le=100)] = 20
    tolerance: Annotated[float, Field(gt=0)]
    severity: Severity


class Freshness(Strict):
    """Largest allowed age in days of the newest value of `column` at the business date."""

    column: str
    max_age_days: Annotated[float, Field(ge=0)]
    severity: Severity


class Reference(Strict):
    """Share of this source's `token` values that must exist in another source, as of the business date.

    Attributes:
        token: entity of this source's id column without a role; in the other source it is looked for in the column of the
            same name.
    """

    token: Name
    source: Name
    min_fraction: Fraction
    severity: Severity


class Expectation(Strict):
    """One Great Expectations expectation, by its snake_case name, with its own arguments."""

    expect: Annotated[str, Field(pattern=r"^expect_[a-z_]+$")]
    severity: Severity
    arguments: dict[str, Any] = Field(default_factory=dict)


class Contract(Strict):
    """The contract of one source: where it is, what a row must look like, what the table as a whole must hold.

    Attributes:
        may_be_empty: a date without rows is good news for this source (no outcome arrived); elsewhere it blocks.
        repeated: what as many rows with the very same totals as the date before do: they are old rows with a new date.
    """

    source: Name
    description: str
    owner: Email
    location: Location
    business_date: BusinessDateRule
    key: tuple[str, ...] = Field(min_length=1)
    columns: dict[str, Column] = Field(min_length=1)
    extra_columns: Literal["ignore", "block"] = "ignore"
    may_be_empty: bool = False
    max_quarantined_fraction: Fraction
    totals: tuple[str, ...] = ()
    repeated: Severity = Severity.CRITICAL
    volume: Volume | None = None
    freshness: Freshness | None = None
    references: tuple[Reference, ...] = ()
    expectations: tuple[Expectation, ...] = ()

    @model_validator(mode="after")
    def _names_exist(self) -> Contract:
        asked = [("key", k) for k in self.key] + [("totals", k) for k in self.totals]
        if self.business_date.column:
            asked.append(("business_date.column", self.business_date.column))
        if self.freshness:
            asked.append(("freshness.column", self.freshness.column))
        for where, name in asked:
            if name not in self.columns:
                raise ValueError(f"{where}: {name!r} is not among columns{closest(name, self.columns)}")
        self._require_usable_columns()
        dated = self.business_date
        if dated.reaches_back_days and not (dated.column and dated.cadence in ("day", "week") and self._comes_per_date):
            raise ValueError(
                "business_date.reaches_back_days needs a column, cadence day or week, and a file per date: "
                "a row cut from one file for all dates would belong to several"
            )
        entities = [c.token for c in self.columns.values() if c.token and c.role is None]
        for reference in self.references:
            if reference.token not in entities:
                raise ValueError(f"references.token: no column has token {reference.token!r} and no role")
        if not self.business_date.column and self.business_date.cadence != "once" and not self._comes_per_date:
            raise ValueError(
                "location names no {business_date} and business_date.column is not set: "
                "the rows of a date cannot be told apart"
            )
        return self

    def _require_usable_columns(self) -> None:
        dated = [self.business_date.column, self.freshness.column if self.freshness else None]
        for name in filter(None, dated):
            if self.columns[name].type not in ("date", "timestamp"):
                raise ValueError(f"columns.{name}: a date is read from it, so its type must be date or timestamp")
        for name in self.key:
            if self.columns[name].nullable or self.columns[name].protected:
                raise ValueError(f"columns.{name}: a key column is neither nullable nor protected")
        self._require_rows_known_before_delayed_values()
        names = self._require_lake_names_apart()
        by_line = [name for name, column in self.columns.items() if column.id_from == "line"]
        if by_line and (self._comes_per_date or not isinstance(self.location, FilesLocation)):
            raise ValueError(f"columns.{by_line[0]}: id_from: line needs one file that holds all dates")
        if "business_date" in names:
            raise ValueError("columns.business_date: the lake's own name; use another with source_name: business_date")

    def _require_rows_known_before_delayed_values(self) -> None:
        if not self.delays:
            return
        if self.business_date.column in self.delays:
            raise ValueError(
                f"columns.{self.business_date.column}: the business date is known from the start, not delayed"
            )
        if self.known_later_as_a_whole:
            raise ValueError(
                "columns: delay_days hides values, not rows, and beside ids everything here is known later, so that a row "
                "exists is an answer already. Let the business date be the day it was heard of, without delay_days"
            )

    @property
    def known_later_as_a_whole(self) -> bool:
        """Whether nothing but ids is known at the event: that a row exists is already the answer."""
        columns = [column for column in self.columns.values() if not column.protected]
        return any(c.known == "later" for c in columns) and all(c.known == "later" or c.token for c in columns)

    @property
    def delays(self) -> dict[str, int]:
        """Days after which a value is known, by lake column, where it is known later and `delay_days` says when."""
        return {self.lake_name(n): c.delay_days for n, c in self.columns.items() if c.delay_days is not None}

    def _require_lake_names_apart(self) -> list[str]:
        """The lake names of all columns. Raises ValueError when two columns would be one in the lake."""
        names = [self.lake_name(name) for name in self.columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if not twice:
            return names
        clashing = [name for name in self.columns if self.lake_name(name) == twice[0]]
        entities = {self.columns[name].token for name in clashing}
        remedy = "give one another token or name"
        if len(entities) == 1:
            remedy = (
                f"both are ids of {entities.pop()!r}, so say with `role` what one of them is, e.g. role: counterparty"
            )
        raise ValueError(f"columns: more than one becomes {twice[0]!r} in the lake: {', '.join(clashing)}; {remedy}")

    @property
    def _comes_per_date(self) -> bool:
        return isinstance(self.location, FilesLocation) and self.location.per_date

    def lake_name(self, column: str) -> str:
        """Name of a contract column in the lake: `<role>_token` for an id with a role, `<entity>_token` for one without, its
        own name otherwise."""
        found = self.columns[column]
        return f"{found.role or found.token}_token" if found.token else column
