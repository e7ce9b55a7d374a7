from __future__ import annotations

import gzip
import hashlib
import io
import random
import zipfile
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from dataops_assets.connections.content import digests_of, digests_of_extract
from dataops_assets.connections.formats.compression import Compression


def gzipped(content: bytes) -> bytes:
    out = io.BytesIO()
    with gzip.GzipFile("some name.csv", "wb", 1, out, mtime=7) as stream:
        stream.write(content)
    return out.getvalue()


def in_two_members(content: bytes) -> bytes:
    half = len(content) // 2
    return gzip.compress(content[:half], 9, mtime=0) + gzip.compress(content[half:], 1, mtime=1)


def zipped(content: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr("a.csv", content)
    return out.getvalue()


PACKINGS: list[tuple[Compression, Callable[[bytes], bytes]]] = [
    ("none", bytes),
    ("gzip", gzipped),
    ("gzip", in_two_members),
    ("zip", zipped),
    ("zip", lambda content: zipped(content, zipfile.ZIP_STORED)),
    ("zip", lambda content: zipped(content, zipfile.ZIP_LZMA)),
    ("zstd", zstandard.compress),
    ("zstd", lambda content: zstandard.compress(content[:3], 19) + zstandard.compress(content[3:])),
]


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@settings(max_examples=50, deadline=None)
@given(content=st.binary(min_size=1, max_size=5000), size=st.integers(1, 3000))
def test_one_content_has_one_digest_however_it_is_packed(content: bytes, size: int) -> None:
    for compression, pack in PACKINGS:
        packed = pack(content)
        chunks = [packed[start : start + size] for start in range(0, len(packed), size)]
        found = digests_of(chunks, len(packed), compression)
        assert (found.received, found.content, found.size) == (sha(packed), sha(content), len(packed))


@pytest.mark.parametrize(("compression", "pack"), PACKINGS[1:])
def test_what_does_not_unpack_is_its_own_content(compression: Compression, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(random.Random(7).randbytes(10_000))
    for damaged in (packed[:-1], packed[: len(packed) // 3], b"id\n1\n", b"", packed + b"rest"):
        found = digests_of([damaged], len(damaged), compression)
        if found.content != found.received:
            # a zip may have other bytes around it
            assert (compression, damaged) == ("zip", packed + b"rest")


@pytest.mark.parametrize(("compression", "pack"), PACKINGS[1:])
def test_any_damage_makes_bytes_their_own_content(compression: Compression, pack: Callable[[bytes], bytes]) -> None:
    """Nothing is raised: it would end the look, and no input of the source would be found any more."""
    chosen = random.Random(7)
    packed = pack(chosen.randbytes(100))
    for place in range(len(packed)):
        damaged = bytearray(packed)
        damaged[place] = (damaged[place] + chosen.randrange(1, 256)) % 256
        found = digests_of([bytes(damaged)], len(damaged), compression)
        assert found.received == sha(bytes(damaged))


def test_a_zip_that_python_unpacks_at_once_is_not_unpacked() -> None:
    """A few bytes of bzip2 become more than the memory holds."""
    packed = zipped(b"id\n1\n", zipfile.ZIP_BZIP2)
    assert digests_of([packed], len(packed), "zip").content == sha(packed)


def test_what_unpacks_to_a_multiple_of_its_size_costs_no_more_than_that() -> None:
    packed = gzip.compress(bytes(80 << 20), 9, mtime=0)
    found = digests_of([packed], len(packed), "gzip")
    assert found.content == found.received == sha(packed)


def test_how_an_extract_is_read_is_content() -> None:
    named = {name: digests_of_extract(name, b"1\n").content for name in ("a.csv", "b.CSV", "a.json", "a")}
    assert named["a.csv"] == named["b.CSV"]
    assert len(set(named.values())) == 3
    assert digests_of_extract("a.csv.gz", gzip.compress(b"1\n")).content == named["a.csv"]
