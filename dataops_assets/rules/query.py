"""Builds the query of a compiled stage: join the look-ups, then compute the rules level by level."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sqlglot import exp

from dataops_assets.config.rules import VALIDITY
from dataops_assets.rules.resolve import LOOKUP_PREFIX
from dataops_assets.rules.semantics import of_type
from dataops_assets.rules.stage import Lookup, Stage
from dataops_assets.sql import alias, column, columns, conjunction, identifier, query

CAST_PREFIX = "s_cast."
FAILED_PREFIX = "s_failed."

# gives the rows of a look-up's source, with at least its columns
Related = Callable[[Lookup], exp.Query]

OWN_PREFIX = "s_own."
_ROWS = "s_rows"
_COMPARISONS: Mapping[str, type[exp.Binary]] = {
    "<": exp.LT,
    "<=": exp.LTE,
    ">": exp.GT,
    ">=": exp.GTE,
    "<>": exp.NEQ,
}


def evaluate(stage: Stage, rows: exp.Query, related: Related) -> exp.Query:
    """Return `rows` with the stage's rules added, one row for each row.

    The other columns are internal: look-ups and windows, `s_cast.<rule>` (a declared type did not fit; never null) and
    `s_failed.<validation>` (the row fails it; never null). Callers select what they need by name. If a to-one
    look-up matches several rows, the value of one of them is taken: check with `ambiguous` before.
    """
    found = _joined(stage, rows, related)
    for level in stage.levels:
        if level.windows:
            found = _extended(found, [alias(window, name) for name, window in level.windows.items()])
        added = [alias(of_type(rule.expression, rule.type), rule.name) for rule in level.rules]
        added += [
            alias(_is_true(rule.failed_cast), CAST_PREFIX + rule.name)
            for rule in level.rules
            if rule.failed_cast is not None
        ]
        found = _extended(found, added)
    told = [alias(item.failed, FAILED_PREFIX + item.name) for item in stage.validations]
    told += [alias(_is_true(failed), CAST_PREFIX + name) for name, failed in stage.casts.items()]
    return _extended(found, told) if told else found


def ambiguous(stage: Stage, lookup: Lookup, rows: exp.Query, related: Related) -> exp.Query:
    """Return the rows that match more than one row of a look-up, grouped.

    Grain: one row for each input and combination of join values. Columns: s_input_id, `s_own.<column>` for each column
    that decides the match, `s_rows` (rows with these values), `s_matches` (related rows that match).
    """
    several = _matching(stage, lookup, rows, related, [alias(exp.Count(this=exp.Star()), "s_matches")])
    several = several.having(query("count(*) > 1"))
    found = _joins(stage, _before(stage, lookup), rows, related)
    found = found.join(
        exp.Subquery(this=several, alias=exp.TableAlias(this=identifier("s_several"))),
        on=_same_own(lookup, "s_several"),
        join_type="inner",
        copy=False,
    )
    grouped = [column("s_input_id", _ROWS), *columns([OWN_PREFIX + own for own in lookup.own], "s_several")]
    counted = [
        alias(exp.Count(this=exp.Star()), "s_rows"),
        alias(exp.Max(this=column("s_matches", "s_several")), "s_matches"),
    ]
    return found.select(*grouped, *counted, append=False).group_by(*grouped)


def pointing(stage: Stage, lookup: Lookup, rows: exp.Query, related: Related, changed: exp.Query) -> exp.Query:
    """Return s_input_id and s_row_id of the rows that match any of the `changed` related rows of a look-up.

    A path of several relations is followed with their present rows. A row that had another path before points to a
    changed row on that path, and is found there.
    """
    found = _joins(stage, _before(stage, lookup), rows, related)
    identity = columns(["s_input_id", "s_row_id"], _ROWS)
    table = exp.Subquery(this=changed, alias=exp.TableAlias(this=identifier("s_changed")))
    condition = _condition(lookup, _table(lookup.path[:-1]), "s_changed")
    return found.join(table, on=condition, join_type="inner", copy=False).select(*identity, append=False).distinct()


def _is_true(condition: exp.Expr) -> exp.Expr:
    return query("coalesce($condition, FALSE)", condition=condition)


def _extended(rows: exp.Query, added: Sequence[exp.Expr]) -> exp.Query:
    return query("SELECT r.*, $added FROM $rows AS r", rows=rows, added=list(added))


def _joined(stage: Stage, rows: exp.Query, related: Related) -> exp.Query:
    if not stage.lookups:
        return rows
    added = [
        alias(column(given, _table(lookup.path)), name)
        for lookup in stage.lookups
        for name, given in _given(lookup).items()
    ]
    return _joins(stage, stage.lookups, rows, related).select(*added)


def _given(lookup: Lookup) -> dict[str, str]:
    """Return the columns of a look-up: internal name and name in the joined table."""
    if lookup.aggregates:
        return {name: name for name in lookup.aggregates}
    return {lookup.internal(name): name for name in lookup.columns}


def _joins(stage: Stage, lookups: Sequence[Lookup], rows: exp.Query, related: Related) -> exp.Select:
    found: exp.Select = query("SELECT s_rows.* FROM $rows AS s_rows", rows=rows)
    for lookup in lookups:
        name = _table(lookup.path)
        if lookup.unique:
            matching, condition = related(lookup), _condition(lookup, _table(lookup.path[:-1]), name)
        else:
            matching = _matching(stage, lookup, rows, related, _one_value_each(lookup))
            condition = _same_own(lookup, name)
        found = found.join(
            exp.Subquery(this=matching, alias=exp.TableAlias(this=identifier(name))),
            on=condition,
            join_type="left",
            copy=False,
        )
    return found


def _before(stage: Stage, lookup: Lookup) -> list[Lookup]:
    """Return the look-ups on the path to the start of a look-up."""
    return [item for item in stage.lookups if item.path == lookup.path[: len(item.path)] and item.path != lookup.path]


def _one_value_each(lookup: Lookup) -> list[exp.Expr]:
    if lookup.aggregates:
        return [alias(value.copy(), name) for name, value in lookup.aggregates.items()]
    return [alias(exp.AnyValue(this=column(name)), name) for name in lookup.columns]


def _matching(
    stage: Stage, lookup: Lookup, rows: exp.Query, related: Related, selected: Sequence[exp.Expr]
) -> exp.Select:
    """Return `selected` (aggregates over the matching related rows) by the join values, as `s_own.<column>`.

    It starts with the distinct join values of `rows`, so that it is cheap if these are few.
    """
    start = _table(lookup.path[:-1])
    own = [alias(column(name, start), OWN_PREFIX + name) for name in lookup.own]
    pointing = _joins(stage, _before(stage, lookup), rows, related).select(*own, append=False).distinct()
    keys = columns([OWN_PREFIX + name for name in lookup.own], "s_pointing")
    found: exp.Select = query(
        "SELECT $keys, $selected FROM $pointing AS s_pointing JOIN $related AS s_related ON $condition GROUP BY $keys",
        keys=keys,
        selected=list(selected),
        pointing=pointing,
        related=related(lookup),
        condition=_condition(lookup, "s_pointing", "s_related", OWN_PREFIX),
    )
    return found


def _condition(lookup: Lookup, left: str, right: str, prefix: str = "") -> exp.Expr:
    equal = [column(prefix + own, left).eq(column(other, right)) for own, other in lookup.on]
    compared = [
        _COMPARISONS[operator](this=column(prefix + own, left), expression=column(other, right))
        for own, operator, other in lookup.where
    ]
    valid = []
    if lookup.as_of is not None:
        start, end = (column(name, right) for name in VALIDITY)
        moment = column(prefix + lookup.as_of, left)
        valid = [query("$t >= $start AND ($end IS NULL OR $t < $end)", t=moment, start=start, end=end)]
    return conjunction([*equal, *compared, *valid])


def _same_own(lookup: Lookup, right: str) -> exp.Expr:
    left = _table(lookup.path[:-1])
    return conjunction(column(own, left).eq(column(OWN_PREFIX + own, right)) for own in lookup.own)


def _table(path: Sequence[str]) -> str:
    return LOOKUP_PREFIX + ".".join(path) if path else _ROWS
