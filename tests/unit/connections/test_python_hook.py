from __future__ import annotations

import datetime as dt
import hashlib
import math
import sys
import types
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataops_assets.connections.python import Extract, encode, load_hook
from dataops_assets.connections.python_values import column_of
from dataops_assets.errors import ConfigError, InputError
from dataops_assets.storage.raw import RawArea

MONDAY = dt.datetime(2013, 5, 6, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A project's module `feeds`."""
    module = types.ModuleType("feeds")
    monkeypatch.setitem(sys.modules, "feeds", module)
    return module


@pytest.fixture
def place(make_place: Any, hooks: types.ModuleType) -> Any:
    del hooks
    return python_place(make_place)


def python_place(make_place: Any, **options: Any) -> Any:
    place = make_place(**options)
    connection = {"type": "python", "function": "feeds:extracts", "arguments": {"region": "north"}}
    declared = place.source.model_dump(by_alias=True) | {"connection": connection}
    place.source = type(place.source).model_validate(declared)
    return place


def raw(place: Any) -> RawArea:
    return RawArea.of(place.environment.storage, "sales")


def rows(place: Any, item: Any) -> list[dict[str, Any]]:
    return pq.read_table(raw(place).local_path(item)).to_pylist()


def test_extracts_become_inputs_whose_bytes_are_kept(place: Any, hooks: types.ModuleType) -> None:
    calls = []

    def extracts(previous: dt.datetime | None, region: str) -> Iterator[Extract]:
        calls.append((previous, region))
        if previous is None:
            yield Extract(MONDAY, [{"a": 1}, {"a": 2, "b": "x"}])
            yield Extract(MONDAY + DAY, pa.table({"a": [3]}), file_name="tuesday")
            yield Extract(MONDAY + 2 * DAY, b"a\n4\n", file_name="wednesday.csv")

    hooks.extracts = extracts  # type: ignore[attr-defined]
    first, second, third = place.look().new
    # a key that only a later row has is a column too
    assert rows(place, first) == [{"a": 1, "b": None}, {"a": 2, "b": "x"}]
    assert rows(place, second) == [{"a": 3}]
    assert raw(place).open(third).read() == b"a\n4\n"
    assert [item.origin.rpartition("/")[2] for item in (first, second, third)] == [
        "extracts_20130506T000000.parquet",
        "tuesday.parquet",
        "wednesday.csv",
    ]
    # kept, but not ingested yet
    assert raw(place).inputs() == []
    assert place.look().new == []
    assert calls == [(None, "north"), (MONDAY + 2 * DAY, "north")]


def test_an_extract_that_is_given_again_is_known(place: Any, hooks: types.ModuleType) -> None:
    hooks.extracts = lambda *_, **__: [Extract(MONDAY, [{"a": 1}])]  # type: ignore[attr-defined]
    assert len(place.look().new) == 1
    found = place.look()
    assert (found.new, found.noted, found.problems) == ([], [], [])


def test_the_same_rows_at_another_time_are_another_input(make_place: Any, hooks: types.ModuleType) -> None:
    calls: list[dt.datetime | None] = []

    def extracts(previous: dt.datetime | None, region: str) -> Iterator[Extract]:
        calls.append(previous)
        yield Extract(MONDAY if previous is None else previous + DAY, [{"a": 1}])

    hooks.extracts = extracts  # type: ignore[attr-defined]
    place = python_place(make_place, refresh={"type": "append"})
    (item,) = place.look().new
    found = place.look()
    assert len(found.new) == 1
    assert f"the same content as {item.input_id}" in found.noted[0].note
    # the hook goes on behind it instead of giving it for ever
    place.look()
    assert calls == [None, MONDAY, MONDAY + DAY]


def test_an_extract_arrives_when_it_is_first_recorded(place: Any, hooks: types.ModuleType) -> None:
    given = [Extract(MONDAY, b"a\n1\n", "x.csv"), Extract(MONDAY, b"a\n2\n", "x.csv")]
    hooks.extracts = lambda *_, **__: list(given)  # type: ignore[attr-defined]
    first, second = place.look().new
    # of two extracts of one time, the one that was given later arrived later; the clock need not move
    assert (first.digest, second.digest) == tuple(hashlib.sha256(item.records).hexdigest() for item in given)
    assert first.arrival < second.arrival
    place.look(after=60)
    assert place.metadata.inputs("sales") == [first, second]
    # nor does it matter where the clock stands
    given.append(Extract(MONDAY, b"a\n3\n", "x.csv"))
    (third,) = place.look(after=-86_400).new
    assert place.metadata.inputs("sales") == [first, second, third]


def test_a_correction_of_the_same_size_and_time_is_a_new_input(place: Any, hooks: types.ModuleType) -> None:
    hooks.extracts = lambda *_, **__: [Extract(MONDAY, b"a\n1\n", "x.csv")]  # type: ignore[attr-defined]
    place.look()
    hooks.extracts = lambda *_, **__: [Extract(MONDAY, b"a\n2\n", "x.csv")]  # type: ignore[attr-defined]
    (item,) = place.look().new
    assert raw(place).open(item).read() == b"a\n2\n"


def test_a_naive_time_is_in_the_zone_of_the_source(make_place: Any, hooks: types.ModuleType) -> None:
    naive = dt.datetime(2013, 7, 1)  # noqa: DTZ001
    hooks.extracts = lambda *_, **__: [Extract(naive, [{"a": 1}])]  # type: ignore[attr-defined]
    (item,) = python_place(make_place, discovery={"timezone": "Europe/Berlin"}).look().new
    assert item.extract_time == dt.datetime(2013, 6, 30, 22, tzinfo=dt.UTC)


def test_a_look_ends_with_its_budget_and_the_next_goes_on(place: Any, hooks: types.ModuleType) -> None:
    def extracts(previous: dt.datetime | None, region: str) -> Iterator[Extract]:
        time = MONDAY if previous is None else previous + DAY
        while time < MONDAY + 3 * DAY:
            yield Extract(time, [{"a": time.day}])
            time += DAY

    hooks.extracts = extracts  # type: ignore[attr-defined]
    for day in (6, 7, 8):
        found = place.look(budget_seconds=0)
        assert [item.extract_time.day for item in found.new] == [day]
        assert found.left == ["feeds:extracts"]
    assert place.look(budget_seconds=0).left == []


def test_what_a_hook_gave_before_it_failed_is_kept(place: Any, hooks: types.ModuleType) -> None:
    def extracts(previous: dt.datetime | None, region: str) -> Iterator[Extract]:
        if previous is None:
            yield Extract(MONDAY, [{"a": 1}])
        raise TimeoutError("the API is down")

    hooks.extracts = extracts  # type: ignore[attr-defined]
    for _ in range(2):
        with pytest.raises(TimeoutError):
            place.look()
    (item,) = place.metadata.inputs("sales")
    assert rows(place, item) == [{"a": 1}]


def test_nothing_behind_a_bad_extract_is_taken_so_that_it_is_not_lost(place: Any, hooks: types.ModuleType) -> None:
    bad = [{"a": 1}, {"a": "one"}]

    def extracts(previous: dt.datetime | None, region: str) -> Iterator[Extract]:
        days = [Extract(MONDAY, [{"a": 1}]), Extract(MONDAY + DAY, bad), Extract(MONDAY + 2 * DAY, [{"a": 3}])]
        yield from (day for day in days if previous is None or day.extract_time > previous)

    hooks.extracts = extracts  # type: ignore[attr-defined]
    found = place.look()
    assert [item.extract_time for item in found.new] == [MONDAY]
    assert "column 'a'" in str(found.problems[0].error)
    assert len(place.look().problems) == 1
    bad[1]["a"] = 2
    assert [item.extract_time for item in place.look().new] == [MONDAY + DAY, MONDAY + 2 * DAY]


def test_extracts_out_of_order_are_refused_together(place: Any, hooks: types.ModuleType) -> None:
    times = [MONDAY + DAY, MONDAY]
    hooks.extracts = lambda *_, **__: [Extract(time, [{"a": 1}]) for time in times]  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="order of their extract times"):
        place.look()
    assert place.metadata.inputs("sales") == []
    times.sort()
    assert len(place.look().new) == 2


