"""One tick looks at a group of sources: each look stands for itself, whatever happens to the others."""

from __future__ import annotations

import datetime as dt
import logging
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from code_location import CUSTOMERS, CodeLocation, loaded, standalone
from hypothesis import given
from hypothesis import strategies as st

from dataops_assets.components import look_groups, source_look
from dataops_assets.components.assets import SourceAssets
from dataops_assets.components.look_groups import MOST_SECONDS, GroupTick, LookGroup, groups_of
from dataops_assets.components.source_look import Look
from dataops_assets.components.status import source_status
from dataops_assets.config.source import Source
from dataops_assets.connections.discovery import discover
from dataops_assets.errors import InputError, LookFailed
from dataops_assets.incidents.grouping import Lineage
from dataops_assets.incidents.problem import UNSEEN
from dataops_assets.incidents.reading import Watched, read_problems
from dataops_assets.operations.pausing import pause, resume

LOG = logging.getLogger("look")
ORDERS = standalone()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[CodeLocation]:
    with loaded(CUSTOMERS, ORDERS) as definitions, dg.DagsterInstance.ephemeral() as instance:
        yield CodeLocation(definitions, instance, tmp_path)


def requested(tick: GroupTick) -> list[str]:
    return sorted(str(request.tags["dataops/source"]) for request in tick.requests)


def test_a_look_that_fails_is_shown_and_stops_no_other(here: CodeLocation, monkeypatch: pytest.MonkeyPatch) -> None:
    here.land("orders", "orders_2024-01-01.csv", "id,customer,amount\n1,1,5\n")
    here.land("customers", "customers_2024-01-01.csv", "id,name\n1,Ann\n")
    group = LookGroup([here.sources["customers"], here.sources["orders"]])

    def discovers(source: Source, *given: Any, **named: Any) -> Any:
        if source.name == "customers":
            raise ValueError("a fault of a hook")
        return discover(source, *given, **named)

    with monkeypatch.context() as patched:
        patched.setattr(source_look, "discover", discovers)
        tick = group.tick(here.platform, here.instance, LOG)
        assert (requested(tick), list(tick.failed)) == (["orders"], ["customers"])
        with pytest.raises(LookFailed, match=r"looking for new inputs of 'customers'.*ValueError: a fault of a hook"):
            tick.raise_failures()
        sources = {name: assets.source for name, assets in here.sources.items()}
        context = here.platform.source_context(sources["customers"], sources)
        status = source_status(context)
        assert status.look is not None
        assert (status.needs_attention, status.next_step) == (True, "dataops status customers")
        assert "a fault of a hook" in status.look.message
        assert not source_status(here.platform.source_context(sources["orders"], sources)).needs_attention
        keys = {key.to_user_string(): [] for key in here.repository.asset_graph.get_all_asset_keys()}
        watched, before = Watched(sources, Lineage(keys)), here.platform.incidents.fingerprint()
        (problem,) = read_problems(here.platform.incidents, watched, dt.datetime.now(dt.UTC), None).problems
        assert (problem.asset, problem.kind, problem.severity) == ("raw/customers", UNSEEN, "fail")
        assert "a fault of a hook" in problem.summary
    # the next look is well, and everything is as if nothing had been; it is asked for as the daemon does
    assert here.repository.get_all_jobs()
    given = {"repository_def": here.repository, "resources": {"platform": here.platform}}
    with dg.build_sensor_context(here.instance, **given) as asked:
        answer = here.repository.get_sensor_def("looks_at_shop").evaluate_tick(asked)
    # each run has the partition of its own source
    runs = {str(one.tags["dataops/source"]): one.partition_key for one in answer.run_requests or ()}
    assert runs == {name: here.partitions(name)[0] for name in ("customers", "orders")}
    assert not source_status(context).needs_attention
    assert not read_problems(here.platform.incidents, watched, dt.datetime.now(dt.UTC), None).problems
    assert here.platform.incidents.fingerprint() != before


