"""Rollback: return the tables, the inputs and the metadata of some sources to a release, all or nothing.

A hub is a function of its set of inputs, so a rollback restores the versions of the tables together with the set of
inputs that they were made of. Each table gets one forward commit that names the files of the old version; no history
is deleted and no data are copied. What a commit records (the inputs of a hub, its settled inputs, the ids of writes)
returns with it.

The order of the writes makes a killed rollback harmless:

1. The journal, a row of `rollbacks`. From now on no step of these sources starts.
2. The tables, one commit each. A table with the mark of this rollback is done already. The mark has the time at which
   the rollback began, because its number comes again with another metadata database.
3. The corrections that people made of rows of these inputs.
4. The warehouse's file, in one rename.
5. The metadata and the end of the journal, in one transaction. Steps start again.

A rollback that was killed is continued from its journal, with the same result.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dataops_assets.config.environment import Environment
from dataops_assets.config.source import Source
from dataops_assets.engines.warehouse_copies import copies_of, in_use, put_back, remove_leftovers
from dataops_assets.errors import ConfigError, StorageError
from dataops_assets.metadata.release_store import BEGUN, LaterInputs, ReleaseTable, RestoredTable, Rollback
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.rules.compiler import compile_rules
from dataops_assets.steps.merging.manifest import HubManifest
from dataops_assets.steps.upkeep.releases import WAREHOUSE, MadeRelease, problems_of, release_of
from dataops_assets.storage.commit_retry import until_won
from dataops_assets.storage.corrections import Corrections
from dataops_assets.storage.delta import Table, TableVersion
from dataops_assets.storage.raw import RawArea

_MARK = "rollback"
"""The key under which a commit records the rollback that made it; a compaction of what it restored has it, too."""


@dataclass(frozen=True)
class RolledBack:
    """A rollback that is done, and the tables that it restored."""

    rollback: Rollback
    tables: Sequence[RestoredTable]


@dataclass(frozen=True)
class Wanted:
    """The release to return to. `area`: only the sources of this subject area; empty: all of the release."""

    release: str
    later_inputs: LaterInputs
    begun_by: str
    area: str = ""


def scope(made: MadeRelease, declared: Mapping[str, Source], area: str) -> list[str]:
    """Return the sources whose tables a rollback restores.

    Raises ConfigError for an unknown area, and for one whose rows are frozen in the tables of another area: these rows
    would stay as if the rollback had not been.
    """
    of_release = sorted(made.release.contracts)
    if not area:
        return of_release
    found = [name for name in of_release if name in declared and declared[name].area == area]
    attempted = f"rolling back the area {area!r} to {made.release.release!r}"
    if not found:
        raise ConfigError(attempted, known=sorted({item.area for item in declared.values()}))
    for source in declared.values():
        if source.name not in found:
            frozen = sorted(set(found).intersection(compile_rules(source, declared).snapshot.related))
            if frozen:
                raise ConfigError(
                    attempted,
                    received=f"{source.name} of the area {source.area} has frozen values of {', '.join(frozen)}",
                    next_step=f"roll back all areas: dataops rollback {made.release.release}",
                )
    return found


def begin(metadata: MetadataStore, declared: Mapping[str, Source], wanted: Wanted) -> Rollback:
    """Begin a rollback: from now on no step of its sources starts. Nothing is changed yet.

    Raises InputError for an unknown release, ConfigError for an area that cannot be rolled back alone, StorageError
    while a step of the sources runs, or while another rollback is unfinished.
    """
    made = release_of(metadata, wanted.release)
    sources = scope(made, declared, wanted.area)
    return metadata.releases.begin(
        Rollback(
            rollback_id=0,
            release=wanted.release,
            area=wanted.area,
            sources=sources,
            later_inputs=wanted.later_inputs,
            inputs={},
            state=BEGUN,
            begun_by=wanted.begun_by,
            begun_at=dt.datetime.now(dt.UTC),
        )
    )


def carry_out(environment: Environment, metadata: MetadataStore, begun: Rollback) -> RolledBack:
    """Do or continue a rollback that has begun. If it is killed, call it again.

    Raises StorageError when storage fails or a file of the release is gone. If no table was restored yet, the rollback
    is cancelled then; otherwise it is still unfinished.
    """
    made = release_of(metadata, begun.release)
    pinned = {item.asset: item for item in _restored_of(made, begun)}
    _require_readable(environment, metadata, begun, pinned.values())
    restored = []
    for source in begun.sources:
        for asset in _assets(source):
            done = _restore(environment, begun, asset, pinned.get(asset), is_hub=asset == f"hub/{source}")
            if done is not None:
                restored.append(done)
        known = set(metadata.input_ids(source)) - set(begun.inputs.get(source, ()))
        corrections = Corrections(RawArea.of(environment.storage, source).uri)
        corrections.put_back(known, made.release.created_at, f"rollback to {begun.release}")
    if WAREHOUSE in pinned:
        warehouse = Path(environment.warehouse)
        remove_leftovers(warehouse)
        put_back(copies_of(warehouse) / pinned[WAREHOUSE].pin, warehouse)
        restored.append(RestoredTable(WAREHOUSE, None, None))
    metadata.releases.finish(begun, restored)
    return RolledBack(begun, restored)


def _require_readable(
    environment: Environment, metadata: MetadataStore, begun: Rollback, pinned: Collection[ReleaseTable]
) -> None:
    """Raise StorageError if a table of the release can no longer be read, before any table is restored."""
    problems = [problem for item in pinned for problem in problems_of(environment, item)]
    if any(item.asset == WAREHOUSE for item in pinned):
        problems += [f"{WAREHOUSE}: {text}" for text in in_use(Path(environment.warehouse))]
    if not problems:
        return
    attempted = f"rolling back to {begun.release!r}"
    tables = [Table(f"{environment.storage}/{asset}") for source in begun.sources for asset in _assets(source)]
    heads = [head for table in tables if (head := table.newest()) is not None]
    if any(head.info.get(_MARK) == _mark_of(begun) for head in heads):
        raise StorageError(
            attempted, received="; ".join(problems), next_step="correct this, then run: dataops rollback --resume"
        )
    metadata.releases.cancel(begun)
    raise StorageError(
        attempted,
        received="; ".join(problems),
        next_step="correct this, or roll back to another release; nothing was changed",
    )


def _restored_of(made: MadeRelease, begun: Rollback) -> list[ReleaseTable]:
    """Return the tables of the release that the rollback restores."""
    return [
        item
        for item in made.tables
        # dbt makes the models of one area again from its hubs: the copy has the models of all areas
        if item.source in begun.sources or (item.source is None and not begun.area)
    ]


def _assets(source: str) -> tuple[str, ...]:
    lake, hub = f"lake/{source}", f"hub/{source}"
    # each before the tables that are made of it
    return lake, f"{lake}_quarantine", f"{lake}_changes", f"{hub}_enriched", hub, f"{hub}_current"


def _mark_of(begun: Rollback) -> str:
    """Return what marks the commits of a rollback; no other one has it, also in another metadata database."""
    return f"{begun.rollback_id} {begun.begun_at.isoformat()}"


def _restore(
    environment: Environment, begun: Rollback, asset: str, pinned: ReleaseTable | None, *, is_hub: bool
) -> RestoredTable | None:
    """Publish the version of the release as the newest one; None if there was and is no such table."""
    table = Table(f"{environment.storage}/{asset}")

    def attempt() -> RestoredTable | None:
        newest = table.newest()
        if newest is None and pinned is None:
            return None
        version = pinned.version if pinned is not None else None
        if newest is not None and newest.info.get(_MARK) == _mark_of(begun):
            return RestoredTable(asset, version, newest.version)
        if newest is not None and pinned is not None and newest.commit_id == pinned.commit_id:
            return RestoredTable(asset, version, version)
        wanted = _without_rows(table, is_hub=is_hub) if version is None else table.snapshot(version)
        if wanted is None or (pinned is not None and wanted.commit_id != pinned.commit_id):
            raise StorageError(
                f"restoring {asset}",
                received=f"no version {version} with commit {pinned.commit_id if pinned else ''}",
                next_step="restore the table's log from a backup, then: dataops rollback --resume",
            )
        return RestoredTable(asset, version, table.restore(wanted, {_MARK: _mark_of(begun)}).version)

    return until_won(attempt, f"restoring {asset}")


def _without_rows(table: Table, *, is_hub: bool) -> TableVersion | None:
    """Return the version that stands for a table that the release did not have: no rows of no input."""
    newest = table.snapshot()
    if newest is None:
        return None
    return replace(newest, files=(), info=HubManifest().record() if is_hub else {}, records={})
