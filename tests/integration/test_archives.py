"""Archives of several files: each file that is taken is an input, and two sources share one archive."""

from __future__ import annotations

import gzip
import io
import os
import random
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import zstandard
from code_location import CodeLocation, loaded, standalone
from pydantic import ValidationError

from dataops_assets.config.connection import FileConnection
from dataops_assets.connections.files import Files
from dataops_assets.errors import InputError


def archive(files: Mapping[str, str], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", method) as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return written.getvalue()


def feed(name: str, members: str) -> dict[str, Any]:
    return standalone() | {
        "name": name,
        "connection": {
            "type": "files",
            "path": "orders/*.zip",
            "members": members,
            "extract_time": {"pattern": "export_%Y-%m-%d.zip!*"},
            "settle_seconds": 0,
        },
        "columns": [{"name": "id", "type": "integer"}],
        "refresh": {"type": "append"},
    }


def test_files_of_one_archive_are_inputs_of_two_sources(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    first = archive(
        {"data/": "", "data/a/orders.csv": "id\n1\n", "data/b/orders.csv": "id\n2\n", "names.csv": "id\n9\n"}
    )
    with loaded(feed("orders", "*/orders.csv"), feed("names", "names.csv")) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        here.land("orders", "export_2024-01-01.zip", first)
        here.land("orders", "export_2024-01-02.zip", first[:-40])
        here.settle("orders", "names")
        assert here.rows("hub/orders", "id") == [(1,), (2,)]
        assert here.rows("hub/names", "id") == [(9,)]
        # the archive that was cut off is written to its end; one of its files is known already
        here.land("orders", "export_2024-01-02.zip", archive({"c/orders.csv": "id\n3\n", "names.csv": "id\n9\n"}))
        here.settle("orders")
        assert here.rows("hub/orders", "id") == [(1,), (2,), (3,)]
        assert len(here.partitions("orders")) == 3


@pytest.fixture
def files(tmp_path: Path) -> Files:
    declared = {"type": "files", "path": "*", "members": "*.csv", "limits": {"unpacked_bytes": 100}}
    return Files(FileConnection.model_validate(declared), str(tmp_path), {})


def test_what_is_not_taken_of_an_archive_is_told(files: Files, tmp_path: Path) -> None:
    given = {"a.csv": "id\n1\n", "x/.b.csv": "", "large.csv": "x" * 101, "other.txt": ""}
    (tmp_path / "good.zip").write_bytes(archive(given))
    (tmp_path / "bzip2.zip").write_bytes(archive({"a.csv": "id\n"}, zipfile.ZIP_BZIP2))
    (tmp_path / "none.zip").write_bytes(archive({"a.txt": ""}))
    (tmp_path / "twice.zip").write_bytes(archive({"x/a.csv": "", "x!a.csv": ""}))
    (tmp_path / "damaged.zip").write_bytes(archive(given)[:-30])
    (tmp_path / "plain.csv").write_bytes(b"id\n")
    listing = files.list()
    assert sorted(Path(item.origin).name for item in listing.versions) == ["good.zip!a.csv", "plain.csv"]
    told = {Path(origin).name: str(error) for origin, error in listing.refused.items()}
    told |= {Path(origin).name: item.reason for origin, item in listing.left_out.items()}
    reasons = {
        "good.zip!x!.b.csv": "its name begins with '.'",
        "good.zip!large.csv": "it unpacks to 101 bytes",
        "bzip2.zip!a.csv": "its compression method is 12",
        "none.zip": "none of its 1 files matches connection.members ('*.csv')",
        "twice.zip": "two files 'x!a.csv' in one archive",
        "damaged.zip": "a damaged archive, or one that is not complete",
    }
    assert {name: reason for name, reason in reasons.items() if reason not in told.get(name, "")} == {}
    assert told.keys() == reasons.keys()


def test_a_file_is_that_of_its_archive_now(files: Files, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(archive({"x/a.csv": "id\n1\n"}))
    (version,) = files.list().versions
    assert b"".join(files.chunks(version.origin)) == b"id\n1\n"
    assert files.version(version.origin) == version
    path.write_bytes(archive({"x/a.csv": "id\n22\n"}))
    os.utime(path, (1, 1))
    assert files.version(version.origin) != version
    path.write_bytes(archive({"b.csv": "id\n1\n"}))
    for asked in (files.version, lambda origin: list(files.chunks(origin))):
        with pytest.raises(InputError, match=r"the file is gone|no longer has this file"):
            asked(version.origin)


def tar(files: Mapping[str, str | None], packed: str = "") -> bytes:
    """A tar; a file without content is a link."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as opened:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.type = (
                tarfile.SYMTYPE if content is None else tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            )
            entry.size = len(content or "")
            opened.addfile(entry, io.BytesIO((content or "").encode()))
    pack = {"": bytes, "gz": gzip.compress, "zst": zstandard.compress}[packed]
    return pack(written.getvalue())


def test_a_tar_is_a_folder_of_files(files: Files, tmp_path: Path) -> None:
    given: dict[str, str | None] = {"./x/": "", "./x/a.csv": "id\n1\n", "b.csv": "id\n2\n", "other.txt": "x"}
    (tmp_path / "plain.tar").write_bytes(tar(given))
    (tmp_path / "packed.tar.gz").write_bytes(tar(given, "gz"))
    (tmp_path / "packed.tgz").write_bytes(tar({**given, "link.csv": None, "large.csv": "x" * 101}, "gz"))
    (tmp_path / "packed.tar.zst").write_bytes(tar(given, "zst"))
    # cut off where a file ends: the rest of the archive would be lost without a word
    (tmp_path / "cut.tar").write_bytes(tar(given)[:2560])
    (tmp_path / "cut.tar.gz").write_bytes(tar(given, "gz")[:-20])
    (tmp_path / "bomb.tgz").write_bytes(tar({"a.csv": "x" * 120_000_000}, "gz"))
    (tmp_path / "text.tar").write_bytes(b"id\n1\n" * 200)
    listing = files.list()
    read = {Path(item.origin).name: b"".join(files.chunks(item.origin)) for item in listing.versions}
    archives = ("plain.tar", "packed.tar.gz", "packed.tgz", "packed.tar.zst")
    assert read == {
        f"{name}!{member}": content
        for name in archives
        for member, content in (("x!a.csv", b"id\n1\n"), ("b.csv", b"id\n2\n"))
    }
    reasons = {
        "packed.tgz!link.csv": "a link or a device",
        "packed.tgz!large.csv": "it has 101 bytes",
        "cut.tar": "without its end",
        "cut.tar.gz": "cut off",
        "bomb.tgz": "unpacks to more than",
        "text.tar": "a damaged archive",
    }
    told = {Path(origin).name: str(error) for origin, error in listing.refused.items()}
    assert {name: told.get(name) for name, reason in reasons.items() if reason not in told.get(name, "")} == {}
    assert told.keys() == reasons.keys()


def test_a_tar_of_zstd_with_large_blocks_is_whole(files: Files, tmp_path: Path) -> None:
    given: dict[str, str | None] = {f"{number}.csv": random.Random(number).randbytes(48).hex() for number in range(400)}
    (tmp_path / "a.tar.zst").write_bytes(tar(given, "zst"))
    listing = files.list()
    assert (len(listing.versions), listing.refused) == (400, {})


def test_members_are_not_encrypted() -> None:
    encryption = {"type": "zip", "password": {"env": "X"}}
    with pytest.raises(ValidationError, match="members of archives are read without encryption"):
        FileConnection.model_validate({"type": "files", "path": "*", "members": "*", "encryption": encryption})
