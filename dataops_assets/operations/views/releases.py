"""How releases and rollbacks are shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from dataops_assets.metadata.release_store import LEAVE_OUT, Release, Rollback
from dataops_assets.metadata.token_store import Token
from dataops_assets.operations.answer import Column, Item, Shown, Table
from dataops_assets.operations.releases import ListedRelease, Preview
from dataops_assets.operations.views.status import shown_time
from dataops_assets.steps.upkeep.releases import MadeRelease
from dataops_assets.steps.upkeep.rollback import RolledBack

_SHOWN = 5
_DIGITS = 12


def made(found: MadeRelease) -> Iterator[Shown]:
    """Return a release with its tables."""
    release = found.release
    lines = [
        f"made {shown_time(release.created_at)} by {release.created_by}",
        f"code {release.code_version[:_DIGITS]}, dbt {release.dbt_digest[:_DIGITS] or 'none'}, "
        f"lock {release.lock_digest[:_DIGITS] or 'none'}",
        *([release.note] if release.note else []),
    ]
    yield Item("release", release.release, lines)
    rows = [
        [item.asset, "" if item.version is None else str(item.version), "" if item.rows is None else f"{item.rows:,}"]
        for item in found.tables
    ]
    yield Table((Column("table"), Column("version", number=True), Column("rows", number=True)), rows)


def made_as_data(found: MadeRelease) -> dict[str, Any]:
    """Return a release with its tables as values of JSON."""
    return {**_as_data(found.release), "tables": [asdict(item) for item in found.tables]}


def listed(found: Sequence[ListedRelease]) -> Table:
    """Return a table of releases."""
    columns = (
        Column("release"),
        Column("made"),
        Column("by"),
        Column("code"),
        Column("tables", number=True),
        Column("MB kept by it alone", number=True),
    )
    rows = [
        [
            item.release.release,
            shown_time(item.release.created_at),
            item.release.created_by,
            item.release.code_version[:_DIGITS],
            str(item.tables),
            f"{item.bytes / 1e6:,.1f}",
        ]
        for item in found
    ]
    return Table(columns, rows)


def listed_as_data(found: Sequence[ListedRelease]) -> list[dict[str, Any]]:
    """Return releases as values of JSON."""
    return [{**_as_data(item.release), "tables": item.tables, "bytes": item.bytes} for item in found]


def preview(seen: Preview) -> Iterator[Shown]:
    """Return what a rollback would do."""
    release = seen.release
    yield f"{release.release} was made {shown_time(release.created_at)} with the code {release.code_version[:_DIGITS]}."
    yield f"A rollback restores the tables of {', '.join(seen.sources)}."
    if not seen.later:
        yield "No input came since then."
    for source, ids in seen.later.items():
        more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
        yield f"{source}: {len(ids)} inputs came since then: {', '.join(ids[:_SHOWN])}{more}"


def preview_as_data(seen: Preview) -> dict[str, Any]:
    """Return what a rollback would do as values of JSON."""
    return {"release": _as_data(seen.release), "sources": list(seen.sources), "later_inputs": dict(seen.later)}


def rolled_back(done: RolledBack) -> Iterator[Shown]:
    """Return what a rollback did, and what follows."""
    rollback = done.rollback
    what = f"rolled back to {rollback.release}" + (f", area {rollback.area}" if rollback.area else "")
    changed = [item for item in done.tables if item.version is None or item.version != item.restored]
    yield Item("done", what, [f"{len(changed)} of {len(done.tables)} tables changed"])
    for source, ids in rollback.inputs.items():
        if rollback.later_inputs == LEAVE_OUT:
            back = f"dataops reset {source} ingest INPUT"
            yield f"{source}: {len(ids)} later inputs are left out; to take one back: {back}"
        else:
            yield f"{source}: {len(ids)} later inputs are merged again by the daemon, or by: dataops run {source}"


def made_again(made: Mapping[str, str]) -> Iterator[Shown]:
    """Return which tables were made again after a rollback; `made` has the error of each, or an empty text."""
    for name, error in made.items():
        yield Item("failed", f"make {name} again", [error]) if error else f"made again: {name}"


def revoked(tokens: Sequence[Token]) -> Iterator[str]:
    """Return who took versions that a rollback revoked."""
    for item in tokens:
        yield f"revoked: {item.consumer} took {item.asset} of {item.release} (token {item.token})"


def rolled_back_as_data(done: RolledBack) -> dict[str, Any]:
    """Return what a rollback did as values of JSON."""
    return {**_rollback(done.rollback), "tables": [asdict(item) for item in done.tables]}


def _rollback(found: Rollback) -> dict[str, Any]:
    values = asdict(found)
    values["begun_at"] = found.begun_at.isoformat()
    # the journal has its end only after it is done
    del values["ended_at"], values["state"]
    return values


def _as_data(release: Release) -> dict[str, Any]:
    return {**asdict(release), "created_at": release.created_at.isoformat()}
