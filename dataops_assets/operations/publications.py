"""Move publications, tell what they wait for, and read them: every table at one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb

from dataops_assets.config.environment import Environment
from dataops_assets.config.publications import Publication
from dataops_assets.engines import reading_versions
from dataops_assets.engines.reading_versions import TableAt
from dataops_assets.errors import ConfigError, InputError, nearest
from dataops_assets.steps.upkeep.agreeing_versions import WAREHOUSE
from dataops_assets.steps.upkeep.publishing import (
    PublicationState,
    PublishingContext,
    copy_of,
    moment_of,
    publish_all,
)
from dataops_assets.storage.moments import Moment, Moments


def publish(
    context: PublishingContext, declared: Mapping[str, Publication], names: Sequence[str]
) -> list[PublicationState]:
    """Move these publications (default: all) if their tables agree. Raises ConfigError for an unknown name."""
    for name in names:
        if name not in declared:
            raise ConfigError(
                f"publishing {name!r}",
                known=list(declared),
                next_step=nearest(name, list(declared)) or "declare it: docs/publications.md",
            )
    return publish_all(context, {name: item for name, item in declared.items() if not names or name in names})


def connect(environment: Environment, name: str) -> duckdb.DuckDBPyConnection:
    """Return a DuckDB connection with the tables of a publication, such as `hub.orders` and `warehouse.main.daily`.

    It shows the moment at which it was opened, whatever is published meanwhile. Raises InputError if nothing is
    published under this name.
    """
    moment = moment_of(environment, name)
    return reading_versions.connect(environment.storage, _tables(moment), copy_of(environment, moment))


def script(environment: Environment, name: str) -> list[str]:
    """Return the SQL statements with which another DuckDB client sees a publication. Raises InputError as `connect`."""
    moment = moment_of(environment, name)
    made = reading_versions.statements(environment.storage, _tables(moment), copy_of(environment, moment))
    return ["INSTALL delta", "LOAD delta", *made]


def table_versions(environment: Environment, name: str) -> dict[str, int | None]:
    """Return the version of each Delta table, None for one without rows: the value for dbt's variable.

    Raises InputError if nothing is published under this name.
    """
    return {item.asset: item.version if item.rows else None for item in _tables(moment_of(environment, name))}


def drop(environment: Environment, declared: Mapping[str, Publication], name: str) -> int:
    """Remove the moments of a publication that is not declared any more; return their number.

    Raises ConfigError if it is declared, InputError if there is none of this name.
    """
    moments = Moments(environment.storage)
    if name in declared:
        raise ConfigError(
            f"dropping the publication {name!r}", received="it is declared", next_step="remove its declaration first"
        )
    removed = moments.remove(name)
    if not removed:
        known = sorted({moment.publication for moment in moments.all()} - declared.keys())
        raise InputError(f"dropping the publication {name!r}", received="no moment of it", known=known)
    return removed


def _tables(moment: Moment) -> list[TableAt]:
    tables = [item for item in moment.tables if not item.asset.startswith(WAREHOUSE)]
    return [TableAt(item.asset, item.version, item.rows) for item in tables]
