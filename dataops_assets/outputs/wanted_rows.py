"""Computes the rows to deliver to a target, and the keys that left the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
from sqlglot import exp

from dataops_assets.engines.duckdb import DuckDBSession
from dataops_assets.errors import InputError
from dataops_assets.outputs.mapping import Compiled, rows_kept
from dataops_assets.outputs.position import Position
from dataops_assets.outputs.table_rows import TableRows
from dataops_assets.sql import Relation, alias, column, columns, conjunction, query

_EXAMPLES = 3


@dataclass(frozen=True)
class Wanted:
    """What a target must get.

    * `rows`: the rows as they should be: all of them, or those of the keys that changed.
    * `gone`: the keys that changed and have no row; None if `rows` are all rows, and every other key is gone.
    * `count`: rows in `rows`. `total`: all rows that the target should have in the end.
    """

    rows: Relation
    gone: Relation | None
    count: int
    total: int

    @property
    def is_whole(self) -> bool:
        """Return whether `rows` are all rows."""
        return self.gone is None


def wanted(session: DuckDBSession, item: Compiled, table: TableRows, before: Position | None) -> Wanted:
    """Return the rows and keys for a target at the position `before`; all rows if that is None.

    Raises InputError for a value that does not fit its type, for a null key, and for a key that two rows have.
    """
    kept = rows_kept(item, table.rows())
    total = _examined(session, item, table)
    changed = table.changed(before.known_as) if before is not None and before.known_as is not None else None
    if changed is None:
        rows = session.create(kept)
        _refuse_twice(session, item, rows)
        return Wanted(rows, None, total, total)
    identity = query("SELECT DISTINCT $key FROM $changed AS r", key=item.selected(item.key), changed=changed)
    given = [query("NOT $value IS NULL", value=column(name, "i")) for name in item.key]
    keys = session.create(
        query("SELECT * FROM $identity AS i WHERE $given", identity=identity, given=conjunction(given))
    )
    found = query("SELECT w.* FROM $kept AS w SEMI JOIN $keys AS k ON $same", kept=kept, keys=keys, same=same(item.key))
    rows = session.create(found)
    _refuse_twice(session, item, rows)
    gone = query("SELECT k.* FROM $keys AS k ANTI JOIN $rows AS w ON $same", keys=keys, rows=rows, same=same(item.key))
    return Wanted(rows, session.create(gone), count(session, rows), total)


def same(key: Sequence[str], left: str = "w", right: str = "k") -> exp.Expr:
    """Return the condition that two rows have the same key."""
    return conjunction(exp.EQ(this=column(name, left), expression=column(name, right)) for name in key)


def count(session: DuckDBSession, rows: Relation) -> int:
    """Return the number of rows."""
    return int(session.fetch(query("SELECT count(*) AS n FROM $rows AS t", rows=rows)).column("n")[0].as_py())


def _examined(session: DuckDBSession, item: Compiled, table: TableRows) -> int:
    """Return the number of rows to deliver. Raises InputError for values that do not fit, and for null keys."""
    counts = [alias(query("count(*)"), "s_rows")]
    wrong: dict[str, exp.Expr] = {}
    for name, uncast in item.casts.items():
        wrong[name] = query("NOT $given IS NULL AND $cast IS NULL", given=uncast.copy(), cast=item.values[name].copy())
    for name in item.key:
        if name not in wrong:
            wrong[name] = query("$value IS NULL", value=item.values[name].copy())
    counts += [alias(query("count_if($fault)", fault=fault), name) for name, fault in wrong.items()]
    asked: exp.Select = query("SELECT $counts FROM $rows AS r", counts=counts, rows=table.rows())
    found = session.fetch(asked if item.keeps is None else asked.where(item.keeps.copy())).to_pylist()[0]
    for name, fault in wrong.items():
        if found[name]:
            raise _unfit(session, item, table, name, fault, found[name])
    return int(found["s_rows"])


def _unfit(
    session: DuckDBSession, item: Compiled, table: TableRows, name: str, fault: exp.Expr, rows: int
) -> InputError:
    shown = item.casts.get(name)
    if shown is None:
        return InputError(
            f"delivering column {name!r}",
            received=f"{rows:,} rows without a value, and it is part of the key",
            next_step="choose another key, or leave such rows out by keep_when",
        )
    asked: exp.Select = query(
        "SELECT DISTINCT CAST($shown AS VARCHAR) AS v FROM $rows AS r ORDER BY 1 LIMIT $n",
        shown=shown.copy(),
        rows=table.rows(),
        n=_EXAMPLES,
    ).where(fault.copy())
    examples = session.fetch(asked if item.keeps is None else asked.where(item.keeps.copy())).column("v").to_pylist()
    return InputError(
        f"delivering column {name!r} as {item.columns[name]}",
        received=f"{rows:,} values that do not fit; e.g. {', '.join(map(repr, examples))}",
        next_step="choose another type, or an expression that gives each value one; nothing was delivered",
    )


def _refuse_twice(session: DuckDBSession, item: Compiled, rows: Relation) -> None:
    if not item.key:
        return
    twice = query(
        "SELECT $key, count(*) AS s_rows FROM $rows AS w GROUP BY $same HAVING count(*) > 1",
        key=columns(item.key, "w"),
        same=columns(item.key, "w"),
        rows=rows,
    )
    found = session.fetch(
        query("SELECT t.*, count(*) OVER () AS s_keys FROM $twice AS t ORDER BY ALL LIMIT $n", twice=twice, n=_EXAMPLES)
    ).to_pylist()
    if found:
        examples = "; ".join(", ".join(f"{name}={row[name]!r}" for name in item.key) for row in found)
        raise InputError(
            "delivering rows by their key",
            received=f"{found[0]['s_keys']:,} keys that occur in more than one row; e.g. {examples}",
            next_step=f"choose a key that identifies a row; now it is {', '.join(item.key)}",
        )


def batches(session: DuckDBSession, rows: exp.Query, size: int = 50_000) -> pa.RecordBatchReader:
    """Return the rows of a query in portions."""
    return session.execute(rows).to_arrow_reader(size)
