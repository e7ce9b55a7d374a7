from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import os
from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from dataops_assets.connections.discovery import discover, waiting
from dataops_assets.connections.files import Files, Listing
from dataops_assets.connections.look import FoundInputs
from dataops_assets.errors import ConfigError
from dataops_assets.metadata.store import Arrival, MetadataStore

DATED = {"extract_time": {"pattern": "sales_%Y-%m-%d*.csv"}}
APPEND = {"type": "append"}
ORDERED = {"type": "key", "key": ["a"], "order_by": "at"}
KEYED = {"type": "key", "key": ["a"]}


def names(origins: Sequence[str]) -> list[str]:
    return sorted(os.path.basename(origin) for origin in origins)


def new(found: FoundInputs) -> list[str]:
    return names([item.origin for item in found.new])


def nothing(found: FoundInputs) -> bool:
    return found == FoundInputs()


def test_a_new_file_is_an_input_once(place: Any) -> None:
    path = place.deliver("a.csv", b"a\n1\n", age=60)
    found = place.look()
    (item,) = found.new
    assert item.extract_time == place.now - dt.timedelta(seconds=60)
    assert item.digest == hashlib.sha256(b"a\n1\n").hexdigest()
    assert item.input_id == f"2013-06-01T115900_{item.digest[:6]}"
    assert (item.origin, item.size) == (str(path), 4)
    assert place.metadata.inputs("sales") == [item]
    assert nothing(place.look())
    assert nothing(place.look(after=3600))


def test_each_version_of_a_file_is_read_once(place: Any) -> None:
    path = place.deliver("a.csv")
    place.look()
    # the bytes change behind an unchanged size and time: nobody looks, so nobody sees
    changed = path.stat().st_mtime
    path.write_bytes(b"b\n2\n")
    os.utime(path, (changed, changed))
    assert nothing(place.look())


def test_a_file_that_is_written_again_is_a_new_input(place: Any) -> None:
    place.deliver("a.csv", "a\n1\n", age=60)
    place.look()
    place.deliver("a.csv", "a\n2\n", age=30)
    assert len(place.look().new) == 1
    assert len(place.metadata.inputs("sales")) == 2


def test_the_name_tells_the_extract_time_in_the_zone_of_the_source(make_place: Any) -> None:
    place = make_place(**DATED, discovery={"timezone": "Europe/Berlin"})
    place.deliver("sales_2013-07-01.csv")
    (item,) = place.look().new
    assert item.extract_time == dt.datetime(2013, 6, 30, 22, tzinfo=dt.UTC)
    assert item.extract_time.tzinfo == dt.UTC
    # the day that people know, without a time of day that nobody declared
    assert item.input_id == f"2013-07-01_{item.content[:6]}"


def test_an_id_has_more_digits_where_another_input_has_the_same_ones(make_place: Any) -> None:
    # their digests begin with the same six digits
    alike = [b"4163", b"8864"]
    place = make_place(**DATED)
    ids = []
    for number, content in enumerate(alike):
        place.deliver(f"sales_2013-07-01_{number}.csv", content)
        (item,) = place.look().new
        ids.append(item.input_id.partition("_")[2])
    digests = [hashlib.sha256(content).hexdigest() for content in alike]
    assert digests[0][:6] == digests[1][:6]
    assert ids == [digests[0][:6], digests[1][:12]]


def test_the_same_content_in_the_hour_that_comes_twice_has_two_ids(make_place: Any) -> None:
    """At the end of summer time two extract times have one local time, and a later look reads few inputs."""
    place = make_place(extract_time={"pattern": "s_%Y-%m-%dT%H%M%S%z.csv"}, discovery={"timezone": "Europe/Berlin"})
    found = []
    for name in ("s_2012-10-28T003000+0000.csv", "s_2012-10-28T013000+0000.csv"):
        place.deliver(name)
        (item,) = place.look(after=60).new
        found.append(item)
    first, second = found
    assert (first.content, first.extract_time != second.extract_time) == (second.content, True)
    assert second.input_id.startswith(first.input_id)
    assert second.input_id != first.input_id
    assert place.look(after=60).new == []


