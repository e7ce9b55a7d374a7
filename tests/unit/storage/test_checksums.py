"""A process remembers the files that it verified, and not all of them for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataops_assets.errors import StorageError
from dataops_assets.storage import checksums


def test_the_oldest_verified_files_are_verified_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remembered: dict[object, str] = {}
    monkeypatch.setattr("dataops_assets.storage.checksums._sound", remembered)
    monkeypatch.setattr("dataops_assets.storage.checksums._MOST_SOUND", 3)
    parts = {}
    for number in range(5):
        place = tmp_path / f"{number}.parquet"
        place.write_bytes(b"%d" % number)
        parts[place.name] = checksums.written(place)
    assert len(remembered) == 3
    checksums.require_sound(str(tmp_path), parts)
    assert len(remembered) == 3
    with pytest.raises(StorageError, match="the file is damaged"):
        checksums.require_sound(str(tmp_path), {**parts, "0.parquet": "00000000"})
