"""From a compiled stage to one query over rows: look-ups joined, then level on level of rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlglot import exp

from dataops_assets.rules.resolve import LOOKUP_PREFIX
from dataops_assets.rules.stage import Lookup, Stage
from dataops_assets.sql import alias, column, columns, conjunction, identifier, query

CAST_PREFIX = "s_cast."
FAILED_PREFIX = "s_failed."

# the rows of a look-up's source, with at least its columns
Related = Callable[[Lookup], exp.Query]

_ROWS = "s_rows"


def evaluate(stage: Stage, rows: exp.Query, related: Related) -> exp.Query:
    """`rows` with the stage's rules added, one row for each row.

    Further columns are internal: look-ups and windows, `s_cast.<rule>` (a declared type did not fit; never null) and
    `s_failed.<validation>` (the row fails it; never null). Callers select what they need by name. A related key that
    matches several rows gives one of their values here: ask `ambiguous` first.
    """
    found = _joined(stage.lookups, rows, related)
    for level in stage.levels:
        if level.windows:
            found = _extended(found, [alias(window, name) for name, window in level.windows.items()])
        added = [alias(rule.expression, rule.name) for rule in level.rules]
        added += [
            alias(query("coalesce($failed, FALSE)", failed=rule.failed_cast), CAST_PREFIX + rule.name)
            for rule in level.rules
            if rule.failed_cast is not None
        ]
        found = _extended(found, added)
    if stage.validations:
        found = _extended(found, [alias(item.failed, FAILED_PREFIX + item.name) for item in stage.validations])
    return found


def ambiguous(stage: Stage, lookup: Lookup, rows: exp.Query, related: Related) -> exp.Query:
    """The rows that match more than one row of a look-up, grouped.

    Grain: one row an input and related key. Columns: s_input_id, the related key's columns, `s_rows` (rows that point
    there), `s_matches` (related rows that match).
    """
    before = [item for item in stage.lookups if item.path == lookup.path[: len(item.path)] and item.path != lookup.path]
    keys = [other for _, other in lookup.on]
    several = query(
        "SELECT $keys, count(*) AS s_matches FROM $related AS r GROUP BY $keys HAVING count(*) > 1",
        keys=columns(keys),
        related=related(lookup),
    )
    found = _joins(before, rows, related)
    found = found.join(
        exp.Subquery(this=several, alias=exp.TableAlias(this=identifier("s_several"))),
        on=_condition(lookup, "s_several"),
        join_type="inner",
        copy=False,
    )
    grouped = [column("s_input_id", _ROWS), *columns(keys, "s_several")]
    counted = [
        alias(exp.Count(this=exp.Star()), "s_rows"),
        alias(exp.Max(this=column("s_matches", "s_several")), "s_matches"),
    ]
    return found.select(*grouped, *counted, append=False).group_by(*grouped)


def _extended(rows: exp.Query, added: Sequence[exp.Expr]) -> exp.Query:
    return query("SELECT r.*, $added FROM $rows AS r", rows=rows, added=list(added))


def _joined(lookups: Sequence[Lookup], rows: exp.Query, related: Related) -> exp.Query:
    if not lookups:
        return rows
    added = [
        alias(column(name, _table(lookup.path)), lookup.internal(name)) for lookup in lookups for name in lookup.columns
    ]
    return _joins(lookups, rows, related).select(*added)


def _joins(lookups: Sequence[Lookup], rows: exp.Query, related: Related) -> exp.Select:
    found: exp.Select = query("SELECT s_rows.* FROM $rows AS s_rows", rows=rows)
    for lookup in lookups:
        found = found.join(
            exp.Subquery(this=_one_a_key(lookup, related), alias=exp.TableAlias(this=identifier(_table(lookup.path)))),
            on=_condition(lookup, _table(lookup.path)),
            join_type="left",
            copy=False,
        )
    return found


def _one_a_key(lookup: Lookup, related: Related) -> exp.Query:
    if lookup.unique:
        return related(lookup)
    keys = [other for _, other in lookup.on]
    rest = [alias(exp.AnyValue(this=column(name)), name) for name in lookup.columns if name not in keys]
    return query(
        "SELECT $selected FROM $related AS r GROUP BY $keys",
        selected=[*columns(keys), *rest],
        related=related(lookup),
        keys=columns(keys),
    )


def _condition(lookup: Lookup, right: str) -> exp.Expr:
    left = _table(lookup.path[:-1])
    return conjunction(column(own, left).eq(column(other, right)) for own, other in lookup.on)


def _table(path: Sequence[str]) -> str:
    return LOOKUP_PREFIX + ".".join(path) if path else _ROWS
