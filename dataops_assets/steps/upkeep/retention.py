"""Retention of inputs: what nothing in the hub needs of old inputs is removed, and no row of the hub changes.

An input is settled once it is so much older than the newest one as the source declares. All settled inputs together
mean to the hub no more than the rows that it had when there were only these. So the lake keeps those rows, with the
system columns that they had, and timelines start with them (`settled_inputs`). An input that brought none of them is
superseded, and so is a full extract that a newer one of them followed: its raw bytes go, too.

The order makes a killed run harmless. First the hub says from which time on it takes inputs; whoever changes the hub
meanwhile has lost the race and sees it. Then one commit to the lake settles. All that is removed afterwards nobody
reads any more, and the next run goes on with it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from dataops_assets.config.refresh import FullRefresh
from dataops_assets.engines.base import Session
from dataops_assets.errors import ConfigError
from dataops_assets.report import Input
from dataops_assets.sql import alias, column, columns, query
from dataops_assets.steps.cdc import change_for, lake_of, lake_rows
from dataops_assets.steps.enrich import forget_judged
from dataops_assets.steps.evolved_columns import evolving
from dataops_assets.steps.merging import merge, settled_inputs
from dataops_assets.steps.merging.change import Change, T, settings_match
from dataops_assets.steps.merging.manifest import AppliedInput, HubManifest
from dataops_assets.steps.merging.row_verdicts import exclude_failed, fresh_rows
from dataops_assets.steps.merging.settled_inputs import Settled, start_of_rebuild
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage import publish
from dataops_assets.storage.commit_retry import until_won
from dataops_assets.storage.delta import Table, TableVersion

_STATE = "s_settled_rows"


@dataclass(frozen=True)
class Retained:
    """What retention came to: inputs from before this time are settled, so many, and the raw bytes of some removed."""

    before: dt.datetime
    settled: int
    removed: int


def settle_inputs(context: SourceContext, pending: Iterable[Input] = ()) -> Retained | None:
    """Settle the source's old inputs, as `retention.superseded_inputs` declares; None where no input is that old.

    Inputs that are `pending`, known and on their way to the hub, are not settled past: they would come too late then.
    The hub's rows stay as they are, now and whatever follows. Killed halfway, it is simply run again. Raises
    ConfigError for a hub that needs a rebuild, CommitConflict after many lost races, StorageError when storage fails.
    """
    keep = context.source.retention.superseded_inputs
    if keep is None:
        return None
    context = evolving(context, context.lake.snapshot())
    due = min([dt.datetime.now(dt.UTC) - keep, *(item.extract_time for item in pending)])
    manifest = until_won(lambda: _with_horizon(context, keep, due), f"settling inputs of {context.source.name!r}")
    if manifest.horizon is None:
        return None
    old = {key: item for key, item in manifest.inputs.items() if item.extract_time < manifest.horizon}
    now = Settled(manifest.horizon, manifest.settings)
    with context.engine.session() as session:
        _settle_lake(context, session, manifest, now, old)
        needed = _forget(context, session, now, old)
    removed = context.raw.delete(set(old) - needed)
    return Retained(now.before, len(old), removed)


def pending(context: SourceContext) -> list[Input]:
    """The source's inputs that no step has failed on and that did not get to the hub so far."""
    metadata, name = context.metadata, context.source.name
    over = {
        item.input_id
        for item in metadata.processes(name)
        if item.status == "failed" or (item.step == "refresh" and item.status == "done")
    }
    return [item for item in metadata.inputs(name) if item.input_id not in over]


def _with_horizon(context: SourceContext, keep: dt.timedelta, due: dt.datetime) -> HubManifest:
    """The hub's manifest, once its horizon is where it should be by now: at most `due`, and it never goes back.

    It follows the newest input, so that a feed that stands still keeps what it has; but one whose extract time lies in
    the future takes nothing with it.
    """
    base = context.hub.snapshot()
    manifest = HubManifest.read(base.info if base else None)
    if base is None or not manifest.inputs:
        return manifest
    change = Change(context.source, manifest, ())
    if not settings_match(change):
        raise ConfigError(
            f"settling inputs of {context.source.name!r}",
            received="a key, order, refresh type or tracked column that differs from the one the hub was built with",
            next_step=f"rebuild the hub from the lake: dataops rebuild {context.source.name}",
        )
    inputs = sorted(manifest.inputs.values())
    lake = lake_of(context)
    written, settled_before = publish.written(lake.info), Settled.read(lake.info)
    # what was parsed again has yet to be refreshed, and only then can be settled
    waiting = [
        item
        for item in inputs
        if item.written != written.get(item.input_id, "")
        and (settled_before is None or item.extract_time >= settled_before.before)
    ]
    horizon = min([inputs[-1].extract_time - keep, due, *(item.extract_time for item in waiting)])
    known = manifest.horizon
    if not any((known is None or known <= item.extract_time) and item.extract_time < horizon for item in inputs):
        return manifest
    manifest = replace(manifest, horizon=horizon)
    info = {**base.info, **manifest.record()}
    context.hub.commit(base, operation="RETAIN", columns=base.columns, info=info, data_change=False)
    return manifest


