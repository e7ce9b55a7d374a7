"""Bad files of sales, as feeds send them in practice: each has one fault and one expected outcome.

All are made from the final figures of the week that ends on 19 July 2015. So their good rows change nothing, and the
tables are the same as without these files.
"""

from __future__ import annotations

import datetime as dt
import functools
import gzip
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from dataops_assets.demo import rossmann
from dataops_assets.demo.landing import LandingFile

WEEK = dt.date(2015, 7, 19)
COPIED_WEEK = dt.date(2015, 6, 14)
BAD_ROWS = 3

Outcome = Literal["refused", "rows quarantined", "already known", "gate failed"]


@dataclass(frozen=True)
class BadInput:
    """A file with one fault, and the outcome that it must have."""

    path: str
    content: Callable[[], bytes]
    outcome: Outcome
    trouble: str


def bad_inputs() -> list[BadInput]:
    """Return all bad files in the order of their extract times."""
    return [
        BadInput(
            f"rossmann/sales/sales_{COPIED_WEEK}_copy.csv",
            functools.partial(rossmann.week_bytes, COPIED_WEEK),
            "already known",
            "the bytes of an earlier delivery under another name",
        ),
        BadInput(
            "rossmann/sales/sales_2015-08-01_missing_column.csv", missing_column, "refused", "no column Customers"
        ),
        BadInput(
            "rossmann/sales/sales_2015-08-02_bad_rows.csv",
            bad_rows,
            "rows quarantined",
            "a text for Sales, an impossible Date, a number too large for 64 bits in Customers",
        ),
        BadInput(
            "rossmann/sales/sales_2015-08-03_truncated.csv.gz", truncated_gzip, "refused", "a gzip that ends too early"
        ),
        BadInput("rossmann/sales/sales_2015-08-04_empty.csv", bytes, "refused", "no bytes at all"),
        BadInput("rossmann/sales/sales_2015-08-05_wrong_type.csv", png, "refused", "a PNG image named .csv"),
        BadInput(
            "rossmann/sales/sales_2015-08-06_implausible.csv",
            implausible,
            "gate failed",
            "a row with sales beyond 50,000",
        ),
    ]


def stage_files() -> list[LandingFile]:
    """Return the bad files as a stage of the demonstration."""
    return [LandingFile(bad.path, bad.content) for bad in bad_inputs()]


def missing_column() -> bytes:
    """Return the week without its column Customers."""
    return rossmann.csv_bytes(rossmann.week_rows(WEEK).drop_columns("Customers"))


def bad_rows() -> bytes:
    """Return the week with three rows that cannot be parsed: rows 10, 20 and 30."""
    lines = rossmann.csv_bytes(rossmann.week_rows(WEEK)).splitlines()
    troubles: Mapping[int, tuple[int, bytes]] = {
        10: (3, b"closed"),
        20: (2, b"2015-07-32"),
        30: (4, b"99999999999999999999"),
    }
    for line, (field, value) in troubles.items():
        fields = lines[line].split(b",")
        fields[field] = value
        lines[line] = b",".join(fields)
    return b"\n".join([*lines, b""])


def truncated_gzip() -> bytes:
    """Return the first half of the compressed bytes of the week."""
    # mtime=0 keeps the bytes the same from run to run
    whole = gzip.compress(rossmann.csv_bytes(rossmann.week_rows(WEEK)), mtime=0)
    return whole[: len(whole) // 2]


def png() -> bytes:
    """Return a valid image of one grey pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\x00\x80")) + chunk(b"IEND", b"")
    )


def implausible() -> bytes:
    """Return the week with one amount that can be parsed but is not plausible."""
    lines = rossmann.csv_bytes(rossmann.week_rows(WEEK)).splitlines()
    fields = lines[1].split(b",")
    fields[3] = b"1000000"
    return b"\n".join([lines[0], b",".join(fields), *lines[2:], b""])