def test_a_paused_source_is_not_looked_at_until_it_is_resumed(here: CodeLocation) -> None:
    here.land("orders", "orders_2024-01-01.csv", "id,customer,amount\n1,1,5\n")
    here.land("customers", "customers_2024-01-01.csv", "id,name\n1,Ann\n")
    group = LookGroup([here.sources["customers"], here.sources["orders"]])
    context = here.platform.source_context(here.sources["orders"].source, {})
    pause(context, "the shop sends wrong files", "ann")
    assert requested(group.tick(here.platform, here.instance, LOG, at_all=True)) == ["customers"]
    status = source_status(context)
    assert (status.next_step, status.needs_attention) == ("dataops resume orders", False)
    assert status.paused.startswith("paused by ann since ")
    assert status.paused.endswith(": the shop sends wrong files")
    with pytest.raises(InputError, match="paused by ann"):
        pause(context, "again", "bob")
    assert resume(context).by == "ann"
    assert requested(group.tick(here.platform, here.instance, LOG, at_all=True)) == ["customers", "orders"]
    with pytest.raises(InputError, match="it is not paused"):
        resume(context)


class Clocked:
    """A group of sources whose looks are made up: they take seconds of a clock, or wait for an event."""

    def __init__(self, here: CodeLocation, monkeypatch: pytest.MonkeyPatch) -> None:
        self.here = here
        self.now = 1000.0
        self.seconds: dict[str, float] = {}
        self.hangs: Mapping[str, threading.Event] = {}
        self.seen: list[str] = []
        self.group = LookGroup([here.sources["customers"], here.sources["orders"]], 1, lambda: self.now)
        monkeypatch.setattr(look_groups, "look_and_tell", self._look)

    def _look(self, assets: SourceAssets, *_: object) -> Look:
        name = assets.source.name
        self.seen.append(name)
        if name in self.hangs:
            self.hangs[name].wait(60)
        self.now += self.seconds.get(name, 0.0)
        return Look()

    def tick(self, seconds_later: float) -> Sequence[str]:
        self.now += seconds_later
        self.seen.clear()
        self.group.tick(self.here.platform, self.here.instance, LOG)
        return list(self.seen)


def test_the_oldest_look_is_made_first_and_none_begins_when_the_time_of_a_tick_is_over(
    here: CodeLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocked = Clocked(here, monkeypatch)
    clocked.seconds = {"customers": MOST_SECONDS, "orders": 0.1}
    assert clocked.tick(0) == ["customers"]
    assert clocked.tick(5) == ["orders", "customers"]
    assert clocked.tick(5) == ["orders", "customers"]
    clocked.seconds = {}
    assert clocked.tick(5) == ["orders", "customers"]
    # none is due
    assert clocked.tick(1) == []


def test_a_look_that_does_not_end_is_left_alone(here: CodeLocation, monkeypatch: pytest.MonkeyPatch) -> None:
    clocked = Clocked(here, monkeypatch)
    ends = threading.Event()
    clocked.hangs = {"customers": ends}
    hanging = threading.Thread(target=clocked.tick, args=(0,))
    hanging.start()
    while "customers" not in clocked.seen:
        hanging.join(0.01)
    assert clocked.tick(10) == ["orders"]
    ends.set()
    hanging.join()
    assert clocked.tick(10) == ["customers", "orders"]


ONE = Source.model_validate(ORDERS)
AREAS = st.sampled_from(["a", "a_2", "a_3", "a/2", "a/b", "a_b"])


def source(area: str, name: str) -> Source:
    return ONE.model_copy(update={"name": name, "area": area})


@given(st.lists(st.tuples(AREAS, st.integers(0, 450)), max_size=4))
def test_each_source_is_in_one_group_of_its_area(areas: Sequence[tuple[str, int]]) -> None:
    sources = [
        source(area, f"{number}_{index}") for number, (area, count) in enumerate(areas) for index in range(count)
    ]
    groups = groups_of(sources)
    assert sorted(name for names in groups.values() for name in names) == sorted(each.name for each in sources)
    area_of = {each.name: each.area for each in sources}
    assert all(len({area_of[name] for name in names}) == 1 for names in groups.values())
    assert all(0 < len(names) <= 100 for names in groups.values())
    # Dagster's rule for the names of sensors
    assert all(re.fullmatch("[A-Za-z0-9_]+", name) for name in groups)


def test_many_areas_share_groups() -> None:
    def sizes(areas: int) -> list[int]:
        return [len(names) for names in groups_of(source(f"a{n % areas}", f"s{n}") for n in range(areas * 3)).values()]

    assert sizes(20) == [3] * 20
    assert sizes(70) == [100, 100, 10]
