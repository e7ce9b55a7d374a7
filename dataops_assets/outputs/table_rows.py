"""Reads the table that an output delivers: one version of it, and the rows that changed since an earlier version."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import duckdb
from sqlglot import exp

from dataops_assets.engines.duckdb import DuckDBSession
from dataops_assets.errors import ConfigError, InputError, StorageError
from dataops_assets.outputs.context import OutputContext
from dataops_assets.sql import DIALECT, Relation, column, query
from dataops_assets.steps.recalculating.version_difference import differing_rows
from dataops_assets.storage.delta import Table, TableVersion

_LOCKED = "Could not set lock"
_TRIES = 30
_PAUSE_SECONDS = 2.0


class TableRows(Protocol):
    """One version of the table of an output."""

    columns: dict[str, str]
    """SQL types by column."""
    version: int | None
    """The number of the version; None for a model."""
    commit_id: str
    has_rows: bool

    def rows(self) -> exp.Expr:
        """Return the rows that the output may deliver, for use in FROM."""

    def changed(self, before: Sequence[int | str]) -> Relation | None:
        """Return the rows that only this or the earlier version has; None if they cannot be found."""


@contextmanager
def opened(context: OutputContext, session: DuckDBSession, *, columns_alone: bool = False) -> Iterator[TableRows]:
    """Open the newest version of the table; `columns_alone` may leave out its rows.

    Raises InputError if the table was not made yet, StorageError if another process has locked it.
    """
    if context.output.source.startswith("hub/"):
        yield _hub(context, session)
        return
    with tempfile.TemporaryDirectory(prefix="dataops-output-") as folder:
        yield _model(context, session, Path(folder), 0 if columns_alone else None)


def _hub(context: OutputContext, session: DuckDBSession) -> HubRows:
    table = Table(f"{context.environment.storage}/{context.output.source}")
    snapshot = table.snapshot()
    if snapshot is None:
        raise _not_made(context)
    return HubRows(session, table, snapshot, context.output.versions == "all")


@dataclass
class HubRows:
    """A version of a hub. Without `all_versions`, only current versions of keys that are not deleted."""

    session: DuckDBSession
    table: Table
    snapshot: TableVersion
    all_versions: bool

    def __post_init__(self) -> None:
        """Take over what identifies the version."""
        self.columns = dict(self.snapshot.columns)
        self.version: int | None = self.snapshot.version
        self.commit_id = self.snapshot.commit_id
        self.has_rows = bool(self.snapshot.rows)

    def rows(self) -> exp.Expr:
        """See `TableRows`."""
        found: exp.Select = query("SELECT * FROM $rows AS h", rows=self.session.scan(self.snapshot))
        if not self.all_versions and "s_is_current" in self.columns:
            # a deleted key has no current version
            found = found.where(column("s_is_current", "h"))
        return exp.Subquery(this=found)

    def changed(self, before: Sequence[int | str]) -> Relation | None:
        """See `TableRows`. It reads only files that one of the two versions has alone."""
        return differing_rows(self.session, self.table, before, self.snapshot, self.columns, "all")


@dataclass
class ModelRows:
    """The rows of a model, copied out of the warehouse so that its file is open for a moment only."""

    copied: Relation

    def __post_init__(self) -> None:
        """Take over the columns."""
        self.columns = dict(self.copied.columns)
        self.version: int | None = None
        self.commit_id = ""
        self.has_rows = True

    def rows(self) -> exp.Expr:
        """See `TableRows`."""
        return self.copied.reference

    def changed(self, before: Sequence[int | str]) -> None:  # noqa: ARG002  a model keeps no versions
        """See `TableRows`. The changes of a model are not known."""
        return


def _model(context: OutputContext, session: DuckDBSession, folder: Path, most_rows: int | None) -> ModelRows:
    attempted = f"reading {context.output.source}"
    if context.environment.dbt_target != "duckdb":
        raise ConfigError(
            attempted,
            received=f"the warehouse is on {context.environment.dbt_target}",
            known=["duckdb"],
            next_step="deliver the hub, or let the warehouse itself unload the model",
        )
    warehouse = Path(context.environment.warehouse)
    if not warehouse.exists():
        raise _not_made(context)
    file = folder / "model.parquet"
    with _read_only(warehouse, attempted) as connection:
        rows = query("SELECT * FROM $table AS m", table=_table_of(context, connection))
        copied = rows if most_rows is None else rows.limit(most_rows)
        connection.sql(copied.sql(DIALECT)).write_parquet(str(file))
    return ModelRows(session.create(query("SELECT * FROM read_parquet($file)", file=str(file))))


def _table_of(context: OutputContext, connection: duckdb.DuckDBPyConnection) -> exp.Table:
    """Return the table or view of the model. Without the name that dbt has for it, only one schema may have it.

    Raises InputError if it is not there, ConfigError if several schemas have it.
    """
    declared = exp.to_table(context.relation, dialect=DIALECT) if context.relation else None
    name = declared.name if declared is not None else context.output.source.partition("/")[2]
    asked = query(
        "SELECT t.schema_name FROM duckdb_tables() AS t WHERE t.table_name = $name AND NOT t.internal "
        "UNION ALL SELECT v.schema_name FROM duckdb_views() AS v WHERE v.view_name = $name AND NOT v.internal "
        "ORDER BY ALL",
        name=name,
    )
    schemas = [str(row[0]) for row in connection.execute(asked.sql(DIALECT)).fetchall()]
    if declared is not None and declared.db:
        schemas = [item for item in schemas if item == declared.db]
    if not schemas:
        raise _not_made(context)
    if len(schemas) > 1:
        raise ConfigError(
            f"reading {context.output.source}",
            received=f"tables of this name in several schemas: {', '.join(schemas)}",
            next_step="drop those that dbt makes no more",
        )
    return exp.table_(name, db=schemas[0], quoted=True)


@contextmanager
def _read_only(warehouse: Path, attempted: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the warehouse to read; wait while dbt writes it."""
    for tries in range(_TRIES):
        try:
            connection = duckdb.connect(str(warehouse), read_only=True)
            break
        except duckdb.IOException as error:
            if _LOCKED not in str(error) or tries == _TRIES - 1:
                raise StorageError(
                    attempted,
                    received=str(error).partition("\n")[0],
                    next_step="close the process that has the warehouse open for writing",
                ) from error
            time.sleep(_PAUSE_SECONDS)
    try:
        yield connection
    except duckdb.Error as error:
        raise StorageError(attempted, received=str(error).partition("\n")[0], next_step="dataops doctor") from error
    finally:
        connection.close()


def _not_made(context: OutputContext) -> InputError:
    source = context.output.source
    return InputError(
        f"delivering output {context.output.name!r}", received="no table", next_step=f"materialize {source} first"
    )