@pytest.mark.parametrize(
    ("extract", "message"),
    [
        ({"a": 1}, "dict"),
        (Extract("2013-05-06", []), "give a datetime"),  # type: ignore[arg-type]
        (Extract(MONDAY, b"x"), "bytes without a file name"),
        (Extract(MONDAY, b"x", "../x.csv"), "plain file name"),
        (Extract(MONDAY, b"x", ".."), "plain file name"),
        (Extract(MONDAY, b"x", "a\0b"), "plain file name"),
        (Extract(MONDAY, "text"), "str"),
        (Extract(MONDAY, {"a": 1}), "dict"),
        (Extract(MONDAY, 7), "int"),  # type: ignore[arg-type]
        (Extract(MONDAY, [1]), "a row that is a int"),  # type: ignore[list-item]
        (Extract(MONDAY, [{"a": 1}, {"a": "one"}]), "column 'a'"),
        (Extract(MONDAY, [{"a": MONDAY}, {"a": MONDAY.replace(tzinfo=None)}]), "column 'a'"),
        (Extract(MONDAY, [{"a": DAY}]), "column 'a'"),
        (Extract(MONDAY, [{"a": [math.nan]}]), "column 'a'"),
        (Extract(MONDAY, [{1: "x"}]), "the key 1"),
        (Extract(MONDAY, [{}]), "rows without columns"),
        (Extract(MONDAY, [{"a": object()}]), "column 'a'"),
    ],
)
def test_what_is_no_extract_is_told_by_what_it_is(extract: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        encode(extract, "feeds:extracts")
    assert "feeds:extracts" in str(raised.value)


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([1, 2**70], pa.decimal128(22, 0), None),
        ([1, Decimal("1.5"), None], pa.decimal128(2, 1), None),
        ([1, 2.5, Decimal("0.1")], pa.string(), ["1", "2.5", "0.1"]),
        ([Decimal("NaN"), Decimal(1)], pa.string(), ["NaN", "1"]),
        ([None, None], pa.string(), None),
        ([np.int64(5), np.int8(1)], pa.int64(), None),
        ([np.float32(0.5), math.inf], pa.float64(), None),
        ([np.bool_(True), False], pa.bool_(), None),
        ([pd.NaT, pd.NA, pd.Timestamp("2013-01-05 12:00")], pa.timestamp("us"), None),
        ([pd.Timestamp(1), None], pa.timestamp("ns"), None),
        ([np.datetime64("2013-01-05"), np.datetime64("NaT")], pa.date32(), [dt.date(2013, 1, 5), None]),
        ([dt.date(2013, 1, 5), MONDAY.replace(tzinfo=None)], pa.timestamp("us"), None),
        ([b"x", bytearray(b"y")], pa.binary(), [b"x", b"y"]),
        ([{"a": [1, 1.5]}, [], ()], pa.string(), ['{"a":[1,1.5]}', "[]", "[]"]),
        ([{}, {"b": Decimal("1.50")}], pa.string(), ["{}", '{"b":1.50}']),
        ([uuid.UUID(int=1), "x"], pa.string(), ["00000000-0000-0000-0000-000000000001", "x"]),
    ],
)
def test_the_types_of_all_values_decide(values: list[Any], kind: pa.DataType, expected: list[Any] | None) -> None:
    found = column_of(values)
    assert found.type == kind
    if expected is not None:
        assert found.to_pylist() == expected


def test_the_same_rows_are_the_same_bytes() -> None:
    some = [{"a": 1, "b": None}, {"a": 2, "b": dt.date(2013, 1, 1)}]
    assert encode(Extract(MONDAY, some), "m:f") == encode(Extract(MONDAY, iter(some)), "m:f")
    assert encode(Extract(MONDAY, []), "m:f")[0] == "f_20130506T000000.parquet"


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("feeds", "module:function"),
        (":f", "module:function"),
        ("nosuch.module:f", "no module 'nosuch'"),
        ("feeds:extract", "did you mean 'extracts'"),
        ("feeds:number", "no function 'number'"),
    ],
)
def test_a_wrong_function_is_a_mistake_of_the_declaration(hooks: types.ModuleType, function: str, message: str) -> None:
    hooks.extracts = lambda *_: []  # type: ignore[attr-defined]
    hooks.number = 7  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=message):
        load_hook(function)
