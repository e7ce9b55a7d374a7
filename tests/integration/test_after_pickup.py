"""Files are moved or deleted at their sender after they were stored: only then, at most once, and no other version."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from code_location import CodeLocation, loaded, standalone, told_by
from pydantic import ValidationError
from reading_process import Killed, Reader

from dataops_assets.config.connection import FileConnection
from dataops_assets.connections import taking_away
from dataops_assets.storage.links import PRIVATE

Folder = tuple[Path, dict[str, Any]]
CONTENT = "id,customer,amount\n{},1,2.5\n"


@pytest.fixture(params=["local", "sftp"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A folder of files, and the connection that reads it."""
    if request.param == "local":
        return tmp_path / "landing/in", {"path": "in/**/*.csv"}
    server = request.getfixturevalue("empty_sftp_server")
    for name, value in server.secrets.items():
        monkeypatch.setenv(name, value)
    place = server.folder / tmp_path.name / "in"
    return place, {"path": f"{server.url}/{tmp_path.name}/in/**/*.csv", "storage_options": server.options}


def feed(connection: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    settings = {"type": "files", "settle_seconds": 0, "extract_time": {"pattern": "orders_%Y-%m-%d.csv"}}
    return standalone() | {"connection": settings | connection | {"after_pickup": after}}


def write(path: Path, order: int, changed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".part").write_text(CONTENT.format(order))
    os.utime(path.with_suffix(".part"), (changed, changed))
    path.with_suffix(".part").replace(path)


def files(folder: Path) -> dict[str, str]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in found}


def killed_once(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, after: bool) -> None:
    """The next call of a function ends the process, before or after its work."""
    real: Callable[..., Any] = getattr(module, name)

    def dies(*given: Any, **named: Any) -> None:
        monkeypatch.setattr(module, name, real)
        if after:
            real(*given, **named)
        raise Killed

    monkeypatch.setattr(module, name, dies)


def test_a_file_is_moved_when_it_is_stored_and_no_other_version_of_it(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, connection = folder
    done = place.parent / "done"
    first, second = place / "a/orders_2024-01-01.csv", place / "orders_2024-01-02.csv"
    reader = Reader(tmp_path, feed(connection, {"move_to": "../done"}))
    write(first, 1, 1_000_000_000)
    write(second, 2, 1_000_000_000)
    assert len(reader.look().new) == 2
    assert reader.look().new == []
    assert (len(files(place)), files(done)) == (2, {}), "what is not stored stays"
    # its sender replaces one before it is stored: it stays until that one is
    write(second, 3, 1_000_000_100)
    reader.ingest()
    killed_once(monkeypatch, taking_away, "_rename", after=False)
    with pytest.raises(Killed):
        reader.look()
    killed_once(monkeypatch, taking_away, "_rename", after=True)
    with pytest.raises(Killed):
        reader.look()
    assert files(place) == {"orders_2024-01-02.csv": CONTENT.format(3)}
    assert files(done) == {"a/orders_2024-01-01.csv": CONTENT.format(1)}
    reader.ingest()
    told = reader.look().taken_away
    assert [text.rpartition(" moved to ")[2] for text in told] == [str(done / "orders_2024-01-02.csv")]
    assert (files(place), reader.orders()) == ({}, [CONTENT.format(1), CONTENT.format(3)])

    # a name that comes again, and is replaced at the very moment when it is moved
    write(first, 4, 1_000_000_200)
    reader.look()
    reader.ingest()
    real = taking_away._rename

    def replaced(store: Any, old: str, new: str) -> None:
        monkeypatch.setattr(taking_away, "_rename", real)
        write(first, 5, 1_000_000_300)
        real(store, old, new)

    monkeypatch.setattr(taking_away, "_rename", replaced)
    assert reader.look().taken_away == []
    assert files(place) == {"a/orders_2024-01-01.csv": CONTENT.format(5)}, "it has its name back"
    reader.look()
    reader.ingest()
    reader.look()
    assert reader.orders() == [CONTENT.format(order) for order in (1, 3, 4, 5)]
    assert files(place) == {}
    assert files(done) == {
        "a/orders_2024-01-01.csv": CONTENT.format(1),
        "orders_2024-01-02.csv": CONTENT.format(3),
        "a/orders_2024-01-01.20010909T015140.csv": CONTENT.format(5),
    }
    # a folder that may not be written is told, and the file stays; a private environment moves nothing
    shutil.rmtree(done)
    done.write_text("no folder")
    write(first, 6, 1_000_000_400)
    reader.look()
    reader.ingest()
    (problem,) = reader.look().problems
    assert "the next look tries again" in str(problem.error)
    done.unlink()
    (tmp_path / PRIVATE).touch()
    assert (reader.look().taken_away, len(files(place))) == ([], 1)


def test_a_run_is_followed_by_the_deletion_of_its_files(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    with loaded(feed({"path": "in/*.csv"}, {"delete": True})) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        here.land("in", "orders_2024-01-01.csv", CONTENT.format(1))
        here.land("in", "orders_x.csv", CONTENT.format(2))
        here.settle("orders")
        assert [row[0] for row in here.rows("hub/orders", "id")] == [1]
        assert list(files(here.landing / "in")) == ["orders_x.csv"], "what is refused stays"


@pytest.mark.parametrize(
    ("path", "after", "others", "reason"),
    [
        ("https://example.com/out/*.csv", {"move_to": "../done"}, {}, "https:// cannot be moved"),
        ("gs://bucket-*/out/*.csv", {"delete": True}, {}, "name of the bucket"),
        ("abfs://lake@shop.dfs.core.windows.net/out/**/*.csv", {"move_to": "../out/done"}, {}, "taken again"),
        ("s3://bucket-*/out/*.csv", {"delete": True}, {}, "name of the bucket"),
        ("s3://bucket/out/**/*.csv", {"move_to": "../../out/done"}, {}, "taken again"),
        ("in", {"move_to": "done"}, {}, "taken again"),
        ("sftp://example.com/in/**/*.csv", {"move_to": "/in/done"}, {}, "taken again"),
        ("in/*.csv", {"move_to": "."}, {}, "taken again"),
        ("in/*.csv", {}, {}, "one of move_to and delete"),
        ("in/*.csv", {"delete": True, "move_to": "done"}, {}, "one of move_to and delete"),
        ("in/*.csv", {"move_to": "sftp://example.com/done"}, {}, "same server"),
        ("in/*.zip", {"move_to": "done"}, {"members": "*.csv"}, "members"),
    ],
)
def test_what_cannot_be_moved_is_refused_at_load(path: str, after: Any, others: Any, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        FileConnection.model_validate({"type": "files", "path": path, "after_pickup": after} | others)


def test_files_of_several_sources_stay() -> None:
    taking = feed({"path": "in/*.csv"}, {"move_to": "done"})
    other = standalone() | {"name": "others", "connection": {"type": "files", "path": "in/*.csv"}}
    with pytest.raises(Exception, match="orders") as failed, loaded(taking, other):
        pass
    assert "which others would miss" in told_by(failed.value)
