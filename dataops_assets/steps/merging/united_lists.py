"""Unites lists over the timeline of a key, for columns that are merged by `union`.

A list is JSON text. Its items are compared as they are written. The united list has each item once, in the order of
their texts, so it does not depend on the order of the rows. A text that is no list is one item.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from dataops_assets.sql import alias, column, literal, query

# written so that RE2 and Java's patterns mean the same
_BLANKS = " \t\n\r"
_TEXT = r'"[^"\\]*(?:\\["\\/bfnrtu][^"\\]*)*"'
_OBJECT = rf'\{{[^{{}}"]*(?:{_TEXT}[^{{}}"]*)*\}}'
_ARRAY = rf'\[[^\[\]"]*(?:{_TEXT}[^\[\]"]*)*\]'
_ITEM = rf'{_TEXT}|{_OBJECT}|{_ARRAY}|[^{_BLANKS},\[\]{{}}"]+'
_NEXT = rf"[{_BLANKS}]*(?:{_ITEM})[{_BLANKS}]*"
_LIST = rf"[{_BLANKS}]*\[(?:{_NEXT}(?:,{_NEXT})*|[{_BLANKS}]*)\][{_BLANKS}]*"
_ITEMS = "s_items_"


def united(value: exp.Expr, before: exp.Expr) -> exp.Expr:
    """Return the union of two lists, of which each may be null: not known."""
    both: exp.Expr = query(
        "list_distinct(flatten([coalesce($a, []), coalesce($b, [])]))", a=_items(before.copy()), b=_items(value.copy())
    )
    found: exp.Expr = query(
        "CASE WHEN NOT ($v IS NULL AND $b IS NULL) THEN $list END", v=value, b=before, list=_list_of(both)
    )
    return found


def with_first_items(rows: exp.Query, names: Sequence[str], rank: exp.Expr, position: exp.Expr) -> exp.Query:
    """Return `rows` of an alias o, with the items that no earlier row of the same life of a key has.

    `names` are the columns of lists. The items are null where a row gives none.
    """
    found: exp.Query = query(
        "SELECT o.*, row_number() OVER (PARTITION BY o.s_key, o.s_life ORDER BY o.s_order, $rank, $position) AS s_nth, "
        "$items FROM $rows AS o",
        rank=rank,
        position=position,
        items=[alias(_items(column(name, "o")), _ITEMS + name) for name in names],
        rows=rows,
    )
    joins = []
    for place, name in enumerate(names):
        items, table = column(_ITEMS + name), f"u{place}"
        firsts = query(
            """
            SELECT s_key, s_life, s_nth, list(s_item) AS s_new FROM (
                SELECT s_key, s_life, s_item, min(s_nth) AS s_nth
                FROM (SELECT s_key, s_life, s_nth, unnest($items) AS s_item FROM $rows AS n) AS i
                GROUP BY s_key, s_life, s_item) AS f
            GROUP BY s_key, s_life, s_nth
            """,
            items=items,
            rows=found.copy(),
        )
        joins.append((firsts, table, name))
    opened: exp.Select = query(
        "SELECT o.*, $new FROM $rows AS o",
        new=[alias(column("s_new", table), name_of_new(name)) for _, table, name in joins],
        rows=found,
    )
    for firsts, table, _ in joins:
        on = [exp.EQ(this=column(name, table), expression=column(name, "o")) for name in ("s_key", "s_life", "s_nth")]
        opened = opened.join(
            exp.Subquery(this=firsts, alias=exp.to_identifier(table)), on=exp.and_(*on), join_type="left"
        )
    return opened


def name_of_new(name: str) -> str:
    """Return the name of the column with the items that are new in a row."""
    return f"s_new_{name}"


def united_in_window(name: str) -> exp.Expr:
    """Return the union of the lists of a column in the window `w`, whose rows are of `with_first_items`."""
    new = column(name_of_new(name), "o")
    known = query("count($value) OVER w > 0", value=column(name, "o"))
    lists = query("list($new) FILTER (WHERE $new IS NOT NULL) OVER w", new=new)
    found: exp.Expr = query(
        "CASE WHEN $known THEN $list END",
        known=known,
        list=_list_of(query("flatten(coalesce($lists, []))", lists=lists)),
    )
    return found


def _items(value: exp.Expr) -> exp.Expr:
    """Return the items of a list, each as JSON text; null of a null."""
    found: exp.Expr = query(
        """
        CASE WHEN regexp_full_match($value, $list)
                 THEN regexp_extract_all(substr(trim($value, $blanks), 2), $item)
             WHEN $value IS NOT NULL THEN [substr($object, 6, length($object) - 6)] END
        """,
        value=value,
        list=_LIST,
        item=_ITEM,
        blanks=_BLANKS,
        object=exp.Anonymous(this="json_object", expressions=[exp.Literal.string("v"), value.copy()]),
    )
    return found


def _list_of(items: exp.Expr) -> exp.Expr:
    """Return the JSON text of a list of items."""
    joined = query("array_to_string(list_sort($items), ',')", items=items)
    return exp.Anonymous(this="concat_ws", expressions=[literal(""), literal("["), joined, literal("]")])
