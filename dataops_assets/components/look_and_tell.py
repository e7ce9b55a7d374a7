"""Looks at one source, records and reports what the look found. The caller starts the runs.

Dagster gets partitions and events, and the metadata a record of a look that failed. What was told is kept in Dagster's
storage, for each source and only if it changes: another instance was told nothing. It is written last. If the process
is killed before, the next look tells all again, so nothing is lost; if it is killed after, Dagster has everything.
Runs are decided from stored facts by each look, whatever was told.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable
from dataclasses import astuple, replace
from types import TracebackType

import dagster as dg

from dataops_assets.components.assets import SourceAssets
from dataops_assets.components.input_partitions import partitions_name
from dataops_assets.components.platform import NotTaken, Platform
from dataops_assets.components.secrets_removed import SecretsRemoved
from dataops_assets.components.source_look import Look, look
from dataops_assets.errors import DataOpsError, LookFailed
from dataops_assets.masking import mask

_LOG = logging.getLogger(__name__)


def look_and_tell(
    assets: SourceAssets,
    platform: Platform,
    instance: dg.DagsterInstance,
    log: logging.Logger = _LOG,
    clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
) -> Look:
    """Look at a source now, log and report what is new, and record it; the caller starts the requested runs.

    Raises DataOpsError if the look fails; then that is recorded.
    """
    name = assets.source.name
    # a look reads the metadata a dozen times
    with platform.metadata.kept_open():
        try:
            before = told(instance, name)
            seen = _look(assets, platform, instance, before, clock())
        except DataOpsError as error:
            platform.metadata.looks.fail(name, str(error), clock())
            platform.not_taken[name] = NotTaken(refused=[str(error)])
            raise
        if seen.new_partitions:
            instance.add_dynamic_partitions(partitions_name(name), list(seen.new_partitions))
        seen.log(log, name)
        for event in seen.events:
            instance.report_runless_asset_event(event)
        if seen.told != before:
            instance.daemon_cursor_storage.set_cursor_values({_key(name): seen.told})
        platform.metadata.looks.succeed(name)
    return seen


def told(instance: dg.DagsterInstance, source: str) -> str:
    """Return the token with the messages that the last look at a source reported; empty if there was no look."""
    return instance.daemon_cursor_storage.get_cursor_values({_key(source)}).get(_key(source), "")


def _key(source: str) -> str:
    return f"dataops/told/{source}"


def _look(
    assets: SourceAssets, platform: Platform, instance: dg.DagsterInstance, before: str, now: dt.datetime
) -> Look:
    """Look; remove secrets from messages and errors. Raises DataOpsError, whatever the cause is."""
    name = assets.source.name
    attempted = f"looking for new inputs of {name!r}"
    with _Named(attempted), SecretsRemoved(attempted):
        platform.record_declarations()
        seen = _during_a_rollback(name, platform, before) or look(assets, platform, instance, before, now)
    messages, not_taken, refused = (
        [mask(message) for message in some] for some in (seen.messages, seen.not_taken, seen.refused)
    )
    platform.not_taken[name] = NotTaken(*([mask(text) for text in some] for some in astuple(seen.left)))
    return replace(seen, messages=messages, not_taken=not_taken, refused=refused)


class _Named:
    """Makes an error that nobody expected a LookFailed: a hook of a user can raise anything.

    So the looks at other sources need to expect errors of the platform only.
    """

    def __init__(self, attempted: str) -> None:
        self._attempted = attempted

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if isinstance(error, Exception) and not isinstance(error, DataOpsError):
            raise LookFailed(
                self._attempted,
                received=f"{type(error).__name__}: {error}",
                next_step="correct the cause that the error names; the next look tries again",
            ) from error


def _during_a_rollback(source: str, platform: Platform, before: str) -> Look | None:
    """Return a look that requests nothing, while a rollback of the source is unfinished."""
    unfinished = platform.metadata.releases.unfinished()
    if unfinished is None or source not in unfinished.sources:
        return None
    message = f"nothing is requested during the rollback to {unfinished.release!r}; if its process is gone: "
    return Look(messages=[f"{message}dataops rollback --resume"], told=before)
