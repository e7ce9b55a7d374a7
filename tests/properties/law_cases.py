"""The refresh types under test with their meaning in the reference, and generated deliveries of their inputs."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import reference
from hypothesis import strategies as st
from law import arrive, at, days_of, hub_rows, leave, workspace_for
from reference import GivenInput, Version

from dataops_assets.config.source import Source
from dataops_assets.engines.duckdb import DuckDBEngine

KEYS = ("a", "b", "a|b", "é", "")
PARTS = ("", "b|c", "c", "\\")
VALUES = (None, "", "x", "X", "0:", "|", "x ", "\U0001f600", '["x", 1]', '[{"a": "]"},"X", "x"]', "[]")
NUMBERS = (None, 0.0, -0.0, 1.5, float("inf"))
# neighbours beyond 64 bits, where a double would take them for one
HUGE = decimal.Decimal(10) ** 30
STEPS = 12
COLUMNS = ("k", "part", "at", "v", "n", "ignored", "op", "seen", "number")


@dataclass(frozen=True)
class Kind:
    """A refresh type under test and its meaning in the reference."""

    refresh: dict[str, Any]
    meaning: Callable[[list[GivenInput]], list[Version]]


KEY = ("k", "part")
TRACKED = ("at", "v", "n", "op", "seen", "number")


def keyed(**options: Any) -> Callable[[list[GivenInput]], list[Version]]:
    """What a keyed type means."""
    return lambda inputs: reference.keyed(inputs, key=KEY, **{"tracked": (*TRACKED, "ignored"), **options})


def last(name: str, gives: Callable[[reference.Row], bool] | None = None) -> reference.Merge:
    """The value of the last row that gives one; a row gives what is not null unless `gives` says so."""
    is_given = gives or (lambda row: row[name] is not None)
    return lambda before, row: row[name] if is_given(row) else before


def known(
    name: str, of_two: Callable[[Any, Any], Any], counts: Callable[[reference.Row], bool] = lambda _row: True
) -> reference.Merge:
    """What `of_two` makes of the value before and of the row's, among those that are known and count."""

    def merge(before: Any, row: reference.Row) -> Any:
        now = row[name] if counts(row) else None
        return of_two(before, now) if before is not None and now is not None else before if now is None else now

    return merge


def added(name: str) -> reference.Merge:
    """The sum of all known values."""
    return known(name, lambda before, now: before + now)


class Counted(int):
    """The total of a counter, with its last value."""

    last: int


def united(name: str) -> reference.Merge:
    """The items of all known lists, each once; a text that is no list is an item."""

    def items(value: str) -> set[str]:
        found = json.loads(value) if value.startswith("[") else [value]
        return {json.dumps(item, ensure_ascii=False) for item in found}

    def of_two(before: str, now: str) -> str:
        return f"[{','.join(sorted(items(before) | items(now)))}]"

    return lambda before, row: before if row[name] is None else of_two("[]" if before is None else before, row[name])


def counted(name: str) -> reference.Merge:
    """What a counter has counted: a value below the one before it says that it began anew."""

    def merge(before: Any, row: reference.Row) -> Any:
        now = row[name]
        if now is None:
            return before
        total = Counted(now if before is None else before + (now - before.last if now >= before.last else now))
        total.last = now
        return total

    return merge


