"""A look at a source is left out only if nothing is different from when a look left nothing to do."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Hashable
from pathlib import Path

import pytest

from dataops_assets.components.platform import Platform
from dataops_assets.components.quiet_looks import MetadataOfGroup, QuietLooks
from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.errors import DataOpsError, InputError
from dataops_assets.metadata.decision_store import Hold
from dataops_assets.report import Input, InputReport, StepReport

NEW_YEAR = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


class Place:
    """A source of files with two files, the platform, and a clock."""

    def __init__(self, home: Path) -> None:
        self.now = 0.0
        self.home = home
        self.platform = Platform(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))
        self.folder = home / "landing" / "orders"
        self.folder.mkdir(parents=True)
        for name in ("a.csv", "b.csv"):
            (self.folder / name).write_text("id\n1\n")
        self.source = Source.model_validate(
            {
                "name": "orders",
                "area": "shop",
                "connection": {"type": "files", "path": "orders"},
                "columns": [{"name": "id", "type": "integer", "nullable": False}],
                "refresh": {"type": "key", "key": ["id"]},
            }
        )
        self.quiet = QuietLooks(self.source, 10.0, clock=lambda: self.now)
        self.metadata = MetadataOfGroup(["orders", "customers"])
        self.platform.metadata.contracts.register(self.source)

    @property
    def state(self) -> Hashable:
        return self.metadata.now(self.platform).states["orders"]

    @property
    def is_quiet(self) -> bool:
        return self.quiet.is_quiet(self.platform.environment, self.state)

    def look(self, seconds: float = 0.01) -> None:
        self.quiet.looked(self.quiet.surroundings(self.platform.environment, self.state), seconds)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_looks_take_a_twentieth_of_the_time_however_long_one_takes(place: Place) -> None:
    place.look(seconds=4.0)
    place.now = 79.0
    assert place.is_quiet
    place.now = 80.0
    assert not place.is_quiet


def test_looks_are_left_out_for_half_a_minute_after_a_look_that_left_nothing_to_do(place: Place) -> None:
    assert not place.is_quiet
    place.look()
    assert place.is_quiet
    place.now = 29.0
    assert place.is_quiet
    place.now = 30.0
    assert not place.is_quiet
    place.quiet.looked(None)
    assert not place.is_quiet


def appear(place: Place) -> None:
    (place.folder / "c.csv").write_text("id\n2\n")


def appear_unfinished(place: Place) -> None:
    (place.folder / "c.csv.part").write_text("id")


def grow(place: Place) -> None:
    with (place.folder / "a.csv").open("a") as file:
        file.write("2\n")


def same_size(place: Place) -> None:
    before = (place.folder / "a.csv").stat()
    (place.folder / "a.csv").write_text("id\n3\n")
    # times of files are known to the microsecond, rounded
    os.utime(place.folder / "a.csv", ns=(before.st_atime_ns, before.st_mtime_ns + 2_000))


def go(place: Place) -> None:
    (place.folder / "a.csv").unlink()


def folder_goes(place: Place) -> None:
    place.folder.rename(place.home / "elsewhere")


def register(place: Place, input_id: str = "one") -> None:
    item = Input(NEW_YEAR, NEW_YEAR, input_id, input_id, "a.csv", 1, input_id)
    place.platform.metadata.register_inputs("orders", [item])


def finish(place: Place, error: DataOpsError | None = None) -> None:
    metadata = place.platform.metadata
    metadata.start("orders", "parse", ["one"], "run")
    report = StepReport("parse", "lake/orders", (InputReport("one", error=error),), 0, 0, {}, 0.1)
    metadata.finish("orders", report, "run")


def is_registered(place: Place) -> None:
    register(place, "two")


def a_step_begins(place: Place) -> None:
    place.platform.metadata.start("orders", "cdc", ["one"], "run")


def a_step_is_done_again(place: Place) -> None:
    finish(place)


def a_step_fails(place: Place) -> None:
    finish(place, InputError("parsing", received="nonsense"))


def a_step_is_forgotten(place: Place) -> None:
    place.platform.metadata.forget("orders", ["parse"], ["one"])


def an_input_is_held(place: Place) -> None:
    place.platform.metadata.decisions.hold("orders", [Hold("one", "too much", "x")])


def a_hold_is_approved(place: Place) -> None:
    place.platform.metadata.decisions.approve("orders", ["one"], "ann")


FILES = [appear, appear_unfinished, grow, same_size, go, folder_goes]
METADATA = [
    is_registered,
    a_step_begins,
    a_step_is_done_again,
    a_step_fails,
    a_step_is_forgotten,
    an_input_is_held,
    a_hold_is_approved,
]


@pytest.mark.parametrize("happens", [*FILES, *METADATA])
def test_a_change_of_files_or_metadata_ends_the_rest(place: Place, happens: Callable[[Place], None]) -> None:
    register(place)
    finish(place)
    place.look()
    assert place.is_quiet
    happens(place)
    assert not place.is_quiet


def test_a_folder_that_is_not_there_is_looked_for_once_until_it_appears(place: Place) -> None:
    elsewhere = place.home / "elsewhere"
    place.folder.rename(elsewhere)
    place.look()
    assert place.is_quiet
    elsewhere.rename(place.folder)
    assert not place.is_quiet


def test_what_is_written_of_other_sources_does_not_end_the_rest(place: Place) -> None:
    other = place.source.model_copy(update={"name": "customers"})
    place.look()
    place.platform.metadata.contracts.register(other)
    place.platform.metadata.register_inputs("customers", [Input(NEW_YEAR, NEW_YEAR, "one", "a", "a.csv", 1, "a")])
    assert place.is_quiet
