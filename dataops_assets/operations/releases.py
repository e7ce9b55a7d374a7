"""Make, list and read releases; tell what a rollback would do, and do it."""

from __future__ import annotations

import datetime as dt
import getpass
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from dataops_assets.config.environment import Environment
from dataops_assets.engines.reading_versions import TableAt
from dataops_assets.engines.reading_versions import connect as connect_to
from dataops_assets.engines.warehouse_copies import copies_of
from dataops_assets.errors import ConfigError, GateFailed
from dataops_assets.metadata.release_store import LEAVE_OUT, REPLAY, LaterInputs, Release
from dataops_assets.metadata.report_store import ReportStore
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.operations.code_version import code_version, dbt_digest, lock_digest
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep import releases
from dataops_assets.steps.upkeep.releases import WAREHOUSE, Code, MadeRelease, make_release, release_of
from dataops_assets.steps.upkeep.rollback import scope


@dataclass(frozen=True)
class ListedRelease:
    """A release, the number of its tables, and the bytes that it alone keeps."""

    release: Release
    tables: int
    bytes: int


@dataclass(frozen=True)
class Preview:
    """The effect of a rollback: the sources whose tables it restores, and by source the inputs since the release."""

    release: Release
    sources: Sequence[str]
    later: Mapping[str, Sequence[str]]


def make(
    contexts: Sequence[SourceContext],
    name: str,
    project: Path,
    note: str = "",
    by: str = "",
    *,
    accept_missed: bool = False,
) -> MadeRelease:
    """Make a release of all declared sources, whose contexts are given, with the code in `project`.

    Raises ConfigError for code that is not committed, GateFailed if the newest report found an objective missed that is
    not accepted, and as `make_release` does. An accepted one is added to the note.
    """
    if not name or any(sign.isspace() or sign in "/\\" for sign in name):
        raise ConfigError(
            f"making the release {name!r}", received="a name with blanks or slashes", next_step="write it as v2026.11"
        )
    missed = _missed(contexts[0])
    if missed and not accept_missed:
        raise GateFailed(
            f"making the release {name!r}",
            received="; ".join(missed),
            next_step="correct the problems that the report shows; to release nevertheless: --accept-missed",
        )
    if missed:
        note = "; ".join([*([note] if note else []), *(f"accepted: {text}" for text in missed)])
    code = Code(
        code_version(project),
        dbt_digest(project, contexts[0].environment),
        lock_digest(project),
        by or getpass.getuser(),
        note,
    )
    return make_release(contexts, name, code)


def _missed(context: SourceContext) -> list[str]:
    rows = ReportStore(context.environment.metadata_url).missed()
    return [
        f"{row['product']}: objective {row['objective']} is missed, {row['good']:.2%} of {row['target']:.2%}"
        for row in rows
    ]


def listed(contexts: Sequence[SourceContext]) -> list[ListedRelease]:
    """Return all releases, the newest first, with what they cost."""
    metadata, environment = contexts[0].metadata, contexts[0].environment
    retention: dict[str, dt.timedelta] = {item.source.name: item.source.retention.versions for item in contexts}
    costs = releases.costs(environment, metadata, retention)
    return [
        ListedRelease(item, len(metadata.releases.tables_of(item.release)), costs[item.release])
        for item in metadata.releases.releases()
    ]


def preview(contexts: Sequence[SourceContext], name: str, area: str) -> Preview:
    """Return what a rollback would do, without doing it. Raises InputError and ConfigError as the rollback does."""
    metadata = contexts[0].metadata
    made = release_of(metadata, name)
    sources = scope(made, contexts[0].sources, area)
    return Preview(made.release, sources, metadata.releases.later_inputs(name, sources))


def later_inputs(answer: str, seen: Preview) -> LaterInputs:
    """Return what becomes of the later inputs, as a person said. Raises ConfigError for another word."""
    if answer == REPLAY:
        return REPLAY
    # without later inputs it makes no difference
    if answer == LEAVE_OUT or (not answer and not seen.later):
        return LEAVE_OUT
    raise ConfigError(
        f"rolling back to {seen.release.release!r}",
        received=f"--later-inputs {answer!r}" if answer else "no --later-inputs",
        known=[LEAVE_OUT, REPLAY],
    )


def table_versions(metadata: MetadataStore, name: str) -> dict[str, int | None]:
    """Return the version of each Delta table in a release, None for one without rows: the value for dbt's variable.

    Raises InputError for an unknown release.
    """
    return {
        item.asset: item.version if item.rows else None
        for item in release_of(metadata, name).tables
        if item.version is not None
    }


def connect(environment: Environment, metadata: MetadataStore, name: str) -> duckdb.DuckDBPyConnection:
    """Return a DuckDB connection with the tables of a release, such as `hub.orders` and `warehouse.main.fct_orders`.

    Lake and hub are views of the pinned versions, `warehouse` is the attached copy, read-only. Raises InputError for an
    unknown release, StorageError if a table can no longer be read.
    """
    found = release_of(metadata, name).tables
    copies = [copies_of(Path(environment.warehouse)) / item.pin for item in found if item.asset == WAREHOUSE]
    tables = [TableAt(item.asset, item.version, item.rows) for item in found if item.asset != WAREHOUSE]
    return connect_to(environment.storage, tables, copies[0] if copies else None)
