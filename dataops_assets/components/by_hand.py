"""Run steps for a person, from the command line or a job, and report them to Dagster as a run of the assets would.

The tables are the same either way. The report makes the UI show the change and makes downstream assets follow it. It is
sent to the given Dagster instance, or else to the one of DAGSTER_HOME, if that is set.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import dagster as dg

from dataops_assets.components import events
from dataops_assets.components.events import asset_key
from dataops_assets.components.graph import StepNode, nodes
from dataops_assets.components.looks import step_look
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.errors import DataOpsError
from dataops_assets.report import PER_INPUT, REMOVED, Input, InputReport, StepReport
from dataops_assets.rules.compiler import CompiledRules, compile_rules
from dataops_assets.steps import refresh
from dataops_assets.steps.merging.manifest import HubManifest
from dataops_assets.steps.recording import run_recorded
from dataops_assets.steps.source_context import SourceContext


@dataclass(frozen=True)
class Done:
    """Result of `run_steps`: the last step's report, and by input id the error that stopped an input."""

    report: StepReport | None
    errors: Mapping[str, DataOpsError]


def run_steps(
    context: SourceContext,
    inputs: Sequence[Input],
    first: str,
    run_id: str,
    begin: Callable[[str], None],
    instance: dg.DagsterInstance | None = None,
    *,
    last: str = PER_INPUT[-1],
) -> Done:
    """Run the steps from `first` to `last` for these inputs. An input that fails a step is left out of the next ones.

    `run_id` is recorded in the metadata; `begin` is called with the name of each step. Raises the errors of the steps.
    """
    source = context.source
    context.metadata.contracts.register(source)
    rules = compile_rules(source, context.sources)
    wanted = PER_INPUT[PER_INPUT.index(first) : PER_INPUT.index(last) + 1]
    steps = [node for node in nodes(source, rules) if node.name in wanted]
    left, errors = list(inputs), dict[str, DataOpsError]()
    report: StepReport | None = None
    for node in steps:
        if not left:
            break
        begin(node.name)
        report = run_recorded(context, node.as_step, left, [item.input_id for item in left], run_id)
        stopped = {item.input_id: item.error for item in report.failures if item.error is not None}
        errors |= stopped
        _tell(context, rules, node, report, left, instance)
        left = [item for item in left if item.input_id not in stopped]
    return Done(report, errors)


def rebuild(context: SourceContext) -> StepReport:
    """Rebuild the hub from the lake. Raises the errors of the step."""
    _refuse_during_rollback(context, "rebuilding")
    return _tell_of_hub(context, refresh.rebuild(context), "dataops rebuild")


def remove(context: SourceContext, input_ids: Sequence[str], instance: dg.DagsterInstance | None = None) -> StepReport:
    """Remove inputs from the hub. Raises InputError for an unknown input, and the errors of the step."""
    context.metadata.inputs(context.source.name, input_ids)
    _refuse_during_rollback(context, "removing inputs of")
    report = refresh.remove(context, input_ids)
    # without the commit, or without the hub, these inputs must not come back
    context.metadata.decisions.remove(context.source.name, input_ids)
    # a removed input is not judged any more, so it is not held
    context.metadata.decisions.release(context.source.name, input_ids)
    # the UI shows the removal as the newest event of the input's partition
    standing_for = tuple(InputReport(input_id, {REMOVED: 1}) for input_id in dict.fromkeys(input_ids))
    return _tell_of_hub(context, report, "dataops remove", standing_for, instance)


def tell_of_restored_hub(
    context: SourceContext, release: str, left_out: Sequence[str], instance: dg.DagsterInstance
) -> None:
    """Report to Dagster that a rollback restored the hub, and which inputs it left out.

    So downstream assets follow, and the UI shows each of these inputs as removed.
    """
    hub = context.hub.snapshot()
    if hub is None:
        return
    newest = max(HubManifest.read(hub.info).inputs.values(), default=None)
    standing_for = tuple(InputReport(input_id, {REMOVED: 1}) for input_id in left_out)
    if newest is not None:
        standing_for = (*standing_for, InputReport(newest.input_id))
    report = StepReport(
        refresh.STEP,
        f"hub/{context.source.name}",
        (),
        hub.rows,
        hub.version,
        hub.columns,
        0.0,
        notes={"rolled back to": release},
        commit_id=hub.commit_id,
    )
    _tell_of_hub(context, report, "dataops rollback", standing_for, instance)


