"""Delivers to a table of a database: rows and position in one transaction, which is compared before it is committed.

So a delivery that is killed, fails, or does not give the rows that it should, leaves the target as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlglot import exp

from dataops_assets.config.outputs import Output, TableTarget
from dataops_assets.connections.databases.opening import require_declared, written
from dataops_assets.connections.databases.writing import Writer, insertion, temporary
from dataops_assets.engines.duckdb import DuckDBSession
from dataops_assets.outputs.contents import Reading, content_of
from dataops_assets.outputs.context import OutputContext
from dataops_assets.outputs.delivery import Delivered, Target, outcome
from dataops_assets.outputs.mapping import Compiled
from dataops_assets.outputs.position import Position
from dataops_assets.outputs.table_rows import TableRows
from dataops_assets.outputs.table_structure import fit, positions_beside
from dataops_assets.outputs.wanted_rows import Wanted, batches, wanted
from dataops_assets.sql import alias, column, columns, conjunction, identifier, query

_STAGED = "s_staged"
_GONE = "s_gone"
_LOCKING = ("postgres", "mysql")
# a row is locked by changing it there
_LOCKING_BY_UPDATE = ("snowflake",)


def deliver_to_table(context: OutputContext, target: TableTarget, opened: Target) -> Delivered:
    """Bring a table up to date, and return what was done.

    If the comparison fails, nothing was done, and the outcome in the result says so. Raises ConfigError, InputError and
    StorageError.
    """
    declared = require_declared(target.database, context.databases)
    with written(declared) as writer:
        return _Delivery(context, target, writer, opened).run()


@dataclass(frozen=True)
class _Changes:
    """How many rows of the target were inserted, updated, and removed or flagged."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0


