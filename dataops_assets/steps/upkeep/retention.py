"""Retention of inputs: removes the data of old inputs that the hub does not need. No row of the hub changes.

An input is settled when it is older than the newest one by the time that the source declares. Of all settled inputs,
the hub needs only the rows that it had when it consisted of these inputs only. So the lake keeps those rows, with the
system columns that they had, and timelines start with them (`settled_inputs`). An input with none of these rows is
superseded, and so is a full extract before a newer settled one. Its raw bytes are removed, too.

The order of the commits makes a killed run harmless. First the hub records the horizon, the time from which on it
accepts inputs; another writer at the same time loses the race. Then one commit to the lake settles the inputs. Nobody
reads the data that are removed afterwards, and the next run continues the removal.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from dataops_assets.config.refresh import FullRefresh
from dataops_assets.engines.base import Session
from dataops_assets.errors import ConfigError
from dataops_assets.report import Input
from dataops_assets.sql import Relation, alias, column, columns, query
from dataops_assets.steps.evolved_columns import evolving_now
from dataops_assets.steps.merging import merge, settled_inputs
from dataops_assets.steps.merging.change import Change, settings_match
from dataops_assets.steps.merging.input_statistics import extents_of
from dataops_assets.steps.merging.manifest import AppliedInput, HubManifest
from dataops_assets.steps.merging.read_tables import ReadTables
from dataops_assets.steps.merging.requested_change import change_for
from dataops_assets.steps.merging.row_verdicts import known_failures, without_failing
from dataops_assets.steps.merging.settled_inputs import Settled, start_of_rebuild
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.stored_rows import lake_of, lake_rows
from dataops_assets.storage import publish
from dataops_assets.storage.commit_retry import until_won
from dataops_assets.storage.delta import Table, TableChange, TableVersion


@dataclass(frozen=True)
class Retained:
    """Result of retention.

    Inputs from `before` this time are settled: their number, and the number of inputs whose raw bytes were removed.
    """

    before: dt.datetime
    settled: int
    removed: int


def settle_inputs(context: SourceContext, pending: Iterable[Input] = ()) -> Retained | None:
    """Settle the source's old inputs, as `retention.superseded_inputs` declares; None if no input is that old.

    The horizon never passes a `pending` input (known, but not in the hub yet), because the hub would then refuse it.
    The hub's rows stay the same, now and with every later input. A killed run is simply run again. Raises
    ConfigError for a hub that needs a rebuild, CommitConflict after many lost races, StorageError when storage fails.
    """
    keep = context.source.retention.superseded_inputs
    if keep is None:
        return None
    context = evolving_now(context)
    due = min([dt.datetime.now(dt.UTC) - keep, *(item.extract_time for item in pending)])
    manifest = until_won(lambda: _with_horizon(context, keep, due), f"settling inputs of {context.source.name!r}")
    if manifest.horizon is None:
        return None
    old = {key: item for key, item in manifest.inputs.items() if item.extract_time < manifest.horizon}
    now = Settled(manifest.horizon, manifest.settings)
    with context.engine.session() as session:
        _settle_lake(context, session, manifest, now, old)
        needed = _remove_from_other_tables(context, session, now, old)
    # a release returns to the rows that the lake had of these inputs, and they are made of these bytes
    released = context.metadata.releases.pinned_inputs(context.source.name)
    removed = context.raw.delete(set(old) - needed - released)
    return Retained(now.before, len(old), removed)


def pending(context: SourceContext) -> list[Input]:
    """Return the inputs that are not in the hub yet and for which no step has failed."""
    metadata, name = context.metadata, context.source.name
    over = {
        item.input_id
        for item in metadata.processes(name)
        if item.status == "failed" or (item.step == "refresh" and item.status == "done")
    }
    return [item for item in metadata.inputs(name) if item.input_id not in over]


def _with_horizon(context: SourceContext, keep: dt.timedelta, due: dt.datetime) -> HubManifest:
    """Move the horizon of the hub forward, at most to `due`, and return the hub's manifest.

    The horizon follows the newest input, so that a feed without new inputs keeps its data. An input with an extract
    time in the future does not move it past `due`.
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
    inputs = manifest.ordered
    lake = lake_of(context)
    written, settled_before = publish.written(lake.info), Settled.read(lake.info)
    # an input that was parsed again must be refreshed before it can be settled
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
    recorded = TableChange(operation="RETAIN", columns=base.columns, info=info, data_change=False)
    context.hub.commit(base, recorded)
    return manifest


