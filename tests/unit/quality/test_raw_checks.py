"""What can be told of bytes before they are parsed."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from dataops_assets.config.connection import FileConnection
from dataops_assets.config.quality import Checks
from dataops_assets.quality.raw_checks import raw_outcomes, raw_profile
from dataops_assets.report import CheckOutcome

CSV = b"a,b\n" + b"1,2\n" * 99


def zipped(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.csv", content)
    return buffer.getvalue()


def parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), buffer)
    return buffer.getvalue()


def outcomes(folder: Path, content: bytes, name: str, **connection: Any) -> dict[str, CheckOutcome]:
    path = folder / "object"
    path.write_bytes(content)
    declared = FileConnection(type="files", path="x", **connection)
    profile, kind = raw_profile("raw/sales", "20130102T000000Z-x", path, name, declared)
    earlier = [raw_profile("raw/sales", f"20130101T00000{n}Z-x", path, name, declared)[0] for n in range(5)]
    return {item.check: item for item in raw_outcomes(profile, kind, earlier, Checks())}


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.csv", CSV, "text"),
        ("a.csv.gz", gzip.compress(CSV, mtime=0), "text in gzip"),
        ("a.csv.zst", zstandard.compress(CSV), "text in zstd"),
        ("a.zip", zipped(CSV), "text in zip"),
    ],
)
def test_bytes_as_declared_pass_every_check(tmp_path: Path, name: str, content: bytes, found: str) -> None:
    checks = outcomes(tmp_path, content, name)
    assert all(item.passed for item in checks.values())
    assert checks["schema"].numbers["found"] == found
    assert checks["volume"].explanation.startswith(f"bytes {len(content):,}, expected between")
    assert checks["distribution"].explanation == "1 columns like those of the 5 inputs before"


@pytest.mark.parametrize(
    ("name", "content", "connection", "explanation"),
    [
        ("a.csv", b"\x89PNG\r\n\x1a\n" + bytes(20), {}, "a PNG image, declared as csv, compression none"),
        ("a.csv", gzip.compress(CSV, mtime=0), {}, "gzip, declared as csv, compression none"),
        ("a.csv.gz", CSV, {}, "text, declared as csv, compression gzip"),
        ("a.parquet", CSV, {"format": {"type": "parquet"}}, "text, declared as parquet, compression none"),
        ("a.csv", parquet(), {}, "parquet, declared as csv, compression none"),
    ],
)
def test_bytes_of_another_kind_are_named(
    tmp_path: Path, name: str, content: bytes, connection: dict[str, Any], explanation: str
) -> None:
    schema = outcomes(tmp_path, content, name, **connection)["schema"]
    assert (schema.passed, schema.explanation) == (False, explanation)


def test_parquet_and_damaged_archives_have_no_lines(tmp_path: Path) -> None:
    assert outcomes(tmp_path, parquet(), "a.parquet", format={"type": "parquet"})["schema"].passed
    for name in ("a.csv.gz", "a.zip", "a.csv.zst"):
        magic = {"a.csv.gz": b"\x1f\x8b", "a.zip": b"PK\x03\x04", "a.csv.zst": b"\x28\xb5\x2f\xfd"}[name]
        assert outcomes(tmp_path, magic + b"rubbish" * 9, name)["volume"].passed


def test_no_bytes_fail_the_volume_check(tmp_path: Path) -> None:
    volume = outcomes(tmp_path, b"", "a.csv")["volume"]
    assert (volume.passed, volume.explanation) == (False, "bytes 0, expected between 1 and 1")
