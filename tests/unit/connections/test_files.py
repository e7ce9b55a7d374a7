from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from dataops_assets.config.connection import FileConnection
from dataops_assets.connections.files import Files, file_name
from dataops_assets.errors import ConfigError, InputError, StorageError
from dataops_assets.metadata.store import version_key


def files(landing: Path | str, path: str, **options: object) -> Files:
    connection = FileConnection.model_validate({"type": "files", "path": path, **options})
    return Files(connection, str(landing), {"TOKEN": "secret"})


def names(landing: Path, path: str) -> list[str]:
    return sorted(os.path.relpath(item.origin, landing) for item in files(landing, path).list().versions)


def write(path: Path, content: bytes = b"x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_a_folder_is_read_with_its_subfolders_and_a_glob_as_it_says(tmp_path: Path) -> None:
    for name in ("sales/a.csv", "sales/2013/b.csv", "sales/c.txt"):
        write(tmp_path / name)
    assert names(tmp_path, "sales") == ["sales/2013/b.csv", "sales/a.csv", "sales/c.txt"]
    assert names(tmp_path, "sales/") == ["sales/2013/b.csv", "sales/a.csv", "sales/c.txt"]
    assert names(tmp_path, "sales/*.csv") == ["sales/a.csv"]
    assert names(tmp_path, "sales/**/*.csv") == ["sales/2013/b.csv", "sales/a.csv"]
    assert names(tmp_path, "sales/a.csv") == ["sales/a.csv"]
    assert names(tmp_path, str(tmp_path / "sales" / "*.txt")) == ["sales/c.txt"]


def test_a_landing_area_may_have_any_name(tmp_path: Path) -> None:
    landing = tmp_path / ".hidden [1] *?"
    write(landing / "sales" / "a.csv")
    write(landing / "sales" / ".hidden" / "b.csv")
    assert names(landing, "sales") == ["sales/a.csv"]
    assert names(landing, "sales/*.csv") == ["sales/a.csv"]
    assert names(landing, "**/*.csv") == ["sales/a.csv"]


def test_files_that_are_being_written_are_left_out(tmp_path: Path) -> None:
    unfinished = (
        ".a.csv",
        ".a.csv.Xy12",
        "a.csv~",
        "a.csv.tmp",
        "a.csv.TMP",
        "a.part",
        "a.partial",
        "a.crdownload",
        "a.csv.filepart",
        "_SUCCESS",
        "_temporary/0/part-0.csv",
        ".staging/a.csv",
        "~$book.xlsx",
    )
    for name in (*unfinished, "a.csv", "part-0.csv", "tmp.csv"):
        write(tmp_path / "sales" / name)
    assert names(tmp_path, "sales") == ["sales/a.csv", "sales/part-0.csv", "sales/tmp.csv"]
    assert names(tmp_path, "sales/**") == ["sales/a.csv", "sales/part-0.csv", "sales/tmp.csv"]


def test_what_is_no_file_is_refused_and_never_opened(tmp_path: Path) -> None:
    folder = tmp_path / "sales"
    write(folder / "a.csv")
    os.mkfifo(folder / "pipe.csv")
    (folder / "nowhere.csv").symlink_to(folder / "gone")
    (folder / "elsewhere").symlink_to(tmp_path)
    write(tmp_path / "real.csv", b"12345")
    (folder / "link.csv").symlink_to(tmp_path / "real.csv")
    listing = files(tmp_path, "sales").list()
    # a link to a file is that file: its size and time are those behind the link
    assert {os.path.basename(item.origin): item.size for item in listing.versions} == {"a.csv": 1, "link.csv": 5}
    assert {os.path.basename(origin): error.received for origin, error in listing.refused.items()} == {
        "pipe.csv": "not a regular file",
        "nowhere.csv": "a link to nowhere",
        "elsewhere": "a link to a folder",
    }


def test_a_name_that_is_no_text_is_refused_by_a_readable_name(tmp_path: Path) -> None:
    (tmp_path / "sales").mkdir()
    with open(os.fsencode(tmp_path / "sales") + b"/b\xff\xfe.csv", "wb") as stream:
        stream.write(b"x")
    listing = files(tmp_path, "sales").list()
    assert listing.versions == []
    (origin,) = listing.refused
    assert origin.endswith("\\udcff\\udcfe.csv")


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    for path in ("sales", "sales/*.csv"):
        listing = files(tmp_path, path).list()
        assert listing.versions == []
        assert [error.received for error in listing.refused.values()] == ["the folder or bucket does not exist"]
    (tmp_path / "sales").mkdir()
    assert files(tmp_path, "sales").list().refused == {}
    assert files(tmp_path, "sales/*.csv").list().refused == {}


def test_a_modification_time_beyond_the_calendar_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "sales" / "a.csv")
    write(tmp_path / "sales" / "b.csv")
    os.utime(tmp_path / "sales" / "a.csv", (1e12, 1e12))
    if (tmp_path / "sales" / "a.csv").stat().st_mtime < 9e11:
        # file systems that cannot keep such a time cut it down to one that can be read
        assert len(names(tmp_path, "sales")) == 2
        return
    listing = files(tmp_path, "sales").list()
    assert [os.path.basename(item.origin) for item in listing.versions] == ["b.csv"]
    assert len(listing.refused) == 1


def test_reading_a_file_that_is_gone_is_the_inputs_fault_and_a_folder_the_stores(tmp_path: Path) -> None:
    (tmp_path / "sales").mkdir()
    some = files(tmp_path, "sales")
    with pytest.raises(InputError, match="the file is gone"):
        list(some.chunks(str(tmp_path / "sales" / "a.csv")))
    with pytest.raises(InputError, match="the file is gone"):
        some.version(str(tmp_path / "sales" / "a.csv"))
    with pytest.raises(StorageError, match="IsADirectoryError"):
        list(some.chunks(str(tmp_path / "sales")))


