"""Delete superseded inputs and the files of old table versions, as a source declares in `retention`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass

from dataops_assets.errors import ConfigError
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep.retention import Retained, pending, settle_inputs
from dataops_assets.storage.delta import Table
from dataops_assets.storage.moments import Moments
from dataops_assets.storage.vacuum import vacuum

_MOST_DAYS = 36_500


@dataclass(frozen=True)
class CleanUp:
    """The inputs and files that a clean-up of one source removed.

    * `retained`: the inputs that were settled; None if no input is that old or the source declares no retention.
    * `error`: why the inputs could not be settled; '' if they could.
    * `removed`, `bytes` and `kept`: files of old table versions.
    """

    source: str
    retained: Retained | None
    error: str
    removed: int
    bytes: int
    kept: int


def versions_kept(days: float | None) -> dt.timedelta | None:
    """Return days as a duration. Raises ConfigError for days that are out of range."""
    if days is None:
        return None
    if not 0 <= days <= _MOST_DAYS:
        raise ConfigError("vacuum", received=f"--keep-days {days:g}", known=[f"0 to {_MOST_DAYS:,}"])
    return dt.timedelta(days=days)


def clean_up(context: SourceContext, keep: dt.timedelta | None = None) -> CleanUp:
    """Clean up one source; `keep` replaces `retention.versions`.

    What a release or a publication needs stays. A hub that needs a rebuild stops only the settling of its inputs.
    Raises StorageError while a rollback of the source is unfinished.
    """
    source = context.source
    context.metadata.releases.require_no_rollback(source.name, f"cleaning up {source.name!r}")
    retained, error = None, ""
    if source.retention.superseded_inputs is not None:
        try:
            retained = settle_inputs(context, pending(context))
        except ConfigError as raised:
            error = str(raised)
    days = source.retention.versions if keep is None else keep
    moments = Moments(context.environment.storage)
    done = [vacuum(table, retention=days, pinned=_pinned(context, moments, table)) for table in context.tables]
    return CleanUp(
        source.name,
        retained,
        error,
        sum(item.removed for item in done) + context.raw.vacuum(),
        sum(item.bytes for item in done),
        sum(item.kept for item in done),
    )


def _pinned(context: SourceContext, moments: Moments, table: Table) -> Collection[int]:
    asset = table.uri.removeprefix(f"{context.environment.storage}/")
    return context.metadata.releases.pinned(asset) | moments.pinned(asset)
