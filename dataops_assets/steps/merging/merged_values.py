"""Merges the values of single columns over the timeline of a key: `merge` and `update_in_place` of a refresh.

A merged column is made of all rows of its key since the last deletion: the last known value, the first, the greatest,
the least, the sum, the total of a counter that can begin anew, or the union of lists. A column that is updated in place
has, in each version, the value of the version's newest row.

Both are functions of the timeline, so they are exact under late rows and removals. In order, the timeline starts with
the row of the hub: its values are those of all rows before. So an observation carries the values of these columns, and
the hub takes them from the versions and not from the rows of the lake.

Without these settings nothing is carried.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlglot import exp

from dataops_assets.config.contract import EvolvedColumn
from dataops_assets.config.refresh import ALL_COLUMNS, MergedColumn
from dataops_assets.config.source import Source
from dataops_assets.config.types import sql_type, stored_type
from dataops_assets.rules.row_condition import row_condition
from dataops_assets.sql import DIALECT, Relation, alias, column, columns, query
from dataops_assets.steps.merging.row_identity import (
    hash_with,
    marking_columns,
    position_in_input,
    rank_in_order,
    value_text,
)
from dataops_assets.steps.merging.united_lists import united, united_in_window, with_first_items

CHANGED_AT = "s_changed_at"
"""Extract time of the row that last changed the version: the one that opened it, or one that updated it in place."""
UPDATES = "s_updates"
"""Whether an observation changes a value in place."""
_VALUE = "s_value_"
_GIVEN = "s_given_"
_BEFORE = "s_before_"
_TAKES = {"greatest": "max", "least": "min", "sum": "sum"}
_SUMS = ("sum", "counter")


def merges(source: Source) -> bool:
    """Whether the hub has values that are made of several rows."""
    return bool(source.refresh.merge or source.refresh.update_in_place)


def needs_whole_timelines(source: Source) -> bool:
    """Whether merging needs all rows of a key, because the hub's value is not enough: a counter has only its total."""
    return bool(source.refresh.merge) and any(how.take == "counter" for how in merged_columns(source).values())


def merged_columns(source: Source) -> dict[str, MergedColumn]:
    """Return how each merged column is merged, in the order of the contract."""
    declared = source.refresh.merge
    rest = declared.get(ALL_COLUMNS)
    refresh = source.refresh
    others = {*refresh.key, refresh.order_by, refresh.valid_from, *refresh.ignore_changes_in, *marking_columns(source)}
    found: dict[str, MergedColumn] = {}
    for item in source.columns:
        how = declared.get(item.name)
        if how is None and not (item.name in others or isinstance(item, EvolvedColumn)):
            how = rest
        if how is not None:
            found[item.name] = how
    return found


def valued(source: Source) -> tuple[str, ...]:
    """Return the columns whose value in the hub does not come from one row."""
    if not merges(source):
        return ()
    chosen = {*merged_columns(source), *source.refresh.update_in_place}
    return tuple(name for name in source.column_names if name in chosen)


def value_names(source: Source) -> tuple[str, ...]:
    """Return the names of the merged values in observations and versions."""
    return tuple(_VALUE + name for name in valued(source))


def carried_names(source: Source) -> tuple[str, ...]:
    """Return the names of all columns that observations carry for merged values."""
    return (*value_names(source), *(_GIVEN + name for name in _given(source)))


def delivered(source: Source, table: str) -> list[exp.Expr]:
    """Return the carried columns of a row of the lake."""
    merged = merged_columns(source) if merges(source) else {}

    def given(name: str) -> exp.Expr:
        return row_condition(merged[name].when, source.column_names, table)

    return _carried(
        source,
        lambda name: (
            query("CASE WHEN $given THEN $value END", given=given(name), value=column(name, table))
            if name in merged and merged[name].when
            else column(name, table)
        ),
        given,
    )


def stored(source: Source, table: str) -> list[exp.Expr]:
    """Return the carried columns of a row of the hub: the values of all rows before."""
    return _carried(source, lambda name: column(name, table), lambda _name: exp.true())


def nothing(source: Source) -> list[exp.Expr]:
    """Return the carried columns of an observation without values."""
    kinds = {item.name: stored_type(item.type) for item in source.columns}
    return _carried(
        source,
        lambda name: exp.cast(exp.null(), kinds[name], dialect=DIALECT),
        lambda _name: exp.cast(exp.null(), "BOOLEAN"),
    )


def value_of(source: Source, name: str, version: str, row: str) -> exp.Expr:
    """Return a column of the hub: from the version if it is a merged value, else from the row that the version has."""
    return alias(column(_VALUE + name, version), name) if name in valued(source) else column(name, row)


