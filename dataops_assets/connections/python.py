"""Runs a Python hook: the project's own generator of extracts, for a feed that is no file.

The function is called as `function(previous, **arguments)`, where `previous` is the extract time of the newest extract
taken so far (aware, UTC) or None. It yields `Extract`s in the order of their extract times, because a look may end
after any of them, and the next look continues there. One extract at a time is in memory: yield many small extracts, not
one large extract.
"""

from __future__ import annotations

import datetime as dt
import importlib
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataops_assets.connections.python_values import column_of
from dataops_assets.errors import ConfigError, InputError, nearest

_BINARY = (bytes, bytearray, memoryview)


@dataclass(frozen=True)
class Extract:
    """One extract; it becomes one input.

    `records`: dicts (one a row), a pyarrow Table, or the bytes of a file. Bytes need a `file_name`, whose ending says
    what they are; rows and tables are kept as Parquet. No records are an input without rows. A naive `extract_time` is
    in the source's `discovery.timezone`.
    """

    extract_time: dt.datetime
    records: Iterable[Mapping[str, Any]] | pa.Table | bytes
    file_name: str = ""


Hook = Callable[..., Iterable[Extract]]


def load_hook(function: str) -> Hook:
    """Load the function of a `python` connection. Raises ConfigError when there is none."""
    return function_of(function, "connection.function")


def function_of(function: str, field: str) -> Callable[..., Any]:
    """Load the function named by 'module:function' in a declared field. Raises ConfigError when there is none."""
    module_name, colon, name = function.partition(":")
    if not colon or not module_name or not name:
        raise ConfigError(f"reading {field}", received=repr(function), next_step="write 'module:function'")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # a missing import inside the hook's module is another mistake; Python's error describes it
        if error.name is None or not (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise
        raise ConfigError(
            f"loading {field} {function!r}",
            received=f"no module {error.name!r}",
            next_step="install the project that has it, or correct the name",
        ) from error
    hook = getattr(module, name, None)
    if not callable(hook):
        known = sorted(key for key, value in vars(module).items() if callable(value) and not key.startswith("_"))
        raise ConfigError(
            f"loading {field} {function!r}",
            received=f"module {module_name!r} has no function {name!r}",
            known=known,
            next_step=nearest(name, known),
        )
    return hook


def encode(extract: Extract, function: str) -> tuple[str, bytes]:
    """Return file name and bytes of an extract.

    The same rows give the same bytes with the same version of pyarrow. Raises InputError, which names the function,
    for something that is no extract, for bytes without a usable file name, and for rows that have no common types.
    """
    attempted = f"taking an extract of {function}"
    if not isinstance(extract, Extract):
        raise InputError(attempted, received=type(extract).__name__, next_step="yield Extract objects")
    if not isinstance(extract.extract_time, dt.datetime):
        raise InputError(attempted, received=f"extract_time {extract.extract_time!r}", next_step="give a datetime")
    attempted += f" at {extract.extract_time.isoformat()}"
    name = extract.file_name
    if name and (name.strip() in (".", "..") or set(name) & set("/\\\0") or not name.isprintable()):
        raise InputError(attempted, received=f"file name {name!r}", next_step="use a plain file name")
    if isinstance(extract.records, _BINARY):
        if not name:
            raise InputError(attempted, received="bytes without a file name", next_step="set Extract.file_name")
        return name, bytes(extract.records)
    name = name or f"{function.rpartition(':')[2]}_{extract.extract_time:%Y%m%dT%H%M%S}.parquet"
    buffer = io.BytesIO()
    pq.write_table(_table(extract.records, attempted), buffer)
    return name if name.endswith(".parquet") else f"{name}.parquet", buffer.getvalue()


def _table(records: Iterable[Mapping[str, Any]] | pa.Table | bytes, attempted: str) -> pa.Table:
    if isinstance(records, pa.Table):
        return records
    if isinstance(records, (str, Mapping)) or not isinstance(records, Iterable):
        raise InputError(
            attempted,
            received=type(records).__name__,
            known=["an iterable of dicts", "a pyarrow Table", "bytes with a file name"],
            next_step="yield one of these as Extract.records",
        )
    rows = list(records)
    for row in rows:
        if not isinstance(row, Mapping):
            raise InputError(attempted, received=f"a row that is a {type(row).__name__}", known=["dict"])
    # of all rows, in order of appearance: a key that the first row lacks must not be lost
    names = dict.fromkeys(key for row in rows for key in row)
    unnamed = [name for name in names if not isinstance(name, str)]
    if unnamed:
        raise InputError(attempted, received=f"a row with the key {unnamed[0]!r}", next_step="name columns by texts")
    if rows and not names:
        raise InputError(attempted, received="rows without columns", next_step="give each row the keys of its columns")
    columns = {}
    for name in names:
        try:
            columns[name] = column_of([row.get(name) for row in rows])
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(
                attempted, received=f"column {name!r}: {error}", next_step="give all values of a column one type"
            ) from error
    return pa.table(columns)
