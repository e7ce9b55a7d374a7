"""Refresh types whose validations keep rows out, with their meaning in the reference, and rows that are much alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import reference
from law import at
from law_cases import COLUMNS, HUGE, KEY, TRACKED, Delivery, Kind, added, last
from reference import GivenInput, Row, Version

SANE = {"name": "sane", "expression": "ignored not in ('x', 'X', '|')", "severity": "quarantine"}
WHOLE = tuple(name for name in COLUMNS if name != "ignored")


def fails(row: Row) -> bool:
    """What the validation says."""
    return row["ignored"] in ("x", "X", "|")


def alike(delivery: Delivery) -> Delivery:
    """The same arrivals of rows that have few values, so that many say what others say."""

    def row_of(row: Row) -> Row:
        few = {"at": row["at"] % 2, "v": row["v"] and "x", "n": None, "number": HUGE, "seen": at(row["seen"].day % 3)}
        return {**row, **few, "op": "D" if row["op"] == "D" else "U", "k": row["k"][:1]}

    groups = [[replace(item, rows=tuple(map(row_of, item.rows))) for item in group] for group in delivery.groups]
    return replace(delivery, groups=groups)


def keyed(**options: Any) -> Callable[[list[GivenInput]], list[Version]]:
    """What a keyed type means, of whose rows some fail."""
    return lambda inputs: reference.keyed(inputs, key=KEY, tracked=TRACKED, fails=fails, **options)


IGNORED = {"ignore_changes_in": ["ignored"]}
VALIDATED = {
    "key": Kind({"type": "key", "key": KEY, **IGNORED}, keyed()),
    "key_deletes": Kind(
        {"type": "key", "key": KEY, "order_by": "at", "delete_when": "op = 'D'", **IGNORED},
        keyed(order_by="at", is_delete=lambda row: row["op"] == "D"),
    ),
    "key_merged": Kind(
        {"type": "key", "key": KEY, "merge": {"v": "last", "at": "sum"}, "update_in_place": ["op"], **IGNORED},
        lambda inputs: reference.keyed(
            inputs,
            key=KEY,
            tracked=("at", "v", "n", "seen", "number"),
            fails=fails,
            merge={"v": last("v"), "at": added("at")},
            in_place=("op",),
        ),
    ),
    "full": Kind({"type": "full", "key": KEY, **IGNORED}, keyed(covers=lambda _item, _row: True)),
    "full_keyless": Kind(
        {"type": "full", **IGNORED},
        lambda inputs: reference.whole_rows(inputs, WHOLE, lambda _item, _row: True, fails),
    ),
    "timestamp": Kind(
        {"type": "timestamp", "range_by": "seen"},
        lambda inputs: reference.whole_rows(inputs, COLUMNS, reference.covers_range("seen"), fails),
    ),
}
