"""Releases: a name for the present version of every table, with the code that made them.

A release changes no table. It is recorded in the metadata in one transaction, or not at all. It is refused while a
step runs, and where something is failed or held: what a team would not return to has no name.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataops_assets.config.environment import Environment
from dataops_assets.engines.warehouse_copies import copies_of, copy_warehouse, remove_copies, require_copy
from dataops_assets.errors import CommitConflict, GateFailed, InputError, StorageError, nearest
from dataops_assets.metadata.incident_store import IncidentStore
from dataops_assets.metadata.release_store import Release, ReleaseTable
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.rules.compiler import compile_rules
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage.commit_retry import until_won
from dataops_assets.storage.delta import Table
from dataops_assets.storage.examine import missing
from dataops_assets.storage.vacuum import RETENTION

WAREHOUSE = "warehouse"
"""The asset key under which a release has the embedded warehouse."""


@dataclass(frozen=True)
class Code:
    """The code that a release is made with, and who makes it for what."""

    code_version: str
    dbt_digest: str
    lock_digest: str
    made_by: str
    note: str = ""


@dataclass(frozen=True)
class MadeRelease:
    """A release and its tables, by asset key."""

    release: Release
    tables: Sequence[ReleaseTable]


def release_of(metadata: MetadataStore, name: str) -> MadeRelease:
    """Return a release with its tables. Raises InputError for an unknown name."""
    known = {item.release: item for item in metadata.releases.releases()}
    if name not in known:
        raise InputError(
            f"finding the release {name!r}",
            known=list(known),
            next_step=nearest(name, list(known)) or "dataops releases list",
        )
    return MadeRelease(known[name], metadata.releases.tables_of(name))


def make_release(contexts: Sequence[SourceContext], name: str, code: Code) -> MadeRelease:
    """Record the present version of every table of these sources, and of the warehouse, under a name.

    Raises GateFailed where something is failed or held, StorageError while a step runs or if a table cannot be read,
    InputError if the name is taken.
    """
    for context in contexts:
        context.metadata.contracts.register(context.source)
    metadata = contexts[0].metadata
    if any(item.release == name for item in metadata.releases.releases()):
        raise InputError(
            f"making the release {name!r}",
            received="a release with this name",
            next_step=f"choose another name, or drop it first: dataops releases drop {name}",
        )
    _refuse_unfit(contexts, name)
    made = until_won(lambda: _make(contexts, name, code), f"making the release {name!r}")
    # a vacuum that read the releases before this one was made may have removed files of a version that was replaced
    problems = [problem for item in made.tables for problem in problems_of(contexts[0].environment, item)]
    if problems:
        metadata.releases.drop(name)
        raise StorageError(f"making the release {name!r}", received="; ".join(problems), next_step="dataops doctor")
    return made


def unfit(contexts: Sequence[SourceContext]) -> list[str]:
    """Return the failures and holds in the tables of these sources and downstream; none if they can be released."""
    held = [
        f"{context.source.name}: input {input_id} is held"
        for context in contexts
        for input_id in context.metadata.decisions.held(context.source.name)
    ]
    return [*held, *failed(contexts)]


def failed(contexts: Sequence[SourceContext]) -> list[str]:
    """Return what failed in the tables of these sources and below them: steps, gates, checks, incidents."""
    found = []
    for context in contexts:
        name, metadata = context.source.name, context.metadata
        removed = metadata.decisions.removed(name)
        for item in metadata.processes(name):
            is_waiting = item.error_type == "InputWaits"
            if item.status == "failed" and not is_waiting and item.input_id not in removed:
                what = f"input {item.input_id}" if item.input_id else "the table"
                found.append(f"{name}: {item.step} failed for {what}")
    names = [context.source.name for context in contexts]
    found += contexts[0].metadata.releases.failing_checks(names)
    incidents = IncidentStore(contexts[0].environment.metadata_url).incidents()
    found += [
        f"incident {row['incident_id']} is {row['state']}: {row['asset']} {row['kind']}"
        for row in incidents
        if row["severity"] == "fail"
    ]
    return list(dict.fromkeys(found))


def problems_of(environment: Environment, item: ReleaseTable) -> Iterator[str]:
    """Return why a table of a release can no longer be read; nothing if it can."""
    if item.version is None:
        try:
            require_copy(copies_of(Path(environment.warehouse)) / item.pin)
        except StorageError as error:
            yield f"{item.asset}: {error.attempted}: {error.received}"
        return
    table = Table(f"{environment.storage}/{item.asset}")
    try:
        there = table.commit_id(item.version)
        if there != item.commit_id:
            other = f"is commit {there}" if there else "is not in its log any more"
            yield f"{item.asset}: version {item.version}, commit {item.commit_id}, {other}"
            return
        snapshot = table.snapshot(item.version)
        for damage in missing(table, snapshot) if snapshot else ():
            yield f"{item.asset}: {damage.path} of version {item.version}: {damage.received}"
    except StorageError as error:
        yield f"{item.asset}: {error.attempted}: {error.received}"


def costs(environment: Environment, metadata: MetadataStore, retention: Mapping[str, dt.timedelta]) -> dict[str, int]:
    """Return the bytes that each release alone keeps: dropping it and a vacuum remove as many.

    `retention` is by source the time that old versions are kept in any case. Raw bytes are not counted.
    """
    releases = metadata.releases.releases()
    found = {item.release: 0 for item in releases}
    tables = {item.release: metadata.releases.tables_of(item.release) for item in releases}
    by_asset: dict[str, dict[str, ReleaseTable]] = {}
    for name, several in tables.items():
        for item in several:
            by_asset.setdefault(item.asset, {})[name] = item
    now = dt.datetime.now(dt.UTC)
    for asset, pinned in by_asset.items():
        if asset == WAREHOUSE:
            for name, item in pinned.items():
                copy = copies_of(Path(environment.warehouse)) / item.pin
                found[name] += copy.stat().st_size if copy.exists() else 0
            continue
        table = Table(f"{environment.storage}/{asset}")
        source = next(iter(pinned.values())).source or ""
        kept = table.kept_since(now - retention.get(source, RETENTION))
        sizes = {item.path: item.size for item in table.folder.objects()}
        needed = {name: table.paths_of(item.version) for name, item in pinned.items() if item.version is not None}
        for name, paths in needed.items():
            others = frozenset().union(*(paths for other, paths in needed.items() if other != name))
            alone = paths - others - (kept.paths if kept else frozenset())
            found[name] += sum(sizes.get(path, 0) for path in alone)
    return found


def drop_release(environment: Environment, metadata: MetadataStore, name: str) -> int:
    """Drop a release and the copy of the warehouse that it alone has; return the bytes of the copy.

    The next vacuum of each source removes the files that only this release needed. Raises InputError for an unknown
    name, StorageError while a rollback to it is unfinished.
    """
    release_of(metadata, name)
    metadata.releases.drop(name)
    return remove_copies(copies_of(Path(environment.warehouse)), metadata.releases.pins())


def _refuse_unfit(contexts: Sequence[SourceContext], name: str) -> None:
    if found := unfit(contexts):
        raise GateFailed(
            f"making the release {name!r}",
            received="; ".join(found),
            next_step="dataops status and dataops incidents list show what to do; a bad input is taken out by: "
            "dataops remove SOURCE INPUT",
        )


def _make(contexts: Sequence[SourceContext], name: str, code: Code) -> MadeRelease:
    """Record the release once. Raises CommitConflict if a table changed while its versions were read."""
    metadata, environment = contexts[0].metadata, contexts[0].environment
    sources = [context.source.name for context in contexts]
    seen = metadata.releases.activity(sources)
    pinned = _versions(contexts)
    copy = copy_warehouse(Path(environment.warehouse)) if environment.dbt_target == "duckdb" else None
    if [(item.asset, item.commit_id) for item in _versions(contexts)] != [(i.asset, i.commit_id) for i in pinned]:
        raise CommitConflict(f"making the release {name!r}", received="a table changed meanwhile")
    if copy is not None:
        pinned.append(ReleaseTable(WAREHOUSE, None, None, "", None, copy.name))
    release = Release(
        release=name,
        created_at=dt.datetime.now(dt.UTC),
        created_by=code.made_by,
        note=code.note,
        code_version=code.code_version,
        dbt_digest=code.dbt_digest,
        lock_digest=code.lock_digest,
        contracts={context.source.name: metadata.contracts.register(context.source) for context in contexts},
        rules={context.source.name: rule_versions(context) for context in contexts},
        load_id=in_force.load_id if (in_force := metadata.declarations.in_force()) else None,
    )
    metadata.releases.make(release, pinned, sources, seen)
    return MadeRelease(release, pinned)


def _versions(contexts: Sequence[SourceContext]) -> list[ReleaseTable]:
    found = []
    for context in contexts:
        for table in context.tables:
            snapshot = table.snapshot()
            if snapshot is not None:
                asset = table.uri.removeprefix(f"{context.environment.storage}/")
                found.append(
                    ReleaseTable(asset, context.source.name, snapshot.version, snapshot.commit_id, snapshot.rows)
                )
    return found


def rule_versions(context: SourceContext) -> dict[str, str]:
    """Return the versions of the rules of a source, by name."""
    compiled = compile_rules(context.source, context.sources)
    return {**compiled.snapshot.versions, **compiled.current.versions}
