"""A look at a source is left out only if nothing is different from when a look left nothing to do."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dataops_assets.components.platform import Platform
from dataops_assets.components.quiet_looks import QuietLooks
from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source


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
        self.quiet = QuietLooks(self.source, 10.0, lambda: self.now)

    def look(self) -> None:
        self.quiet.looked(self.platform, self.quiet.surroundings(self.platform), "cursor")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_looks_are_left_out_for_half_a_minute_after_a_look_that_left_nothing_to_do(place: Place) -> None:
    assert not place.quiet.is_quiet("cursor")
    place.look()
    assert place.quiet.is_quiet("cursor")
    # the daemon did not store what the look returned
    assert not place.quiet.is_quiet("another")
    place.now = 29.0
    assert place.quiet.is_quiet("cursor")
    place.now = 30.0
    assert not place.quiet.is_quiet("cursor")
    place.quiet.looked(place.platform, None, "cursor")
    assert not place.quiet.is_quiet("cursor")


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


def metadata_are_written(place: Place) -> None:
    place.platform.metadata.register_source(place.source)


@pytest.mark.parametrize("happens", [appear, appear_unfinished, grow, same_size, go, folder_goes, metadata_are_written])
def test_a_change_of_files_or_metadata_ends_the_rest(place: Place, happens: Callable[[Place], None]) -> None:
    place.look()
    happens(place)
    assert not place.quiet.is_quiet("cursor")
