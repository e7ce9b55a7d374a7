"""Places versions in time: when each begins and ends, where a column of its row says when it begins.

With `valid_from`, extracts still say which versions there are, in their order. An extract then tells two things of a
key: its row, from the time in the row on, or its absence, from the extract time on. What a newer extract tells replaces
what older ones told from that time on. So a version ends where the first of the later ones begins, and one that would
begin there, or after that, was never valid and is left out.

This is a function of the events of a key. The versions that are left out decide nothing for later inputs: a newer event
can only make the end of a version earlier. So in order the versions of the hub and the new events are enough.
"""

from __future__ import annotations

from sqlglot import exp

from dataops_assets.config.source import Source
from dataops_assets.sql import Relation, column, columns, query
from dataops_assets.steps.merging import replace_scope


def begins_in_rows(source: Source) -> bool:
    """Whether a column of its row says when a version begins."""
    return source.refresh.valid_from is not None


def newest(source: Source, versions: exp.Expr) -> exp.Expr:
    """Return the newest version of each key among `versions` of the hub, of a source with `valid_from`."""
    if not begins_in_rows(source):
        return versions
    return query("SELECT n.* FROM $versions AS n WHERE n.s_valid_to IS NULL", versions=versions)


def begin(source: Source, table: str) -> exp.Expr:
    """Return where the version that an observation begins is valid from: its order, or the time in its row.

    A deletion, and a row without a time, begin at the extract time.
    """
    order = column("s_order", table)
    if source.refresh.valid_from is None:
        return order
    told = column(replace_scope.carried_as(source)[source.refresh.valid_from], table)
    found: exp.Expr = query(
        "CASE WHEN $gone THEN $order ELSE coalesce($told, $order) END",
        gone=column("s_deleted", table),
        order=order,
        told=told,
    )
    return found


def placed(versions: exp.Query, before: Relation | None, names: tuple[str, ...]) -> exp.Query:
    """Return the versions of keys (columns `names`) with their ends, without those that were never valid.

    `versions` are those of the timelines, in the order of extracts. `before` are the hub's versions of these keys, if
    the timelines start with the newest of them.
    """
    every: exp.Query = query("SELECT $names FROM $own AS v", names=columns(names, "v"), own=versions)
    if before is not None:
        ended = query(
            "SELECT $names FROM $before AS b WHERE NOT b.s_valid_to IS NULL", names=columns(names, "b"), before=before
        )
        every = exp.union(every, ended, distinct=False)
    others = [name for name in names if name not in ("s_valid_to", "s_is_current")]
    found: exp.Query = query(
        """
        SELECT $all FROM (
            SELECT $others, s_ends AS s_valid_to, s_ends IS NULL AND NOT s_is_deleted AS s_is_current
            FROM (
                SELECT e.*, min(e.s_valid_from) OVER (
                    PARTITION BY e.s_key ORDER BY e.s_order ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS s_ends
                FROM $every AS e
            ) AS w WHERE s_ends IS NULL OR s_valid_from < s_ends
        ) AS p
        """,
        all=columns(names, "p"),
        others=columns(others, "w"),
        every=every,
    )
    return found