def of_versions(source: Source, table: str) -> list[exp.Expr]:
    """Return the merged values of the versions that the observations of `table` begin. A deletion has no values."""
    return [
        alias(
            query("CASE WHEN NOT $gone THEN $value END", gone=column("s_deleted", table), value=column(name, table)),
            name,
        )
        for name in value_names(source)
    ]


def merged(source: Source, seen: Relation, names: Sequence[str]) -> exp.Query:
    """Return the observations `seen` (columns `names`) with merged values and the content hash of these."""
    takes = merged_columns(source)
    if not takes:
        unchanged: exp.Query = query("SELECT o.* FROM $seen AS o", seen=seen)
        return unchanged
    kinds = {item.name: item.type for item in source.columns}
    rank, position = rank_in_order(source, "o"), position_in_input(source, "o")
    lives = query(
        """
        SELECT o.*, coalesce(sum(CASE WHEN o.s_deleted THEN 1 ELSE 0 END) OVER (
                   PARTITION BY o.s_key ORDER BY o.s_order, $rank, $position
                   ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS s_life
        FROM $seen AS o
        """,
        rank=rank,
        position=position,
        seen=seen,
    )
    counters = [name for name, how in takes.items() if how.take == "counter"]
    if counters:
        lives = query(
            """
            SELECT o.*, $before FROM $lives AS o
            WINDOW w AS (PARTITION BY o.s_key, o.s_life ORDER BY o.s_order, $rank, $position
                         ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
            """,
            before=[
                alias(query("last_value($v IGNORE NULLS) OVER w", v=column(_VALUE + name, "o")), _BEFORE + name)
                for name in counters
            ],
            rank=rank.copy(),
            position=position.copy(),
            lives=lives,
        )
    lists = [_VALUE + name for name, how in takes.items() if how.take == "union"]
    if lists:
        lives = with_first_items(lives, lists, rank.copy(), position.copy())
    rows = query(
        """
        SELECT $names, $values FROM $lives AS o
        WINDOW w AS (PARTITION BY o.s_key, o.s_life ORDER BY o.s_order, $rank, $position
                     ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
        """,
        names=columns([name for name in names if name not in {_VALUE + taken for taken in takes}], "o"),
        values=[alias(_taken(name, how, kinds[name]), _VALUE + name) for name, how in takes.items()],
        rank=rank.copy(),
        position=position.copy(),
        lives=lives,
    )
    # the start of a timeline is a row of the hub, whose hash is that of merged values already
    whole = hash_with(source, "m", {name: _VALUE + name for name in takes})
    found: exp.Query = query(
        "SELECT $names, CASE WHEN m.s_rank = 0 THEN m.s_row_hash ELSE $whole END AS s_row_hash FROM $rows AS m",
        names=columns([name for name in names if name != "s_row_hash"], "m"),
        whole=whole,
        rows=rows,
    )
    return query("SELECT $names FROM $rows AS r", names=columns(names, "r"), rows=found)


def merged_with(source: Source, rows: exp.Query, hub: exp.Query, names: Sequence[str]) -> exp.Query:
    """Return the observations `rows` (columns `names`) with merged values, if each key occurs once.

    `hub` has the present version of each key, with `s_gone`.
    """
    takes = merged_columns(source)
    kinds = {item.name: item.type for item in source.columns}
    values = [alias(_taken_with(name, how, kinds[name]), _VALUE + name) for name, how in takes.items()]
    paired = query(
        "SELECT $names, $values FROM $rows AS a LEFT JOIN $hub AS h ON h.s_key = a.s_key AND NOT h.s_gone",
        names=columns([name for name in names if name not in {_VALUE + taken for taken in takes}], "a"),
        values=values,
        rows=rows,
        hub=hub.copy(),
    )
    found: exp.Query = query(
        "SELECT $names FROM $paired AS m",
        names=[
            alias(hash_with(source, "m", {taken: _VALUE + taken for taken in takes}), name)
            if name == "s_row_hash"
            else column(name, "m")
            for name in names
        ],
        paired=paired,
    )
    return found


