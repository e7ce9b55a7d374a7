"""How publications are shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dataops_assets.operations.answer import Column, Item, Shown, Table
from dataops_assets.operations.views.status import shown_time
from dataops_assets.steps.upkeep.publishing import PublicationState
from dataops_assets.storage.moments import Moment


def states(found: Sequence[PublicationState]) -> Iterator[Shown]:
    """Return a publication an item, with what it waits for."""
    for state in found:
        moment = state.moment
        since = f"moment {moment.number} since {shown_time(moment.published_at)}" if moment else "nothing published"
        word = "waits" if state.reasons else "published" if state.is_new else "newest"
        yield Item(word, f"{state.name}: {since}", list(state.reasons))


def moment(found: Moment, warehouse: Path | None) -> Iterator[Shown]:
    """Return the tables of a moment."""
    yield f"{found.publication}: moment {found.number}, published {shown_time(found.published_at)}"
    rows = [
        [
            item.asset,
            "" if item.version is None else str(item.version),
            f"{item.rows:,}" if item.version else "",
            item.commit_id,
        ]
        for item in found.tables
    ]
    yield Table((Column("table"), Column("version", number=True), Column("rows", number=True), Column("commit")), rows)
    if warehouse is not None:
        yield f"models are in {warehouse}"


def moment_as_data(found: Moment) -> dict[str, Any]:
    """Return a moment as values of JSON."""
    return {**asdict(found), "published_at": found.published_at.isoformat()}


def as_data(state: PublicationState) -> dict[str, Any]:
    """Return the state of a publication as values of JSON."""
    return {
        "name": state.name,
        "moment": moment_as_data(state.moment) if state.moment else None,
        "is_new": state.is_new,
        "waits_for": list(state.reasons),
    }
