"""Files arrive whole, once, and never over somebody else's."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import pytest

from dataops_assets.demo import deliveries
from dataops_assets.demo.landing import ARRIVED, STAGES
from dataops_assets.errors import ConfigError


def _state(landing: Path) -> dict[str, tuple[int, int, int]]:
    return {
        str(path.relative_to(landing)): (path.stat().st_size, path.stat().st_mtime_ns, path.stat().st_ino)
        for path in landing.rglob("*")
        if path.is_file()
    }


def test_stages_arrive_one_after_the_other_and_again_changes_nothing(tmp_path):
    seen: set[str] = set()
    for stage in STAGES:
        delivered = deliveries.deliver(tmp_path, stage)
        assert delivered.written
        assert not delivered.kept
        assert not seen.intersection(delivered.written)
        seen.update(delivered.written)
        times = {(tmp_path / path).stat().st_mtime for path in delivered.written}
        assert times == {ARRIVED[stage].timestamp()}
    before = _state(tmp_path)
    assert set(before) == seen
    for stage in STAGES:
        again = deliveries.deliver(tmp_path, stage)
        assert not again.written
        assert set(again.kept) <= seen
    assert _state(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flights", "rossmann"]


def test_a_lost_file_comes_back_as_it_was(tmp_path):
    path = deliveries.deliver(tmp_path, "delivery_1").written[0]
    before = (tmp_path / path).read_bytes(), (tmp_path / path).stat().st_mtime_ns
    (tmp_path / path).unlink()
    assert deliveries.deliver(tmp_path, "delivery_1").written == (path,)
    assert ((tmp_path / path).read_bytes(), (tmp_path / path).stat().st_mtime_ns) == before


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path, monkeypatch):
    """Killed while the last bytes are on their way: what is there is whole, the rest comes with the next attempt."""
    written = Path.write_bytes
    count = 0

    def interrupted(path: Path, content: bytes) -> int:
        nonlocal count
        count += 1
        if count == 4:
            written(path, content[: len(content) // 2])
            raise KeyboardInterrupt
        return written(path, content)

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        deliveries.deliver(tmp_path, "delivery_1")
    monkeypatch.undo()
    there = {path for path in _state(tmp_path) if not path.startswith(".")}
    assert len(there) == 3
    resumed = deliveries.deliver(tmp_path, "delivery_1")
    assert set(resumed.kept) == there
    whole = deliveries.deliver(tmp_path / "other", "delivery_1").written
    for path in whole:
        assert (tmp_path / path).read_bytes() == (tmp_path / "other" / path).read_bytes()


def test_arrival_times_ascend():
    assert list(ARRIVED) == list(STAGES)
    assert list(ARRIVED.values()) == sorted(set(ARRIVED.values()))
    assert all(time.tzinfo is dt.UTC for time in ARRIVED.values())


def _bring(landing: Path, name: str) -> Path:
    path = landing / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"the public file")
    return path


def test_whoever_brings_the_public_files_keeps_them_and_gets_no_invented_rows(tmp_path):
    brought = [_bring(tmp_path, name) for name in (deliveries.PUBLIC_SALES, deliveries.PUBLIC_STORES)]
    for stage in STAGES:
        delivered = deliveries.deliver(tmp_path, stage)
        assert delivered.public_files
        assert not any(path.startswith("rossmann/") for path in delivered.written)
    assert [path.read_bytes() for path in brought] == [b"the public file"] * 2
    assert sorted(path.name for path in (tmp_path / "rossmann").rglob("*.csv*")) == ["store.csv", "train.csv"]


@pytest.mark.parametrize("name", [deliveries.PUBLIC_SALES, deliveries.PUBLIC_STORES])
def test_one_public_file_alone_is_refused(tmp_path, name):
    _bring(tmp_path, name)
    with pytest.raises(ConfigError, match="companion"):
        deliveries.deliver(tmp_path, "history")


def test_an_own_file_whose_time_was_touched_counts_as_someone_else_s(tmp_path):
    """Better to leave a file alone once too often than to overwrite what somebody put there."""
    deliveries.deliver(tmp_path, "history")
    sales, stores = tmp_path / deliveries.PUBLIC_SALES, tmp_path / deliveries.PUBLIC_STORES
    os.utime(sales)
    os.utime(stores)
    before = sales.read_bytes()
    assert deliveries.deliver(tmp_path, "delivery_1").public_files
    assert sales.read_bytes() == before
