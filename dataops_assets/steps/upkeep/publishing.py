"""Publishes tables together: one atomic write moves all tables of a publication to another moment.

The order of the writes makes a killed process harmless:

1. The copy of the warehouse, if the publication has models. Nobody reads it yet.
2. The moment, one object. From now on readers see it.
3. Its row in the metadata. The next process that publishes adds the rows that are missing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import duckdb

from dataops_assets.config.environment import Environment
from dataops_assets.config.publications import Publication
from dataops_assets.config.source import Source
from dataops_assets.engines.warehouse_builds import Builds, read_builds
from dataops_assets.engines.warehouse_copies import (
    WarehouseBusy,
    copy_held,
    held,
    published_copies,
    remove_copies,
    state_of,
)
from dataops_assets.errors import CommitConflict, ConfigError, InputError, nearest
from dataops_assets.metadata.moment_store import RecordedMoment
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.steps.upkeep.agreeing_versions import WAREHOUSE, Agreement, agreement, same_rows
from dataops_assets.storage.delta import Table, TableVersion
from dataops_assets.storage.examine import missing
from dataops_assets.storage.moments import Moment, Moments

KEPT = dt.timedelta(hours=1)
"""How long a moment can still be opened after another one replaced it. Who has it open keeps its files.

Each moment of a publication with models has a copy of the warehouse, so a long time would cost many copies.
"""


@dataclass(frozen=True)
class PublishingContext:
    """What publishing works with: the deployment, its metadata and its declared sources."""

    environment: Environment
    metadata: MetadataStore
    sources: Mapping[str, Source]

    @property
    def moments(self) -> Moments:
        """Return the moments of the storage."""
        return Moments(self.environment.storage)


@dataclass(frozen=True)
class PublicationState:
    """A publication: the moment in force, whether it is new, and the reasons why there is no newer one yet."""

    name: str
    moment: Moment | None
    is_new: bool = False
    reasons: Sequence[str] = ()


def publish_all(context: PublishingContext, declared: Mapping[str, Publication]) -> list[PublicationState]:
    """Move each publication whose tables agree at a newer moment; return the state of each.

    Raises ConfigError for models in a warehouse that is not the embedded one, StorageError when a store fails.
    """
    if not declared:
        return []
    states = [publish(context, name, publication) for name, publication in declared.items()]
    moments = context.moments
    context.metadata.moments.record([_recorded(moment) for moment in moments.all()])
    if any(state.is_new for state in states):
        moments.remove_before(dt.datetime.now(dt.UTC) - KEPT)
        copies = published_copies(Path(context.environment.warehouse))
        remove_copies(copies, moments.copies(), KEPT.total_seconds())
    return states


def publish(context: PublishingContext, name: str, publication: Publication) -> PublicationState:
    """Move a publication if its tables agree at a newer moment. Raises as `publish_all` does."""
    before = context.moments.newest(name)
    try:
        with _warehouse(context, publication, before) as warehouse:
            found = agreement(
                publication.tables, _Versions(context.environment.storage), warehouse.builds, context.sources
            )
            reasons = [*found.reasons, *_gone(context, found)]
            if publication.strict and not reasons:
                reasons = list(_unsettled(context, found))
            if reasons:
                return PublicationState(name, before, reasons=tuple(dict.fromkeys(reasons)))
            if before is not None and list(before.tables) == found.tables:
                return PublicationState(name, before)
            moment = Moment(name, before.number + 1 if before else 1, dt.datetime.now(dt.UTC), tuple(found.tables))
            if warehouse.state:
                moment = replace(moment, warehouse=warehouse.copy(), warehouse_state=warehouse.state)
            context.moments.publish(moment)
    except WarehouseBusy as error:
        return PublicationState(name, before, reasons=(f"the warehouse is being written: {error.received}",))
    except CommitConflict:
        # another process was first, from the same tables or newer ones
        return PublicationState(name, context.moments.newest(name))
    return PublicationState(name, moment, is_new=True)


def moment_of(environment: Environment, name: str) -> Moment:
    """Return the moment in force. Raises InputError if nothing is published under this name."""
    moments = Moments(environment.storage)
    found = moments.newest(name)
    if found is None:
        known = sorted({moment.publication for moment in moments.all()})
        raise InputError(
            f"reading the publication {name!r}",
            received="it was never published",
            known=known,
            next_step=nearest(name, known) or "dataops publications list says why",
        )
    return found


def copy_of(environment: Environment, moment: Moment) -> Path | None:
    """Return the copy of the warehouse at a moment; None if the publication has no models."""
    return published_copies(Path(environment.warehouse)) / moment.warehouse if moment.warehouse else None


def _recorded(moment: Moment) -> RecordedMoment:
    tables = [asdict(item) for item in moment.tables]
    return RecordedMoment(moment.publication, moment.number, moment.published_at, tables, moment.warehouse)


@dataclass(frozen=True)
class _Warehouse:
    """The builds of the warehouse, and how to get a copy of it. `state` is empty if no copy is needed."""

    builds: Builds
    state: str = ""
    known_copy: str = ""
    path: Path = Path()

    def copy(self) -> str:
        """Return the name of a copy: the one that there is, or a new one."""
        return self.known_copy or copy_held(self.path).name


@contextmanager
def _warehouse(context: PublishingContext, publication: Publication, before: Moment | None) -> Iterator[_Warehouse]:
    """Give the warehouse as it stays within the block: held, or the copy of the moment before if that is the same."""
    environment = context.environment
    if not any(asset.startswith(WAREHOUSE) for asset in publication.tables):
        yield _Warehouse(Builds({}, {}))
        return
    if environment.dbt_target != "duckdb":
        raise ConfigError(
            f"publishing {', '.join(publication.tables)}",
            received=f"models in a warehouse of target {environment.dbt_target!r}",
            known=["duckdb"],
            next_step="leave the models out: hub and lake tables can be published",
        )
    path = Path(environment.warehouse)
    state = state_of(path)
    copy = copy_of(environment, before) if before is not None and before.warehouse_state == state else None
    if not state:
        yield _Warehouse(Builds({}, {}))
    elif copy is not None and copy.is_file():
        with duckdb.connect(str(copy), read_only=True) as connection:
            builds = read_builds(connection)
        yield _Warehouse(builds, state, copy.name)
    else:
        with held(path) as connection:
            # a log that a killed writer left was taken into the file
            yield _Warehouse(read_builds(connection), state_of(path), path=path)


class _Versions:
    """Reads versions of tables, each once."""

    def __init__(self, storage: str) -> None:
        self._storage = storage
        self._known: dict[tuple[str, int | None], TableVersion | None] = {}

    def __call__(self, asset: str, version: int | None) -> TableVersion | None:
        if (asset, version) not in self._known:
            self._known[asset, version] = Table(f"{self._storage}/{asset}").snapshot(version)
        return self._known[asset, version]


def _gone(context: PublishingContext, found: Agreement) -> Iterator[str]:
    """Say which versions cannot be read any more; those that are the newest can."""
    for asset in (table.asset for table in found.tables if table.version is not None):
        version = found.versions[asset]
        table = Table(f"{context.environment.storage}/{asset}")
        newest = table.newest()
        if version is None or newest is None or newest.version == version.version:
            continue
        for damage in missing(table, version):
            yield f"{asset}: {damage.path} of version {version.version}: {damage.received}"


def _unsettled(context: PublishingContext, found: Agreement) -> Iterator[str]:
    """Say what a strict publication waits for."""
    metadata = context.metadata
    names = sorted(name for asset in found.versions if (name := _source_of(asset, context.sources)))
    for name in names:
        for item in metadata.unfinished(name):
            yield f"{name}: input {item.input_id} is not in the hub yet"
        for input_id in metadata.decisions.held(name):
            yield f"{name}: input {input_id} is held"
        for step in metadata.running(name):
            yield f"{name}: {step.step} is running"
    yield from metadata.releases.failing_checks(names)
    for asset, version in found.versions.items():
        newest = Table(f"{context.environment.storage}/{asset}").snapshot()
        if not same_rows(newest, version):
            wanted = f"version {version.version}" if version else "a time before its first version"
            yield f"{asset}: it is at version {newest.version if newest else None}, and other tables are of {wanted}"


def _source_of(asset: str, sources: Mapping[str, Source]) -> str:
    """Return the source that makes a hub or lake table; empty if none does."""
    name = asset.partition("/")[2]
    endings = ("", "_current", "_enriched", "_changes", "_quarantine")
    return next(
        (name.removesuffix(end) for end in endings if name.endswith(end) and name.removesuffix(end) in sources), ""
    )
