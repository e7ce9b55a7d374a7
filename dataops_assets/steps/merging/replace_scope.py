"""Finds the rows that an input covers, and so replaces: by a time or number range, or by a predicate.

A row that an input covers and does not contain is deleted. Coverage depends on a few columns of the row (its *probe*)
and on a few values of the input (its *cover*): the two ends of the range, or the distinct values of the columns that
the predicate reads. So neither side is read completely.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from dataops_assets.config.refresh import INPUT, CustomRefresh, FullRefresh
from dataops_assets.config.source import Source
from dataops_assets.rules.semantics import attempt, total
from dataops_assets.sql import DIALECT, alias, column, query
from dataops_assets.steps.merging.row_identity import group_deletes

LOW = "s_low"
HIGH = "s_high"
_CARRIED = "s_carried_"


def is_partial(source: Source) -> bool:
    """Whether an input covers a part of the table, and deletes the rows that it covers and does not contain."""
    return source.refresh.range_by is not None or isinstance(source.refresh, CustomRefresh)


def probe(source: Source) -> tuple[str, ...]:
    """Return the source's columns that decide whether an input covers a row."""
    if source.refresh.range_by is not None:
        return (source.refresh.range_by,)
    return tuple(dict.fromkeys(name for qualifier, name in _names(source) if qualifier != INPUT))


def carried(source: Source) -> tuple[str, ...]:
    """Return the columns that observations carry: the probe, or the key where a deletion may have no row.

    With `valid_from`, the time at which a version begins, too.
    """
    if is_partial(source):
        return probe(source)
    has_rowless_deletions = isinstance(source.refresh, FullRefresh) or bool(group_deletes(source))
    begins = tuple(filter(None, [source.refresh.valid_from]))
    return (*source.refresh.key, *begins) if source.refresh.history or has_rowless_deletions else ()


def carried_as(source: Source) -> dict[str, str]:
    """Return the name of each carried column in observations, by column."""
    return {name: _CARRIED + name for name in carried(source)}


def carried_names(source: Source) -> tuple[str, ...]:
    """Return the names of the carried columns in observations."""
    return tuple(carried_as(source).values())


def carried_columns(source: Source, table: str) -> list[exp.Expr]:
    """Return the carried columns of `table`, with the names of `carried_names`."""
    return [alias(column(name, table), called) for name, called in carried_as(source).items()]


def covers(source: Source, rows: exp.Expr, by: Sequence[str]) -> exp.Query:
    """Return the covers of the inputs of `rows`: one row for each range, or for each distinct value.

    `rows` has the lake's columns and those of `by`, which identify an input.
    """
    origin: list[exp.Expr] = [column(name, "r") for name in by]
    if source.refresh.range_by is not None:
        value = column(source.refresh.range_by, "r")
        facts: list[exp.Expr] = [alias(exp.Min(this=value), LOW), alias(exp.Max(this=value.copy()), HIGH)]
    else:
        read = dict.fromkeys(name for qualifier, name in _names(source) if qualifier == INPUT)
        facts = [column(name, "r") for name in read]
    found: exp.Select = query("SELECT $origin, $facts FROM $rows AS r", origin=origin, facts=facts, rows=rows)
    return found.group_by(*origin) if source.refresh.range_by is not None else found.distinct()


def is_covered(source: Source, row: str, cover: str, names: Sequence[str] | None = None) -> exp.Expr:
    """Return the condition that the cover `cover` covers the row `row`, whose probe columns are named `names`.

    A predicate that cannot be computed is false.
    """
    called = dict(zip(probe(source), names or carried_names(source), strict=True))
    if source.refresh.range_by is not None:
        value = column(called[source.refresh.range_by], row)
        between: exp.Expr = query(
            "$value BETWEEN $low AND $high", value=value, low=column(LOW, cover), high=column(HIGH, cover)
        )
        return between
    if not isinstance(source.refresh, CustomRefresh):
        return exp.false()
    spelled = {name.lower(): name for name in source.column_names}

    def placed(node: exp.Expr) -> exp.Expr:
        if not isinstance(node, exp.Column):
            return node
        name = spelled[node.name.lower()]
        return column(name, cover) if node.table.lower() == INPUT else column(called[name], row)

    predicate = total(_parsed(source.refresh).transform(placed))
    return query(
        "coalesce($predicate, FALSE)", predicate=attempt(query("CAST($predicate AS BOOLEAN)", predicate=predicate))
    )


def _parsed(refresh: CustomRefresh) -> exp.Expr:
    tree: exp.Expr = exp.maybe_parse(refresh.delete_where, dialect=DIALECT)
    return tree


def _names(source: Source) -> list[tuple[str, str]]:
    """Return the qualifier and declared name of each column in the predicate of a custom refresh."""
    if not isinstance(source.refresh, CustomRefresh):
        return []
    spelled = {name.lower(): name for name in source.column_names}
    return [(qualifier, spelled[name]) for qualifier, name in predicate_names(source.refresh)]


def predicate_names(refresh: CustomRefresh) -> list[tuple[str, str]]:
    """Return the qualifier and name of each column that the predicate reads, in lower case."""
    return [(node.table.lower(), node.name.lower()) for node in _parsed(refresh).find_all(exp.Column)]
