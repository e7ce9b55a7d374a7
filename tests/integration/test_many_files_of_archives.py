"""An archive of many files is opened once for all of them in a look, and once in a step.

Openings are counted and not seconds: each of them reads the directory of a zip, or unpacks a tar.
"""

from __future__ import annotations

import datetime as dt
import gzip
import io
import multiprocessing
import os
import random
import signal
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import zstandard
from empty_metadata import empty_metadata
from fsspec.implementations.local import LocalFileSystem

from dataops_assets.config.connection import FileConnection
from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.connections.discovery import discover
from dataops_assets.connections.files import Files
from dataops_assets.connections.look import FoundInputs, ReadingTime
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.errors import DataOpsError, InputError, StorageError
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.report import Input
from dataops_assets.steps.ingest import ingest
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage.raw import RawArea

NOW = dt.datetime(2013, 6, 1, 12, tzinfo=dt.UTC)
Members = Mapping[str, bytes]


def a_zip(members: Members, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", method) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return written.getvalue()


def a_tar(members: Members) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as opened:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            opened.addfile(entry, io.BytesIO(content))
    return written.getvalue()


KINDS: Mapping[str, Callable[[Members], bytes]] = {
    "deflated.zip": a_zip,
    "stored.zip": lambda members: a_zip(members, zipfile.ZIP_STORED),
    "lzma.zip": lambda members: a_zip(members, zipfile.ZIP_LZMA),
    "plain.tar": a_tar,
    "packed.tar.gz": lambda members: gzip.compress(a_tar(members)),
    "packed.tgz": lambda members: gzip.compress(a_tar(members)),
    "packed.tar.zst": lambda members: zstandard.compress(a_tar(members)),
}
ZIP_AND_TAR = ("deflated.zip", "packed.tar.gz")


def some(count: int, text: str = "") -> dict[str, bytes]:
    """Files in folders, in an order that is not that of their names; each with bytes of its own."""
    names = [f"{number % 3}/part/{number:05}.csv" for number in range(count)]
    random.Random(count).shuffle(names)
    return {name: f"a\n{text}{name}\n".encode() for name in names}


@pytest.fixture
def openings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the archives that were opened, one for each time."""
    opened: list[str] = []
    kept = LocalFileSystem.open

    def counted(fs: LocalFileSystem, path: str, *arguments: Any, **options: Any) -> Any:
        opened.append(os.path.basename(path))
        return kept(fs, path, *arguments, **options)

    monkeypatch.setattr(LocalFileSystem, "open", counted)
    return opened


def workspace(home: Path, **connection: Any) -> SourceContext:
    environment = environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home)
    declared = {"type": "files", "path": "sales", "members": "*.csv", "format": {"type": "csv"}} | connection
    source = Source.model_validate(
        {
            "name": "sales",
            "area": "shop",
            "connection": declared,
            "columns": [{"name": "a"}],
            "refresh": {"type": "append"},
        }
    )
    Path(environment.landing, "sales").mkdir(parents=True, exist_ok=True)
    if not (home / "metadata.db").exists():
        (home / "metadata.db").write_bytes(empty_metadata())
    return SourceContext(
        environment, source, {"sales": source}, DuckDBEngine(environment), MetadataStore(environment.metadata_url)
    )


@pytest.fixture
def context(tmp_path: Path) -> SourceContext:
    return workspace(tmp_path)


def deliver(context: SourceContext, name: str, content: bytes, age: float = 60.0) -> Path:
    path = Path(context.environment.landing, "sales", name)
    path.write_bytes(content)
    changed = NOW.timestamp() - age
    os.utime(path, (changed, changed))
    return path


def look(context: SourceContext, **limit: Any) -> FoundInputs:
    limit.setdefault("clock", lambda: 0.0)
    return discover(context.source, context.environment, context.metadata, now=NOW, limit=ReadingTime(**limit))


def stored(context: SourceContext, inputs: list[Input]) -> dict[str, bytes]:
    return {os.path.basename(item.origin): context.raw.local_path(item).read_bytes() for item in inputs}


def expected(name: str, members: Members) -> dict[str, bytes]:
    return {f"{name}!{member.replace('/', '!')}": content for member, content in members.items()}


@pytest.mark.parametrize("name", KINDS)
def test_files_are_read_as_if_each_were_alone(name: str, tmp_path: Path) -> None:
    members = some(20) | {"large.csv": random.Random(1).randbytes(3 << 19), "empty.csv": b""}
    (tmp_path / name).write_bytes(KINDS[name](members))
    (tmp_path / "plain.csv").write_bytes(b"a\n")
    files = Files(FileConnection.model_validate({"type": "files", "path": "*", "members": "*"}), str(tmp_path), {})
    origins = [version.origin for version in files.list().versions]
    random.Random(2).shuffle(origins)
    asked = [*origins, f"{tmp_path / name}!gone.csv"]
    with ThreadPoolExecutor(8) as pool:
        read = [found for part in pool.map(drained, files.readings(asked)) for found in part]
    assert sorted(origin for origin, _ in read) == sorted(asked)
    found = {os.path.basename(origin): result for origin, result in read}
    gone = found.pop(f"{name}!gone.csv")
    assert isinstance(gone, InputError)
    assert "no longer has this file" in str(gone)
    assert found == {**expected(name, members), "plain.csv": b"a\n"}
    alone = {os.path.basename(origin): b"".join(files.chunks(origin)) for origin in origins}
    assert alone == found


def drained(reading: Any) -> list[tuple[str, bytes | DataOpsError]]:
    found: list[tuple[str, bytes | DataOpsError]] = []
    for origin, chunks in reading.contents():
        try:
            found.append((origin, b"".join(chunks)))
        except DataOpsError as error:
            found.append((origin, error))
    return found


@pytest.mark.parametrize("name", ZIP_AND_TAR)
def test_openings_do_not_grow_with_the_files(name: str, openings: list[str], tmp_path: Path) -> None:
    counts = []
    for number in (3, 40):
        context = workspace(tmp_path / str(number))
        deliver(context, name, KINDS[name](some(number)))
        deliver(context, f"other-{name}", KINDS[name](some(number, "other")), age=50)
        openings.clear()
        inputs = look(context).new
        assert len(inputs) == 2 * number
        seen = len(openings)
        report = ingest(context, inputs)
        assert (report.failures, report.notes["copied"]) == ((), 2 * number)
        counts.append((seen, len(openings) - seen))
        assert stored(context, inputs) == {
            **expected(name, some(number)),
            **expected(f"other-{name}", some(number, "other")),
        }
    # of each archive: one for its list, one for the bytes in the look, one in the step
    assert counts == [(4, 2), (4, 2)]


@pytest.mark.parametrize("name", ZIP_AND_TAR)
def test_a_step_that_runs_again_reads_only_what_is_missing(
    name: str, context: SourceContext, openings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = deliver(context, name, KINDS[name](some(20)))
    inputs = look(context).new
    add = RawArea.add

    def full(raw: RawArea, item: Input, chunks: Iterator[bytes], modified: dt.datetime | None) -> bool:
        if item in inputs[5:15]:
            raise StorageError("copying", received="no space left on device")
        return add(raw, item, chunks, modified)

    with monkeypatch.context() as patched:
        patched.setattr(RawArea, "add", full)
        assert {report.input_id for report in ingest(context, inputs).failures} == {
            item.input_id for item in inputs[5:15]
        }
    openings.clear()
    assert ingest(context, inputs).notes == {"copied": 10, "already there": 10}
    assert len(openings) == 1
    path.unlink()
    assert ingest(context, inputs).notes == {"copied": 0, "already there": 20}
    assert len(openings) == 1
    assert stored(context, inputs) == expected(name, some(20))


@pytest.mark.parametrize("name", ZIP_AND_TAR)
def test_the_bytes_come_from_another_archive_if_the_first_is_gone(
    name: str, context: SourceContext, openings: list[str]
) -> None:
    first = deliver(context, name, KINDS[name](some(20)))
    inputs = look(context).new
    deliver(context, f"again-{name}", KINDS[name](some(20)))
    assert look(context).new == []
    first.unlink()
    openings.clear()
    assert ingest(context, inputs).notes == {"copied": 20, "already there": 0}
    assert openings.count(f"again-{name}") == 1


@pytest.mark.parametrize("name", ZIP_AND_TAR)
def test_of_two_versions_of_an_archive_the_one_that_is_there_is_copied(
    name: str, context: SourceContext, openings: list[str]
) -> None:
    deliver(context, name, KINDS[name](some(20)))
    old = look(context).new
    deliver(context, name, KINDS[name](some(20, "new")), age=50)
    new = look(context).new
    openings.clear()
    report = ingest(context, [*old, *new])
    assert {item.input_id for item in report.failures} == {item.input_id for item in old}
    assert all(isinstance(item.error, InputError) for item in report.failures)
    assert stored(context, list(new)) == expected(name, some(20, "new"))
    # one for each version that is asked for
    assert len(openings) == 2


@pytest.mark.parametrize("name", ZIP_AND_TAR)
def test_an_archive_that_is_replaced_while_it_is_read_is_taken_by_the_next_look(
    name: str, context: SourceContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(context, name, KINDS[name](some(20)))
    deliver(context, "plain.csv", b"a\n1\n")
    replaced = KINDS[name](some(25, "new"))
    kept, times = LocalFileSystem.open, []

    def replacing(fs: LocalFileSystem, path: str, *arguments: Any, **options: Any) -> Any:
        stream = kept(fs, path, *arguments, **options)
        if path.endswith(name):
            times.append(path)
            if len(times) == 2:
                # the stream goes on in the old file
                os.unlink(path)
                deliver(context, name, replaced, age=50)
        return stream

    with monkeypatch.context() as patched:
        patched.setattr(LocalFileSystem, "open", replacing)
        assert [os.path.basename(item.origin) for item in look(context).new] == ["plain.csv"]
    inputs = look(context).new
    assert ingest(context, inputs).failures == ()
    assert stored(context, list(inputs)) == expected(name, some(25, "new"))


def test_a_damaged_file_of_a_zip_is_refused_alone(context: SourceContext) -> None:
    content = a_zip(some(20), zipfile.ZIP_STORED)
    deliver(context, "a.zip", content.replace(b"part/00007.csv\n", b"part/0000!.csv\n", 1))
    found = look(context)
    assert [os.path.basename(problem.origin) for problem in found.problems] == ["a.zip!1!part!00007.csv"]
    assert len(found.new) == 19
    assert ingest(context, found.new).failures == ()


@pytest.mark.parametrize("damage", ["a turned bit", "a lost block", "an empty block", "another archive behind it"])
def test_no_file_of_a_damaged_tar_is_passed_over(damage: str, context: SourceContext) -> None:
    """Each header in turn: Python takes a damaged one, and an empty block, for the end of the archive."""
    members = {f"{number}.csv": b"a\n" + b"1\n" * (300 * number) for number in range(4)}
    whole = a_tar(members)
    with tarfile.open(fileobj=io.BytesIO(whole)) as opened:
        headers = [entry.offset for entry in opened]
    for number, place in enumerate(headers):
        rest = whole[place + 512 :]
        content = {
            "a turned bit": whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :],
            "a lost block": whole[:place] + rest,
            "an empty block": whole[:place] + bytes(512) + rest,
            "another archive behind it": whole + a_tar({f"{number + 9}.csv": b"a\n2\n"}),
        }[damage]
        deliver(context, f"{number}.tar", content)
    found = look(context)
    assert sorted(os.path.basename(problem.origin) for problem in found.problems) == [f"{n}.tar" for n in range(4)]
    assert not found.new


@pytest.mark.parametrize("has_error", [False, True])
def test_what_lies_behind_the_fault_of_a_tar_is_not_taken_for_gone(
    has_error: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damaged bytes are for good, a store that fails is not: each file behind it tells the same."""
    members = {f"{number}.csv": random.Random(number).randbytes(500_000) for number in range(8)}
    path = tmp_path / "a.tar.gz"
    content = gzip.compress(a_tar(members), 1)
    path.write_bytes(content)
    files = Files(FileConnection.model_validate({"type": "files", "path": "*", "members": "*"}), str(tmp_path), {})
    origins = [version.origin for version in files.list().versions]
    half = len(content) // 2
    kept = LocalFileSystem.open

    def failing(fs: LocalFileSystem, path: str, *arguments: Any, **options: Any) -> Any:
        stream = kept(fs, path, *arguments, **options)
        read = stream.read

        def limited(size: int = -1) -> bytes:
            if stream.tell() >= half:
                raise ConnectionError("the server went away")
            return bytes(read(size))

        stream.read = limited
        return stream

    if has_error:
        monkeypatch.setattr(LocalFileSystem, "open", failing)
    else:
        path.write_bytes(content[:half] + bytes(1000) + content[half + 1000 :])
    (reading,) = files.readings(origins)
    found = dict(drained(reading))
    read = [origin for origin in origins if isinstance(found[origin], bytes)]
    assert 0 < len(read) < 8
    assert {os.path.basename(origin): found[origin] for origin in read} == {
        f"a.tar.gz!{number}.csv": members[f"{number}.csv"] for number in range(len(read))
    }
    kind = StorageError if has_error else InputError
    assert {type(found[origin]) for origin in origins if origin not in read} == {kind}


@pytest.mark.parametrize("name", ZIP_AND_TAR)
def test_a_look_without_time_takes_the_least_and_the_next_ones_the_rest(name: str, context: SourceContext) -> None:
    deliver(context, name, KINDS[name](some(50)))
    taken: list[Input] = []
    while (found := look(context, budget_seconds=0, least_files=20)).new:
        assert len(found.new) == min(20, 50 - len(taken))
        taken += found.new
    assert ingest(context, taken).failures == ()
    assert stored(context, taken) == expected(name, some(50))


def ingest_until_killed(home: Path) -> None:
    context = workspace(home)
    added: list[str] = []
    add = RawArea.add

    def dying(raw: RawArea, item: Input, chunks: Iterator[bytes], modified: dt.datetime | None) -> bool:
        added.append(item.input_id)
        if len(added) == 10:
            os.kill(os.getpid(), signal.SIGKILL)
        return add(raw, item, chunks, modified)

    RawArea.add = dying  # type: ignore[method-assign]
    ingest(context, context.metadata.inputs("sales"))


def test_a_step_that_is_killed_in_an_archive_goes_on(tmp_path: Path) -> None:
    name = "packed.tar.gz"
    context = workspace(tmp_path)
    deliver(context, name, KINDS[name](some(20)))
    inputs = list(look(context).new)
    process = multiprocessing.get_context("forkserver").Process(target=ingest_until_killed, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    there = len(context.raw.inputs())
    assert there < 20
    assert ingest(context, inputs).notes == {"copied": 20 - there, "already there": there}
    assert stored(context, inputs) == expected(name, some(20))
