"""Reads tables whose columns were declared with other types before, if no value is lost.

After a type is widened in a declaration, old rows are cast when they are read. The next commit that changes the
table's types writes them again. So every data file has the types of its table, and every reader of Delta can read it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlglot import exp

from dataops_assets.errors import ConfigError
from dataops_assets.sql import DIALECT, alias, column, columns, query
from dataops_assets.storage.delta import DataFile, TableVersion
from dataops_assets.storage.session import TableSession

_SHOWN = 3
_DIGITS = {"TINYINT": 3, "SMALLINT": 5, "INTEGER": 10, "BIGINT": 19}


def retyped(snapshot: TableVersion | None, wanted: Mapping[str, str]) -> list[str]:
    """Return the columns whose SQL type in the table differs from the wanted one."""
    known = snapshot.columns if snapshot else {}
    return [name for name, kind in wanted.items() if known.get(name, kind) != kind]


def rows_cast_exactly(
    session: TableSession,
    snapshot: TableVersion,
    wanted: Mapping[str, str],
    only: exp.Expr | None = None,
    files: Sequence[DataFile] | None = None,
) -> exp.Expr:
    """Select a table's rows with the wanted columns in their SQL types, and all other columns.

    Only rows for which `only` holds and, if given, only rows of `files`.
    A column that the table lacks is null. Raises ConfigError where a value would not be the same in the wanted type,
    with column, count and inputs.
    """
    scan: exp.Expr = session.scan(snapshot, only=None if files is None else {file.path for file in files})
    rows = scan if only is None else query("SELECT r.* FROM $scan AS r", scan=scan).where(only)
    differing = retyped(snapshot, wanted)
    if not differing and all(name in snapshot.columns for name in wanted):
        return rows
    _require_exact(session, snapshot, rows, {name: wanted[name] for name in differing})
    given: list[exp.Expr] = []
    for name, kind in wanted.items():
        if name in differing:
            given.append(alias(_cast(column(name, "r"), kind), name))
        elif name in snapshot.columns:
            given.append(column(name, "r"))
        else:
            given.append(alias(_cast(exp.null(), kind), name))
    others = columns([name for name in snapshot.columns if name not in wanted], "r")
    found: exp.Query = query("SELECT $given FROM $rows AS r", given=[*given, *others], rows=rows)
    return found


def _require_exact(session: TableSession, snapshot: TableVersion, rows: exp.Expr, wanted: Mapping[str, str]) -> None:
    known = snapshot.columns
    doubtful = {name: kind for name, kind in wanted.items() if not _is_always_exact(known[name], kind)}
    if not doubtful:
        return
    # the same value again, when it is cast back
    lossy = {
        name: query(
            "$back IS DISTINCT FROM $value",
            back=_cast(_cast(column(name, "r"), kind), known[name]),
            value=column(name, "r"),
        )
        for name, kind in doubtful.items()
    }
    counts = [alias(query("count(CASE WHEN $lossy THEN 1 END)", lossy=each), name) for name, each in lossy.items()]
    found = session.fetch(
        query(
            "SELECT r.s_input_id, $counts FROM $rows AS r WHERE $any GROUP BY r.s_input_id ORDER BY r.s_input_id",
            counts=counts,
            rows=rows,
            any=exp.or_(*[each.copy() for each in lossy.values()]),
        )
    ).to_pylist()
    if not found:
        return
    problems = [
        f"{name}: {count:,} of type {known[name]} that are no {kind}"
        for name, kind in doubtful.items()
        if (count := sum(row[name] for row in found))
    ]
    ids = [row["s_input_id"] for row in found]
    raise ConfigError(
        f"reading {snapshot.uri} in the declared types, without losing anything",
        received=f"values in {'; '.join(problems)}; in input {_listed(ids)}",
        next_step="declare a type that holds them, or make the rows of these inputs again in one run",
    )


def _listed(ids: Sequence[str]) -> str:
    rest = len(ids) - _SHOWN
    return ", ".join(ids[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _is_always_exact(old: str, new: str) -> bool:
    """Return whether the new type holds every value of the old one; if not, the values are checked."""
    if new == "VARCHAR":
        return True
    # a date can be later than the last timestamp
    if (old, new) in (("INTEGER", "BIGINT"), ("INTEGER", "DOUBLE")):
        return True
    if not new.startswith("DECIMAL"):
        return False
    digits, places = _decimal(new)
    if old in _DIGITS:
        return digits - places >= _DIGITS[old]
    if not old.startswith("DECIMAL"):
        return False
    old_digits, old_places = _decimal(old)
    return places >= old_places and digits - places >= old_digits - old_places


def _decimal(kind: str) -> tuple[int, int]:
    digits, places = kind.strip("DECIMAL() ").split(",")
    return int(digits), int(places)


def _cast(value: exp.Expr, kind: str) -> exp.Expr:
    return exp.TryCast(this=value.copy(), to=exp.DataType.build(kind, dialect=DIALECT))
