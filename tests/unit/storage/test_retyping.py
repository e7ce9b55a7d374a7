"""Tables whose columns were declared with other types before are read only if no value is lost."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from dataops_assets.config.environment import environment_from
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.errors import ConfigError
from dataops_assets.sql import query
from dataops_assets.storage import publish
from dataops_assets.storage.delta import Table
from dataops_assets.storage.retyping import rows_cast_exactly

# days since 1970 of the last date that is a timestamp in microseconds, which begins in the year 294247
LAST = 106_751_991


def test_a_date_later_than_the_last_timestamp_is_no_null(tmp_path: Path) -> None:
    engine = DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(tmp_path)}, tmp_path))
    table = Table(str(tmp_path / "storage" / "hub" / "sales"))
    columns, wanted = {"s_input_id": "VARCHAR", "day": "DATE"}, {"s_input_id": "VARCHAR", "day": "TIMESTAMP"}
    with engine.session() as session:

        def written(days: list[int]) -> None:
            given = {"s_input_id": pa.array(["first"] * len(days)), "day": pa.array(days, pa.int32()).cast(pa.date32())}
            insert = query("SELECT n.* FROM $new AS n", new=session.register(pa.table(given)))
            publish.apply(session, table, table.snapshot(), publish.RowChange(columns=columns, insert=insert))

        def counted() -> int:
            snapshot = table.snapshot()
            assert snapshot is not None
            rows = rows_cast_exactly(session, snapshot, wanted)
            return int(session.fetch(query("SELECT count(r.day) AS n FROM $rows AS r", rows=rows)).to_pylist()[0]["n"])

        written([0, LAST - 1])
        assert counted() == 2
        written([LAST + 1])
        with pytest.raises(ConfigError, match="day: 1 of type DATE that are no TIMESTAMP; in input first"):
            counted()
