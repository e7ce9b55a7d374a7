"""What a data team declares about one feed: the `Source` model and its parts.

Pure pydantic: no I/O, no Dagster. Every field has a description because `dg` and editors show it.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails

from dataops_assets.config.environment import EngineName
from dataops_assets.errors import nearest

NAME = re.compile(r"^[a-z][a-z0-9_]{0,62}$")
# what Dagster takes for the name of a group
AREA = re.compile(r"^[A-Za-z0-9_]+(/[A-Za-z0-9_]+)*$")
OWNER = re.compile(r"^(team:[A-Za-z0-9_.-]+|[^@\s]+@[^@\s]+\.[^@\s]+)$")
SYSTEM_PREFIX = "s_"
Severity = Literal["warn", "fail"]


class Declared(BaseModel):
    """Base of everything a YAML file declares: unknown fields are refused, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _fields_are_known(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        known = [field.alias or name for name, field in cls.model_fields.items()]
        unknown = [key for key in data if key not in known and key not in cls.model_fields]
        # pydantic's own error tells neither what is known nor what was probably meant
        _refuse(
            cls.__name__,
            [
                ((str(key),), data[key], f"unknown field{_hint(str(key), known)}; known: {', '.join(known)}")
                for key in unknown
            ],
        )
        return data


def _hint(name: str, known: Sequence[str]) -> str:
    hint = nearest(name, known)
    return f", {hint}" if hint else ""


_Path = tuple[str | int, ...]
_Problem = tuple[_Path, Any, str]


def _refuse(title: str, problems: Sequence[_Problem]) -> None:
    """Raise one error for all problems, if there are any: where below the model, what was given, what is wrong."""
    if problems:
        raise ValidationError.from_exception_data(
            title,
            [
                InitErrorDetails(type="value_error", loc=path, input=given, ctx={"error": ValueError(message)})
                for path, given, message in problems
            ],
        )


def _as_written(path: _Path, data: Any) -> _Path:
    """An error's path without the names that pydantic adds for a chosen `type`: where it stands in the YAML file."""
    written: list[str | int] = []
    chosen = False
    for part in path[:-1]:
        # the first step into a part with a `type` is the name of that type
        chosen = not chosen and isinstance(data, Mapping) and data.get("type") == part
        if chosen:
            continue
        written.append(part)
        inside = (isinstance(data, Mapping) and part in data) or (
            isinstance(data, (list, tuple)) and isinstance(part, int) and part < len(data)
        )
        data = data[part] if inside else None
    return (*written, *path[-1:])


# --- connections -----------------------------------------------------------------------------------------------------


class CsvFormat(Declared):
    """Delimited text with all the usual trouble."""

    type: Literal["csv"] = "csv"
    delimiter: str = Field(",", min_length=1, description="Field separator.")
    quote: str = Field('"', description="Quote character; empty for none.")
    escape: str = Field('"', description="Escape character inside quoted fields.")
    encoding: str = Field("utf-8", description="Text encoding, any name Python knows (utf-8, latin-1, utf-16, ...).")
    header: bool = Field(True, description="Whether the first row (after skip_rows) names the columns.")
    skip_rows: int = Field(0, ge=0, description="Rows to skip before the header.")
    null_words: tuple[str, ...] = Field(("",), description="Texts that mean null.")
    decimal_mark: str = Field(".", description="Decimal mark of numbers.")
    thousands_mark: str = Field("", description="Thousands separator of numbers; empty for none.")

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            codecs.lookup(value)
        except (LookupError, ValueError) as error:
            raise ValueError(f"unknown encoding {value!r}; known: those of Python, such as utf-8 or latin-1") from error
        return value


class JsonFormat(Declared):
    """A JSON document: an array of objects, or an object holding one under `records`."""

    type: Literal["json"]
    records: str = Field("", description="Dotted path to the array of records; empty when the document is the array.")


class JsonLinesFormat(Declared):
    """One JSON object a line."""

    type: Literal["jsonl"]


class ParquetFormat(Declared):
    """Apache Parquet."""

    type: Literal["parquet"]


class ExcelFormat(Declared):
    """An Excel workbook (.xlsx)."""

    type: Literal["excel"]
    sheet: str = Field("", description="Sheet name; empty for the first.")
    header: bool = Field(True, description="Whether the first row (after skip_rows) names the columns.")
    skip_rows: int = Field(0, ge=0, description="Rows to skip before the header.")
    null_words: tuple[str, ...] = Field(("",), description="Texts that mean null.")


FileFormat = Annotated[
    CsvFormat | JsonFormat | JsonLinesFormat | ParquetFormat | ExcelFormat, Field(discriminator="type")
]


class ExtractTime(Declared):
    """Where an input's extract time comes from."""

    pattern: str = Field(
        "",
        description="strptime pattern matched against the file name, e.g. 'flights_%Y-%m-%d.csv'; a '*' matches any "
        "text. Empty: the file's modification time.",
    )
    otherwise: str = Field(
        "",
        description="Extract time of a file whose name does not match the pattern: an ISO 8601 date or time (UTC "
        "without an offset), e.g. of an undated history file that dated deliveries follow; 'modified' for the file's "
        "modification time. Empty: the file is refused.",
    )

    @field_validator("otherwise")
    @classmethod
    def _known_otherwise(cls, value: str) -> str:
        if value in ("", "modified"):
            return value
        try:
            datetime.fromisoformat(value)
        except ValueError as error:
            raise ValueError(f"otherwise is {value!r}; known: an ISO 8601 time, 'modified', or nothing") from error
        return value

    @property
    def otherwise_time(self) -> datetime | None:
        """`otherwise` as an aware time in UTC; None where it is not a time."""
        if self.otherwise in ("", "modified"):
            return None
        time = datetime.fromisoformat(self.otherwise)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


class FileConnection(Declared):
    """Files in a folder, glob or object store prefix; each file is one input."""

    type: Literal["files"]
    path: str = Field(
        description="Folder, glob or URL (s3://, gs://, ...). A relative path is below the deployment's landing area."
    )
    format: FileFormat = Field(CsvFormat(), description="How the bytes are laid out.")
    compression: Literal["infer", "none", "gzip", "zip", "zstd"] = Field(
        "infer", description="Compression; 'infer' goes by the file's ending."
    )
    extract_time: ExtractTime = Field(ExtractTime(), description="Where the extract time comes from.")
    settle_seconds: float = Field(
        2.0, ge=0, description="A file is taken only after size and modification time stood still for this long."
    )
    storage_options: dict[str, str] = Field({}, description="fsspec options; values may be '${ENV_NAME}'.")


class PythonConnection(Declared):
    """A Python generator: the hook for the odd feed."""

    type: Literal["python"]
    function: str = Field(
        description="'module:function'. Called with the previous extract time (or None); yields "
        "dataops_assets.connections.python.Extract objects, each one input."
    )
    arguments: dict[str, Any] = Field({}, description="Keyword arguments for the function.")


Connection = Annotated[FileConnection | PythonConnection, Field(discriminator="type")]


# --- schema contract -------------------------------------------------------------------------------------------------

COLUMN_TYPE = re.compile(
    r"^(text|boolean|integer|double|date|timestamp|timestamptz|binary|decimal\(\d{1,2},\d{1,2}\))$"
)


class Column(Declared):
    """One column of the schema contract, with its checks."""

    name: str = Field(description="Column name in the lake.")
    type: str = Field(
        "text",
        description="text, boolean, integer (64 bit), double, decimal(p,s), date, timestamp, timestamptz or binary.",
    )
    source_name: str = Field("", description="Name in the raw data when it differs.")
    renamed_from: tuple[str, ...] = Field(
        (),
        description="Earlier names in the raw data. An input may have the column under any of its names, but only one.",
    )
    description: str = Field("", description="What the column means; shown in the UI.")
    nullable: bool = Field(
        True, description="Whether nulls are allowed; a null in a non-nullable column rejects the row."
    )
    date_format: str = Field(
        "", description="strptime format for dates and timestamps in text data; empty for ISO 8601."
    )
    default: str | None = Field(None, description='SQL literal that replaces null while parsing, e.g. "0" or "\'\'".')
    tags: dict[str, str] = Field({}, description="Free tags, e.g. {pii: email}.")

    @field_validator("type")
    @classmethod
    def _known_type(cls, value: str) -> str:
        if not COLUMN_TYPE.match(value):
            raise ValueError(
                f"unknown column type {value!r}; known: text, boolean, integer, double, decimal(p,s), date, timestamp, "
                "timestamptz, binary"
            )
        return value

    @field_validator("name")
    @classmethod
    def _not_reserved(cls, value: str) -> str:
        if value.lower().startswith(SYSTEM_PREFIX):
            raise ValueError(
                f"column {value!r}: the prefix 's_' belongs to system columns; set source_name and another name"
            )
        return value

    @property
    def raw_name(self) -> str:
        """The column's name in the raw data."""
        return self.source_name or self.name

    @property
    def raw_names(self) -> tuple[str, ...]:
        """All names that the column has or had in the raw data, the present one first."""
        return (self.raw_name, *self.renamed_from)


class EvolvedColumn(Column):
    """A column that inputs have and the contract does not: nullable text, until it is declared. Never in YAML."""


class Drift(Declared):
    """What happens when an input's columns differ from the contract: one policy for each kind of difference."""

    new_column: Literal["evolve", "ignore", "fail"] = Field(
        "ignore",
        description="A column the contract does not know. 'ignore': not kept, but told; 'evolve': kept as nullable "
        "text in the lake and the hub, until it is declared; 'fail': the input fails alone.",
    )
    missing_column: Literal["evolve", "ignore", "fail"] = Field(
        "fail",
        description="A contract column the input lacks. 'fail': the input fails alone; 'ignore': nulls, and where "
        "nulls are not allowed the rows are rejected; 'evolve': nulls are allowed in that input.",
    )
    changed_type: Literal["evolve", "ignore", "fail"] = Field(
        "evolve",
        description="Values of another type than declared. 'evolve': a value that stays the same becomes the declared "
        "type, a row with any other is rejected; 'ignore': such values are left out (null) and counted; 'fail': the "
        "input fails alone. None of them ever changes a value.",
    )


class Gate(Declared):
    """A blocking contract: a pandera schema checked before the table is published."""

    contract: str = Field(
        description="'module:attribute' of a pandera DataFrameSchema or DataFrameModel, evaluated in the engine."
    )
    severity: Severity = Field("fail", description="'fail' publishes nothing; 'warn' only reports.")


# --- refresh ---------------------------------------------------------------------------------------------------------


_HISTORY = Field(False, description="Keep every version, with s_valid_from, s_valid_to, s_is_current and s_is_deleted.")
INPUT = "input"
"""Qualifier of an arriving input's columns in a custom refresh's predicate."""


class FullRefresh(Declared):
    """The newest input is the table."""

    type: Literal["full"]
    key: tuple[str, ...] = Field((), description="Key columns; without them rows are compared whole.")
    ignore_changes_in: tuple[str, ...] = Field((), description="Columns whose change alone is no change.")
    history: bool = _HISTORY
    # extracts are ordered by their extract time alone, and deletes are read from absence
    order_by: ClassVar[None] = None
    range_by: ClassVar[None] = None
    delete_when: ClassVar[str] = ""


class KeyRefresh(Declared):
    """For each key the row with the highest order wins."""

    type: Literal["key"]
    key: tuple[str, ...] = Field(min_length=1, description="Key columns.")
    order_by: str | None = Field(None, description="Column that orders a key's rows; default: the extract time.")
    delete_when: str = Field("", description="SQL predicate over the row that marks a delete.")
    ignore_changes_in: tuple[str, ...] = Field((), description="Columns whose change alone is no change.")
    history: bool = _HISTORY
    range_by: ClassVar[None] = None


class _RowsWithoutKey(Declared):
    """What types have in common whose rows are compared whole, or not at all."""

    key: ClassVar[tuple[str, ...]] = ()
    order_by: ClassVar[None] = None
    delete_when: ClassVar[str] = ""
    ignore_changes_in: ClassVar[tuple[str, ...]] = ()


class TimestampRefresh(_RowsWithoutKey):
    """An input owns the time from its earliest to its latest row; where inputs overlap, the newest owns the overlap."""

    type: Literal["timestamp"]
    range_by: str = Field(description="Column of type date, timestamp or timestamptz.")
    history: bool = _HISTORY


class SequenceRefresh(_RowsWithoutKey):
    """An input owns the numbers from its lowest to its highest; where inputs overlap, the newest owns the overlap."""

    type: Literal["sequence"]
    range_by: str = Field(description="Column of type integer, decimal (beyond 64 bits, too) or double.")
    history: bool = _HISTORY


class AppendRefresh(_RowsWithoutKey):
    """All rows of all inputs; the same bytes twice are one input."""

    type: Literal["append"]
    # rows are never superseded, so there are no versions to keep
    history: ClassVar[bool] = False
    range_by: ClassVar[None] = None


class CustomRefresh(_RowsWithoutKey):
    """A predicate says which rows an input replaces, then its own rows are added."""

    type: Literal["custom"]
    delete_where: str = Field(
        min_length=1,
        description="SQL predicate: bare columns are those of a row in the hub, input.<column> those of any row of the "
        "arriving input, e.g. 'region = input.region and day >= input.day'. A row is replaced if it holds for one.",
    )
    history: bool = _HISTORY
    range_by: ClassVar[None] = None


Refresh = Annotated[
    FullRefresh | KeyRefresh | TimestampRefresh | SequenceRefresh | AppendRefresh | CustomRefresh,
    Field(discriminator="type"),
]


_RANGED = {"timestamp": ("date", "timestamp", "timestamptz"), "sequence": ("integer", "decimal", "double")}


# --- relations, rules, validations -----------------------------------------------------------------------------------


class Comparison(Declared):
    """One further condition of a relation, e.g. {column: Date, is: ">=", related: valid_from}."""

    column: str = Field(description="This source's column.")
    is_: Literal["<", "<=", ">", ">=", "<>"] = Field(alias="is", description="How it compares: <, <=, >, >= or <>.")
    related: str = Field(description="The related source's column.")


class Relation(Declared):
    """A named join from this source to another."""

    source: str = Field(description="Name of the related source.")
    on: dict[str, str] = Field({}, description="This source's column: the related source's column that equals it.")
    where: tuple[Comparison, ...] = Field((), description="Further conditions, other than equality.")
    cardinality: Literal["to_one", "to_many"] = Field(
        "to_one",
        description="'to_one': at most one row matches; where two do, nothing is published. 'to_many': any number, "
        "and rules aggregate them.",
    )
    description: str = Field("", description="What the relation means.")

    @model_validator(mode="before")
    @classmethod
    def _on_is_a_word(cls, data: Any) -> Any:
        # YAML 1.1, which Dagster reads, takes a bare `on` for true
        if isinstance(data, Mapping) and True in data and "on" not in data:
            return {"on" if key is True else key: value for key, value in data.items()}
        return data

    @model_validator(mode="after")
    def _joins_something(self) -> Relation:
        if not self.on and not self.where:
            raise ValueError("a relation needs 'on' (columns that are equal) or 'where' (other comparisons)")
        return self

    @property
    def own_columns(self) -> tuple[str, ...]:
        """Columns of this source that decide which rows match."""
        return tuple(dict.fromkeys((*self.on, *(item.column for item in self.where))))

    @property
    def related_columns(self) -> tuple[str, ...]:
        """Columns of the related source that decide which rows match."""
        return tuple(dict.fromkeys((*self.on.values(), *(item.related for item in self.where))))


class Rule(Declared):
    """One SQL expression giving one column of the hub."""

    name: str = Field(description="Column name in the hub.")
    expression: str = Field(
        description="SQL expression; bare columns are this source's, 'relation.column' is looked up."
    )
    mode: Literal["snapshot", "keep_current"] = Field(
        "snapshot", description="'snapshot': frozen when the row is processed; 'keep_current': as if computed now."
    )
    type: str = Field("", description="Result type to cast to; empty keeps the expression's own.")
    compatible: str = Field(
        "",
        description="Another expression that reproduces a known implementation the column is compared with; it takes "
        "the place of `expression` when the source says `compatible: true`.",
    )
    description: str = Field("", description="What the column means; shown in the UI.")


class Validation(Declared):
    """A boolean rule over one row, where null counts as true, as in a SQL CHECK; or columns that tell rows apart."""

    name: str = Field(description="Validation name, shown with every failing row.")
    expression: str = Field("", description="SQL boolean expression; rows where it is false fail the validation.")
    unique: tuple[str, ...] = Field(
        (),
        description="Columns: all rows of an input fail that share their values with another row of the same input. A "
        "null is like no other value.",
    )
    severity: Literal["warn", "quarantine", "fail"] = Field(
        "warn", description="'warn' marks the row, 'quarantine' keeps it out of the hub, 'fail' stops the input."
    )
    description: str = Field("", description="Why the rule exists.")

    @model_validator(mode="after")
    def _one_of_two(self) -> Validation:
        if ("expression" in self.model_fields_set) == bool(self.unique):
            raise ValueError(f"validation {self.name!r} has either an expression or columns that are unique")
        return self


# nine digits of weeks are more than a timedelta holds
_SPAN = re.compile(r"^\s*(-?)\s*(\d{1,8})\s+(minute|hour|day|week)s?\s*$")


def _span(value: Any, info: ValidationInfo) -> Any:
    spelled = _SPAN.match(value) if isinstance(value, str) else None
    if spelled is not None:
        sign, number, unit = spelled.groups()
        return timedelta(**{f"{unit}s": int(f"{sign}{number}")})
    if value is None or isinstance(value, timedelta) or (isinstance(value, str) and "P" in value):
        return value
    raise ValueError(
        f"{info.field_name} is {value!r}; known: '1 day', '12 hours', '-30 minutes', '2 weeks', or ISO 8601 (P1D)"
    )


Span = Annotated[timedelta, BeforeValidator(_span)]
"""A length of time as a person writes it."""


class Wait(Declared):
    """Another source that must be recent enough before an input is enriched."""

    source: str = Field(description="Name of the source that is waited for.")
    within: Span = Field(
        timedelta(0),
        description="How much older than the input the newest extract in its hub may be: '1 day', '12 hours' or ISO "
        "8601 (P1D). Negative: how much newer it must be.",
    )


# --- checks ----------------------------------------------------------------------------------------------------------


class FreshnessCheck(Declared):
    """How recent the source's tables must be."""

    enabled: bool = True
    warn_after_hours: float = Field(24.0, gt=0, description="Hours without a materialization before a warning.")
    fail_after_hours: float = Field(48.0, gt=0, description="Hours without a materialization before a failure.")

    @model_validator(mode="after")
    def _ordered(self) -> FreshnessCheck:
        if self.warn_after_hours >= self.fail_after_hours:
            raise ValueError(
                f"freshness: warn_after_hours ({self.warn_after_hours}) must be below fail_after_hours "
                f"({self.fail_after_hours})"
            )
        return self

    @property
    def warn_window(self) -> timedelta:
        """`warn_after_hours` as a duration."""
        return timedelta(hours=self.warn_after_hours)

    @property
    def fail_window(self) -> timedelta:
        """`fail_after_hours` as a duration."""
        return timedelta(hours=self.fail_after_hours)


class VolumeCheck(Declared):
    """Rows (bytes for raw) of one input, against fixed limits and against the inputs before it."""

    enabled: bool = True
    severity: Severity = "warn"
    min_rows: int = Field(1, ge=0, description="Fewest rows of one input.")
    max_rows: int | None = Field(None, ge=0, description="Most rows of one input.")
    max_change_ratio: float = Field(
        10.0, gt=1, description="Largest factor, up or down, against the median of the last inputs."
    )


class SchemaCheck(Declared):
    """Columns and types of the table against the contract."""

    enabled: bool = True
    severity: Severity = "warn"


class DistributionCheck(Declared):
    """Null shares and means of one input's columns, against the inputs before it."""

    enabled: bool = True
    severity: Severity = "warn"
    max_null_share_increase: float = Field(0.2, gt=0, le=1, description="Largest rise of a column's share of nulls.")
    max_mean_shift: float = Field(
        6.0,
        gt=0,
        description="Largest shift of a numeric column's mean, in standard deviations of earlier inputs' means.",
    )
    ignore: tuple[str, ...] = Field((), description="Columns that are not looked at.")


class Checks(Declared):
    """The four kinds of check, on by default for every table of the source."""

    freshness: FreshnessCheck = FreshnessCheck()
    volume: VolumeCheck = VolumeCheck()
    table_schema: SchemaCheck = Field(SchemaCheck(), alias="schema")
    distribution: DistributionCheck = DistributionCheck()

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @property
    def look_at_tables(self) -> bool:
        """Whether any check looks at what a step wrote."""
        return self.volume.enabled or self.table_schema.enabled or self.distribution.enabled


class DeleteGuard(Declared):
    """When an input is held that would delete rows by not containing them. One that is approved goes on."""

    max_share: float = Field(0.2, ge=0, le=1, description="Largest share of the table; 1 holds nothing.")
    min_rows: int = Field(50, ge=1, description="Fewer rows than these are never held.")


class Gates(Declared):
    """What must hold before anything is published: contracts by layer, and a limit to implied deletes."""

    lake: Gate | None = Field(None, description="Checked on parsed rows before the lake is written.")
    hub: Gate | None = Field(None, description="Checked on enriched rows before the hub is changed.")
    current: Gate | None = Field(None, description="Checked on recalculated rows before sales_current is changed.")
    deletes: DeleteGuard = Field(DeleteGuard(), description="Limit to the deletes that an input implies.")


class Discovery(Declared):
    """How new inputs are found."""

    every_seconds: int = Field(30, ge=5, description="Seconds between two looks of the sensor.")
    inputs_per_run: int = Field(
        500, ge=1, description="Most inputs in one run; a history is loaded in runs of this size."
    )
    schedule: str = Field(
        "", description="Cron expression; when set, the source is looked at then instead of by the sensor."
    )
    timezone: str = Field("UTC", description="IANA zone of the cron expression and of naive extract times.")


class Retention(Declared):
    """How long what is not needed any more is kept. `dataops vacuum` removes it."""

    superseded_inputs: Span | None = Field(
        None,
        ge=timedelta(0),
        le=timedelta(days=36_500),
        description="How much older than the newest an input must be to be settled: what it brought to the hub stays, "
        "and everything else of it is removed. A settled input cannot come again, be removed or be corrected, and "
        "nothing as old is taken any more. '90 days', '12 weeks' or ISO 8601 (P90D). Without it all inputs are kept.",
    )
    versions: Span = Field(
        timedelta(days=7),
        ge=timedelta(0),
        le=timedelta(days=36_500),
        description="How long a version of a table can be read after a newer one took its place.",
    )


# --- the source ------------------------------------------------------------------------------------------------------


class Source(Declared):
    """A declared feed with a table shape."""

    name: str = Field(description="Source name: lower case letters, digits and underscores.")
    area: str = Field(description="Subject area; the group in the Dagster UI.")
    description: str = Field("", description="What one row is, where it comes from.")
    owners: tuple[str, ...] = Field((), description="E-mail addresses or 'team:name'.")
    connection: Connection = Field(description="Where the data comes from.")
    columns: tuple[Column, ...] = Field(min_length=1, description="The schema contract, in order.")
    drift: Drift = Field(Drift(), description="What happens when an input's columns differ.")
    refresh: Refresh = Field(description="How inputs make the hub.")
    relations: dict[str, Relation] = Field({}, description="Named joins to other sources.")
    compatible: bool = Field(False, description="Whether rules use their `compatible` expression where they have one.")
    rules: tuple[Rule, ...] = Field((), description="Derived columns.")
    validations: tuple[Validation, ...] = Field((), description="Row rules with a severity.")
    waits_for: tuple[Wait, ...] = Field(
        (), description="Sources that must be recent enough before an input is enriched."
    )
    gates: Gates = Field(Gates(), description="Blocking contracts.")
    checks: Checks = Field(Checks(), description="The four kinds of check.")
    discovery: Discovery = Field(Discovery(), description="How new inputs are found.")
    retention: Retention = Field(Retention(), description="How long inputs and old versions are kept.")
    engine: EngineName | None = Field(
        None, description="Where its steps run: duckdb or spark; by default the deployment's DATAOPS_ENGINE."
    )

    @model_validator(mode="wrap")
    @classmethod
    def _errors_stand_where_they_are_written(cls, data: Any, handler: ModelWrapValidatorHandler[Source]) -> Source:
        try:
            return handler(data)
        except ValidationError as error:
            raise ValidationError.from_exception_data(
                error.title,
                [
                    InitErrorDetails(
                        type=item["type"],
                        loc=_as_written(item["loc"], data),
                        input=item["input"],
                        ctx=item.get("ctx", {}),
                    )
                    for item in error.errors(include_url=False)
                ],
            ) from error

    @field_validator("name")
    @classmethod
    def _safe_name(cls, value: str) -> str:
        if not NAME.match(value):
            raise ValueError(f"source name {value!r} must match {NAME.pattern}")
        return value

    @field_validator("area")
    @classmethod
    def _known_area(cls, value: str) -> str:
        if not AREA.match(value):
            raise ValueError(f"area {value!r} must match {AREA.pattern}")
        return value

    @field_validator("owners")
    @classmethod
    def _known_owners(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for owner in value:
            if not OWNER.match(owner):
                raise ValueError(f"owner {owner!r} is neither an e-mail address nor 'team:name'")
        return value

    @field_validator("rules")
    @classmethod
    def _chosen_expressions(cls, rules: tuple[Rule, ...], info: ValidationInfo) -> tuple[Rule, ...]:
        # settled here, so that everything that reads rules sees the one expression that is in force
        if not info.data.get("compatible"):
            return rules
        return tuple(
            rule.model_copy(update={"expression": rule.compatible, "compatible": ""}) if rule.compatible else rule
            for rule in rules
        )

    @model_validator(mode="after")
    def _parts_fit(self) -> Source:
        _refuse(
            "Source",
            [
                *self._repeated_names(),
                *self._repeated_raw_names(),
                *self._unknown_columns(),
                *self._unfit_ranges(),
                *self._idle_parts(),
            ],
        )
        return self

    def _repeated_names(self) -> Iterator[_Problem]:
        named: list[tuple[_Path, str]] = [(("columns", i, "name"), item.name) for i, item in enumerate(self.columns)]
        named += [(("rules", i, "name"), item.name) for i, item in enumerate(self.rules)]
        # a path that could follow one relation or another would be followed by chance
        related: list[tuple[_Path, str]] = [(("relations", name), name) for name in self.relations]
        for what, names in (("column or rule", named), ("relation", related)):
            seen: set[str] = set()
            for path, name in names:
                if name.lower() in seen:
                    yield path, name, f"{what} {name!r} is declared twice (case is ignored)"
                seen.add(name.lower())

    def _repeated_raw_names(self) -> Iterator[_Problem]:
        # two columns may be read from one that is there, but an earlier name must belong to one column alone
        for i, item in enumerate(self.columns):
            others = {name for other in self.columns if other is not item for name in other.raw_names}
            for j, name in enumerate(item.renamed_from):
                if name in others or item.raw_names.index(name) != j + 1:
                    message = f"{name!r} is the raw name of another column, or twice one of this"
                    yield ("columns", i, "renamed_from", j), name, message

    def _unknown_columns(self) -> Iterator[_Problem]:
        names = [column.name for column in self.columns]
        used: dict[_Path, tuple[str, ...]] = {("refresh", "key"): self.refresh.key}
        if self.refresh.order_by is not None:
            used["refresh", "order_by"] = (self.refresh.order_by,)
        if self.refresh.range_by is not None:
            used["refresh", "range_by"] = (self.refresh.range_by,)
        used["refresh", "ignore_changes_in"] = self.refresh.ignore_changes_in
        for index, validation in enumerate(self.validations):
            used["validations", index, "unique"] = validation.unique
        for relation_name, relation in self.relations.items():
            used["relations", relation_name, "on"] = tuple(relation.on)
            used["relations", relation_name, "where"] = tuple(item.column for item in relation.where)
        for path, columns in used.items():
            for column in columns:
                if column not in names:
                    field = ".".join(map(str, path))
                    message = f"{field} names {column!r}{_hint(column, names)}; known columns: {', '.join(names)}"
                    yield path, column, message

    def _unfit_ranges(self) -> Iterator[_Problem]:
        fit = _RANGED.get(self.refresh.type)
        found = next((item for item in self.columns if item.name == self.refresh.range_by), None)
        if fit is None or found is None or found.type.split("(")[0] in fit:
            return
        message = f"column {found.name!r} is {found.type}; a {self.refresh.type} refresh needs {' or '.join(fit)}"
        yield ("refresh", "range_by"), found.name, message

    def _idle_parts(self) -> Iterator[_Problem]:
        if self.gates.current is not None and not self.keep_current_rules:
            message = "nothing is checked by it, because no rule is of mode keep_current; known: lake, hub"
            yield ("gates", "current"), self.gates.current.contract, message
        if self.retention.superseded_inputs is not None and (needed := self._why_all_inputs_are_needed()):
            yield ("retention", "superseded_inputs"), self.retention.superseded_inputs, needed

    def _why_all_inputs_are_needed(self) -> str:
        """Why no input of this refresh type is ever superseded; empty where one can be."""
        if isinstance(self.refresh, AppendRefresh):
            return "no input is ever superseded, because the hub of type append has all rows of all inputs"
        if self.refresh.history:
            return "no input is ever superseded, because with history every version stays in the hub"
        if self.refresh.order_by is not None:
            return "no input is ever superseded, because with order_by a row of any age may still come between its rows"
        return ""

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the contract's columns, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def snapshot_rules(self) -> tuple[Rule, ...]:
        """Rules whose values freeze when a row is processed."""
        return tuple(rule for rule in self.rules if rule.mode == "snapshot")

    @property
    def keep_current_rules(self) -> tuple[Rule, ...]:
        """Rules that are recalculated; they make the asset `hub/<source>_current` exist."""
        return tuple(rule for rule in self.rules if rule.mode == "keep_current")
