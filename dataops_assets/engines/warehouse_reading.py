"""Reads tables of two files of the embedded warehouse beside each other, such as before and after a change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
from sqlglot import exp

from dataops_assets.engines.duckdb import TRUSTING, DuckDBSession, load_extensions
from dataops_assets.sql import DIALECT, literal, query

_ALIASES = ("before", "after")


@dataclass(frozen=True)
class WarehouseTable:
    """A table or view of a warehouse: what stands for its rows in FROM, and the SQL types of its columns."""

    rows: exp.Expr
    columns: Mapping[str, str]


class TwoWarehouses:
    """Two files of a warehouse, open to read in one session."""

    def __init__(self, session: DuckDBSession, files: Sequence[Path | None], scratch: Path) -> None:
        """Take the session that has the files attached; rows of views are written below `scratch`."""
        self.session = session
        self._files = files
        self._scratch = scratch

    def tables(self, name: str, schema: str) -> list[WarehouseTable | None]:
        """Return a table of this name before and after; None where there is none."""
        return [
            None if file is None else self._table(alias, file, name, schema)
            for alias, file in zip(_ALIASES, self._files, strict=True)
        ]

    def _table(self, alias: str, file: Path, name: str, schema: str) -> WarehouseTable | None:
        kinds = query(
            """
            SELECT 'table' AS kind FROM duckdb_tables() AS t
            WHERE t.database_name = $alias AND t.schema_name = $schema AND t.table_name = $name
            UNION ALL
            SELECT 'view' AS kind FROM duckdb_views() AS v
            WHERE v.database_name = $alias AND v.schema_name = $schema AND v.view_name = $name
            """,
            alias=literal(alias),
            schema=literal(schema),
            name=literal(name),
        )
        kind = self.session.fetch(kinds).to_pylist()
        if not kind:
            return None
        rows: exp.Expr = exp.table_(name, db=schema, catalog=alias, quoted=True)
        if kind[0]["kind"] == "view":
            rows = self._rows_of_view(alias, file, name, schema)
        described = self.session.execute(query("SELECT * FROM $rows AS r LIMIT 0", rows=rows)).description or ()
        return WarehouseTable(rows, {item[0]: str(item[1]) for item in described})

    def _rows_of_view(self, alias: str, file: Path, name: str, schema: str) -> exp.Expr:
        target = self._scratch / f"{alias}.{schema}.{name}.parquet"
        wanted = query("SELECT * FROM $view AS v", view=exp.table_(name, db=schema, quoted=True))
        with duckdb.connect(str(file), read_only=True, config=dict(TRUSTING)) as own:
            load_extensions(own, remote=False)
            own.execute("SET TimeZone = 'UTC'")
            own.sql(wanted.sql(DIALECT)).write_parquet(str(target))
        found: exp.Expr = query("SELECT * FROM read_parquet($file)", file=literal(str(target)))
        return exp.Subquery(this=found)


@contextmanager
def two_warehouses(before: Path, after: Path, scratch: Path) -> Iterator[TwoWarehouses]:
    """Open two files of a warehouse that nobody writes now; one that does not exist has no tables."""
    scratch.mkdir(parents=True, exist_ok=True)
    files = [file if file.exists() else None for file in (before, after)]
    with duckdb.connect(config=dict(TRUSTING)) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for alias, file in zip(_ALIASES, files, strict=True):
            if file is not None:
                attach = exp.Attach(
                    this=exp.Alias(this=exp.Literal.string(str(file)), alias=exp.to_identifier(alias)),
                    expressions=[exp.AttachOption(this=exp.Var(this="READ_ONLY"))],
                )
                connection.execute(attach.sql(DIALECT))
        yield TwoWarehouses(DuckDBSession(connection), files, scratch)
