"""Each bad file has exactly the trouble its name says."""

from __future__ import annotations

import gzip
import struct
import zlib

import pytest

from dataops_assets.demo import bad_inputs, rossmann
from dataops_assets.demo.landing import STAGES


def _named(word: str) -> bytes:
    return next(bad.content() for bad in bad_inputs.bad_inputs() if word in bad.path)


@pytest.fixture(scope="module")
def good() -> list[bytes]:
    return rossmann.csv_bytes(rossmann.week_rows(bad_inputs.WEEK)).splitlines()


def test_the_missing_column_is_the_only_difference(good):
    lines = _named("missing_column").splitlines()
    assert [line.split(b",") for line in lines] == [
        [field for i, field in enumerate(line.split(b",")) if i != 4] for line in good
    ]


def test_three_rows_are_bad_and_the_others_are_as_delivered(good):
    lines = _named("bad_rows").splitlines()
    differing = [i for i, (bad, fine) in enumerate(zip(lines, good, strict=True)) if bad != fine]
    assert differing == [10, 20, 30]
    assert len(differing) == bad_inputs.BAD_ROWS


def test_the_truncated_gzip_starts_well_and_ends_too_early(good):
    content = _named("truncated")
    with pytest.raises(EOFError):
        gzip.decompress(content)
    start = zlib.decompressobj(wbits=31).decompress(content)
    assert start.splitlines()[:100] == good[:100]


def test_the_empty_file_is_empty():
    assert _named("empty") == b""


def test_the_wrong_type_is_a_valid_image():
    content = _named("wrong_type")
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    position = 8
    kinds = []
    while position < len(content):
        (length,) = struct.unpack(">I", content[position : position + 4])
        kind, data = content[position + 4 : position + 8], content[position + 8 : position + 8 + length]
        assert (
            zlib.crc32(kind + data) == struct.unpack(">I", content[position + 8 + length : position + 12 + length])[0]
        )
        kinds.append(kind)
        position += 12 + length
    assert kinds == [b"IHDR", b"IDAT", b"IEND"]


def test_the_duplicate_has_the_bytes_and_the_day_of_an_earlier_delivery():
    copy = next(bad for bad in bad_inputs.bad_inputs() if bad.outcome == "already known")
    delivered = {file.path: file.content() for stage in STAGES for file in rossmann.stage_files(stage)}
    original = copy.path.replace("_copy", "")
    assert delivered[original] == copy.content()
    assert copy.path not in delivered


def test_the_implausible_row_reads_well(good):
    lines = _named("implausible").splitlines()
    assert lines[2:] == good[2:]
    assert int(lines[1].split(b",")[3]) == 1_000_000


def test_bytes_are_the_same_every_time():
    first, second = ([bad.content() for bad in bad_inputs.bad_inputs()] for _ in range(2))
    assert first == second
