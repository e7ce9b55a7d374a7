"""What docs/refresh.md says of refresh types and of what happens when, where no other test does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandera.pandas as pa
import pytest
from refresh_scenarios import Scenario

from dataops_assets.errors import ConfigError, GateFailed, InputError
from dataops_assets.steps.upkeep.outdated import outdated


@pytest.fixture
def scenario(tmp_path: Path) -> Any:
    return lambda refresh, columns, **more: Scenario(tmp_path, refresh, columns, **more)


def test_the_newest_input_owns_the_overlap_and_the_older_keeps_its_remainder(scenario: Any) -> None:
    """Rows of the older input that the newer one covers and lacks are gone."""
    hub = scenario({"type": "sequence", "range_by": "at"}, {"at": "integer", "value": "text"})
    hub.arrives(1, [(1, "a"), (2, "b"), (3, "c"), (4, "d")])
    hub.arrives(2, [(2, "B"), (3, "c")])
    assert hub.rows("at", "value") == [(1, "a"), (2, "B"), (3, "c"), (4, "d")]
    hub.arrives(3, [(3, "C"), (6, "f")])
    assert hub.rows("at", "value") == [(1, "a"), (2, "B"), (3, "C"), (6, "f")]


def test_of_two_inputs_in_one_run_the_newer_decides(scenario: Any) -> None:
    hub = scenario({"type": "sequence", "range_by": "at"}, {"at": "integer"})
    hub.arrives(1, [(1,), (2,), (3,)])
    hub.parsed(2, [(1,), (2,), (3,)])
    hub.parsed(3, [(1,), (3,)])
    assert hub.runs(2, 3) == []
    assert hub.rows("at") == [(1,), (3,)]


def test_an_input_parsed_to_other_rows_takes_back_what_the_first_ones_did(scenario: Any) -> None:
    hub = scenario(
        {"type": "key", "key": ["k"], "delete_when": "gone = 1", "history": True}, {"k": "text", "gone": "integer"}
    )
    hub.arrives(1, [("a", 0), ("b", 0)])
    hub.arrives(2, [("a", 1), ("c", 0)])
    hub.arrives(3, [("c", 0), ("d", 0)])
    rows = [("a", False, 1, 2), ("a", True, 2, None), ("b", False, 1, None), ("c", False, 2, None)]
    assert hub.versions("k", "s_is_deleted") == [*rows, ("d", False, 3, None)]
    hub.arrives(2, [("b", 1)])
    rows = [("a", False, 1, None), ("b", False, 1, 2), ("b", True, 2, None), ("c", False, 3, None)]
    assert hub.versions("k", "s_is_deleted") == [*rows, ("d", False, 3, None)]


@pytest.mark.parametrize("order", [(1, 2, 3, 4), (4, 3, 2, 1), (1, 4, 2, 3)])
@pytest.mark.parametrize("kind", ["marker", "absence"])
def test_delete_return_delete_are_versions_whatever_came_first(
    scenario: Any, kind: str, order: tuple[int, ...]
) -> None:
    """A deletion is a version that has the key, is not current, and ends when the key returns."""
    if kind == "marker":
        refresh = {"type": "key", "key": ["k"], "delete_when": "gone = 1", "history": True}
        inputs = {1: [("a", 0), ("b", 0)], 2: [("a", 1)], 3: [("a", 0)], 4: [("a", 1)]}
    else:
        refresh = {"type": "full", "key": ["k"], "history": True}
        inputs = {1: [("a", 0), ("b", 0)], 2: [("b", 0)], 3: [("a", 0), ("b", 0)], 4: [("b", 0)]}
    hub = scenario(refresh, {"k": "text", "gone": "integer"})
    for number in order:
        hub.arrives(number, inputs[number])
    assert hub.versions("k", "gone", "s_is_deleted", "s_is_current") == [
        ("a", 0, False, False, 1, 2),
        ("a", 0, False, False, 3, 4),
        ("a", None, True, False, 2, 3),
        ("a", None, True, False, 4, None),
        ("b", 0, False, True, 1, None),
    ]


def test_a_change_set_tells_the_key_of_a_row_that_is_gone(scenario: Any) -> None:
    hub = scenario({"type": "full", "key": ["k", "n"]}, {"k": "text", "n": "integer", "value": "text"})
    hub.arrives(1, [("a", 1, "x"), ("b", 2, "y")])
    hub.arrives(2, [("a", 1, "x")])
    assert hub.changes("k", "n", "value", "s_row_id", "s_change")[-1] == ("b", 2, None, -1, "deleted")


def test_removing_an_input_lets_the_others_fill_the_gap(scenario: Any) -> None:
    hub = scenario({"type": "sequence", "range_by": "at"}, {"at": "integer", "value": "text"})
    hub.arrives(1, [(1, "a"), (2, "b"), (3, "c")])
    hub.arrives(2, [(1, "A"), (3, "C")])
    assert hub.rows("at", "value") == [(1, "A"), (3, "C")]
    hub.removes(2)
    assert hub.rows("at", "value") == [(1, "a"), (2, "b"), (3, "c")]


def test_an_empty_input_owns_nothing(scenario: Any) -> None:
    hub = scenario({"type": "sequence", "range_by": "at"}, {"at": "integer"})
    hub.arrives(1, [(1,), (2,)])
    hub.arrives(2, [])
    assert hub.rows("at") == [(1,), (2,)]


def test_a_null_in_the_range_stops_the_input_and_says_where(scenario: Any) -> None:
    hub = scenario({"type": "sequence", "range_by": "at"}, {"at": "integer"})
    hub.arrives(1, [(1,)])
    errors = hub.arrives(2, [(1,), (None,), (3,)])
    assert "null or NaN (rows) in at: 1; e.g. in rows 1" in errors[0]
    assert hub.rows("at") == [(1,)]


def test_a_custom_input_replaces_what_its_predicate_says(scenario: Any) -> None:
    refresh = {"type": "custom", "delete_where": "region = input.region and day >= input.day"}
    hub = scenario(refresh, {"region": "text", "day": "integer"})
    hub.arrives(1, [("north", 1), ("north", 2), ("north", 3), ("south", 2)])
    hub.arrives(2, [("north", 2)])
    assert hub.rows("region", "day") == [("north", 1), ("north", 2), ("south", 2)]


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_rows_that_name_periods_replace_them_also_several_of_one_file(scenario: Any, order: tuple[int, ...]) -> None:
    """Half-open periods, in the columns `start` and `stop`."""
    rows = {
        1: [(day, "old", 0, 10) for day in (1, 4, 5, 9)],
        # two extracts in one file
        2: [(2, "new", 0, 3), (5, "new", 5, 8)],
        3: [(6, "newest", 4, 7)],
    }
    refresh = {"type": "custom", "delete_where": "day >= input.start and day < input.stop"}
    kinds = {"day": "integer", "said": "text", "start": "integer", "stop": "integer"}
    hub = scenario(refresh, kinds, gates={"deletes": {"max_share": 1}})
    for number in order:
        assert hub.arrives(number, rows[number]) == []
    assert hub.rows("day", "said") == [(2, "new"), (6, "newest"), (9, "old")]
    hub.removes(3)
    assert hub.rows("day", "said") == [(2, "new"), (4, "old"), (5, "new"), (9, "old")]


def test_a_custom_input_without_rows_replaces_nothing(scenario: Any) -> None:
    hub = scenario({"type": "custom", "delete_where": "true"}, {"day": "integer"})
    hub.arrives(1, [(1,), (2,)])
    hub.arrives(2, [])
    assert hub.rows("day") == [(1,), (2,)]
    hub.arrives(3, [(5,)])
    assert hub.rows("day") == [(5,)]


def test_history_of_a_range_keeps_what_was_replaced(scenario: Any) -> None:
    hub = scenario({"type": "sequence", "range_by": "at", "history": True}, {"at": "integer", "value": "text"})
    hub.arrives(1, [(1, "a"), (2, "b")])
    hub.arrives(2, [(1, "a"), (2, "B")])
    hub.arrives(3, [(1, "a"), (2, "b")])
    assert hub.versions("at", "value") == [
        (1, "a", 1, None),
        (2, "B", 2, 3),
        (2, "b", 1, 2),
        (2, "b", 3, None),
    ]


def test_several_key_columns_make_one_key_without_confusion(scenario: Any) -> None:
    hub = scenario({"type": "key", "key": ["a", "b"]}, {"a": "text", "b": "text", "v": "integer"})
    hub.arrives(1, [("a", "b|c", 1), ("a|b", "c", 2), ("a\\", "b", 3), ("a", "\\b", 4), ("", "a", 5), ("a", "", 6)])
    assert hub.rows("v") == [(1,), (2,), (3,), (4,), (5,), (6,)]
    assert len(set(hub.rows("s_key"))) == 6


def test_a_quarantined_row_leaves_the_version_before_it(scenario: Any) -> None:
    hub = scenario({"type": "key", "key": ["k"]}, {"k": "text", "v": "integer"}, validations=[NOT_NEGATIVE])
    hub.arrives(1, [("a", 1), ("b", 2)])
    hub.arrives(2, [("a", -1), ("b", 3)])
    assert hub.rows("k", "v") == [("a", 1), ("b", 3)]


def test_a_quarantined_row_of_a_full_extract_is_present(scenario: Any) -> None:
    """Its key is not deleted; one that is truly missing is."""
    hub = scenario({"type": "full", "key": ["k"]}, {"k": "text", "v": "integer"}, validations=[NOT_NEGATIVE])
    hub.arrives(1, [("a", 1), ("b", 2)])
    hub.arrives(2, [("a", -1)])
    assert hub.rows("k", "v") == [("a", 1)]


NOT_NEGATIVE = {"name": "not_negative", "expression": "v >= 0", "severity": "quarantine"}
BEFORE = {"type": "key", "key": ["k"]}


@pytest.mark.parametrize(
    ("after", "rows"),
    [
        ({"type": "key", "key": ["k", "v"]}, [("a", 1, 5), ("a", 3, 6), ("b", 2, 7)]),
        ({"type": "key", "key": ["k"], "order_by": "v"}, [("a", 3, 6), ("b", 2, 7)]),
        ({"type": "key", "key": ["k"], "ignore_changes_in": ["v", "w"]}, [("a", 3, 6), ("b", 2, 7)]),
        ({"type": "full", "key": ["k"]}, [("a", 1, 5)]),
        ({"type": "append"}, [("a", 1, 5), ("a", 3, 6), ("b", 2, 7)]),
        ({"type": "sequence", "range_by": "w"}, [("a", 1, 5), ("a", 3, 6), ("b", 2, 7)]),
    ],
    ids=["key", "order", "tracked columns", "full", "append", "sequence"],
)
def test_what_decides_the_hub_is_changed_by_a_rebuild(scenario: Any, after: dict[str, Any], rows: list[Any]) -> None:
    """Until then the source says that it needs one, and readers keep what there is."""
    columns = {"k": "text", "v": "integer", "w": "integer"}
    hub = scenario(BEFORE, columns)
    hub.arrives(1, [("a", 3, 6), ("b", 2, 7)])
    hub.arrives(2, [("a", 1, 5)])
    before = [("a", 1, 5), ("b", 2, 7)]
    changed = scenario(after, columns, gates={"deletes": {"max_share": 1}})
    with pytest.raises(ConfigError, match="rebuild the hub from the lake: dataops rebuild things"):
        changed.arrives(3, [("a", 1, 5)])
    assert changed.rows("k", "v", "w") == before
    changed.rebuilds()
    assert changed.rows("k", "v", "w") == rows


SMALL = pa.DataFrameSchema({"v": pa.Column(int, pa.Check.le(100))})
LARGE = pa.DataFrameSchema({"v": pa.Column(int, pa.Check.le(10_000))})


@pytest.mark.parametrize("layer", ["lake", "hub"])
def test_a_contract_that_is_declared_later_judges_the_rows_that_are_there(scenario: Any, layer: str) -> None:
    """A rebuild judges them, and until then the source says that it needs one; a refused rebuild publishes nothing."""
    columns = {"k": "text", "v": "integer"}
    scenario(BEFORE, columns).arrives(1, [("a", 1), ("b", 5000)])
    strict, loose = (
        scenario(BEFORE, columns, gates={layer: {"contract": f"{__name__}:{name}"}}) for name in ("SMALL", "LARGE")
    )
    assert f"{__name__}:SMALL" in outdated(strict.context, [], "").rebuild
    with pytest.raises(GateFailed, match="v"):
        strict.rebuilds()
    assert strict.rows("k", "v") == [("a", 1), ("b", 5000)]
    assert outdated(strict.context, [], "").rebuild
    loose.rebuilds()
    assert not outdated(loose.context, [], "").rebuild
    # a later input is judged alone, and the rows before it stay judged by what judged them
    loose.arrives(2, [("c", 2)])
    assert not outdated(loose.context, [], "").rebuild
    assert f"{__name__}:SMALL" in outdated(strict.context, [], "").rebuild


def test_a_rebuild_compares_anew_what_came_in_one_run(scenario: Any) -> None:
    """Its change set was made against no hub, too, but under another key."""
    columns = {"k": "text", "v": "integer"}
    hub = scenario(BEFORE, columns)
    assert hub.arrives(1, [("a", 1), ("a", 3)]) == []
    assert hub.rows("k", "v") == [("a", 3)]
    changed = scenario({"type": "key", "key": ["k", "v"]}, columns)
    changed.rebuilds()
    assert changed.rows("k", "v") == [("a", 1), ("a", 3)]
    assert len(set(changed.rows("s_key"))) == 2


def test_a_rebuild_never_leaves_an_input_out(scenario: Any) -> None:
    columns = {"k": "text", "v": "integer", "w": "integer"}
    hub = scenario(BEFORE, columns)
    hub.arrives(1, [("a", 3, None)])
    hub.arrives(2, [("b", 1, 5)])
    changed = scenario({"type": "key", "key": ["w"]}, columns)
    with pytest.raises(InputError, match=r"null or NaN \(rows\) in w: 1"):
        changed.rebuilds()
    assert changed.rows("k") == [("a",), ("b",)]


def test_a_delete_marker_that_cannot_be_computed_does_not_hold(scenario: Any) -> None:
    hub = scenario(
        {"type": "key", "key": ["k"], "delete_when": "cast(op as integer) = 1 / 1"}, {"k": "text", "op": "text"}
    )
    hub.arrives(1, [("a", "0"), ("b", "0"), ("c", "0")])
    assert hub.arrives(2, [("a", "1"), ("b", "one"), ("c", None)]) == []
    assert hub.rows("k", "op") == [("b", "one"), ("c", None)]


def test_a_predicate_that_cannot_be_computed_does_not_hold(scenario: Any) -> None:
    hub = scenario(
        {"type": "custom", "delete_where": "cast(k as integer) / input.n = 2"}, {"k": "text", "n": "integer"}
    )
    hub.arrives(1, [("4", 1), ("x", 1), ("6", 1)])
    assert hub.arrives(2, [("y", 2), ("z", 0)]) == []
    assert hub.rows("k") == [("6",), ("x",), ("y",), ("z",)]
