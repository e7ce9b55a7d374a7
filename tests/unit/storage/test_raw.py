from __future__ import annotations

import datetime as dt
import hashlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataops_assets.errors import InputError, StorageError
from dataops_assets.report import Input
from dataops_assets.storage.raw import RawArea, RawManifest

NOON = dt.datetime(2013, 6, 1, 12, tzinfo=dt.UTC)


def an_input(content: bytes, origin: str = "/landing/sales/a.csv", day: int = 0) -> Input:
    digest = hashlib.sha256(content).hexdigest()
    time = NOON + dt.timedelta(days=day)
    input_id = f"{time:%Y%m%dT%H%M%SZ}-{digest[:12]}"
    return Input(time, time, input_id, digest, origin, len(content), content=digest)


def never() -> Iterator[bytes]:
    raise AssertionError("the origin was read")
    yield


@pytest.fixture
def raw(tmp_path: Path) -> RawArea:
    return RawArea.of(str(tmp_path / "storage"), "sales")


def visible(raw: RawArea) -> list[str]:
    """Every file of the area, unfinished ones too."""
    root = Path(raw.uri)
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_an_input_is_kept_under_its_digest_with_a_manifest(raw: RawArea) -> None:
    item = an_input(b"a\n1\n")
    assert raw.add(item, [b"a\n", b"1\n"], NOON)
    raw.sync()
    assert visible(raw) == [f"inputs/{item.input_id}.json", f"objects/{item.digest}/a.csv"]
    assert raw.local_path(item).read_bytes() == b"a\n1\n"
    with raw.open(item) as stream:
        assert stream.read() == b"a\n1\n"
    assert raw.manifest(item.input_id) == RawManifest(
        item.input_id, item.origin, f"objects/{item.digest}/a.csv", NOON, NOON, 4, item.digest
    )
    assert raw.inputs() == [item.input_id]
    assert raw.holds(item)


def test_adding_again_reads_and_writes_nothing(raw: RawArea) -> None:
    item = an_input(b"a")
    raw.add(item, [b"a"], NOON)
    before = {path: os.stat(Path(raw.uri) / path).st_mtime_ns for path in visible(raw)}
    assert not raw.add(item, never(), NOON)
    assert {path: os.stat(Path(raw.uri) / path).st_mtime_ns for path in visible(raw)} == before


def test_two_inputs_with_the_same_bytes_share_them(raw: RawArea) -> None:
    first, second = an_input(b"a"), an_input(b"a", day=1)
    assert raw.add(first, [b"a"], NOON)
    assert raw.add(second, never(), NOON)
    assert len(visible(raw)) == 3
    raw.delete([first.input_id])
    assert raw.local_path(second).read_bytes() == b"a"
    raw.delete([second.input_id])
    raw.delete([second.input_id])
    assert visible(raw) == []
    with pytest.raises(StorageError, match="dataops reset"):
        raw.local_path(second)


@pytest.mark.parametrize("chunks", [[b"b"], [b"ab"], [], [b"a", b""] * 2, [b"a" * 9]])
def test_bytes_that_are_not_those_discovered_are_refused(raw: RawArea, chunks: list[bytes]) -> None:
    item = an_input(b"a")
    with pytest.raises(InputError, match="the origin changed since") as raised:
        raw.add(item, chunks, NOON)
    assert raised.value.permanent
    assert visible(raw) == []
    assert raw.inputs() == []


def test_an_origin_that_never_ends_is_not_read_to_its_end(raw: RawArea) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 1000

    with pytest.raises(InputError, match="more than 5,000 bytes"):
        raw.add(an_input(b"x" * 5000), endless(), NOON)


def test_bytes_put_aside_belong_to_no_input_until_they_are_added(raw: RawArea) -> None:
    item = an_input(b"a", "python:feeds:extracts/a.parquet")
    raw.put(item, [b"a"])
    assert (raw.inputs(), raw.manifest(item.input_id), raw.holds(item)) == ([], None, False)
    assert raw.add(item, never(), None)
    assert raw.inputs() == [item.input_id]
    with pytest.raises(InputError):
        raw.put(an_input(b"b"), [b"c"])


