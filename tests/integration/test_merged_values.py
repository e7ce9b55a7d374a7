"""What docs/refresh.md says of the values of single columns: partial updates, sums, columns that change in place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from code_location import CodeLocation, loaded, standalone
from refresh_scenarios import Scenario, day

from dataops_assets.errors import ConfigError

UNAVAILABLE = "__debezium_unavailable_value"
GIVEN = {"take": "last", "when": f"note is null or note <> '{UNAVAILABLE}'"}


@pytest.fixture
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return lambda refresh, columns, **more: Scenario(tmp_path_factory.mktemp("hub"), refresh, columns, **more)


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_a_null_changes_nothing_and_a_late_update_lands_column_by_column(scenario: Any, order: tuple[int, ...]) -> None:
    rows = {
        1: [("a", "Ann", "Rome", 1), ("b", "Bob", None, 1)],
        2: [("a", None, "Oslo", 2)],
        3: [("a", "Eve", None, 3)],
    }
    refresh = {"type": "key", "key": ["k"], "order_by": "at", "merge": {"*": "last"}}
    hub = scenario(refresh, {"k": "text", "name": "text", "city": "text", "at": "integer"})
    for number in order:
        assert hub.arrives(number, rows[number]) == []
    assert hub.rows("k", "name", "city", "at") == [("a", "Eve", "Oslo", 3), ("b", "Bob", None, 1)]
    hub.removes(2)
    assert hub.rows("k", "name", "city", "at") == [("a", "Eve", "Rome", 3), ("b", "Bob", None, 1)]


def test_two_partial_rows_of_one_instant_both_count(scenario: Any) -> None:
    refresh = {"type": "key", "key": ["k"], "merge": {"*": "last"}}
    hub = scenario(refresh, {"k": "text", "name": "text", "city": "text"})
    hub.arrives(1, [("a", "Ann", None), ("a", None, "Rome")])
    assert hub.rows("k", "name", "city") == [("a", "Ann", "Rome")]


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1)])
def test_a_condition_says_when_a_null_is_given(scenario: Any, order: tuple[int, ...]) -> None:
    rows = {1: [("a", "long"), ("b", "long")], 2: [("a", UNAVAILABLE), ("b", None)], 3: [("b", UNAVAILABLE)]}
    refresh = {"type": "key", "key": ["k"], "merge": {"note": GIVEN}}
    hub = scenario(refresh, {"k": "text", "note": "text"})
    for number in order:
        hub.arrives(number, rows[number])
    assert hub.rows("k", "note") == [("a", "long"), ("b", None)]


def test_values_begin_anew_after_a_deletion(scenario: Any) -> None:
    refresh = {"type": "key", "key": ["k"], "delete_when": "gone = 1", "merge": {"name": "last", "n": "sum"}}
    hub = scenario(refresh, {"k": "text", "name": "text", "n": "integer", "gone": "integer"})
    hub.arrives(1, [("a", "Ann", 1, 0)])
    hub.arrives(2, [("a", None, None, 1)])
    hub.arrives(3, [("a", None, 5, 0)])
    assert hub.rows("k", "name", "n") == [("a", None, 5)]
    hub.removes(2)
    assert hub.rows("k", "name", "n") == [("a", "Ann", 6)]


def test_a_soft_delete_keeps_the_values(scenario: Any) -> None:
    refresh = {"type": "key", "key": ["k"], "order_by": "at", "merge": {"*": "last"}}
    hub = scenario(refresh, {"k": "text", "name": "text", "op": "text", "at": "integer"})
    hub.arrives(1, [("a", "Ann", "c", 1)])
    hub.arrives(3, [("a", None, "d", 3)])
    hub.arrives(2, [("a", "Eve", "u", 2)])
    assert hub.rows("name", "op") == [("Eve", "d")]
    hub.arrives(4, [("a", None, "c", 4)])
    assert hub.rows("name", "op") == [("Eve", "c")]


@pytest.mark.parametrize("order", [(1, 2, 3, 4), (4, 2, 1, 3)])
def test_a_counter_that_begins_anew_has_a_total(scenario: Any, order: tuple[int, ...]) -> None:
    rows = {1: [("a", 10)], 2: [("a", None)], 3: [("a", 25), ("a", 4)], 4: [("a", 9)]}
    refresh = {"type": "key", "key": ["k"], "merge": {"n": "counter"}}
    hub = scenario(refresh, {"k": "text", "n": "integer"})
    for number in order:
        hub.arrives(number, rows[number])
    # 10, 15 more, 4 after it began anew, 5 more
    assert hub.rows("k", "n") == [("a", 34)]
    hub.removes(3)
    assert hub.rows("k", "n") == [("a", 19)]


@pytest.mark.parametrize("order", [(1, 2, 3, 4), (4, 2, 1, 3)])
def test_lists_are_united(scenario: Any, order: tuple[int, ...]) -> None:
    rows = {1: '["b", "a"]', 2: 'say "a"', 3: '["c","a", 1, 1.0, {"x": [1]}, [[2]]]', 4: '["a",{"x": "]"}, [1,  2]]'}
    hub = scenario({"type": "key", "key": ["k"], "merge": {"tags": "union"}}, {"k": "text", "tags": "text"})
    for number in order:
        hub.arrives(number, [("a", rows[number]), ("b", None)])
    # a list that holds more than lists of values is one item, as is a text
    whole = '"[\\"c\\",\\"a\\", 1, 1.0, {\\"x\\": [1]}, [[2]]]"'
    items = sorted(['"a"', '"b"', '"say \\"a\\""', '{"x": "]"}', "[1,  2]", whole])
    assert hub.rows("k", "tags") == [("a", f"[{','.join(items)}]"), ("b", None)]
    hub.removes(3)
    hub.removes(4)
    assert hub.rows("tags") == [('["a","b","say \\"a\\""]',), (None,)]


def test_values_are_taken_over_all_rows_of_a_key(scenario: Any) -> None:
    refresh = {
        "type": "full",
        "key": ["k"],
        "merge": {"low": "least", "high": "greatest", "total": "sum", "first": "first"},
    }
    hub = scenario(refresh, dict.fromkeys(("k", "low", "high", "total", "first"), "integer"))
    hub.arrives(3, [(1, 3, 3, 3, 3)])
    hub.arrives(1, [(1, 5, 5, 5, None)])
    hub.arrives(2, [(1, 4, 9, None, 4)])
    assert hub.rows("k", "low", "high", "total", "first") == [(1, 3, 9, 8, 4)]
    assert hub.changes("s_input_id", "total")[-1] == ("day-3", 3)


@pytest.mark.parametrize("order", [(1, 2, 3, 4), (4, 3, 1, 2)])
def test_a_change_in_place_opens_no_version(scenario: Any, order: tuple[int, ...]) -> None:
    rows = {1: [("a", "Rome", 1, 1)], 2: [("a", "Rome", 2, 2)], 3: [("a", "Oslo", 3, 3)], 4: [("a", "Oslo", 4, 3)]}
    refresh = {
        "type": "key",
        "key": ["k"],
        "history": True,
        "update_in_place": ["seen"],
        "ignore_changes_in": ["first_seen"],
    }
    hub = scenario(refresh, {"k": "text", "city": "text", "first_seen": "integer", "seen": "integer"})
    for number in order:
        hub.arrives(number, rows[number])
    assert hub.versions("city", "first_seen", "seen") == [("Oslo", 3, 3, 3, None), ("Rome", 1, 2, 1, 3)]
    # day 4 changed nothing
    assert hub.rows("city", "s_updated_at") == [("Oslo", day(3)), ("Rome", day(2))]


def test_changed_settings_of_a_column_need_a_rebuild(scenario: Any, tmp_path: Path) -> None:
    columns = {"k": "text", "v": "integer"}
    hub = Scenario(tmp_path, {"type": "key", "key": ["k"]}, columns)
    hub.arrives(1, [("a", 3)])
    hub.arrives(2, [("a", None)])
    changed = Scenario(tmp_path, {"type": "key", "key": ["k"], "merge": {"v": "last"}}, columns)
    with pytest.raises(ConfigError, match="dataops rebuild things"):
        changed.arrives(3, [("a", None)])
    changed.rebuilds()
    assert changed.rows("k", "v") == [("a", 3)]


def test_rules_that_are_kept_current_read_merged_values(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """A file that lacks a column changes the others; a late file changes what stands."""
    feed = standalone() | {
        "columns": [
            {"name": "id", "type": "integer"},
            {"name": "price", "type": "integer"},
            {"name": "count", "type": "integer"},
        ],
        "drift": {"missing_column": "ignore"},
        "refresh": {"type": "key", "key": ["id"], "merge": {"*": "last"}},
        "rules": [{"name": "total", "expression": "price * count", "mode": "keep_current"}],
    }
    files = {3: "id,count\n1,3\n", 1: "id,price,count\n1,10,1\n", 2: "id,price\n1,20\n"}
    with loaded(feed) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        for number, content in files.items():
            here.land("orders", f"orders_2024-01-0{number}.csv", content)
            assert all(result.success for result in here.settle("orders"))
        assert here.rows("hub/orders", "id", "price", "count") == [(1, 20, 3)]
        here.materialize(["hub/orders_current"], {})
        assert here.rows("hub/orders_current", "id", "total") == [(1, 60)]


def test_a_flattened_change_feed_is_declared_by_settings(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """Debezium's flattened records as in docs/coming-from.md; the second file comes first."""
    feed = standalone() | {
        "connection": {
            "type": "files",
            "path": "orders/*",
            "format": {"type": "jsonl"},
            "extract_time": {"pattern": "orders_%Y-%m-%d.jsonl"},
            "settle_seconds": 0,
        },
        "columns": [
            {"name": "id", "type": "integer", "nullable": False},
            {"name": "name"},
            {"name": "note"},
            {"name": "__op"},
            {"name": "__deleted"},
            {"name": "__source_lsn", "type": "integer"},
        ],
        "keep_when": "__op in ('c', 'u', 'r', 'd')",
        "refresh": {
            "type": "key",
            "key": ["id"],
            "order_by": "__source_lsn",
            "delete_when": "__deleted = 'true'",
            "merge": {"note": GIVEN},
        },
    }

    def record(lsn: int, op: str, number: int, name: str | None, note: str | None) -> str:
        gone = "true" if op == "d" else "false"
        return json.dumps(
            {"id": number, "name": name, "note": note, "__op": op, "__deleted": gone, "__source_lsn": lsn}
        )

    first = [record(1, "r", 1, "Ann", "long"), record(2, "c", 2, "Bob", "short"), record(3, "c", 3, "Eve", "other")]
    second = [
        record(4, "u", 1, "Anna", UNAVAILABLE),
        record(5, "u", 2, "Bob", None),
        record(6, "d", 3, None, None),
        json.dumps({"ts_ms": 17}),
    ]
    with loaded(feed) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        for number, records in ((2, second), (1, first)):
            here.land("orders", f"orders_2024-01-0{number}.jsonl", "\n".join(records) + "\n")
            assert all(result.success for result in here.settle("orders"))
        assert here.rows("hub/orders", "id", "name", "note") == [(1, "Anna", "long"), (2, "Bob", None)]
        counts = [item.metadata["filtered"].value for _, item in sorted(here.materialized("lake/orders").items())]
        assert counts == [0, 1]
