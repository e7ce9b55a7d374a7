"""The content hash of a row is the same 63 bits on both engines, whatever doubles it holds."""

from __future__ import annotations

import math
import random
import struct

import pyarrow as pa

from dataops_assets.config.source import Source
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.engines.spark import SparkEngine
from dataops_assets.sql import query
from dataops_assets.steps.merging.row_identity import row_hash

SOURCE = Source.model_validate(
    {
        "name": "measures",
        "area": "tests",
        "connection": {"type": "files", "path": "measures_*.csv"},
        "columns": [{"name": "id", "type": "integer"}, {"name": "value", "type": "double"}],
        "refresh": {"type": "key", "key": ["id"]},
    }
)
EDGES = [0.0, -0.0, math.nan, -math.nan, math.inf, -math.inf, 5e-324, 2e-3, 1e-3, 9.99e-4, 9999999.9, 1e7, 2e23, None]


def doubles() -> list[float | None]:
    """Doubles of any bits, and numbers as people write them, of few digits."""
    chance = random.Random(20)
    bits = [struct.unpack("<d", struct.pack("<Q", chance.getrandbits(64)))[0] for _ in range(5_000)]
    written = [round(chance.uniform(-1, 1) * 10 ** chance.randint(-6, 12), chance.randint(0, 9)) for _ in range(20_000)]
    return [*EDGES, *bits, *written]


def test_both_engines_give_a_row_one_hash(duckdb: DuckDBEngine, spark: SparkEngine) -> None:
    values = doubles()
    rows = pa.table({"id": pa.array(range(len(values)), pa.int64()), "value": pa.array(values, pa.float64())})
    found = []
    for engine in (duckdb, spark):
        with engine.session() as session:
            given = session.register(rows)
            hashes = query(
                "SELECT r.id, $hash AS h FROM $given AS r ORDER BY r.id", given=given, hash=row_hash(SOURCE, "r")
            )
            found.append(session.fetch(hashes).column("h").to_pylist())
    ours, theirs = found
    assert [value for value, one, other in zip(values, ours, theirs, strict=True) if one != other] == []
    assert len(set(ours)) > len(values) / 2
    zero, negative_zero, nan, signed_nan = ours[:4]
    assert zero == negative_zero
    assert nan == signed_nan