def test_an_input_keeps_the_id_with_which_it_was_registered(make_place: Any) -> None:
    place = make_place(**DATED)
    place.deliver("sales_2013-07-01.csv", "a\n1\n")
    (item,) = place.look().new
    with sa.create_engine(place.environment.metadata_url).begin() as connection:
        for change in ("UPDATE inputs SET input_id = :old", "UPDATE arrivals SET input_id = :old"):
            connection.execute(sa.text(change), {"old": "20130701T000000Z-0123456789ab"})
    # the same content comes again, later
    place.deliver("sales_2013-07-01.csv", "a\n1\n", age=5)
    assert place.look().new == []
    (known,) = place.metadata.inputs("sales")
    assert known.input_id == "20130701T000000Z-0123456789ab"
    assert known.arrival > item.arrival


def test_a_name_that_tells_no_time_is_a_problem_at_every_look_until_it_is_mended(make_place: Any) -> None:
    place = make_place(**DATED)
    wrong = place.deliver("verkauf.csv")
    place.deliver("sales_2013-02-30.csv")
    place.deliver("sales_2013-02-28.csv")
    found = place.look()
    assert new(found) == ["sales_2013-02-28.csv"]
    for _ in range(2):
        assert names([problem.origin for problem in found.problems]) == ["sales_2013-02-30.csv", "verkauf.csv"]
        assert all("sales_%Y-%m-%d*.csv" in str(problem.error) for problem in found.problems)
        found = place.look()
    wrong.rename(wrong.with_name("sales_2013-03-01.csv"))
    assert new(place.look()) == ["sales_2013-03-01.csv"]


def test_an_unknown_zone_is_a_mistake_of_the_declaration(make_place: Any) -> None:
    for zone in ("Europe/Nowhere", "../etc", "Europe"):
        with pytest.raises(ConfigError, match="timezone"):
            make_place(discovery={"timezone": zone}).look()


# --- the same bytes again --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("refresh", [APPEND, ORDERED, KEYED, {"type": "full"}])
def test_the_same_bytes_with_the_same_time_are_one_input(make_place: Any, refresh: Any) -> None:
    place = make_place(**DATED, refresh=refresh)
    place.deliver("sales_2013-05-01.csv", "a\n1\n")
    (item,) = place.look().new
    copy = place.deliver("sales_2013-05-01 (1).csv", "a\n1\n")
    found = place.look()
    assert found.new == []
    (noted,) = found.noted
    assert (noted.origin, noted.note) == (str(copy), f"already known as {item.input_id}")
    notes = {arrival.origin: arrival.note for arrival in place.metadata.arrivals("sales")}
    assert notes == {item.origin: "", str(copy): f"already known as {item.input_id}"}
    assert nothing(place.look())


@pytest.mark.parametrize("refresh", [APPEND, ORDERED, KEYED, {"type": "full"}])
@pytest.mark.parametrize("days", [(1, 2), (2, 1)])
def test_the_same_content_of_another_time_is_another_input(make_place: Any, refresh: Any, days: Any) -> None:
    place = make_place(**DATED, refresh=refresh)
    for day in days:
        place.deliver(f"sales_2013-05-0{day}.csv", "a\n1\n")
        assert new(place.look()) == [f"sales_2013-05-0{day}.csv"]
    assert [item.extract_time.day for item in place.metadata.inputs("sales")] == [1, 2]
    notes = [item.note for item in place.metadata.arrivals("sales") if item.note]
    # of an append source one of them brings nothing, and that is told
    assert len(notes) == (refresh == APPEND)
    assert all("append keeps the rows of the first alone" in note for note in notes)