def updated_in_place(source: Source, rows: Relation, names: Sequence[str]) -> exp.Query:
    """Return the ordered observations `rows` (columns `names`), where those that open a version have its newest values.

    Adds CHANGED_AT and UPDATES.
    """
    in_place = source.refresh.update_in_place
    kinds = {item.name: item.type for item in source.columns}
    texts = [value_text(column(_VALUE + name, "o"), kinds[name]) for name in in_place]
    # each text comes after its length (-1 for null), so two different rows never give the same text
    parts = [part for text in texts for part in (query("coalesce(strlen($text), -1)", text=text), text.copy())]
    versions = query(
        """
        SELECT o.*, $content AS s_in_place, sum(CASE WHEN o.s_is_event THEN 1 ELSE 0 END) OVER (
                   PARTITION BY o.s_key ORDER BY o.s_order ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
                   AS s_version
        FROM $rows AS o
        """,
        content=exp.Anonymous(this="concat_ws", expressions=[exp.Literal.string("|"), *parts]),
        rows=rows,
    )
    compared = query(
        """
        SELECT v.*, NOT v.s_is_event AND NOT v.s_deleted AND coalesce(v.s_in_place <> lag(v.s_in_place) OVER (
                   PARTITION BY v.s_key, v.s_version ORDER BY v.s_order), FALSE) AS s_updates
        FROM $versions AS v
        """,
        versions=versions,
    )
    newest = [alias(query("last_value($v) OVER w", v=column(_VALUE + name, "c")), _VALUE + name) for name in in_place]
    found: exp.Query = query(
        """
        SELECT $others, $newest, c.s_updates,
               last_value(CASE WHEN c.s_is_event OR c.s_updates THEN c.s_extract_time END IGNORE NULLS) OVER w
                   AS s_changed_at
        FROM $compared AS c
        WINDOW w AS (PARTITION BY c.s_key, c.s_version ORDER BY c.s_order
                     ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
        """,
        others=columns([name for name in names if name not in {_VALUE + name for name in in_place}], "c"),
        newest=newest,
        compared=compared,
    )
    return found


def _given(source: Source) -> tuple[str, ...]:
    """Return the columns of which a row can give a null: the last one is taken, and a predicate says when."""
    if not source.refresh.merge:
        return ()
    return tuple(name for name, how in merged_columns(source).items() if how.when and how.take == "last")


def _carried(source: Source, value: Callable[[str], exp.Expr], given: Callable[[str], exp.Expr]) -> list[exp.Expr]:
    values: list[exp.Expr] = [alias(value(name), _VALUE + name) for name in valued(source)]
    return [*values, *(alias(given(name), _GIVEN + name) for name in _given(source))]


def _taken(name: str, how: MergedColumn, kind: str) -> exp.Expr:
    """Return the merged value of a column in the window `w`: of the rows of one life of a key up to this one."""
    value = column(_VALUE + name, "o")
    found: exp.Expr
    if how.take == "last" and how.when:
        # a list with a null is not null, so a null can be given
        listed = query("CASE WHEN $given THEN [$value] END", given=column(_GIVEN + name, "o"), value=value)
        return query("(last_value($listed IGNORE NULLS) OVER w)[1]", listed=listed)
    if how.take in ("last", "first"):
        template = f"{how.take}_value($value IGNORE NULLS) OVER w"
        found = query(template, value=value)
        return found
    if how.take == "union":
        return united_in_window(_VALUE + name)
    if how.take == "counter":
        before = column(_BEFORE + name, "o")
        # a value below the one before it says that the counter began anew
        increase = query("CASE WHEN $v >= $before THEN $v - $before ELSE $v END", v=value, before=before)
        found = query("sum($increase) OVER w", increase=increase)
    else:
        found = query(f"{_TAKES[how.take]}($value) OVER w", value=value)
    return exp.cast(found, sql_type(kind), dialect=DIALECT) if how.take in _SUMS else found


def _taken_with(name: str, how: MergedColumn, kind: str) -> exp.Expr:
    """Return the merged value of an observation `a` after the version `h` of the hub, which may be missing."""
    value, before = column(_VALUE + name, "a"), column(_VALUE + name, "h")
    if how.take == "last" and how.when:
        return query("CASE WHEN $given THEN $v ELSE $b END", given=column(_GIVEN + name, "a"), v=value, b=before)
    if how.take == "last":
        return query("coalesce($v, $b)", v=value, b=before)
    if how.take == "first":
        return query("coalesce($b, $v)", v=value, b=before)
    if how.take == "union":
        return united(value, before)
    if how.take == "counter":
        # only the first row of a key comes here, see `needs_whole_timelines`
        return value
    if how.take == "sum":
        total = query("coalesce($v + $b, $v, $b)", v=value, b=before)
        return exp.cast(total, sql_type(kind), dialect=DIALECT)
    is_taken = (
        exp.GT(this=value, expression=before) if how.take == "greatest" else exp.LT(this=value, expression=before)
    )
    return query("CASE WHEN $b IS NULL OR $is_taken THEN $v ELSE $b END", v=value, b=before, is_taken=is_taken)