KINDS = {
    "key": Kind({"type": "key", "key": KEY}, keyed()),
    "key_ordered": Kind({"type": "key", "key": KEY, "order_by": "at"}, keyed(order_by="at")),
    "key_deletes": Kind(
        {
            "type": "key",
            "key": KEY,
            "order_by": "at",
            "delete_when": "op = 'D'",
            "ignore_changes_in": ["ignored"],
            "ties": "delete",
        },
        keyed(order_by="at", tracked=TRACKED, is_delete=lambda row: row["op"] == "D", ties="delete"),
    ),
    "key_groups": Kind(
        {
            "type": "key",
            "key": KEY,
            "order_by": "at",
            "delete_when": "op = 'D'",
            "group_deletes": [{"when": "n = 1.5 and op <> 'I'", "by": ["part"]}, {"when": "ignored = '0:'"}],
        },
        keyed(
            order_by="at",
            is_delete=lambda row: row["op"] == "D",
            groups=[
                (lambda row: row["n"] == 1.5 and row["op"] != "I", ["part"]),
                (lambda row: row["ignored"] == "0:", []),
            ],
        ),
    ),
    "key_groups_in_order_of_rows": Kind(
        {"type": "key", "key": KEY, "group_deletes": [{"when": "op = 'D' and ignored <> 'x'", "by": ["k"]}]},
        keyed(groups=[(lambda row: row["op"] == "D" and row["ignored"] not in (None, "x"), ["k"])]),
    ),
    "full": Kind({"type": "full", "key": KEY}, keyed(covers=lambda _item, _row: True)),
    "full_keyless": Kind(
        {"type": "full"}, lambda inputs: reference.whole_rows(inputs, COLUMNS, lambda _item, _row: True)
    ),
    "timestamp": Kind(
        {"type": "timestamp", "range_by": "seen"},
        lambda inputs: reference.whole_rows(inputs, COLUMNS, reference.covers_range("seen")),
    ),
    "timestamp_of_a_week": Kind(
        {"type": "timestamp", "range_by": "seen", "period": "week"},
        lambda inputs: reference.whole_rows(inputs, COLUMNS, reference.covers_days("seen", 7)),
    ),
    "timestamp_of_told_days": Kind(
        {"type": "timestamp", "range_by": "seen"}
        | {"period": {"from": "days.from", "through": "days.through", "format": "%Y%m%d"}},
        lambda inputs: reference.whole_rows(
            inputs, COLUMNS, lambda item, row: item.time <= row["seen"] < item.time + dt.timedelta(days_of(item))
        ),
    ),
    "sequence": Kind(
        {"type": "sequence", "range_by": "number"},
        lambda inputs: reference.whole_rows(inputs, COLUMNS, reference.covers_range("number")),
    ),
    "custom": Kind(
        {"type": "custom", "delete_where": "part = input.part and at >= INPUT.at"},
        lambda inputs: reference.own_rows(inputs, replaces),
    ),
}


# kinds whose settings have a meaning with history alone
HISTORIC = {
    "full_valid_from": Kind(
        {"type": "full", "key": KEY, "valid_from": "seen"}, keyed(covers=lambda _item, _row: True, begins="seen")
    ),
    "full_valid_from_untracked": Kind(
        {
            "type": "full",
            "key": KEY,
            "valid_from": "seen",
            "ignore_changes_in": ["seen", "ignored", "number", "at"],
            "update_in_place": ["n"],
            "merge": {"v": "last"},
        },
        keyed(
            covers=lambda _item, _row: True,
            tracked=("v", "op"),
            merge={"v": last("v")},
            in_place=("n",),
            begins="seen",
        ),
    ),
}


# values of columns that are made of several rows
MERGED = {
    "key_partial": Kind(
        {
            "type": "key",
            "key": KEY,
            "merge": {"*": "last", "at": "sum", "seen": "greatest", "v": "union"},
            "ignore_changes_in": ["ignored", "number"],
        },
        keyed(
            tracked=("at", "v", "n", "op", "seen"),
            merge={name: last(name) for name in ("n", "op")}
            | {"at": added("at"), "seen": known("seen", max), "v": united("v")},
        ),
    ),
    "key_merged": Kind(
        {
            "type": "key",
            "key": KEY,
            "order_by": "at",
            "delete_when": "op = 'D'",
            "group_deletes": [{"when": "op = 'D' and v = 'x'", "by": ["part"]}],
            "merge": {
                "v": {"take": "last", "when": "op = 'U' or v <> 'x'"},
                "n": "greatest",
                "seen": {"take": "least", "when": "op = 'I'"},
                "ignored": "union",
            },
            "update_in_place": ["n", "number"],
            "ties": "row",
        },
        keyed(
            order_by="at",
            ties="row",
            tracked=("at", "v", "op", "seen", "ignored"),
            is_delete=lambda row: row["op"] == "D",
            groups=[(lambda row: row["op"] == "D" and row["v"] == "x", ["part"])],
            merge={
                "v": last("v", lambda row: row["op"] == "U" or (row["v"] is not None and row["v"] != "x")),
                "n": known("n", max),
                "seen": known("seen", min, lambda row: row["op"] == "I"),
                "ignored": united("ignored"),
            },
            in_place=("n", "number"),
        ),
    ),
    "key_counter": Kind(
        {"type": "key", "key": KEY, "delete_when": "op = 'D'", "merge": {"at": "counter", "v": "last"}},
        keyed(is_delete=lambda row: row["op"] == "D", merge={"at": counted("at"), "v": last("v")}),
    ),
    "full_merged": Kind(
        {
            "type": "full",
            "key": KEY,
            "merge": {"v": "last", "at": "sum", "n": "first"},
            "update_in_place": ["ignored", "v"],
        },
        keyed(
            covers=lambda _item, _row: True,
            tracked=("at", "n", "op", "seen", "number"),
            merge={"v": last("v"), "at": added("at"), "n": known("n", lambda before, _now: before)},
            in_place=("ignored", "v"),
        ),
    ),
}


