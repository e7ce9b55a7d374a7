"""Computes the system columns that identify a row: key, order and content hash.

They depend only on the row and its input, never on the clock, so the same inputs give the same bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from sqlglot import exp

from dataops_assets.config.contract import EvolvedColumn
from dataops_assets.config.refresh import AppendRefresh, CustomRefresh, GroupDelete, KeyRefresh
from dataops_assets.config.source import Source
from dataops_assets.config.types import sql_type
from dataops_assets.rules.row_condition import columns_read, row_condition
from dataops_assets.sql import column, query

ORDER_BY_TIME = "TIMESTAMP WITH TIME ZONE"


def order_type(source: Source) -> str:
    """Return the SQL type of `s_order`: that of the order column, or a timestamp if the extract time is the order."""
    if source.refresh.order_by is None:
        return ORDER_BY_TIME
    declared = next(item.type for item in source.columns if item.name == source.refresh.order_by)
    return ORDER_BY_TIME if declared == "timestamptz" else sql_type(declared)


def key_text(source: Source, table: str = "") -> exp.Expr:
    """Return `s_key`: the key columns as one text.

    Different keys have different texts: with several columns, backslashes and bars in text values are escaped, so
    ('a', 'b|c') and ('a|b', 'c') differ. Without a key, the key is the whole row, or for `append` and `custom` the
    place of the row in its input.
    """
    if isinstance(source.refresh, AppendRefresh | CustomRefresh):
        return query("$input || ':' || $row", input=column("s_input_id", table), row=column("s_row_id", table))
    if not source.refresh.key:
        # an extract may contain the same row several times: each of them gets its own number
        content = exp.func("md5", _content(source, table, _own(source)))
        return query(
            "$content || '|' || row_number() OVER (PARTITION BY $input, $content ORDER BY $row)",
            content=content,
            input=column("s_input_id", table),
            row=column("s_row_id", table),
        )
    kinds = {item.name: item.type for item in source.columns}
    texts = [value_text(column(name, table), kinds[name]) for name in source.refresh.key]
    if len(texts) == 1:
        return texts[0]
    parts = [
        query("replace(replace($text, '\\', '\\\\'), '|', '\\|')", text=text) if kinds[name] == "text" else text
        for name, text in zip(source.refresh.key, texts, strict=True)
    ]
    return _joined(parts)


def order_value(source: Source, table: str, extract_time: exp.Expr) -> exp.Expr:
    """Return `s_order`: the order column, or the extract time."""
    return column(source.refresh.order_by, table) if source.refresh.order_by is not None else extract_time


HASHED_AS = "60 bits of md5, lengths beside texts"
"""Name of the algorithm of `row_hash`. A hub that was merged with another one needs a rebuild."""


def row_hash(source: Source, table: str = "", without: Collection[str] = ()) -> exp.Expr:
    """Return `s_row_hash`: the first 60 bits of the md5 of all tracked columns, `without` some of them.

    Hashes are only compared within one key. Two versions of a key have the same hash with a probability of 2^-60.
    """
    called = {name: name for name in _own(source) if name not in without}
    return _hash_of(_content(source, table, called))


def hash_with(source: Source, table: str, called: Mapping[str, str]) -> exp.Expr:
    """Return the `s_row_hash` of a row of `table` that has one, with more columns: their names in it, by column."""
    tracked = {name: called[name] for name in tracked_columns(source) if name in called}
    own = query("CAST($hash AS VARCHAR)", hash=column("s_row_hash", table))
    return _hash_of(_joined([own, _content(source, table, tracked)]))


def _own(source: Source) -> dict[str, str]:
    return {name: name for name in tracked_columns(source)}


def _hash_of(content: exp.Expr) -> exp.Expr:
    return query("CAST('0x' || left(md5($content), 15) AS BIGINT)", content=content)


def tracked_columns(source: Source) -> tuple[str, ...]:
    """Return the columns whose change makes a new version of the row."""
    if isinstance(source.refresh, AppendRefresh):
        return source.column_names
    left_out = {*source.refresh.key, *source.refresh.ignore_changes_in, *source.refresh.update_in_place}
    return tuple(name for name in source.column_names if name not in left_out)


def group_deletes(source: Source) -> tuple[GroupDelete, ...]:
    """Return the declared markers that delete many keys."""
    return source.refresh.group_deletes if isinstance(source.refresh, KeyRefresh) else ()


def group_marker(source: Source, table: str = "") -> exp.Expr:
    """Return the condition that a row deletes a group of keys."""
    return exp.or_(
        exp.false(), *[row_condition(item.when, source.column_names, table) for item in group_deletes(source)]
    )


OF_GROUPS = -2
"""Where the positions of deletions of groups begin: the row at position n of an input makes those at -2 - n."""


def position_in_input(source: Source, table: str) -> exp.Expr:
    """Return the position that orders an observation within its input: that of its row, or of the marker."""
    row = column("s_row_id", table)
    if not group_deletes(source):
        return row
    return query("CASE WHEN $row <= $first THEN $first - $row ELSE $row END", row=row, first=OF_GROUPS)


_BEYOND_ALL_INPUTS = 1 << 40


def rank_in_order(source: Source, table: str) -> exp.Expr:
    """Return the number that orders observations of a key at one order: the rank of their input.

    With `ties`, all deletions come after all rows, or before them.
    """
    rank = column("s_rank", table)
    rule = source.refresh.ties
    if rule is None:
        return rank
    is_last = column("s_deleted", table) if rule == "delete" else exp.not_(column("s_deleted", table))
    found: exp.Expr = query(
        "CASE WHEN $is_last THEN $rank + $beyond ELSE $rank END", is_last=is_last, rank=rank, beyond=_BEYOND_ALL_INPUTS
    )
    return found


def has_markers(source: Source) -> bool:
    """Whether rows can be delete markers."""
    return bool(source.refresh.delete_when or group_deletes(source))


def delete_marker(source: Source, table: str = "") -> exp.Expr:
    """Return the condition that a row is a delete marker, of its key or of a group.

    It is false where a predicate cannot be computed.
    """
    if not isinstance(source.refresh, KeyRefresh) or not has_markers(source):
        return exp.false()
    conditions = [item.when for item in group_deletes(source)]
    if source.refresh.delete_when:
        conditions.append(source.refresh.delete_when)
    return exp.or_(*[row_condition(text, source.column_names, table) for text in conditions])


def marking_columns(source: Source) -> frozenset[str]:
    """Return the columns that decide whether a row is a delete marker, see `made_of`."""
    conditions = [source.refresh.delete_when or "TRUE", *(item.when for item in group_deletes(source))]
    return made_of(source, {name for text in conditions for name in columns_read(text, source.column_names)})


def filtering_columns(source: Source) -> frozenset[str]:
    """Return the columns that decide whether a row is kept, see `made_of`."""
    return made_of(source, columns_read(source.keep_when or "TRUE", source.column_names))


def made_of(source: Source, names: Iterable[str]) -> frozenset[str]:
    """Return these columns, and the columns from which the computed ones among them are made."""
    expressions = {item.name: item.expression for item in source.columns if item.expression}
    found, waiting = set[str](), set(names)
    while waiting:
        name = waiting.pop()
        found.add(name)
        if name in expressions:
            waiting |= columns_read(expressions[name], source.column_names) - found
    return frozenset(found)


def _content(source: Source, table: str, called: Mapping[str, str]) -> exp.Expr:
    """Return columns as one text. Null, an empty text and other splits of a text give different results.

    `called` has the names of the columns in `table`, by column.
    An undeclared column counts only where it has a value, so that the text of a row does not depend on the undeclared
    columns of other inputs.
    """
    kinds = {item.name: item.type for item in source.columns}
    evolved = {item.name for item in source.columns if isinstance(item, EvolvedColumn)}
    parts: list[exp.Expr] = []
    for name, name_there in called.items():
        text = value_text(column(name_there, table), kinds[name])
        if name in evolved:
            parts.append(query("$name || '=' || strlen($text) || ':' || $text", name=name, text=text))
        elif kinds[name] in ("text", "binary"):
            # each text comes after its length (-1 for null), so two different rows never give the same text
            parts += [query("coalesce(strlen($text), -1)", text=text), text.copy()]
        else:
            parts.append(query("coalesce($text, '')", text=text))
    return _joined(parts) if parts else exp.Literal.string("")


def _joined(parts: list[exp.Expr]) -> exp.Expr:
    # sqlglot's own ConcatWs wraps every part in a null check. Here only missing texts and undeclared columns are null,
    # and the function leaves them out (null keys are refused before)
    return exp.Anonymous(this="concat_ws", expressions=[exp.Literal.string("|"), *parts])


def value_text(value: exp.Expr, kind: str) -> exp.Expr:
    """Return the value of a declared type as text. Equal values have equal texts on every engine."""
    if kind == "text":
        return value
    if kind == "binary":
        return query("hex($value)", value=value)
    if kind == "double":
        # adding zero turns -0.0 into 0.0; one engine shows the sign of a NaN
        one = query("CASE WHEN isnan($value) THEN abs($value) ELSE $value + 0.0 END", value=value)
        return query("CAST($one AS VARCHAR)", one=one)
    if kind == "timestamptz":
        return query("CAST(epoch_us($value) AS VARCHAR)", value=value)
    return query("CAST($value AS VARCHAR)", value=value)
