"""A disk that is full at any write of any step: a clear error, the last version readable, and the next run goes on."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from story import SALES, STEPS, WRITES, Story, Tables, big_day, in_child, one_step, prepare, put_back, run, tables_of

from dataops_assets.errors import StorageError
from dataops_assets.report import Input

PAGE = os.sysconf("SC_PAGE_SIZE")
SIZE = 6 << 20


@dataclass(frozen=True)
class Disk:
    """A small file system of its own below `root`."""

    root: Path

    def fill(self, pages: int) -> None:
        """Leave room for `pages` pages."""
        found = os.statvfs(self.root)
        with (self.root / "ballast").open("wb") as ballast:
            ballast.write(b"x" * (found.f_bavail * found.f_bsize - pages * PAGE))

    def empty(self) -> None:
        """Give that room back."""
        (self.root / "ballast").unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove all that is on it."""
        self.empty()
        for path in self.root.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


@contextlib.contextmanager
def small_disk(root: Path) -> Iterator[Disk]:
    """A disk in memory. Only root may mount one; who is not root may be allowed to act as root."""
    root.mkdir()
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    mount = [*as_root, "mount", "-t", "tmpfs", "-o", f"size={SIZE},uid={os.geteuid()}", "tmpfs", str(root)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no small disk can be mounted here: {error}")
    try:
        yield Disk(root)
    finally:
        subprocess.run([*as_root, "umount", "--lazy", str(root)], check=True)


@dataclass(frozen=True)
class Scene:
    """A story whose state is on a small disk, its metadata elsewhere; copies of what each step finds and leaves."""

    disk: Disk
    story: Story
    inputs: list[Input]
    before: dict[str, Path]
    states: dict[str, tuple[Tables, Tables]]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    root = tmp_path_factory.mktemp("full")
    with small_disk(root / "disk") as disk:
        story = replace(
            prepare(root, SALES), storage=str(disk.root / "storage"), metadata_url=f"sqlite:///{root}/now/metadata.db"
        )
        answer = root / "answer"
        first, *inputs = (big_day(story, day) for day in (3, 1, 4))
        in_child(run, story, [first], answer=answer)
        before, states = {}, {}
        for step in STEPS:
            before[step] = root / f"before {step}"
            shutil.copytree(disk.root, before[step] / "disk")
            shutil.copytree(story.now, before[step] / "now")
            old = in_child(tables_of, story, WRITES[step], answer=answer)
            in_child(run, story, inputs, [step], answer=answer)
            states[step] = (old, in_child(tables_of, story, WRITES[step], answer=answer))
        yield Scene(disk, story, inputs, before, states)


def live_through(
    story: Story, disk: Disk, inputs: list[Input], step: str, pages: int
) -> tuple[list[str], Tables, Tables]:
    """The step on a full disk, what a reader sees meanwhile, and what it sees once the step ran again with room."""
    context = story.source_context()
    context.metadata.register_inputs(context.source.name, inputs)
    disk.fill(pages)
    try:
        errors = [error for item in one_step(context, step, inputs).failures if (error := item.error)]
        meanwhile = tables_of(story, WRITES[step])
    except StorageError as error:
        errors = [error]
        meanwhile = tables_of(story, WRITES[step])
    finally:
        disk.empty()
    assert all(isinstance(error, StorageError) and not error.permanent for error in errors), errors
    assert run(story, inputs, [step]) == []
    return [str(error) for error in errors], meanwhile, tables_of(story, WRITES[step])


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_a_full_disk_stops_a_step_and_harms_nothing(step: str, scene: Scene, tmp_path: Path) -> None:
    old, new = scene.states[step]
    stopped = 0
    # every file takes a page, so one more page is one write more
    for pages in range(20):
        scene.disk.clear()
        shutil.copytree(scene.before[step] / "disk", scene.disk.root, dirs_exist_ok=True)
        put_back(scene.before[step] / "now", scene.story)
        arguments = (scene.story, scene.disk, scene.inputs, step, pages)
        errors, meanwhile, after = in_child(live_through, *arguments, answer=tmp_path / "answer")
        for key in WRITES[step]:
            assert meanwhile[key] in (old[key], new[key]), f"{step} with {pages} pages left"
        assert after == new, f"{step} with {pages} pages left"
        for error in errors:
            assert str(scene.disk.root) in error, "it says where"
            assert "room" in error or "space" in error, "and what is the matter"
        if not errors:
            break
        stopped += 1
    assert stopped >= 2


@pytest.mark.slow
def test_no_room_for_the_metadata_is_said(scene: Scene, tmp_path: Path) -> None:
    """What the database says then; a step that cannot be recorded does not begin."""
    scene.disk.clear()
    database = scene.disk.root / "metadata.db"
    story = replace(scene.story, storage="", metadata_url=f"sqlite:///{database}")
    put_back(scene.before["ingest"] / "now", scene.story)
    shutil.copytree(scene.before["ingest"] / "disk" / "storage", story.now / "storage")
    shutil.copy(scene.before["ingest"] / "now" / "metadata.db", database)
    told = in_child(without_room, story, scene.disk, scene.inputs, answer=tmp_path / "answer")
    assert str(database) in told
    assert "full" in told or "I/O error" in told


def without_room(story: Story, disk: Disk, inputs: Sequence[Input]) -> str:
    story.source_context()
    disk.fill(0)
    try:
        run(story, inputs)
    except StorageError as error:
        told = str(error)
    disk.empty()
    assert run(story, inputs) == []
    return told
