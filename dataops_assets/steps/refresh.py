"""Step 5, refresh: merge enriched change sets into the hub by one atomic commit."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from dataops_assets.config.source import Source
from dataops_assets.engines.base import Session
from dataops_assets.errors import ConfigError, DataOpsError, InputHeld
from dataops_assets.metadata.decision_store import ANOMALY
from dataops_assets.quality.shares import share_outcomes, share_profile
from dataops_assets.report import REMOVED, CheckOutcome, Input, InputReport, StepReport
from dataops_assets.rules.compiler import compile_rules
from dataops_assets.sql import query
from dataops_assets.steps.enriching import change_set_ids
from dataops_assets.steps.enriching.judged_rows import publish_judged
from dataops_assets.steps.evolved_columns import evolving
from dataops_assets.steps.inputs_before import saved_and_compared
from dataops_assets.steps.merging import (
    anomaly_guard,
    delete_guard,
    held_inputs,
    merge,
    merged_values,
    suspended_deletes,
)
from dataops_assets.steps.merging.change import (
    Change,
    absence_deletes,
    manifest_after,
)
from dataops_assets.steps.merging.delete_guard import Loss
from dataops_assets.steps.merging.hub_diff import new_rows
from dataops_assets.steps.merging.input_statistics import extents_of, incomparable_input_errors
from dataops_assets.steps.merging.judged_contracts import judge_rows, judged_by
from dataops_assets.steps.merging.manifest import HubManifest
from dataops_assets.steps.merging.read_tables import ReadTables
from dataops_assets.steps.merging.requested_change import change_for, plan_name
from dataops_assets.steps.merging.row_verdicts import (
    PassingDiff,
    known_failures,
    may_lack_rows,
    without_failing,
)
from dataops_assets.steps.merging.settled_inputs import settled_input_errors, start_of_rebuild
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.stored_rows import lake_of, lake_rows
from dataops_assets.steps.upkeep.lost_data import require_rows_of, version_of
from dataops_assets.steps.upkeep.rule_backfill import TO_MERGE, backfill_rules, with_receipts, with_rule_versions
from dataops_assets.storage import publish
from dataops_assets.storage.commit_retry import until_won
from dataops_assets.storage.delta import TableVersion
from dataops_assets.storage.retyping import retyped

STEP = "refresh"
_WROTE = "wrote"


def refresh(context: SourceContext, inputs: Sequence[Input]) -> StepReport:
    """Merge `inputs` into the hub. The hub is then the function of all its inputs that the refresh type defines.

    Grain: one row for each key (with `history` for each version, with `append` for each row of an input). The order of
    arrival, batches, repeats and lost races make no difference. Rows that a validation quarantined stay out. Changed
    snapshot rules and validations are first applied to all rows. Inputs of which different rows are kept out then are
    merged again. Raises CommitConflict after many lost races, StorageError when storage fails; the last
    version stays readable.
    """
    return _publish(context, inputs, removing=())


def apply_rules(context: SourceContext) -> StepReport | None:
    """Apply changed snapshot rules and validations to all rows, without new inputs; None if nothing was changed."""
    backfilled = backfill_rules(context)
    hub = context.hub.snapshot()
    if hub is None or not hub.info.get(TO_MERGE):
        return backfilled
    return with_receipts(_publish(context, (), removing=()), backfilled)


def remove(context: SourceContext, input_ids: Sequence[str]) -> StepReport:
    """Remove inputs from the hub. It is then as if they had never arrived."""
    return _publish(context, (), removing=tuple(input_ids))


def rebuild(context: SourceContext) -> StepReport:
    """Rebuild the hub from the lake with the settings declared now, in one commit; readers keep the old version.

    If the folder of the hub is gone, it is made of the inputs that it had according to the metadata.
    Contracts that were declared since judge all rows. Raises InputError for an input that cannot be merged with these
    settings, GateFailed for one that a contract refuses; then nothing is published.
    """
    started = time.perf_counter()
    backfilled = backfill_rules(context)

    def attempt() -> StepReport:
        base = context.hub.snapshot()
        inputs = _refreshed(context) if base is None else _applied(base)
        with context.engine.session() as session:
            return _attempt(context, session, None, _Request(inputs, started, replaced=base))

    return with_receipts(until_won(attempt, f"rebuilding hub/{context.source.name}"), backfilled)


def _applied(hub: TableVersion) -> tuple[Input, ...]:
    return tuple(item.as_input for item in HubManifest.read(hub.info).ordered)


def _refreshed(context: SourceContext) -> tuple[Input, ...]:
    """Return the inputs of a hub whose table is gone, according to the metadata."""
    done = context.metadata.step_status(context.source.name, STEP)
    removed = context.metadata.decisions.removed(context.source.name)
    ids = [input_id for input_id, status in done.items() if status == "done" and input_id not in removed]
    return tuple(context.metadata.inputs(context.source.name, ids))


def _publish(context: SourceContext, inputs: Sequence[Input], *, removing: tuple[str, ...]) -> StepReport:
    started = time.perf_counter()
    backfilled = backfill_rules(context)

    def attempt() -> StepReport:
        # after a lost race, compare again with the new version of the hub
        with context.engine.session() as session:
            return _attempt(context, session, context.hub.snapshot(), _Request(inputs, started, removing))

    return with_receipts(until_won(attempt, f"publishing hub/{context.source.name}"), backfilled)


@dataclass(frozen=True)
class _Request:
    """The inputs to add and to remove. `replaced`: the version of the hub that a rebuild replaces."""

    inputs: Sequence[Input]
    started: float
    removing: tuple[str, ...] = ()
    replaced: TableVersion | None = None


@dataclass(frozen=True)
class _Judged:
    """A change without its held inputs, and why each is held: for its loss, or because it is odd.

    `passing` is the difference that the change makes, without rows that fail; None if the change moves no input.
    """

    change: Change
    losses: Mapping[Input, Loss]
    odd: Mapping[Input, DataOpsError]
    passing: PassingDiff | None

    @property
    def losing(self) -> Mapping[Input, DataOpsError]:
        """Return the error of each input that is held for its loss."""
        return {item: delete_guard.held_error(self.change.source, loss) for item, loss in self.losses.items()}


def _attempt(context: SourceContext, session: Session, base: TableVersion | None, request: _Request) -> StepReport:
    """Merge once, with one version of every table. Raises CommitConflict if another writer was faster."""
    parsed = lake_of(context)
    context = evolving(context, parsed)
    source, replaced = context.source, request.replaced
    manifest = _manifest(context, base, parsed, request)
    inputs = [item for item in request.inputs if replaced is None or item.input_id not in manifest.inputs]
    gone = tuple(input_id for input_id in request.removing if input_id in manifest.inputs)
    asked = {*gone, *(item.input_id for item in inputs)}
    again = _to_merge(context, base, manifest, {*manifest.inputs} - asked, _contents(manifest, inputs, gone))
    merging = (*inputs, *again)
    ids = [*(item.input_id for item in merging), *gone]
    enriched = version_of(context, context.enriched, "enrich")
    lake, own = lake_rows(session, source, parsed), lake_rows(session, source, parsed, ids)
    tables = ReadTables(context, session, base, parsed, enriched, lake, own, anew=replaced is not None)
    extents = extents_of(session, source, own, ids)
    errors = incomparable_input_errors(session, source, own, extents)
    errors |= _settled_errors(source, manifest, inputs, gone) if replaced is None else _raised(errors)
    good = tuple(item for item in merging if item.input_id not in errors)
    judged = _judge(tables, change_for(context, session, manifest, good, parsed, extents, gone))
    _record_holds(context, judged)
    reported = _reported(source, inputs, errors, judged)
    if judged.passing is None:
        return _report(context, base, reported, {}, {}, request.started)
    left = [item.input_id for item in again if item.input_id in errors]
    return _merge(tables, judged.passing, request, reported, left)


def _manifest(
    context: SourceContext, base: TableVersion | None, parsed: TableVersion, request: _Request
) -> HubManifest:
    """Return the manifest that the attempt starts with. Raises StorageError if rows that it needs are lost."""
    replaced = request.replaced
    if base is None and replaced is None:
        version_of(context, context.hub, STEP, [item.input_id for item in request.inputs])
    before = base if replaced is None else replaced
    made_from = HubManifest.read(before.info if before else None)
    require_rows_of(context, made_from, publish.written(parsed.info))
    return made_from if replaced is None else start_of_rebuild(context.source, made_from, parsed.info)


def _settled_errors(
    source: Source, manifest: HubManifest, inputs: Sequence[Input], gone: Sequence[str]
) -> dict[str, DataOpsError]:
    """Return an error for each input that is too old for the hub. Raises it for one that would be removed."""
    _raised(settled_input_errors(source, manifest.horizon, (manifest.inputs[input_id] for input_id in gone)))
    return settled_input_errors(source, manifest.horizon, inputs)


def _raised(errors: Mapping[str, DataOpsError]) -> dict[str, DataOpsError]:
    """Raise the first error; return nothing if there is none."""
    for error in errors.values():
        raise error
    return {}


def _merge(
    tables: ReadTables,
    passing: PassingDiff,
    request: _Request,
    reported: Sequence[InputReport],
    left: Sequence[str],
) -> StepReport:
    """Publish the difference. `left`: inputs that must be merged again but have an error."""
    context, session, base, source = tables.context, tables.session, tables.base, tables.source
    change, diff = passing.timeline.change, passing.diff
    counts = _counts(session, tables.enriched, change)
    after = manifest_after(change)
    insert = new_rows(session, source, base, diff, passing.rows)
    insert_columns = session.schema(insert)
    _require_columns(source, base, insert_columns)
    wrote = _wrote(base, change.manifest, after, diff.counts)
    contracts = judge_rows(tables, passing) if request.replaced is not None else ()
    judged = judged_by(source, base.info if base is not None else None)
    info = {**after.record(), **judged, _WROTE: wrote, **({TO_MERGE: left} if left else {})}
    snapshot = publish.apply(
        session,
        context.hub,
        base,
        publish.RowChange(
            replaced=request.replaced,
            columns=publish.merged_columns(base, insert_columns),
            remove=query("SELECT s_file, s_position FROM $removed AS r", removed=diff.remove)
            if diff.counts["removed"]
            else None,
            insert=insert if diff.counts["inserted"] or diff.counts["amended"] or base is None else None,
            info=with_rule_versions(info, compile_rules(source, context.sources)),
        ),
    )
    snapshot = publish.compact(session, context.hub, snapshot)
    publish_judged(context, session, passing.judged)
    notes = {
        "merged": "whole timelines from the lake" if passing.timeline.delivery.late else "in order",
        **diff.counts,
        "inputs_in_hub": len(after.inputs),
    }
    report = _report(context, snapshot, reported, counts, notes, request.started)
    suspended = suspended_deletes.outcomes(session, change, after, snapshot, tables.lake)
    return replace(report, checks=(*_outcomes(context, snapshot, after, wrote, insert_columns), *suspended, *contracts))


def _contents(manifest: HubManifest, inputs: Sequence[Input], gone: Sequence[str]) -> Collection[str]:
    """Return the contents that the change adds to the hub or removes from it."""
    return {*(item.content for item in inputs), *(manifest.inputs[input_id].content for input_id in gone)}


def _to_merge(
    context: SourceContext,
    base: TableVersion | None,
    manifest: HubManifest,
    among: Collection[str],
    contents: Collection[str],
) -> Sequence[Input]:
    """Return the applied inputs that must be merged again with this change, although they were not requested.

    Either different rows of them are kept out now than when they were merged, or they have one of the `contents`, of
    which `append` keeps only the rows of the first input.
    """
    named = base.info.get(TO_MERGE, ()) if base is not None else ()
    wanted = {input_id for input_id in named if input_id in among}
    known = context.metadata.inputs(context.source.name) if wanted else ()
    same = {item.input_id: item.as_input for item in manifest.of_content(contents) if item.input_id in among}
    return list((same | {item.input_id: item for item in known if item.input_id in wanted}).values())


def _record_holds(context: SourceContext, judged: _Judged) -> None:
    verdict = compile_rules(context.source, context.sources).snapshot.verdict
    after = manifest_after(judged.change)
    held_inputs.record_holds(context, judged.losing, after, verdict)
    odd = {item: error for item, error in judged.odd.items() if isinstance(error, InputHeld)}
    held_inputs.record_holds(context, odd, after, verdict, ANOMALY)


def _judge(tables: ReadTables, change: Change) -> _Judged:
    """Compute the difference between the hub as it is and as it should be, without the inputs that must be held.

    Inputs are judged in order: a held input is not part of the hub with which later inputs are compared. A held input
    that is in the hub already is removed from it. Rows that fail a validation are excluded before: whether a row was
    validated by enrich or is validated only now, it must not decide whether an input is held.
    """
    session, asked = tables.session, change
    losses: dict[Input, Loss] = {}
    while True:
        losing = [item.input_id for item in losses]
        why = anomaly_guard.odd_in_change(tables.context, asked, losing)
        odd = {_input_of(asked, input_id): error for input_id, error in why.items()}
        tables, change = _without(tables, asked, [*losing, *why])
        change = delete_guard.with_inputs_to_rejudge(session, change, tables.lake)
        if not change.moved:
            return _Judged(change, losses, odd, None)
        timeline = merge.order(session, _observe(tables, change), excluded=known_failures(tables))
        passing = without_failing(tables, timeline, merge.compare(session, timeline))
        waiting = None
        if change.source.gates.deletes.is_on:
            implied = delete_guard.losses(session, tables.base, passing.timeline)
            waiting = delete_guard.first_held(tables.context, implied)
        if waiting is None:
            return _Judged(change, losses, odd, passing)
        losses[_input_of(asked, waiting.input_id)] = waiting


def _input_of(change: Change, input_id: str) -> Input:
    """Return an input that the change adds, or that is in the hub."""
    added = {item.input_id: item for item in change.adding}
    return added[input_id] if input_id in added else change.manifest.inputs[input_id].as_input


def _without(tables: ReadTables, asked: Change, held: Sequence[str]) -> tuple[ReadTables, Change]:
    """Return the change without held inputs, and the tables that it reads.

    What is removed although nobody asked for it is read, too: its rows say which keys the change concerns.
    """
    change = anomaly_guard.without(asked, held)
    wanted = set(asked.removing)
    gone = [input_id for input_id in change.removing if input_id not in wanted]
    if not gone:
        return tables, change
    extents = extents_of(tables.session, tables.source, tables.lake, gone)
    own = lake_rows(tables.session, tables.source, tables.parsed, [*change.ids, *change.removing])
    return replace(tables, own=own), replace(change, extents={**extents, **change.extents})


def _observe(tables: ReadTables, change: Change) -> merge.Seen:
    """Read the change sets if they were compared with this version of the hub; otherwise compare the inputs again."""
    session, enriched = tables.session, tables.enriched
    if enriched is None or tables.anew or not _is_planned(tables, change, enriched):
        return merge.observe(session, change, tables.base, tables.lake, tables.own)
    rows = publish.scan_inputs(session, enriched, change.ids)
    return merge.observe_change_set(session, change, tables.base, tables.lake, rows)


def _is_planned(tables: ReadTables, change: Change, enriched: TableVersion) -> bool:
    """Whether the change sets of the added inputs are complete and were compared with this version of the hub."""
    # change sets have no rows of settled inputs
    if not change.ids or change.removing or change.revisited or (tables.base is None and change.settled is not None):
        return False
    if merged_values.merges(change.source):
        # a row that changed nothing alone can count together with others
        return False
    changes = tables.context.changes.snapshot()
    plans = changes.info.get("plans", {}) if changes else {}
    # the name is a hash over all inputs of the hub: made once, and not once for each added input
    plan = plan_name(change)
    if any(plans.get(input_id) != plan for input_id in change.ids):
        return False
    if changes is None or not change_set_ids.follows(enriched, changes, change.ids):
        return False
    if absence_deletes(change.source) and delete_guard.has_ties(change, late=False):
        # of inputs with one extract time, change sets have only the rows of the last one
        return False
    return not may_lack_rows(tables, change)


def _require_columns(source: Source, base: TableVersion | None, columns: Mapping[str, str]) -> None:
    """Raise ConfigError if the stored rows of the hub have other types, or earlier values of a column that is new."""
    if base is None:
        return
    problems = [f"{name} of type {columns[name]}, in the hub {base.columns[name]}" for name in retyped(base, columns)]
    if not problems and publish.must_rewrite(base, columns):
        problems = ["a column that the hub had before returns, and files of the hub still have its earlier values"]
    if problems:
        raise ConfigError(
            f"changing the hub of {source.name!r}",
            received="; ".join(problems),
            next_step=f"rebuild the hub from the lake: dataops rebuild {source.name}",
        )


def _wrote(
    base: TableVersion | None, before: HubManifest, after: HubManifest, tally: Mapping[str, int]
) -> Mapping[str, int]:
    """Return the number of rows that the newest change of the hub's inputs wrote and removed.

    A run that was killed after its commit finds its inputs in the hub when it is run again. Then the numbers of the
    first run count, because the checks compare later inputs with them.
    """
    if base is not None and before == after:
        found: Mapping[str, int] = base.info.get(_WROTE, tally)
        return found
    return tally


def _outcomes(
    context: SourceContext,
    snapshot: TableVersion,
    after: HubManifest,
    wrote: Mapping[str, int],
    expected: Mapping[str, str],
) -> tuple[CheckOutcome, ...]:
    """Return the check results of the hub: its rows, its columns, the share that this change wrote and removed."""
    source, asset = context.source, f"hub/{context.source.name}"
    if not after.inputs or not source.checks.look_at_tables:
        return ()
    newest = max(after.inputs.values()).input_id
    profile = share_profile(asset, newest, snapshot.rows, wrote)
    compared = saved_and_compared(context, asset, [profile])
    columns = (snapshot.columns, expected)
    found = share_outcomes([profile], compared, source.checks, columns, of_all_inputs=True)
    return tuple(replace(outcome, input_id=None) for outcome in found[newest])


def _counts(session: Session, enriched: TableVersion | None, change: Change) -> dict[str, dict[str, int]]:
    result: dict[str, dict[str, int]] = {input_id: {} for input_id in change.ids}
    if enriched is None or not change.ids:
        return result
    found = session.fetch(
        query(
            """
            SELECT s_input_id, CASE WHEN s_status = 'fail' THEN 'quarantined' ELSE s_change END AS kind, count(*) AS n
            FROM $e AS e GROUP BY 1, 2
            """,
            e=publish.scan_inputs(session, enriched, change.ids),
        )
    )
    for row in found.to_pylist():
        result[row["s_input_id"]][row["kind"]] = row["n"]
    return result


def _reported(
    source: Source, inputs: Sequence[Input], errors: Mapping[str, DataOpsError], judged: _Judged
) -> list[InputReport]:
    """Return a report for each requested input, and for each held one; one that was in the hub counts as `removed`."""
    removing = set(judged.change.removing)
    held = {
        item.input_id: InputReport(
            item.input_id,
            {REMOVED: 1} if item.input_id in removing else {},
            delete_guard.held_error(source, loss),
            (delete_guard.check_outcome(source, loss),),
        )
        for item, loss in judged.losses.items()
    }
    held |= {
        item.input_id: InputReport(item.input_id, {REMOVED: 1} if item.input_id in removing else {}, error)
        for item, error in judged.odd.items()
    }
    asked = {item.input_id: InputReport(item.input_id, {}, errors.get(item.input_id)) for item in inputs}
    return list({**asked, **held}.values())


def _report(
    context: SourceContext,
    snapshot: TableVersion | None,
    inputs: Sequence[InputReport],
    counts: Mapping[str, Mapping[str, int]],
    notes: Mapping[str, str | int | float],
    started: float,
) -> StepReport:
    applied = HubManifest.read(snapshot.info if snapshot else None).inputs
    return StepReport(
        step=STEP,
        asset=f"hub/{context.source.name}",
        inputs=tuple(
            replace(
                item,
                counts={**item.counts, **counts.get(item.input_id, {})},
                written=applied[item.input_id].written if item.input_id in applied else "",
            )
            for item in inputs
        ),
        rows=snapshot.rows if snapshot else 0,
        version=snapshot.version if snapshot else None,
        commit_id=snapshot.commit_id if snapshot else "",
        columns=snapshot.columns if snapshot else {},
        seconds=time.perf_counter() - started,
        notes=notes,
    )
