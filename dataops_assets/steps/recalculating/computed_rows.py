"""Decides which rows are computed again, and computes them.

These are the rows that changed, the rows that point to a changed related row, and the rows that see one of these
through a window. A new or changed rule is computed for all rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlglot import exp

from dataops_assets.rules.query import evaluate, pointing
from dataops_assets.rules.stage import Stage
from dataops_assets.rules.windows import Reach
from dataops_assets.sql import Relation, all_rows, columns, query
from dataops_assets.steps.enriching.look_ups import versions_of
from dataops_assets.steps.recalculating.difference import differing
from dataops_assets.steps.recalculating.scope import Scope
from dataops_assets.steps.recalculating.tables import Tables, those_in
from dataops_assets.steps.recalculating.version_difference import differing_rows
from dataops_assets.steps.recalculating.window_reach import moved_rows, rows_in_reach, with_reach
from dataops_assets.storage import publish
from dataops_assets.storage.delta import TableVersion

# a hub with fewer rows is computed in a second in any case
_MANY = 100_000


def kept_rules(tables: Tables, before: Mapping[str, Any], now: Mapping[str, Any]) -> frozenset[str]:
    """Return the rules whose stored values are still right for all rows that are not touched."""
    base = tables.base
    if base is None or "tables" not in before or publish.must_rewrite(base, tables.columns):
        return frozenset()
    looked_up = {"", *tables.related.snapshots}
    if any(now["tables"].get(name) != known for name, known in before["tables"].items() if name in looked_up):
        # a table was created again, or is gone
        return frozenset()
    if not tables.hub_columns.keys().isdisjoint(before["rules"]):
        # a column of the hub has the name of an earlier rule, whose values no row may keep
        return frozenset()
    same = {
        name
        for name, version in tables.stage.versions.items()
        if before["rules"].get(name) == version and name in base.columns
    }
    if tables.stage.reach is None:
        # it is not known which rows see a change through the windows
        same &= set(tables.stage.row_rules)
    return frozenset(same)


def touched_rows(tables: Tables, before: Mapping[str, Any], now: Mapping[str, Any], hub: exp.Query) -> Relation | None:
    """Return the identity of the hub rows, now or before, that changed or point to a changed row.

    None if a version that the table was computed from can no longer be read.
    """
    source = tables.context.source
    own = differing_rows(
        tables.session,
        tables.context.hub,
        before["hub"],
        tables.hub,
        tables.hub_columns,
        versions_of(source),
    )
    if own is None:
        return None
    parts: list[exp.Query] = [query("SELECT s_input_id, s_row_id FROM $own AS c", own=own)]
    for lookup in tables.stage.lookups:
        version = before["related"].get(lookup.source)
        if version == now["related"].get(lookup.source):
            continue
        others = differing_rows(
            tables.session,
            tables.context.table(f"hub/{lookup.source}"),
            version,
            tables.related.snapshots[lookup.source],
            lookup.columns,
            versions_of(tables.context.sources[lookup.source], lookup),
        )
        if others is None:
            return None
        related = columns(lookup.related)
        changed = query("SELECT DISTINCT $related FROM $changed AS c", related=related, changed=others)
        parts.append(pointing(tables.stage, lookup, hub, tables.related, changed))
    found = all_rows([query("SELECT p.* FROM $part AS p", part=part) for part in parts])
    return tables.session.create(query("SELECT DISTINCT t.* FROM $found AS t", found=found))


def compute(tables: Tables, hub: exp.Query, kept: frozenset[str], touched: Relation | None) -> Scope:
    """Compute the `kept` rules for the rows that can differ, and the other rules for all rows."""
    if not kept or tables.base is None or touched is None or _are_most(tables, touched):
        return _compute_all(tables, hub)
    stage = tables.stage.only(kept)
    if any(stage.rules[name].windowed for name in kept) and tables.stage.reach is not None:
        near = _in_reach(tables, hub, tables.base, tables.stage.reach, stage, touched)
        if _are_most(tables, near):
            return _compute_all(tables, hub)
        computed = evaluate(stage, with_reach(hub, near), tables.related)
        computed = query("SELECT r.* FROM $rows AS r WHERE r.s_is_seen", rows=computed)
    else:
        computed = evaluate(stage, those_in(touched, hub), tables.related)
    others = [name for name in tables.stage.rules if name not in kept]
    names = [name for name in tables.columns if name not in others]
    seen = tables.session.create(query("SELECT $names FROM $rows AS r", names=columns(names, "r"), rows=computed))
    if not others:
        rows = query("SELECT * FROM $seen", seen=seen)
        count = _count(tables, seen)
        made = tables.session.create(_selected(tables, rows))
        return Scope(made, count, count, "touched rows", kept, touched)
    every = _with_stored(tables, hub, tables.base, seen, [name for name in names if name in kept])
    computed = evaluate(tables.stage.only(others, given=kept), every, tables.related)
    made = tables.session.create(_selected(tables, computed))
    description = f"all rows for {', '.join(others)}; touched rows for the other rules"
    return Scope(made, _count(tables, made), _count(tables, seen), description, kept)


def _compute_all(tables: Tables, hub: exp.Query) -> Scope:
    made = tables.session.create(_selected(tables, evaluate(tables.stage, hub, tables.related)))
    rows = _count(tables, made)
    return Scope(made, rows, rows, "all rows")


def _with_stored(
    tables: Tables, hub: exp.Query, base: TableVersion, seen: Relation, stored: Sequence[str]
) -> exp.Query:
    """Return the `seen` rows, and all other rows with the values of the `stored` rules in the table."""
    names = [*tables.hub_columns, *stored]
    rest = query(
        """
        SELECT $given, $stored FROM $hub AS h
        ANTI JOIN $seen AS s ON s.s_input_id = h.s_input_id AND s.s_row_id = h.s_row_id
        JOIN $old AS o ON o.s_input_id = h.s_input_id AND o.s_row_id = h.s_row_id
        """,
        given=columns(tables.hub_columns, "h"),
        stored=columns(stored, "o"),
        hub=hub,
        seen=seen,
        old=tables.session.scan(base),
    )
    complete = query("SELECT $names FROM $rest AS r", names=columns(names, "r"), rest=rest)
    return exp.union(query("SELECT * FROM $seen", seen=seen), complete, distinct=False)


def _are_most(tables: Tables, rows: Relation) -> bool:
    """Whether these are so many of the hub's rows that it is cheaper to compute all of them."""
    return tables.hub.rows > _MANY and _count(tables, rows) * 2 > tables.hub.rows


def _selected(tables: Tables, rows: exp.Query) -> exp.Query:
    found: exp.Query = query("SELECT $names FROM $rows AS r", names=columns(tables.columns, "r"), rows=rows)
    return found


def _count(tables: Tables, rows: Relation) -> int:
    return int(tables.session.fetch(query("SELECT count(*) AS n FROM $t AS t", t=rows)).column("n")[0].as_py())


def _in_reach(
    tables: Tables, hub: exp.Query, base: TableVersion, reach: Reach, stage: Stage, touched: Relation
) -> Relation:
    """Return the hub rows that can see a touched row through a window, and the rows that they see."""
    kept = [*tables.hub_columns, *stage.row_rules]
    new = evaluate(stage.only(stage.row_rules), those_in(touched, hub), tables.related)
    old = those_in(touched, tables.session.scan(base, positions=True))
    # the look-ups of a window are in no column of the row
    differs = exp.true() if stage.seen_by_windows else differing(tables, base, kept)
    moved = moved_rows(tables.session, reach, new, old, differs)
    return rows_in_reach(tables.session, tables.stage, reach, hub, tables.related, moved)