def _settle_lake(
    context: SourceContext, session: Session, manifest: HubManifest, now: Settled, old: Collection[str]
) -> None:
    """Reduce the old inputs in the lake to the rows that the hub had with these inputs only, in one commit."""
    lake = lake_of(context)
    if Settled.read(lake.info) == now:
        return
    versions = _versions_of_old_inputs(context, session, manifest, now, lake)
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
        versions=versions,
    )
    publish.replace_inputs(session, context.lake, rows, sorted(old), now.recorded)


def _versions_of_old_inputs(
    context: SourceContext, session: Session, manifest: HubManifest, now: Settled, lake: TableVersion
) -> Relation:
    """Return the versions that the hub would have of only the old inputs, as a refresh would make them."""
    source = context.source
    start = start_of_rebuild(source, manifest, lake.info)
    adding = tuple(
        item.as_input
        for item in manifest.ordered
        if item.extract_time < now.before and item.input_id not in start.inputs
    )
    rows = lake_rows(session, source, lake)
    extents = extents_of(session, source, rows, [item.input_id for item in adding])
    change = change_for(context, session, start, adding, lake, extents)
    # use the completeness of the time when they were applied, not that after later repairs
    change = replace(change, incomplete=frozenset(k for k, item in manifest.inputs.items() if not item.complete))
    tables = ReadTables(context, session, None, lake, context.enriched.snapshot(), rows, rows)
    seen = merge.observe(session, change, None, rows, rows)
    timeline = merge.order(session, seen, excluded=known_failures(tables))
    # rows that were never validated before can fail
    return without_failing(tables, timeline, merge.compare(session, timeline)).timeline.versions


def _remove_from_other_tables(
    context: SourceContext, session: Session, now: Settled, old: dict[str, AppliedInput]
) -> set[str]:
    """Remove the old inputs from the other tables, and return the ids of the inputs whose raw bytes are needed."""
    rows = publish.rows_of(session.scan(lake_of(context)), sorted(old))
    state = session.create(query("SELECT r.s_input_id, r.s_row_id FROM $rows AS r", rows=rows))
    needed = set(publish.input_ids_of(session, state))
    if isinstance(context.source.refresh, FullRefresh):
        parsed = context.metadata.processes(context.source.name, "parse")
        # a rejected row whose key can be read keeps the row of an older extract, which this one does not contain then
        whole = {item.input_id for item in parsed if not item.counts.get("rejected")}
        newest = max((item for item in old.values() if item.complete and item.input_id in whole), default=None)
        if newest is not None:
            # this extract has every needed row of the older ones
            needed = {newest.input_id, *(item for item in needed if old[item] > newest)}
    _remove_rows(session, context.changes, now, old)
    # keep the frozen values of snapshot rules for the rows that stay
    _remove_rows(session, context.enriched, now, old, but=state)
    _remove_rows(session, context.quarantine, now, old)
    return needed


def _remove_rows(
    session: Session, table: Table, now: Settled, old: Collection[str], but: Relation | None = None
) -> None:
    """Remove the rows of old inputs, except those in `but`."""
    snapshot = table.snapshot()
    if snapshot is None or Settled.read(snapshot.info) == now:
        return
    rows = publish.rows_of(session.scan(snapshot), sorted(old))
    if but is not None:
        kept = query(
            "SELECT r.* FROM $rows AS r SEMI JOIN $but AS s ON s.s_input_id = r.s_input_id AND s.s_row_id = r.s_row_id",
            rows=rows,
            but=but,
        )
    else:
        kept = query("SELECT r.* FROM $rows AS r WHERE FALSE", rows=rows)
    publish.replace_inputs(session, table, kept, sorted(old), now.recorded)