def test_a_touched_file_is_no_duplicate_of_itself(make_place: Any) -> None:
    place = make_place(**DATED)
    place.deliver("sales_2013-05-01.csv", age=60)
    place.look()
    place.deliver("sales_2013-05-01.csv", age=10)
    assert nothing(place.look())
    assert len(place.metadata.arrivals("sales")) == 2


# --- files that are being written ------------------------------------------------------------------------------------


def test_a_file_is_taken_when_it_stood_still_for_long_enough(make_place: Any) -> None:
    place = make_place(settle_seconds=10)
    place.deliver("a.csv", age=9.5)
    found = place.look()
    assert (found.new, names(found.settling)) == ([], ["a.csv"])
    assert place.metadata.inputs("sales") == []
    assert new(place.look(after=0.5)) == ["a.csv"]


def test_a_growing_file_is_never_taken_and_leaves_no_trail(make_place: Any) -> None:
    place = make_place(settle_seconds=10)
    for size in range(1, 6):
        place.deliver("a.csv", b"x" * size, age=1)
        assert names(place.look(after=5).settling) == ["a.csv"]
    assert new(place.look(after=10)) == ["a.csv"]
    (arrival,) = place.metadata.arrivals("sales")
    assert arrival.size == 5


def test_a_file_from_the_future_is_taken_when_two_looks_see_it_unchanged(make_place: Any) -> None:
    place = make_place(settle_seconds=10)
    place.deliver("a.csv", b"x", age=-7200)
    assert names(place.look().settling) == ["a.csv"]
    assert names(place.look(after=5).settling) == ["a.csv"]
    place.deliver("a.csv", b"xx", age=-7200)
    assert names(place.look(after=6).settling) == ["a.csv"]
    assert new(place.look(after=10)) == ["a.csv"]
    assert nothing(place.look(after=7200))


def test_a_clock_that_was_set_back_blocks_nothing(make_place: Any) -> None:
    place = make_place(settle_seconds=10)
    place.deliver("a.csv", b"x", age=60)
    place.look()
    place.now -= dt.timedelta(days=1)
    assert nothing(place.look())
    place.deliver("b.csv", b"y", age=0)
    place.now -= dt.timedelta(hours=1)
    assert names(place.look().settling) == ["b.csv"]
    assert new(place.look(after=10)) == ["b.csv"]


def test_without_settling_a_file_is_taken_at_once(make_place: Any) -> None:
    place = make_place(settle_seconds=0)
    place.deliver("a.csv", age=-60)
    assert new(place.look()) == ["a.csv"]


@pytest.mark.parametrize("mode", ["ab", "r+b"])
def test_a_file_that_grows_or_changes_while_it_is_read_is_left_for_later(place: Any, mode: str) -> None:
    place.deliver("a.csv", "first", age=60)
    changing = place.deliver("b.csv", "second", age=30)
    asked = itertools.count()

    def clock() -> float:
        # asked once for the deadline, then before and between the reads of every file but the first
        if next(asked) > 0:
            with changing.open(mode) as stream:
                stream.write(b".")
        return 0.0

    found = place.look(least_files=1, clock=clock)
    assert (new(found), names(found.settling)) == (["a.csv"], ["b.csv"])
    place.now = dt.datetime.now(dt.UTC)
    assert new(place.look(after=60)) == ["b.csv"]


def test_an_empty_file_is_an_input_for_the_parser_to_judge(place: Any) -> None:
    place.deliver("a.csv", b"")
    (item,) = place.look().new
    assert item.size == 0


# --- time budget and restarts ----------------------------------------------------------------------------------------


def test_every_look_keeps_its_budget_and_gets_on_oldest_first(place: Any) -> None:
    for number in range(5):
        place.deliver(f"{4 - number}.csv", str(number), age=100 - number)
    taken = []
    for left in (4, 3, 2, 1, 0):
        ticks = itertools.count()
        found = place.look(budget_seconds=0, least_files=1, clock=lambda ticks=ticks: float(next(ticks)))
        taken += new(found)
        assert len(found.left) == left
    assert taken == ["4.csv", "3.csv", "2.csv", "1.csv", "0.csv"]
    assert nothing(place.look())