def replaces(item: GivenInput, row: reference.Row) -> bool:
    """What the predicate of `custom` says."""
    return any(row["part"] == other["part"] and row["at"] >= other["at"] for other in item.rows)


def source_for(refresh: dict[str, Any], **fields: Any) -> Source:
    """A source of the generated columns."""
    kinds = {"k": "text", "part": "text", "at": "integer", "v": "text", "n": "double", "ignored": "text", "op": "text"}
    kinds |= {"seen": "timestamptz", "number": "decimal(38,0)"}
    return Source.model_validate(
        {
            "name": "things",
            "area": "tests",
            "connection": {"type": "files", "path": "things_*.csv", "manifest": {}},
            "columns": [{"name": name, "type": kind} for name, kind in kinds.items()],
            "refresh": refresh,
            "gates": {"deletes": {"max_share": 1}},
            "checks": {kind: {"enabled": False} for kind in ("volume", "schema", "distribution")},
            # checks ask the metadata for earlier inputs; the law is about rows
            **fields,
        }
    )


@dataclass(frozen=True)
class Delivery:
    """Groups of inputs in the order in which they arrive, and the ids of those removed at the end.

    An input that comes again may hold other rows than before, as when it is parsed anew under a corrected contract, and
    may have arrived later, as when a file is sent again.
    """

    groups: list[list[GivenInput]]
    removed: list[str]


@st.composite
def deliveries(draw: st.DrawFn, families: int) -> Delivery:
    """Families of keys that know nothing of each other, each a scenario of its own over the same arrivals.

    A family's rows come from a seed, so a failing example shrinks to the families that fail. Half of the deliveries
    come in the order of their inputs, and half say each key of an input once, as most feeds do.
    """
    in_order, once = draw(st.booleans()), draw(st.booleans())
    count = draw(st.integers(1, 4))
    days = draw(st.lists(st.integers(0, 5 if in_order else 3), min_size=count, max_size=count))
    if in_order:
        days.sort()
    # the part of the range types' axis that an input has rows of
    windows = [sorted(draw(st.tuples(st.integers(0, STEPS), st.integers(0, STEPS)))) for _ in days]
    seeds = draw(st.lists(st.integers(0, 2**32), min_size=1, max_size=families))
    if draw(st.integers(0, 9)):
        seeds += range(families - len(seeds))

    def rows(index: int, told: int) -> tuple[reference.Row, ...]:
        found = _rows(seeds, told, windows[index], 6 * index if in_order else 0)
        return tuple({(row["k"], row["part"]): row for row in found}.values()) if once else found

    arrivals = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    contents = draw(st.lists(st.sampled_from(["", "", "one", "two"]), min_size=count, max_size=count))
    inputs = [
        GivenInput(at(day), f"{day}-{index}", rows(index, index), arrivals[index], contents[index])
        for index, day in enumerate(days)
    ]
    groups: list[list[GivenInput]] = []
    for item in inputs if in_order else draw(st.permutations(inputs)):
        if groups and not draw(st.integers(0, 3 if in_order else 1)):
            groups[-1].append(item)
        else:
            groups.append([item])
    for index in draw(st.lists(st.integers(0, count - 1), max_size=1)):
        again = inputs[index]
        if draw(st.booleans()):
            again = replace(again, rows=rows(index, count + index))
        if draw(st.booleans()):
            # the file was sent again: a later version with the same content
            again = replace(again, arrival=again.arrival + draw(st.integers(1, 3)))
        groups.append([again])
    removed = draw(st.lists(st.sampled_from([item.input_id for item in inputs]), max_size=2, unique=True))
    return Delivery(groups, removed)


