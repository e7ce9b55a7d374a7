"""Steps that a person runs from the command line, told to Dagster as if a run had made them.

The tables are the same whoever runs a step. What Dagster adds is that the UI shows it and that what is below follows,
so it is told of each table, where there is a Dagster instance to tell.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

from dataops_assets.components import events
from dataops_assets.components.events import asset_key
from dataops_assets.components.graph import PER_INPUT, StepNode, nodes
from dataops_assets.errors import DataOpsError
from dataops_assets.rules.compiler import CompiledRules, compile_rules
from dataops_assets.steps.recording import recorded
from dataops_assets.steps.report import Input, StepReport
from dataops_assets.steps.workspace import Workspace


@dataclass(frozen=True)
class Done:
    """What became of the inputs: the last step's report, and the error that stopped an input, by its id."""

    report: StepReport | None
    errors: Mapping[str, DataOpsError]


def run_steps(
    workspace: Workspace, inputs: Sequence[Input], first: str, run_id: str, begin: Callable[[str], None]
) -> Done:
    """Run the steps of these inputs from `first` on to the hub; an input that a step cannot take goes no further.

    `run_id` is what the metadata says of who ran them, `begin` is told of each step. Raises what a step raises.
    """
    source = workspace.source
    workspace.metadata.register_source(source)
    rules = compile_rules(source, workspace.sources)
    steps = [node for node in nodes(source, rules) if node.name in PER_INPUT[PER_INPUT.index(first) :]]
    left, errors = list(inputs), dict[str, DataOpsError]()
    report: StepReport | None = None
    for node in steps:
        if not left:
            break
        begin(node.name)
        report = recorded(workspace, node.as_step, left, [item.input_id for item in left], run_id)
        stopped = {item.input_id: item.error for item in report.failures if item.error is not None}
        errors |= stopped
        _tell(workspace, rules, node, report, left)
        left = [item for item in left if item.input_id not in stopped]
    return Done(report, errors)


def _tell(
    workspace: Workspace, rules: CompiledRules, node: StepNode, report: StepReport, inputs: Sequence[Input]
) -> None:
    """Tell Dagster's instance, if this environment has one, of a table and its checks."""
    if "DAGSTER_HOME" not in os.environ:
        return
    known = {item.input_id: item for item in inputs}
    table = events.table_metadata(workspace, node, report)
    columns = events.column_metadata(workspace.source, rules, node, report.columns)
    with dg.DagsterInstance.get() as instance:
        for item in report.inputs:
            if item.error is not None:
                continue
            details = events.input_metadata(item, known.get(item.input_id))
            instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    asset_key(node.key), partition=item.input_id, metadata=table | details | columns
                )
            )
        for result in events.check_results(report, {node.key: dict.fromkeys(node.checks, True)}):
            instance.report_runless_asset_event(events.evaluation(result))
