"""Writes the declaration of a source that is drafted from files, or from a table of a database."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from dataops_assets.config.databases import AnyDatabase, DatabaseConnection
from dataops_assets.config.environment import Environment
from dataops_assets.connections.databases.extract import ExtractRequest, extract
from dataops_assets.connections.databases.opening import database_of
from dataops_assets.connections.databases.position import Position
from dataops_assets.declaring.contract_text import CONTRACT, contract_text
from dataops_assets.declaring.declaration_text import declaration_text
from dataops_assets.declaring.draft import (
    ALL_RECORDS,
    DatabaseTable,
    Draft,
    Request,
    Taken,
    draft,
    files_of,
    require_name,
)
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.errors import ConfigError, InputError


@dataclass(frozen=True)
class Place:
    """The folder of the declarations, and its name as a Python package; without a name no contract is written."""

    folder: Path
    package: str = ""


@dataclass(frozen=True)
class Drafted:
    """A draft, and the files that it was written to: the declaration, and the contract if there is one."""

    draft: Draft
    file: Path
    contract: Path | None = None


def init_source(
    environment: Environment,
    defs: Place,
    name: str,
    area: str,
    given: Sequence[Path],
    begin: Callable[[str], None] = lambda _: None,
    taken: Taken = ALL_RECORDS,
) -> Drafted:
    """Write the drafted declaration of a source to `<defs>/<area>/<name>/defs.yaml`, and its contract beside it.

    `begin` tells what is being done. `taken` says which records.

    Raises ConfigError if the file exists, and for a wrong name. Raises InputError for files that cannot be read. Then
    nothing is written.
    """
    _require_free(defs, name, area)
    files = files_of(given)
    begin(f"reading {len(files):,} file{'' if len(files) == 1 else 's'}")
    now = dt.datetime.now(dt.UTC)
    request = Request(name, area, files, environment.landing, now, taken=taken)
    return _written(defs, draft(DuckDBEngine(environment), request))


def init_table(
    environment: Environment,
    defs: Place,
    name: str,
    area: str,
    of: tuple[DatabaseTable, AnyDatabase],
    begin: Callable[[str], None] = lambda _: None,
) -> Drafted:
    """Write the drafted declaration of a source that is read from a table, as `init_source` does for files.

    `of` is the table with the declaration of its database. The table is read once, as a look at the source reads it.
    Raises StorageError and ConfigError if it cannot be read, InputError if it has no rows.
    """
    _require_free(defs, name, area)
    require_name(name, area)
    table, database = of
    connection = DatabaseConnection(type="database", database=table.database, table=table.table)
    now = dt.datetime.now(dt.UTC)
    begin(f"reading the table {table.table}")
    with TemporaryDirectory(prefix="declare-") as folder:
        read = extract(ExtractRequest(connection, Position(), None, now), database_of(database), Path(folder))
        if read.path is None or not read.rows:
            raise InputError(
                f"drafting the source {name!r}",
                received=f"no rows in the table {table.table}",
                next_step="draft it when the table has rows, or declare it by hand",
            )
        request = Request(name, area, (read.path,), environment.landing, now, table)
        return _written(defs, draft(DuckDBEngine(environment), request))


def _paths(defs: Place, name: str, area: str) -> tuple[Path, Path]:
    folder = defs.folder / area / name
    return folder / "defs.yaml", folder / "contracts.py"


def _require_free(defs: Place, name: str, area: str) -> None:
    for path in _paths(defs, name, area):
        if path.exists():
            raise ConfigError(
                f"drafting the source {name!r}",
                received=f"{path} exists",
                next_step="take another name, or remove the file",
            )


def _written(defs: Place, made: Draft) -> Drafted:
    target, contract = _paths(defs, made.name, made.area)
    demands = contract_text(made) if defs.package else ""
    module = ".".join((defs.package, *made.area.split("/"), made.name, contract.stem))
    target.parent.mkdir(parents=True, exist_ok=True)
    # not over a file that appeared meanwhile
    with target.open("x", encoding="utf-8") as stream:
        stream.write(declaration_text(made, f"{module}:{CONTRACT}" if demands else ""))
    if not demands:
        return Drafted(made, target)
    with contract.open("x", encoding="utf-8") as stream:
        stream.write(demands)
    return Drafted(made, target, contract)