def test_an_object_that_was_lost_or_cut_is_copied_again(raw: RawArea) -> None:
    item = an_input(b"abc")
    raw.add(item, [b"abc"], NOON)
    raw.local_path(item).write_bytes(b"a")
    assert raw.add(item, [b"abc"], NOON)
    raw.local_path(item).unlink()
    assert not raw.holds(item)
    assert raw.add(item, [b"abc"], NOON)
    assert raw.local_path(item).read_bytes() == b"abc"


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(exclude_characters="/"), max_size=300))
def test_any_file_name_is_kept_and_means_one_plain_file(raw: RawArea, name: str) -> None:
    item = an_input(name.encode("utf-8", "surrogatepass"), f"/landing/{name}.csv")
    raw.add(item, [name.encode("utf-8", "surrogatepass")], None)
    path = raw.local_path(item)
    assert path.parent == Path(raw.uri) / "objects" / item.digest
    assert path.name.endswith(".csv")
    assert not path.name.startswith(".")
    assert not set(path.name) & set("*?[]{}%#&'\"\\\0\n")


@pytest.mark.parametrize("content", ["", '{"input_id"', "[]", "null", '{"input_id": "x"}', "\0" * 300])
def test_a_torn_manifest_is_written_again_without_its_origin(raw: RawArea, content: str) -> None:
    item = an_input(b"a")
    raw.add(item, [b"a"], NOON)
    whole = raw.manifest(item.input_id)
    (Path(raw.uri) / "inputs" / f"{item.input_id}.json").write_text(content)
    with pytest.raises(StorageError, match="ingest the input again"):
        raw.manifest(item.input_id)
    assert raw.add(item, never(), NOON)
    assert raw.manifest(item.input_id) == whole


def test_many_threads_may_add_the_same_inputs(raw: RawArea) -> None:
    contents = [str(number % 5).encode() for number in range(70)]

    def add(number: int) -> None:
        raw.add(an_input(contents[number], day=number % 7), [contents[number]], NOON)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(70)))
    raw.sync()
    assert len(raw.inputs()) == 35
    assert len(visible(raw)) == 40


# --- crashes and full disks ------------------------------------------------------------------------------------------

SLOW_WRITER = """
import sys
sys.path.insert(0, {tests!r})
from test_raw import NOON, RawArea, an_input

def slowly():
    yield b"a" * 500_000
    print("half", flush=True)
    sys.stdin.read()
    yield b"a" * 500_000

RawArea({uri!r}).add(an_input(b"a" * 1_000_000), slowly(), NOON)
"""


def test_a_killed_writer_leaves_nothing_visible_and_the_next_one_finishes(raw: RawArea) -> None:
    script = SLOW_WRITER.format(tests=str(Path(__file__).parent), uri=raw.uri)
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"half\n"
        writer.send_signal(signal.SIGKILL)
    item = an_input(b"a" * 1_000_000)
    assert (raw.inputs(), raw.holds(item)) == ([], False)
    (leftover,) = visible(raw)
    assert leftover.startswith("temporary/")
    assert raw.add(item, [b"a" * 1_000_000], NOON)
    # what may still be written by another process stays, what is a day old goes
    raw.sync()
    assert leftover in visible(raw)
    os.utime(Path(raw.uri) / leftover, (time.time() - 90_000,) * 2)
    raw.sync()
    assert leftover not in visible(raw)
    assert raw.holds(item)


def test_a_full_disk_is_told_and_leaves_nothing(raw: RawArea) -> None:
    small, large = an_input(b"a" * 100), an_input(b"b" * 100_000)
    # the kernel refuses to write more than this into a file, as a full disk or a quota does
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        raw.add(small, [b"a" * 100], NOON)
        with pytest.raises(StorageError, match="free space in the store") as raised:
            raw.add(large, [b"b" * 100_000], NOON)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not raised.value.permanent
    assert raw.inputs() == [small.input_id]
    assert len(visible(raw)) == 2
    assert raw.add(large, [b"b" * 100_000], NOON)


def test_a_store_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "storage").write_text("a file where the storage folder should be")
    raw = RawArea.of(str(tmp_path / "storage"), "sales")
    with pytest.raises(StorageError, match="check that the store is there"):
        raw.add(an_input(b"a"), [b"a"], NOON)


def test_a_store_that_vanishes_before_the_end_is_told(raw: RawArea) -> None:
    raw.add(an_input(b"a"), [b"a"], NOON)
    os.rename(raw.uri, f"{raw.uri}-gone")
    with pytest.raises(StorageError, match="making names durable"):
        raw.sync()