def apply_rules(context: SourceContext) -> StepReport | None:
    """Apply changed snapshot rules and validations to all rows of the hub; return None if nothing changed.

    Raises the errors of the step.
    """
    _refuse_during_rollback(context, "applying the rules of")
    report = refresh.apply_rules(context)
    if report is None:
        return None
    hub = context.hub.snapshot()
    newest = max(HubManifest.read(hub.info if hub else None).inputs.values(), default=None)
    # rows of any input may have changed; an event of one partition is enough to make downstream assets follow
    standing_for = (InputReport(newest.input_id),) if newest is not None else ()
    return _tell_of_hub(context, report, "dataops recalculate", standing_for)


def recalculate(context: SourceContext) -> StepReport:
    """Recalculate the keep-current rules. Raises the errors of the step."""
    context.metadata.contracts.register(context.source)
    rules = compile_rules(context.source, context.sources)
    node = nodes(context.source, rules)[-1]
    report = run_recorded(context, node.as_step, [], [""], "dataops recalculate")
    _tell(context, rules, node, report, [])
    return report


def _refuse_during_rollback(context: SourceContext, attempted: str) -> None:
    name = context.source.name
    context.metadata.releases.require_no_rollback(name, f"{attempted} {name!r}")


def _tell_of_hub(
    context: SourceContext,
    report: StepReport,
    run_id: str,
    standing_for: tuple[InputReport, ...] = (),
    instance: dg.DagsterInstance | None = None,
) -> StepReport:
    """Record the receipts of a changed hub, and report to Dagster the partitions of its inputs."""
    source = context.source
    context.metadata.contracts.register(source)
    context.metadata.save_receipts(source.name, report, run_id)
    rules = compile_rules(source, context.sources)
    (node,) = (item for item in nodes(source, rules) if item.key == report.asset)
    told = replace(report, inputs=(*report.inputs, *standing_for))
    known = {item.input_id for item in told.inputs}
    inputs = [item for item in context.metadata.inputs(source.name) if item.input_id in known]
    _tell(context, rules, node, told, inputs, instance)
    return report


@contextmanager
def _instance(given: dg.DagsterInstance | None) -> Iterator[dg.DagsterInstance | None]:
    """Open the Dagster instance of this environment, unless one is given; None if there is none."""
    if given is not None or "DAGSTER_HOME" not in os.environ:
        yield given
        return
    with dg.DagsterInstance.get() as found:
        yield found


def _tell(
    context: SourceContext,
    rules: CompiledRules,
    node: StepNode,
    report: StepReport,
    inputs: Sequence[Input],
    given: dg.DagsterInstance | None = None,
) -> None:
    """Report a table and its checks to the Dagster instance, if there is one."""
    known = {item.input_id: item for item in inputs}
    table = events.table_metadata(context, report)
    columns = events.column_metadata(context.source, rules, node, report.columns)
    good = events.in_order([item for item in report.inputs if item.error is None], known)
    tags = events.version_tags(node, report)
    with _instance(given) as instance:
        if instance is None:
            return
        for item in events.taken_out(report):
            metadata = table | columns | events.held_metadata(item, known.get(item.input_id))
            instance.report_runless_asset_event(
                dg.AssetMaterialization(asset_key(node.key), partition=item.input_id, metadata=metadata, tags=tags)
            )
        for item in good:
            metadata = table | columns | events.input_metadata(item, known.get(item.input_id))
            if item is good[-1]:
                look = step_look(DuckDBEngine(context.environment), context, rules, node, item.input_id)
                metadata |= events.run_metadata(node, report) | look
            instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    asset_key(node.key), partition=item.input_id or None, metadata=metadata, tags=tags
                )
            )
        for result in events.check_results(report, {node.key: dict.fromkeys(node.checks, True)}):
            instance.report_runless_asset_event(events.evaluation(result))
