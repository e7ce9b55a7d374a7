"""Finds how the rows that were computed again differ from the recalculated table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlglot import exp

from dataops_assets.sql import Relation, alias, column, query
from dataops_assets.steps.recalculating.scope import Scope
from dataops_assets.steps.recalculating.tables import Tables, those_in
from dataops_assets.storage import publish
from dataops_assets.storage.delta import TableVersion

_IDENTITY = ("s_input_id", "s_row_id")
# relative difference that another order of adding floating-point numbers may cause
_NOISE = 1e-12


@dataclass(frozen=True)
class Difference:
    """The difference between the recalculated rows and the table.

    The number of inserted and removed rows, of their keys, and of the rows in which each rule differs. `rows`: identity
    of the rows to insert, file and position of the rows to remove. None if there is no table: every row is inserted.
    """

    keys: int
    inserted: int
    removed: int
    by_rule: Mapping[str, int]
    rows: Relation | None = None


def compare(tables: Tables, scope: Scope, hub: exp.Query) -> Difference:
    """Compare with the table. A row of the table is gone if it should have been computed and was not."""
    base = tables.base
    if base is None:
        return Difference(scope.rows, scope.rows, 0, dict.fromkeys(tables.stage.rules, scope.rows))
    flags = {
        name: alias(query("o.s_input_id IS NULL OR $differs", differs=differing(tables, base, [name])), name)
        for name in tables.stage.rules
    }
    must_rewrite = publish.must_rewrite(base, tables.columns)
    rows = tables.session.create(
        query(
            """
            SELECT n.s_input_id, n.s_row_id, coalesce(n.s_key, o.s_key) AS s_key, o.s_file, o.s_position, $flags
            FROM $recalculated AS n FULL JOIN $old AS o
              ON o.s_input_id = n.s_input_id AND o.s_row_id = n.s_row_id
            WHERE n.s_input_id IS NULL OR o.s_input_id IS NULL OR ($differs)
            """,
            flags=list(flags.values()),
            recalculated=scope.recalculated,
            old=_compared(tables, base, scope, hub),
            differs=exp.true() if must_rewrite else differing(tables, base, tables.columns),
        )
    )
    counted = [
        alias(query("count(CASE WHEN NOT d.s_input_id IS NULL AND $flag THEN 1 END)", flag=column(name, "d")), name)
        for name in flags
    ]
    found = tables.session.fetch(
        query(
            """
            SELECT count(DISTINCT d.s_key) AS s_keys, count(d.s_input_id) AS s_inserted,
                   count(d.s_file) AS s_removed, $counted
            FROM $difference AS d
            """,
            counted=counted,
            difference=rows,
        )
    ).to_pylist()[0]
    return Difference(found.pop("s_keys"), found.pop("s_inserted"), found.pop("s_removed"), found, rows)


def _compared(tables: Tables, base: TableVersion, scope: Scope, hub: exp.Query) -> exp.Expr:
    """Return the rows of the table that the recalculated rows are compared with."""
    old = tables.session.scan(base, positions=True)
    if scope.touched is None:
        return old
    here = query("SELECT h.s_input_id, h.s_row_id FROM $hub AS h", hub=those_in(scope.touched, hub))
    there = query("SELECT t.s_input_id, t.s_row_id FROM $touched AS t", touched=scope.touched)
    gone = tables.session.create(exp.except_(there, here, distinct=True))
    concerned = tables.session.create(
        exp.union(
            query("SELECT r.s_input_id, r.s_row_id FROM $rows AS r", rows=scope.recalculated),
            query("SELECT g.s_input_id, g.s_row_id FROM $gone AS g", gone=gone),
            distinct=False,
        )
    )
    return those_in(concerned, old)


def differing(tables: Tables, base: TableVersion, names: Iterable[str]) -> exp.Expr:
    """Return the condition that a row `n` differs in these columns from its row `o` of the table.

    Numbers of an inexact rule are equal if another order of adding can explain how they differ.
    """
    conditions: list[exp.Expr] = []
    for name in names:
        if name in _IDENTITY:
            continue
        if base.columns.get(name, tables.columns[name]) != tables.columns[name]:
            return exp.true()
        new = column(name, "n")
        old = column(name, "o") if name in base.columns else exp.null()
        rule = tables.stage.rules.get(name)
        differs = query("$new IS DISTINCT FROM $old", new=new, old=old)
        if rule is not None and rule.inexact and rule.type == "DOUBLE":
            close = "coalesce(abs($new - $old) <= $noise * greatest(abs($new), abs($old)), FALSE)"
            differs = exp.and_(differs, query(close, new=new, old=old, noise=_NOISE).not_())
        conditions.append(differs)
    return exp.or_(*conditions)


def inserted(scope: Scope, difference: Difference) -> exp.Query:
    """Return the rows to insert."""
    rows: exp.Query = query("SELECT n.* FROM $recalculated AS n", recalculated=scope.recalculated)
    return rows if difference.rows is None else those_in(difference.rows, rows)