def test_listing_takes_nothing_from_the_budget(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    listed = Files.list

    def slow(files: Files, *taken: Any) -> Listing:
        now[0] += 1000
        return listed(files, *taken)

    monkeypatch.setattr(Files, "list", slow)
    for number in range(60):
        place.deliver(f"{number}.csv", str(number), age=100 + number)
    assert len(place.look(least_files=1, budget_seconds=20, clock=lambda: now[0]).new) == 60


def test_every_look_takes_a_share_however_busy_the_machine_is(place: Any) -> None:
    """The budget is over before the first file is read: each look still takes forty of them, the oldest first."""
    for number in range(90):
        place.deliver(f"{number:02}.csv", str(number), age=200 - number)
    taken = []
    for count, left in ((40, 50), (40, 10), (10, 0)):
        ticks = itertools.count()
        found = place.look(budget_seconds=0, clock=lambda ticks=ticks: float(next(ticks)))
        assert (len(found.new), len(found.left)) == (count, left)
        taken += new(found)
    assert taken == [f"{number:02}.csv" for number in range(90)]


def test_large_files_are_read_beyond_the_budget_one_at_a_time(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataops_assets.connections.file_look._LEAST_BYTES", 10)
    for number in range(6):
        place.deliver(f"{number}.csv", f"{number}" * 4, age=100 - number)
    ticks = itertools.count()
    assert new(place.look(budget_seconds=0, clock=lambda: float(next(ticks)))) == ["0.csv", "1.csv"]


class Dying(MetadataStore):
    """Dies between recording inputs and recording arrivals."""

    def remember_arrivals(self, source: str, arrivals: Sequence[Arrival]) -> None:  # noqa: ARG002
        raise KeyboardInterrupt


@pytest.mark.parametrize("refresh", [APPEND, {"type": "full"}])
def test_a_look_that_dies_while_recording_loses_and_doubles_nothing(make_place: Any, refresh: Any) -> None:
    place = make_place(refresh=refresh)
    place.deliver("a.csv", "1")
    place.deliver("b.csv", "2")
    dying = Dying(place.environment.metadata_url)
    with pytest.raises(KeyboardInterrupt):
        discover(place.source, place.environment, dying, now=place.now)
    known = place.metadata.inputs("sales")
    assert len(known) == 2
    # the next look finds the same ids, reports no duplicates, and no run was missed
    assert nothing(place.look())
    assert place.metadata.inputs("sales") == known
    assert waiting(place.source, place.metadata) == known


def test_inputs_wait_until_a_run_has_begun_with_them(place: Any) -> None:
    place.deliver("a.csv", "1", age=60)
    place.deliver("b.csv", "2", age=30)
    first, second = place.look().new
    place.metadata.start("sales", "ingest", [first.input_id], "run")
    assert waiting(place.source, place.metadata) == [second]


def test_a_missing_folder_is_a_problem_that_goes_away(make_place: Any) -> None:
    place = make_place(path="elsewhere")
    (problem,) = place.look().problems
    assert problem.origin.endswith("elsewhere")
    os.mkdir(problem.origin)
    assert nothing(place.look())


def test_a_history_of_a_year_is_found_in_a_handful_of_statements(make_place: Any) -> None:
    place = make_place(**DATED)
    for day in range(365):
        place.deliver(f"sales_{dt.date(2012, 1, 1) + dt.timedelta(day)}.csv", f"a\n{day}\n")
    statements: list[str] = []

    def listen(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", listen)
    try:
        assert len(place.look().new) == 365
        assert nothing(place.look())
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", listen)
    assert len(statements) <= 30
