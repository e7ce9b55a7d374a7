"""Raw rows for the engine: the arguments and results that all format readers share.

A reader turns the files of many inputs into a few queries, one for all files with the same columns. Files that the
engine cannot read directly (irregular text, workbooks) are first rewritten, row by row, as a Parquet file of texts.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from sqlglot import exp

from dataops_assets.engines.base import Session
from dataops_assets.errors import DataOpsError, InputError
from dataops_assets.sql import Relation, alias, column, literal, query

DELIVER_AGAIN = "the file is damaged or incomplete: deliver it again"
"""The next step for bytes that are not what their format says."""
_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class RawFile:
    """The uncompressed bytes of one input. `name` is the file name that errors show, `path` is the present location."""

    input_id: str
    name: str
    path: Path

    def refused(self, received: str, next_step: str = "") -> InputError:
        """Make the error that this file cannot be read."""
        return InputError(f"reading {self.name}", received=received, next_step=next_step)


@dataclass(frozen=True)
class RawField:
    """One field of raw rows: its name in the raw data, its column in the query, its SQL type.

    `null_words` are texts in it that mean null and are not null in the query yet.
    """

    name: str
    column: str
    type: str = "VARCHAR"
    null_words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """The fields of raw rows that are read.

    `names` are the contract's raw names in order; without a header they are the names of the fields. `earlier` are
    names that its columns had before. With `every`, all fields are read. `null_words` are the null words of the columns
    that have their own, by raw name. `presences` are the names of fields whose presence in a record is wanted, by the
    name of the field that says so.
    """

    names: Sequence[str]
    earlier: Sequence[str] = ()
    every: bool = False
    null_words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    presences: Mapping[str, str] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        """Return whether a field of this name is read."""
        return self.every or self.knows(name)

    def knows(self, name: str) -> bool:
        """Return whether the contract has a column of this name, now or earlier."""
        return name in self.names or name in self.earlier


@dataclass(frozen=True)
class RawRows:
    """Rows of all inputs that share their fields.

    `query` gives s_input_id, s_row_id (0-based position in the input), s_line (1-based line or sheet row, null where
    not known), s_problem (null, or why the row has no fields), s_record (the raw record as JSON text, set where
    s_problem is) and the columns of `fields`. `is_typed`: the files declare the types of their fields.
    """

    input_ids: tuple[str, ...]
    fields: tuple[RawField, ...]
    query: exp.Query
    is_typed: bool = False

    @functools.cached_property
    def by_name(self) -> Mapping[str, RawField]:
        """Return the fields by their raw name."""
        return {item.name: item for item in self.fields}


class ControlTotal(NamedTuple):
    """A total that a control line tells: its name (`rows`, `all_rows`, or a column), its text, and its notation."""

    name: str
    text: str
    place: str
    decimal_mark: str
    thousands_mark: str


@dataclass
class Reading:
    """The result of a reader: rows, each input's columns in raw order, and the inputs that cannot be read.

    `records` is the number of records of each input, counted independently of the rows; `filtered` of them are of
    types that the source does not take, and not among the rows. `unnamed` are the columns of
    the header without a name in the input. `undeclared` is the number of values of each column that is not wanted.
    `totals` are what the control lines of an input tell.
    """

    rows: list[RawRows] = field(default_factory=list)
    headers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    records: dict[str, int] = field(default_factory=dict)
    filtered: dict[str, int] = field(default_factory=dict)
    unnamed: dict[str, frozenset[str]] = field(default_factory=dict)
    undeclared: dict[str, dict[str, int]] = field(default_factory=dict)
    totals: dict[str, tuple[ControlTotal, ...]] = field(default_factory=dict)
    errors: dict[str, DataOpsError] = field(default_factory=dict)

    def join(self, other: Reading) -> None:
        """Add the result of another reading of other inputs."""
        self.rows += other.rows
        self.headers |= other.headers
        self.records |= other.records
        self.filtered |= other.filtered
        self.unnamed |= other.unnamed
        self.undeclared |= other.undeclared
        self.totals |= other.totals
        self.errors |= other.errors


class Record(NamedTuple):
    """One raw record: its fields as texts. If it cannot be read, it has a `problem` and its `raw` form as JSON instead.

    `quoted` are the positions of fields that were in quotes, if the caller asked for them.
    """

    line: int
    fields: Sequence[str | None]
    problem: str | None = None
    raw: str | None = None
    quoted: Sequence[int] = ()


class Staging:
    """A session and a folder of temporary files, with unique names."""

    def __init__(self, session: Session, folder: Path) -> None:
        self.session = session
        self._folder = folder
        self._numbers = itertools.count()

    def name(self) -> str:
        """Return a fresh name for a table that the engine makes while it reads."""
        return f"s_staged_{next(self._numbers)}"

    def path(self) -> Path:
        """Return a fresh path for a temporary file."""
        return self._folder / f"staged_{next(self._numbers)}"

    def rewrite(self, width: int, records: Iterable[Record]) -> Path:
        """Write records with `width` text fields to a Parquet file, in order. Memory holds one batch."""
        path = self.path()
        names = [field_name(index) for index in range(width)]
        schema = pa.schema(
            [(name, pa.string()) for name in names]
            + [("s_line", pa.int64()), ("s_problem", pa.string()), ("s_record", pa.string())]
        )
        remaining = iter(records)
        nothing = [None] * width
        with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False, write_statistics=False) as writer:
            while batch := list(itertools.islice(remaining, _ROWS_AT_ONCE)):
                rows = [nothing if record.problem else record.fields for record in batch]
                arrays = [pa.array(values, pa.string()) for values in zip(*rows, strict=True)] if width else []
                arrays += [
                    pa.array([record.line for record in batch], pa.int64()),
                    pa.array([record.problem for record in batch], pa.string()),
                    pa.array([record.raw for record in batch], pa.string()),
                ]
                writer.write_batch(pa.record_batch(arrays, schema=schema))
        return path

    def rewritten(self, files: Iterable[tuple[Path, RawFile, tuple[str, ...]]]) -> list[RawRows]:
        """Return the rows of files from `rewrite`, given with their field names; one query for each set of names."""
        alike: dict[tuple[str, ...], dict[Path, RawFile]] = {}
        for path, file, names in files:
            alike.setdefault(names, {})[path] = file
        return [self._rewritten(some, names) for names, some in alike.items()]

    def _rewritten(self, files: Mapping[Path, RawFile], names: Sequence[str]) -> RawRows:
        inputs = self.register({path: (item.input_id,) for path, item in files.items()})
        fields = tuple(RawField(name, field_name(index)) for index, name in enumerate(names))
        rows = query(
            "SELECT i.s_input_id, r.file_row_number AS s_row_id, r.s_line, r.s_problem, r.s_record, $fields "
            "FROM read_parquet($paths, file_row_number = true, filename = true, hive_partitioning = false) AS r "
            "JOIN $inputs AS i ON i.s_file = r.filename",
            fields=[column(item.column, "r") for item in fields],
            paths=paths(files),
            inputs=inputs,
        )
        return RawRows(tuple(item.input_id for item in files.values()), fields, rows)

    def held(self, rows: exp.Query, input_ids: Iterable[str], fields: Sequence[RawField]) -> dict[str, dict[str, int]]:
        """Count the values of the fields in `rows` by input and field name, without null words."""
        held: dict[str, dict[str, int]] = {input_id: {item.name: 0 for item in fields} for input_id in input_ids}
        if not fields:
            return held
        counts = []
        for item in fields:
            value = column(item.column, "r")
            is_held = query("$value IS NOT NULL", value=value)
            if item.null_words and item.type == "VARCHAR":
                words = [literal(word) for word in item.null_words]
                is_held = query("$value NOT IN ($words)", value=value, words=words)
            counts.append(alias(exp.func("count_if", is_held), item.column))
        found = query("SELECT r.s_input_id, $counts FROM $rows AS r GROUP BY r.s_input_id", counts=counts, rows=rows)
        for row in self.session.fetch(found).to_pylist():
            for item in fields:
                held[row["s_input_id"]][item.name] += row[item.column] or 0
        return held

    def register(self, files: Mapping[Path, tuple[str, int, int] | tuple[str]]) -> Relation:
        """Make a small table of files: s_file, s_input_id and, if given, s_lines and s_skip."""
        texts = [str(path) for path in files]
        facts = list(zip(*files.values(), strict=True))
        columns = {"s_file": pa.array(texts, pa.string()), "s_input_id": pa.array(facts[0], pa.string())}
        for key, values in zip(("s_lines", "s_skip"), facts[1:], strict=False):
            columns[key] = pa.array(values, pa.int64())
        return self.session.register(pa.table(columns))


def presence_fields(presences: Mapping[str, str]) -> tuple[RawField, ...]:
    """Return the fields that say whether other fields are there, see `Wanted.presences`."""
    return tuple(RawField(name, f"s_there_{index}", "BOOLEAN") for index, name in enumerate(presences))


def field_name(index: int) -> str:
    """Return the query column of the raw field at this position; raw names may repeat or differ only in case."""
    return f"f{index}"


def paths(files: Iterable[Path]) -> exp.Expression:
    """Return a SQL list of paths."""
    return exp.array(*[literal(str(path)) for path in files])


def no_text(name: str) -> exp.Expression:
    """Return a null text column."""
    return alias(exp.cast(exp.null(), "VARCHAR"), name)