def test_storage_options_come_from_the_environment(tmp_path: Path) -> None:
    files(tmp_path, "sales", storage_options={"auto_mkdir": "false"})
    files(tmp_path, "memory://sales", storage_options={"key": "${TOKEN}"})
    with pytest.raises(ConfigError, match=r"set MISSING in the environment"):
        files(tmp_path, "memory://sales", storage_options={"key": "${MISSING}"})


def test_an_unknown_store_is_a_mistake_of_the_declaration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nosuch"):
        files(tmp_path, "nosuch://bucket/sales")


class Guarded(MemoryFileSystem):
    """A store of which one folder may not be listed, as fsspec's own walk would not tell."""

    protocol = "s3a"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        if path.rstrip("/").endswith("secret"):
            raise PermissionError("403")
        return super().ls(path, detail=detail, **options)


@pytest.mark.parametrize("path", ["memory://sales", "memory://sales/**/*.csv", "memory://sales/*/*/*.csv"])
def test_a_folder_of_a_store_that_may_not_be_listed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    store = Guarded()
    for name in ("sales/open/a/b.csv", "sales/open/secret/c.csv"):
        store.pipe_file(f"/{name}", b"x")
    opened = lambda url, **_: (store, f"/{url.partition('://')[2]}")  # noqa: E731
    monkeypatch.setattr("dataops_assets.connections.stores.url_to_fs", opened)
    listing = files(tmp_path, path).list()
    assert [file_name(item.origin) for item in listing.versions] == ["b.csv"]
    (error,) = listing.refused.values()
    assert error.received == "PermissionError: 403"


@pytest.mark.parametrize("url", ["smb://host/in", "ssh://host/in", "webdav://host/in"])
def test_a_scheme_of_no_store_is_refused_also_for_the_landing_area(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match=r"known: file://, .*s3://"):
        files(tmp_path, url)
    with pytest.raises(ConfigError, match=r"DATAOPS_LANDING.*known: file://"):
        files(url, "sales")


def test_an_absolute_path_is_a_place_of_its_own(tmp_path: Path) -> None:
    write(tmp_path / "data" / "in" / "a.csv")
    write(tmp_path / "data" / "b.csv")
    (tmp_path / "linked").symlink_to(tmp_path / "data" / "in")
    (tmp_path / "data" / "in" / "b.csv").symlink_to(tmp_path / "data" / "b.csv")
    for path in (tmp_path / "data" / "in", tmp_path / "linked", tmp_path / "linked" / "*.csv"):
        listing = files(tmp_path / "landing", str(path)).list()
        assert [file_name(item.origin) for item in listing.versions] == ["a.csv"]
        assert [file_name(origin) for origin in listing.refused] == ["b.csv"]
    followed = files(tmp_path / "landing", str(tmp_path / "linked"), follow_links=True).list()
    assert sorted(file_name(item.origin) for item in followed.versions) == ["a.csv", "b.csv"]
    # a path that climbs out of the landing area leads out of it, too
    assert files(tmp_path / "landing", "../data").list().versions == []


def test_known_versions_are_left_out_of_a_listing_and_nothing_else(tmp_path: Path) -> None:
    for name in ("in/a.csv", "in/b.csv", "in/.hidden.csv", "in/c.CSV", "in/deep/d.csv", "away/e.csv"):
        write(tmp_path / name)
    (tmp_path / "in" / "link.csv").symlink_to(tmp_path / "in" / "a.csv")
    (tmp_path / "in" / "out.csv").symlink_to("/etc/hostname")
    read = files(tmp_path, "in/**/*.csv")
    whole = read.list()
    assert len(whole.versions) == 4
    for number in range(1 << len(whole.versions)):
        known = [item for place, item in enumerate(whole.versions) if number >> place & 1]
        # one that was written since is another version
        stale = [(item.origin, item.size + 1, item.modified) for item in whole.versions if item not in known]
        keys = {version_key(*key) for key in [*stale, *((item.origin, item.size, item.modified) for item in known)]}
        found = read.list(keys)
        assert set(found.versions) == set(whole.versions) - set(known)
        assert (found.refused.keys(), found.left_out) == (whole.refused.keys(), whole.left_out)


def test_the_state_of_local_files_changes_with_everything_that_a_listing_tells(tmp_path: Path) -> None:
    place = tmp_path / "in"
    changes: list[Callable[[], object]] = [
        lambda: write(place / "a.csv"),
        lambda: write(place / "a.csv", b"longer"),
        lambda: os.utime(place / "a.csv", (1, 1)),
        lambda: write(place / "deep" / "b.csv"),
        lambda: write(place / ".hidden"),
        lambda: (place / "link.csv").symlink_to(tmp_path / "nowhere.csv"),
        lambda: write(tmp_path / "nowhere.csv"),
        lambda: write(tmp_path / "nowhere.csv", b"behind the link"),
        lambda: (place / "folder").symlink_to(tmp_path),
        lambda: (place / "a.csv").unlink(),
        lambda: shutil.rmtree(place),
    ]
    seen = [files(tmp_path, "in").local_state()]
    for change in changes:
        change()
        seen.append(files(tmp_path, "in").local_state())
        assert seen[-1] == files(tmp_path, "in").local_state()
    # nothing is there at the beginning and at the end
    assert len(set(seen)) == len(changes)
    assert seen[0] == seen[-1]
