"""The commands for rules: try a rule, apply changed rules to all rows, show the lineage of a column."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from dataops_assets.config.source import Source
from dataops_assets.errors import ConfigError, nearest
from dataops_assets.report import StepReport
from dataops_assets.rules.compiler import compile_rules
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep.rule_trial import Change, Trial, try_rule

if TYPE_CHECKING:
    from dataops_assets.components.graph import Edges

Say = Callable[[str], None]
COMMANDS = ("recalculate", "try", "lineage")


def add_rule_commands(commands: Any) -> None:
    """Add the commands to the parser."""
    again = commands.add_parser(
        "recalculate", help="apply changed rules to all rows, and recalculate keep-current rules"
    )
    again.add_argument("source")
    tried = commands.add_parser("try", help="compute an expression on a hub and show the result, without writing")
    tried.add_argument("source")
    tried.add_argument("expression")
    tried.add_argument("--rule", default="", help="rule or column that the expression would replace; compare with it")
    tried.add_argument("--sample", type=int, help="number of rows to compute; default: all rows")
    shown = commands.add_parser("lineage", help="show the columns that a column is computed from, up to the raw data")
    shown.add_argument("source", metavar="source[.column]")
    shown.add_argument("--json", action="store_true", help="print JSON: one object for each pair of columns")


def run_rule_command(given: argparse.Namespace, context: SourceContext, column: str, say: Say) -> None:
    """Run one of `COMMANDS`; `column` is used by `lineage`."""
    if given.command == "recalculate":
        _recalculate(context, say)
    elif given.command == "try":
        if given.sample is not None and given.sample < 1:
            raise ConfigError("trying a rule", received=f"--sample {given.sample}", known=["1 or more"])
        _tell_trial(try_rule(context, given.expression, given.rule, given.sample), say)
    else:
        _lineage(context.sources, context.source, column, say, as_data=given.json)


def _recalculate(context: SourceContext, say: Say) -> None:
    # the import of Dagster, which gets the report, takes seconds
    from dataops_assets.components.by_hand import apply_rules, recalculate

    reports = [apply_rules(context)]
    if context.source.keep_current_rules:
        reports.append(recalculate(context))
    for report in filter(None, reports):
        for failure in report.failures:
            if failure.error is not None:
                raise failure.error
        _tell(report, say)
    if not any(reports):
        say(f"hub/{context.source.name}: all rows have the values of the declared rules")


def _tell(report: StepReport, say: Say) -> None:
    say(f"{report.asset}: {report.rows:,} rows in version {report.version}; {dict(report.notes)}")
    for item in report.receipts:
        say(f"  {item.rule} ({item.version}): {item.rows_seen:,} rows seen, {item.rows_changed:,} changed")


def _tell_trial(trial: Trial, say: Say) -> None:
    say(f"type      {trial.type}")
    say(f"lineage   {', '.join(f'{item.table}.{item.column}' for item in sorted(trial.lineage)) or 'none'}")
    failed = f", of them {trial.failed_casts:,} that do not fit the type" if trial.failed_casts else ""
    say(f"rows      {trial.rows:,}, null in {trial.nulls:,}{failed}, {trial.distinct:,} distinct values")
    say(f"values    {trial.least} to {trial.most}")
    for input_id, row, value in trial.examples:
        say(f"          {value}  (row {row} of {input_id})")
    if trial.change is not None:
        _tell_change(trial.change, say)


def _tell_change(change: Change, say: Say) -> None:
    say(
        f"{change.column} now  the same in {change.same:,} rows, changed in {change.changed:,}: "
        f"null now in {change.became_null:,}, no more in {change.were_null:,}"
    )
    for input_id, row, before, after in change.examples:
        say(f"          {before} → {after}  (row {row} of {input_id})")


def _lineage(sources: Mapping[str, Source], source: Source, column: str, say: Say, *, as_data: bool) -> None:
    # the asset graph is in a module that takes seconds to import
    from dataops_assets.components.graph import lineage_edges, nodes

    edges = lineage_edges(sources)
    table = nodes(source, compile_rules(source, sources))[-1]
    if column and (table.key, column) not in edges:
        raise ConfigError(
            f"lineage of {source.name}.{column}",
            received=f"{table.key} has no such column",
            known=list(table.columns),
            next_step=nearest(column, list(table.columns)),
        )
    starts = [(table.key, name) for name in ([column] if column else table.columns)]
    if as_data:
        say(json.dumps(_pairs(edges, starts), indent=1))
    elif column:
        _tell_tree(edges, starts[0], 0, say)
    else:
        for start in starts:
            ends = sorted({end for end in _reached(edges, start) if end != start and not edges.get(end)})
            say(f"{start[1]}: {', '.join('.'.join(end) for end in ends) or 'made by the platform, or a constant'}")


def _reached(edges: Edges, start: tuple[str, str]) -> list[tuple[str, str]]:
    found, waiting = [start], [start]
    while waiting:
        for origin in sorted(edges.get(waiting.pop(), ())):
            if origin not in found:
                found.append(origin)
                waiting.append(origin)
    return found


def _pairs(edges: Edges, starts: list[tuple[str, str]]) -> list[dict[str, str]]:
    reached = dict.fromkeys(node for start in starts for node in _reached(edges, start))
    return [
        {"asset": asset, "column": name, "from_asset": origin[0], "from_column": origin[1]}
        for asset, name in reached
        for origin in sorted(edges.get((asset, name), ()))
    ]


def _tell_tree(edges: Edges, node: tuple[str, str], depth: int, say: Say, above: tuple[Any, ...] = ()) -> None:
    say("  " * depth + ".".join(node))
    if node not in above:
        for origin in sorted(edges.get(node, ())):
            _tell_tree(edges, origin, depth + 1, say, (*above, node))
