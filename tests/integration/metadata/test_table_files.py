"""Tables of the metadata as files of Parquet, for the models of the warehouse that read them."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from metadata_examples import source

from dataops_assets.errors import ConfigError
from dataops_assets.metadata import tables
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.metadata.table_files import write_table


def test_each_table_can_be_written(store: MetadataStore, url: str, tmp_path: Path) -> None:
    store.contracts.register(source())
    store.forecasts.of(source().name, "lake/x").write(b"\x00\xff")
    for name, table in tables.metadata.tables.items():
        path = tmp_path / f"{name}.parquet"
        assert write_table(url, name, path)
        assert pq.read_schema(path).names == list(table.columns.keys())
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        (stored,) = connection.execute(sa.select(tables.forecasts.c.state)).scalars()
    assert pq.read_table(tmp_path / "forecasts.parquet").column("state").to_pylist() == [stored] == [b"\x00\xff"]
    with pytest.raises(ConfigError, match="no_such"):
        write_table(url, "no_such", tmp_path / "x.parquet")