def one_after_another(families: int, count: int = 4) -> Delivery:
    """Inputs that come in their order, each in a run of its own; one in the middle leaves."""
    inputs = [GivenInput(at(day), f"{day}-{day}", _rows(range(families), day, (0, STEPS), 0)) for day in range(count)]
    return Delivery([[item] for item in inputs], [inputs[count // 2].input_id])


def _rows(seeds: Sequence[int], index: int, window: Sequence[int], since: int) -> tuple[reference.Row, ...]:
    rows = []
    for family, seed in enumerate(seeds):
        chosen = random.Random(seed * 31 + index)
        rows += [_row(chosen, family, *window, since) for _ in range(chosen.choice((0, 0, 1, 1, 2, 3)))]
    return tuple(rows)


def _row(chosen: random.Random, family: int, low: int, high: int, since: int) -> reference.Row:
    step = chosen.randint(low, high)
    return {
        "k": chosen.choice(KEYS[:2] if chosen.random() < 0.7 else KEYS),
        "part": f"{family}{chosen.choice(PARTS[:1] if chosen.random() < 0.7 else PARTS)}",
        "at": since + chosen.randint(0, 5),
        "v": chosen.choice(VALUES[:3] if chosen.random() < 0.7 else VALUES),
        "n": chosen.choice(NUMBERS[:3]) if chosen.random() < 0.8 else chosen.choice(NUMBERS),
        "ignored": chosen.choice(VALUES),
        "op": chosen.choice("IUD"),
        "seen": at(step),
        "number": HUGE + step,
    }


def without_some_times(delivery: Delivery) -> Delivery:
    """The delivery where some rows say no time."""

    def timeless(item: GivenInput) -> GivenInput:
        rows = [{**row, "seen": None} if row["n"] is None else row for row in item.rows]
        return replace(item, rows=tuple(rows))

    return replace(delivery, groups=[[timeless(item) for item in group] for group in delivery.groups])


def content(row: Any) -> tuple[Any, ...]:
    """The contract columns of a row."""
    return tuple(_utc(row[name]) for name in COLUMNS)


def expected_rows(versions: list[Version], order_by: str | None, history: bool) -> set[tuple[Any, ...]]:
    """The rows that a hub of these versions has."""
    kept = versions if history else [version for version in versions if version.is_current]
    rows = set()
    for version in kept:
        row = (*content(version.row), version.input_id, version.row_id, version.order, version.created, version.updated)
        validity = (version.valid_from, version.valid_to, version.is_current, version.is_deleted)
        rows.add((*row, *validity) if history else row)
    return rows


def actual_rows(found: Sequence[Mapping[str, Any]], history: bool) -> set[tuple[Any, ...]]:
    """A hub's rows as the reference writes them."""
    names = ["s_input_id", "s_row_id", "s_order", "s_created_at", "s_updated_at"]
    names += ["s_valid_from", "s_valid_to", "s_is_current", "s_is_deleted"] if history else []
    result = {(*content(row), *(_utc(row[name]) for name in names)) for row in found}
    assert len(result) == len(found), "a hub row stands twice"
    return result


def _utc(value: Any) -> Any:
    return value.astimezone(dt.UTC) if isinstance(value, dt.datetime) else value


def assert_law(
    kind: Kind, history: bool, delivery: Delivery, engine: DuckDBEngine, validations: Sequence[Mapping[str, str]] = ()
) -> None:
    """After each group of inputs, and after inputs left, the hub has the rows that the reference model gives."""
    source = source_for({**kind.refresh, "history": history}, validations=list(validations))
    order_by = kind.refresh.get("order_by")
    with tempfile.TemporaryDirectory() as home:
        context = workspace_for(source, Path(home), engine)
        applied: dict[str, GivenInput] = {}
        for group in delivery.groups:
            arrive(context, group)
            applied |= {item.input_id: item for item in group}
            expected = kind.meaning(list(applied.values()))
            assert actual_rows(hub_rows(context), history) == expected_rows(expected, order_by, history)
        if delivery.removed:
            leave(context, delivery.removed)
            expected = kind.meaning([item for item in applied.values() if item.input_id not in delivery.removed])
            assert actual_rows(hub_rows(context), history) == expected_rows(expected, order_by, history)
