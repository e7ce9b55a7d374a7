"""Readers side by side: portions come in the order of the readers, few are ahead, and if one fails, all end."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataops_assets.connections.databases.in_order import Portion, Reader, Regrouped, in_order

Give = Callable[[Portion], None]


def portion(values: list[int], sizes: list[int] | None = None) -> Portion:
    return Portion(pa.table({"n": values}), np.array(sizes or [1] * len(values), np.int64))


def values_of(tables: list[pa.Table]) -> list[int]:
    return [value for table in tables for value in table.column("n").to_pylist()]


@settings(max_examples=30)
@given(parts=st.lists(st.lists(st.integers(1, 3), max_size=5), max_size=12), threads=st.integers(1, 5))
def test_portions_come_in_the_order_of_the_readers(parts: list[list[int]], threads: int) -> None:
    numbers = iter(range(1000))
    made = [[[next(numbers) for _ in range(rows)] for rows in part] for part in parts]

    def reader(part: list[list[int]]) -> Reader:
        def read(give: Give) -> None:
            for values in part:
                give(portion(values))

        return read

    taken: list[pa.Table] = []
    in_order(map(reader, made), threads, lambda item: taken.append(item.rows), lambda: None)
    assert values_of(taken) == [value for part in made for values in part for value in values]


def test_few_portions_are_ahead_of_a_slow_reader() -> None:
    threads, lock, given_ahead = 3, threading.Lock(), 0
    may_end = threading.Event()

    def slow(give: Give) -> None:
        assert may_end.wait(30)
        give(portion([0]))

    def quick(give: Give) -> None:
        nonlocal given_ahead
        for _ in range(50):
            give(portion([1]))
            with lock:
                given_ahead += 0 if may_end.is_set() else 1

    # long enough for the others to give all that they may
    timer = threading.Timer(0.5, may_end.set)
    timer.start()
    taken: list[pa.Table] = []
    in_order([slow, *[quick] * 20], threads, lambda item: taken.append(item.rows), lambda: None)
    assert len(values_of(taken)) == 1001
    assert 0 < given_ahead <= 2 * 2 * threads


@pytest.mark.parametrize("fails", ["a reader", "what takes"])
def test_if_one_fails_all_end(fails: str) -> None:
    interrupted = threading.Event()

    def waits(give: Give) -> None:
        give(portion([1]))
        assert interrupted.wait(30)

    def broken(give: Give) -> None:
        give(portion([2]))
        if fails == "a reader":
            raise ValueError("broken")

    def take(item: Portion) -> None:
        if fails == "what takes" and values_of([item.rows]) == [2]:
            raise ValueError("broken")

    before = threading.active_count()
    with pytest.raises(ValueError, match="broken"):
        in_order([broken, *[waits] * 9], 3, take, interrupted.set)
    assert interrupted.is_set()
    assert threading.active_count() == before


@settings(max_examples=50)
@given(
    sizes=st.lists(st.integers(1, 9), max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=6),
    least=st.integers(1, 30),
)
def test_portions_do_not_depend_on_how_rows_were_divided(sizes: list[int], cuts: list[int], least: int) -> None:
    meant: list[list[int]] = [[]]
    for number, _size in enumerate(sizes):
        meant[-1].append(number)
        if sum(sizes[place] for place in meant[-1]) >= least:
            meant.append([])
    found: list[pa.Table] = []
    regrouped = Regrouped(found.append, least)
    ends = sorted({*(cut for cut in cuts if cut < len(sizes)), 0, len(sizes)})
    for first, end in itertools.pairwise(ends):
        regrouped.add(portion(list(range(first, end)), sizes[first:end]))
    regrouped.flush()
    assert [table.column("n").to_pylist() for table in found] == [rows for rows in meant if rows]
    assert all(table.column("n").num_chunks == 1 for table in found)