def _settle_lake(
    context: SourceContext, session: Session, manifest: HubManifest, now: Settled, old: Collection[str]
) -> None:
    """Leave of the old inputs in the lake what the hub was when there were only these; one commit."""
    lake = lake_of(context)
    if Settled.read(lake.info) == now:
        return
    _compute_state(context, session, manifest, now, lake)
    kept = [name for name in lake.columns if name not in settled_inputs.COLUMNS]
    rows = query(
        """
        SELECT $kept, $system FROM $lake AS r
        JOIN $versions AS v ON v.s_input_id = r.s_input_id AND v.s_row_id = r.s_row_id
        """,
        kept=columns(kept, "r"),
        system=[
            alias(column(name, "v"), called)
            for name, called in (
                ("s_key", settled_inputs.KEY),
                ("s_created_at", settled_inputs.CREATED_AT),
                ("s_updated_at", settled_inputs.EXTRACTED_AT),
            )
        ],
        lake=session.scan(lake),
        versions=T.versions,
    )
    publish.replace_inputs(session, context.lake, rows, sorted(old), now.recorded)


def _compute_state(
    context: SourceContext, session: Session, manifest: HubManifest, now: Settled, lake: TableVersion
) -> None:
    """Leave the hub's versions of the old inputs alone in the session, as a refresh of them would make them."""
    source = context.source
    start = start_of_rebuild(source, manifest, lake.info)
    adding = tuple(
        item.as_input
        for item in sorted(manifest.inputs.values())
        if item.extract_time < now.before and item.input_id not in start.inputs
    )
    rows = lake_rows(session, source, lake)
    change = change_for(context, session, start, adding, lake, {})
    # as they were when they were applied, whatever was repaired since
    change = replace(change, incomplete=frozenset(k for k, item in manifest.inputs.items() if not item.complete))
    enriched = context.enriched.snapshot()
    reading = merge.read(session, change, None, rows, rows)
    exclude_failed(session, enriched)
    merge.resolve(session, change, reading)
    merge.compare(session, change, reading)
    forget_judged(session)
    # a row that no refresh needed so far may fail a validation
    fresh_rows(context, session, change, reading, enriched, rows, anew=False)


def _forget(context: SourceContext, session: Session, now: Settled, old: dict[str, AppliedInput]) -> set[str]:
    """Remove what the tables besides the lake have of the old inputs; the result is whose raw bytes are needed."""
    rows = publish.rows_of(session.scan(lake_of(context)), sorted(old))
    session.create(_STATE, query("SELECT r.s_input_id, r.s_row_id FROM $rows AS r", rows=rows))
    needed = set(publish.input_ids_of(session, _STATE))
    if isinstance(context.source.refresh, FullRefresh):
        newest = max((item for item in old.values() if item.complete), default=None)
        if newest is not None:
            # it has all the rows that an older one is needed for
            needed = {newest.input_id, *(item for item in needed if old[item] > newest)}
    _forget_rows(session, context.changes, now, old)
    # of the rows that stay, what snapshot rules froze
    _forget_rows(session, context.enriched, now, old, but=_STATE)
    _forget_rows(session, context.quarantine, now, old)
    return needed


def _forget_rows(session: Session, table: Table, now: Settled, old: Collection[str], but: str = "") -> None:
    """Remove the rows of old inputs, but those that the temporary table `but` names."""
    snapshot = table.snapshot()
    if snapshot is None or Settled.read(snapshot.info) == now:
        return
    rows = publish.rows_of(session.scan(snapshot), sorted(old))
    if but:
        kept = query(
            "SELECT r.* FROM $rows AS r SEMI JOIN $but AS s ON s.s_input_id = r.s_input_id AND s.s_row_id = r.s_row_id",
            rows=rows,
            but=but,
        )
    else:
        kept = query("SELECT r.* FROM $rows AS r WHERE FALSE", rows=rows)
    publish.replace_inputs(session, table, kept, sorted(old), now.recorded)