class _Delivery:
    """One delivery: the structure, the position under a lock, the rows, the comparison, the commit."""

    def __init__(self, context: OutputContext, target: TableTarget, writer: Writer, opened: Target) -> None:
        self._context = context
        self._output: Output = context.output
        self._target = target
        self._writer = writer
        self._opened = opened
        self._item: Compiled = opened.compiled
        self._flag = self._output.deleted_column if self._output.deletes == "soft" else ""

    def run(self) -> Delivered:
        """Deliver. The version of the table is chosen after the position is locked, so that no older one follows."""
        self._table = fit(self._writer, self._output, self._target, self._item)
        self._prepare()
        self._writer.begin()
        before = self._lock()
        with self._opened.rows() as (session, table):
            now, read = self._opened.position(table, before), self._opened.read(table)
            if before is not None and before.is_at(now) and self._live() == before.rows:
                return Delivered(before, 0, {"rows": before.rows}, (outcome(self._context, ""),), False, read)
            found = self._wanted(session, table, before, now)
            self._load(session, _STAGED, found.rows.reference, self._item.columns)
            if found.gone is not None:
                keys = {name: self._item.columns[name] for name in self._item.key}
                self._load(session, _GONE, found.gone.reference, keys)
            was = self._all()
            changes = self._merge(found) if self._item.key else self._replace(was, found)
            problem = self._compared(session, found, was + changes.inserted)
        now = replace(now, rows=was + changes.inserted if self._output.deletes == "ignore" else found.total)
        counts = {"rows": found.total, **changes.__dict__}
        checked = (outcome(self._context, problem, rows=now.rows, compared=found.count),)
        if problem:
            return Delivered(now, found.count, counts, checked, False)
        self._remember(now)
        self._writer.commit()
        return Delivered(now, found.count, counts, checked, True, read)

    def _wanted(self, session: DuckDBSession, table: TableRows, before: Position | None, now: Position) -> Wanted:
        """Return the changes since the position, or all rows if it does not say what the target has."""
        is_known = before is not None and (before.source, before.mapping) == (now.source, now.mapping)
        # rows that others removed or added are found by comparing all of them
        is_known = is_known and before is not None and self._live() == before.rows
        return wanted(session, self._item, table, before if is_known and self._output.mode == "incremental" else None)

    # --- position ----------------------------------------------------------------------------------------------------

    def _lock(self) -> Position | None:
        """Lock the position of this output, and return it; None if nothing was delivered."""
        positions = positions_beside(self._table)
        name = exp.Literal.string(self._output.name)
        free = query(
            "SELECT $name WHERE NOT EXISTS (SELECT 1 FROM $t AS p WHERE p.output = $name)", name=name, t=positions
        )
        self._writer.run(insertion(positions, ["output"], free))
        asked: exp.Select = query(
            "SELECT p.source, p.version, p.commit_id, p.mapping, p.delivery, p.delivered_rows FROM $t AS p "
            "WHERE p.output = $name",
            t=positions,
            name=name,
        )
        if self._writer.dialect in _LOCKING_BY_UPDATE:
            self._writer.run(self._positioned({"output": self._output.name}))
            # no key is enforced there: after two first deliveries at once, one of two rows has the position
            asked = asked.order_by(exp.Ordered(this=column("delivery", "p"), desc=True, nulls_first=False))
        found = self._writer.fetch(asked.lock() if self._writer.dialect in _LOCKING else asked)[0]
        source, version, commit_id, mapping, delivery, rows = found
        if source is None:
            return None
        return Position(source, None if version is None else int(version), commit_id, mapping, int(delivery), int(rows))

    def _remember(self, now: Position) -> None:
        values = {
            "source": now.source,
            "version": now.version,
            "commit_id": now.commit_id,
            "mapping": now.mapping,
            "delivery": now.delivery,
            "delivered_rows": now.rows,
        }
        self._writer.run(self._positioned(values))

    def _positioned(self, values: Mapping[str, str | int | None]) -> exp.Update:
        """Return the statement that gives the position of this output these values."""
        return exp.Update(
            this=positions_beside(self._table),
            expressions=[
                exp.EQ(this=exp.column(identifier(name)), expression=exp.convert(value))
                for name, value in values.items()
            ],
            where=exp.Where(
                this=exp.EQ(this=exp.column(identifier("output")), expression=exp.Literal.string(self._output.name))
            ),
        )

    # --- rows --------------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Make the temporary tables, with an index for databases that join row by row."""
        key = list(self._item.key)
        for name, names in {_STAGED: list(self._item.columns), _GONE: key}.items():
            if not names:
                continue
            self._writer.run(temporary(name, names, self._table))
            if key and self._writer.dialect in ("mysql", "sqlite"):
                index = exp.Index(
                    this=identifier(f"{name}_key"),
                    table=exp.table_(name, quoted=True),
                    params=exp.IndexParameters(columns=[column(item) for item in key]),
                )
                self._writer.run(exp.Create(this=index, kind="INDEX"))

    def _load(self, session: DuckDBSession, name: str, rows: exp.Expr, types: Mapping[str, str]) -> None:
        wires = [alias(self._writer.wire(column(item, "t"), kind), item) for item, kind in types.items()]
        sent = query("SELECT $wires FROM $rows AS t", wires=wires, rows=rows)
        self._writer.load(exp.table_(name, quoted=True), list(types), batches(session, sent))

    def _replace(self, was: int, found: Wanted) -> _Changes:
        """Replace all rows of a table without a key, in this transaction."""
        self._writer.run(exp.Delete(this=self._table.copy()))
        self._insert()
        return _Changes(found.count, 0, was)

    def _insert(self, only: exp.Expr | None = None) -> int:
        names = list(self._item.columns)
        flag = [exp.false()] if self._flag else []
        rows: exp.Select = query(
            "SELECT $values FROM $staged",
            values=[*columns(names, _STAGED), *flag],
            staged=exp.table_(_STAGED, quoted=True),
        )
        into = [*names, self._flag] if self._flag else names
        return self._writer.run(insertion(self._table, into, rows if only is None else rows.where(only)))

    def _merge(self, found: Wanted) -> _Changes:
        """Update rows that differ, insert rows that are new, and remove or flag keys that are gone."""
        here = self._table.name
        others = [name for name in self._item.columns if name not in self._item.key]
        changed: dict[str, exp.Expr] = {name: column(name, _STAGED) for name in others}
        if self._flag:
            changed[self._flag] = exp.false()
        updated = 0
        if changed:
            differs = [
                query("$old IS DISTINCT FROM $new", old=column(name, here), new=value.copy())
                for name, value in changed.items()
            ]
            updated = self._writer.run(
                exp.Update(
                    this=self._table.copy(),
                    expressions=[exp.EQ(this=exp.column(identifier(n)), expression=v) for n, v in changed.items()],
                    from_=exp.From(this=exp.table_(_STAGED, quoted=True)),
                    where=exp.Where(this=exp.and_(self._same(_STAGED), exp.or_(*differs))),
                )
            )
        is_new = query("NOT EXISTS (SELECT 1 FROM $t WHERE $same)", t=self._table, same=self._same(_STAGED))
        inserted = self._insert(is_new)
        return _Changes(inserted, updated, self._delete(found))

    def _delete(self, found: Wanted) -> int:
        if self._output.deletes == "ignore":
            return 0
        gone = self._gone(found)
        if not self._flag:
            return self._writer.run(exp.Delete(this=self._table.copy(), where=exp.Where(this=gone)))
        return self._writer.run(
            exp.Update(
                this=self._table.copy(),
                expressions=[exp.EQ(this=exp.column(identifier(self._flag)), expression=exp.true())],
                where=exp.Where(this=exp.and_(gone, self._unflagged())),
            )
        )

    def _gone(self, found: Wanted) -> exp.Expr:
        """Return the condition on the target's rows that their key left the table."""
        name = _STAGED if found.gone is None else _GONE
        found_there: exp.Expr = query(
            "EXISTS (SELECT 1 FROM $keys WHERE $same)", keys=exp.table_(name, quoted=True), same=self._same(name)
        )
        return found_there if found.gone is not None else exp.not_(found_there)

    def _same(self, other: str) -> exp.Expr:
        here = self._table.name
        return conjunction(exp.EQ(this=column(name, other), expression=column(name, here)) for name in self._item.key)

    # --- comparison --------------------------------------------------------------------------------------------------

    def _all(self) -> int:
        return int(self._writer.fetch(query("SELECT count(*) FROM $t", t=self._table))[0][0])

    def _live(self) -> int:
        """Return the number of rows that are not flagged."""
        if not self._flag:
            return self._all()
        asked: exp.Select = query("SELECT count(*) FROM $t", t=self._table)
        return int(self._writer.fetch(asked.where(self._unflagged()))[0][0])

    def _unflagged(self) -> exp.Expr:
        flag = column(self._flag, self._table.name)
        found: exp.Expr = query("$flag IS DISTINCT FROM TRUE", flag=flag)
        return found

    def _compared(self, session: DuckDBSession, found: Wanted, expected: int) -> str:
        """Return how the target differs from what it should be; empty if it does not."""
        if self._output.deletes == "ignore":
            there, should = self._all(), expected
        else:
            there, should = self._live(), found.total
        if there != should:
            return f"the target has {there:,} rows and should have {should:,}"
        names = list(self._item.columns)
        asked: exp.Select = query("SELECT $names FROM $t", names=columns(names, self._table.name), t=self._table)
        if self._item.key:
            staged = exp.table_(_STAGED, quoted=True)
            asked = asked.where(
                query("EXISTS (SELECT 1 FROM $staged WHERE $same)", staged=staged, same=self._same(_STAGED))
            )
        if self._flag:
            asked = asked.where(self._unflagged())
        wanted_content = content_of(session, found.rows.reference, self._item.columns)
        with Reading(self._item.columns) as reading:
            self._writer.read(asked, reading.take)
        if reading.content == wanted_content:
            return ""
        if reading.content.rows != wanted_content.rows:
            return f"{reading.content.rows:,} of {wanted_content.rows:,} rows that were written are in the target"
        return (
            "values in the target differ from those that were written: a column is narrower, or something changes them"
        )
