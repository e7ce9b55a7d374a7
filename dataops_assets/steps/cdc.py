"""Step 3, change data capture: compute the change set of each input, with counts per kind of change."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlglot import exp

from dataops_assets.config.source import Source
from dataops_assets.config.types import stored_type
from dataops_assets.errors import DataOpsError, InputHeld
from dataops_assets.metadata.decision_store import ANOMALY, DELETES
from dataops_assets.quality.shares import share_outcomes, share_profile
from dataops_assets.report import CheckOutcome, Input, InputReport, StepReport
from dataops_assets.sql import Relation, alias, column, columns, query
from dataops_assets.steps.enriching.row_status import verdict_of
from dataops_assets.steps.evolved_columns import evolving
from dataops_assets.steps.inputs_before import saved_and_compared
from dataops_assets.steps.merging import anomaly_guard, delete_guard, held_inputs, merge, replace_scope
from dataops_assets.steps.merging.change import Change, deletes_without_rows, has_no_row, manifest_after
from dataops_assets.steps.merging.delete_guard import Loss
from dataops_assets.steps.merging.input_statistics import extents_of, incomparable_input_errors
from dataops_assets.steps.merging.manifest import HubManifest
from dataops_assets.steps.merging.read_tables import ReadTables
from dataops_assets.steps.merging.requested_change import change_for, plan_name
from dataops_assets.steps.merging.row_identity import order_type
from dataops_assets.steps.merging.row_verdicts import excludes_rows
from dataops_assets.steps.merging.settled_inputs import settled_input_errors
from dataops_assets.steps.merging.ties import ties
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.stored_rows import lake_of, lake_rows
from dataops_assets.steps.upkeep.lost_data import require_rows_of, version_of
from dataops_assets.storage import publish
from dataops_assets.storage.delta import TableVersion

STEP = "cdc"
_PLANS_KEPT = 5000


def cdc(context: SourceContext, inputs: Sequence[Input]) -> StepReport:
    """Compare parsed inputs with the hub and write their change sets to `lake/<source>_changes`.

    Grain: one row for each row of an input that is new, changed, old (late) or deleted; unchanged rows are only
    counted. Where absence deletes, there is also a row (position -1) for each deleted key. An input with null or
    incomparable keys or orders fails alone, with column, count and examples. An input that deletes too many rows is
    held. Running the step again gives the same result.
    """
    started = time.perf_counter()
    parsed = lake_of(context)
    context = evolving(context, parsed)
    ids = [item.input_id for item in inputs]
    base = version_of(context, context.hub, "refresh", ids)
    manifest = HubManifest.read(base.info if base else None)
    require_rows_of(context, manifest, publish.written(parsed.info))
    with context.engine.session() as session:
        lake = lake_rows(session, context.source, parsed)
        own = lake_rows(session, context.source, parsed, ids)
        found = _compare_all(ReadTables(context, session, base, parsed, None, lake, own), manifest, inputs)
    return _report(context, inputs, found, started)


@dataclass(frozen=True)
class _Compared:
    """The result of comparing inputs with the hub.

    `errors` has the inputs that were not compared, `losses` the rows that inputs delete, `notes` are for the report.
    """

    snapshot: TableVersion | None
    errors: Mapping[str, DataOpsError]
    losses: Mapping[str, Loss]
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    late: bool = False
    notes: Mapping[str, str | int] = field(default_factory=dict)


def _compare_all(tables: ReadTables, manifest: HubManifest, inputs: Sequence[Input]) -> _Compared:
    """Compare the inputs and publish their change sets, without those that have errors or must be held."""
    context, session, source = tables.context, tables.session, tables.source
    ids = [item.input_id for item in inputs]
    extents = extents_of(session, source, tables.own, ids)
    errors = incomparable_input_errors(session, source, tables.own, extents)
    errors |= settled_input_errors(source, manifest.horizon, inputs)
    losses: dict[str, Loss] = {}
    late = False
    snapshot = version_of(context, context.changes, STEP, ids)
    while True:
        # what is in the hub goes on, so that refresh can remove it
        going_on = [item for item in inputs if item.input_id not in errors]
        arriving = [item for item in going_on if item.input_id not in manifest.inputs]
        odd = anomaly_guard.odd_inputs(context, manifest, arriving)
        good = tuple(item for item in going_on if item.input_id not in odd)
        if not good:
            break
        change = change_for(context, session, manifest, good, tables.parsed, extents)
        seen = merge.observe(session, change, tables.base, tables.lake, tables.own)
        timeline = merge.order(session, seen, excluded=merge.nothing_excluded(session))
        late = timeline.delivery.late
        implied = delete_guard.losses(session, tables.base, timeline)
        found = [item for item in implied if not _is_for_refresh(change, item, late=late)]
        losses |= {item.input_id: item for item in found}
        if (waiting := _held(context, manifest, found)) is not None:
            errors[waiting.input_id] = error = delete_guard.held_error(source, waiting)
            _hold(context, change, tables.base, {waiting.input_id: error}, inputs)
            continue
        errors |= odd
        _hold(context, change, tables.base, odd, inputs, ANOMALY)
        kinds = merge.classify(session, timeline)
        counts = merge.counts(session, change, kinds)
        notes = ties(session, timeline)
        return _Compared(_publish(tables, timeline, kinds), errors, losses, counts, late, notes)
    errors |= odd
    if odd:
        nothing = change_for(context, session, manifest, (), tables.parsed, {})
        _hold(context, nothing, tables.base, odd, inputs, ANOMALY)
    return _Compared(snapshot, errors, losses, late=late)


def _report(context: SourceContext, inputs: Sequence[Input], found: _Compared, started: float) -> StepReport:
    source, snapshot = context.source, found.snapshot
    outcomes = _outcomes(context, found.counts, snapshot)
    return StepReport(
        step=STEP,
        asset=f"lake/{source.name}_changes",
        inputs=tuple(
            InputReport(
                item.input_id,
                found.counts.get(item.input_id, {}),
                found.errors.get(item.input_id),
                (*outcomes.get(item.input_id, ()), *_deletes(source, found.losses.get(item.input_id))),
                written=publish.written_as(snapshot, item.input_id),
            )
            for item in inputs
        ),
        rows=snapshot.rows if snapshot else 0,
        version=snapshot.version if snapshot else None,
        commit_id=snapshot.commit_id if snapshot else "",
        columns=snapshot.columns if snapshot else {},
        seconds=time.perf_counter() - started,
        notes={
            "compared_with": "the lake (late, repeated or removed input)" if found.late else "the hub (in order)",
            **found.notes,
        },
    )


def _held(context: SourceContext, manifest: HubManifest, losses: Sequence[Loss]) -> Loss | None:
    """Return the first input to hold. An input that is in the hub goes on, so that refresh can remove it."""
    return delete_guard.first_held(context, [item for item in losses if item.input_id not in manifest.inputs])


def _hold(
    context: SourceContext,
    change: Change,
    base: TableVersion | None,
    errors: Mapping[str, DataOpsError],
    inputs: Sequence[Input],
    kind: str = DELETES,
) -> None:
    """Record that inputs are held."""
    held = {item: errors[item.input_id] for item in inputs if isinstance(errors.get(item.input_id), InputHeld)}
    validated = verdict_of(base.info if base else None)
    held_inputs.record_holds(context, held, manifest_after(change), validated, kind)


def _is_for_refresh(change: Change, loss: Loss, *, late: bool) -> bool:
    """Whether only refresh can tell if the input must be held.

    The rows that validations keep out of the hub are not lost. They are not known here if the input is compared with
    rows of the lake, or with inputs of this run that come before it.
    """
    if not (loss.exceeds(change.source.gates.deletes) and excludes_rows(change.source)):
        return False
    return late or min(change.adding).input_id != loss.input_id


def _publish(tables: ReadTables, timeline: merge.Timeline, kinds: Relation) -> TableVersion:
    change, late = timeline.change, timeline.delivery.late
    plan = plan_name(change)

    def with_plans(info: Mapping[str, Any]) -> dict[str, Any]:
        own = set(change.ids)
        known = [(input_id, name) for input_id, name in info.get("plans", {}).items() if input_id not in own]
        kept = dict(known[-_PLANS_KEPT:])
        return {"plans": {**kept, **dict.fromkeys(change.ids, "" if late else plan)}}

    rows = _change_set(change, tables.own, kinds)
    return publish.replace_inputs(tables.session, tables.context.changes, rows, change.ids, with_plans)


def _deletes(source: Source, implied: Loss | None) -> tuple[CheckOutcome, ...]:
    return () if implied is None else (delete_guard.check_outcome(source, implied),)


def _outcomes(
    context: SourceContext, counts: Mapping[str, Mapping[str, int]], snapshot: TableVersion | None
) -> dict[str, tuple[CheckOutcome, ...]]:
    """Return the check results of each change set: its size, its columns, the share of each kind of change."""
    source, asset = context.source, f"lake/{context.source.name}_changes"
    if not source.checks.look_at_tables:
        return {}
    profiles = [share_profile(asset, item, sum(kinds.values()), kinds) for item, kinds in counts.items()]
    compared = saved_and_compared(context, asset, profiles)
    declared = {item.name: stored_type(item.type) for item in source.columns}
    system = {"s_key": "VARCHAR", "s_input_id": "VARCHAR", "s_row_id": "BIGINT", "s_order": order_type(source)}
    expected = {**declared, **system, "s_row_hash": "BIGINT", "s_change": "VARCHAR"}
    columns = (snapshot.columns if snapshot else {}, expected)
    return share_outcomes(profiles, compared, source.checks, columns)


def _change_set(change: Change, own: exp.Expr, kinds: Relation) -> exp.Query:
    """Return the rows of the change sets of the added inputs, with their kinds of change."""
    names, system = change.source.column_names, ("s_key", "s_input_id", "s_row_id", "s_order", "s_row_hash", "s_change")
    found: exp.Query = query(
        """
        SELECT $columns, $system FROM $kinds AS k
        JOIN $rows AS r ON r.s_input_id = k.s_input_id AND r.s_row_id = k.s_row_id
        WHERE k.s_change <> 'unchanged'
        """,
        columns=columns(names, "r"),
        system=columns(system, "k"),
        kinds=kinds,
        rows=publish.rows_of(own, change.ids),
    )
    if not deletes_without_rows(change.source):
        return found
    # such a deletion has no row; its carried columns give the key, or the place in the range
    carried = replace_scope.carried_as(change.source)
    absent = query(
        "SELECT $columns, $system FROM $kinds AS k WHERE k.s_change <> 'unchanged' AND $rowless",
        columns=[alias(column(carried[name], "k") if name in carried else exp.null(), name) for name in names],
        system=columns(system, "k"),
        kinds=kinds,
        rowless=has_no_row("k"),
    )
    return exp.union(found, absent, distinct=False)
