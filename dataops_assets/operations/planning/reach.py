"""Finds the tables and columns below a change: through rules and look-ups of sources, and through dbt models.

A column is reached if its value can differ. Beside its columns a table has the node `*`: which rows it has. It is
reached by the columns that decide this (keys, conditions, filters), and then all columns of the table are reached.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from sqlglot import exp

from dataops_assets.components.dbt_catalogue import Catalogue
from dataops_assets.components.dbt_lineage import QueryLineage
from dataops_assets.components.declarations import Declarations
from dataops_assets.components.graph import StepNode, column_lineage, nodes, table_columns
from dataops_assets.components.other_tables import OtherTable
from dataops_assets.config.outputs import Output
from dataops_assets.config.refresh import AppendRefresh
from dataops_assets.config.source import Source
from dataops_assets.rules.compiler import CompiledRules
from dataops_assets.rules.stage import Stage
from dataops_assets.steps.merging.row_identity import (
    filtering_columns,
    marking_columns,
    tracked_columns,
)

ROWS = "*"
"""The node of a table that stands for the set of its rows."""

Node = tuple[str, str]


@dataclass
class Graph:
    """The nodes that depend on each node (`below`), and the columns of each table."""

    below: dict[Node, set[Node]] = field(default_factory=lambda: defaultdict(set))
    columns: dict[str, list[str]] = field(default_factory=dict)

    def reached(self, starts: Iterable[Node]) -> Mapping[str, Sequence[str]]:
        """Return the reached columns by table; `*` is among them if rows come or go."""
        found: set[Node] = set()
        waiting = list(starts)
        while waiting:
            node = waiting.pop()
            if node in found:
                continue
            found.add(node)
            waiting += self.below.get(node, ())
            if node[1] == ROWS:
                waiting += [(node[0], name) for name in self.columns.get(node[0], ())]
        by_table: dict[str, list[str]] = defaultdict(list)
        for table, name in sorted(found):
            by_table[table].append(name)
        return dict(by_table)


def graph_of(declared: Declarations, models: Iterable[tuple[Catalogue, Mapping[str, QueryLineage]]]) -> Graph:
    """Return the graph of all tables of a code location. Raises ConfigError for a wrong rule."""
    graph = Graph()
    for name, source in declared.sources.items():
        _add_source(graph, source, declared.rules(name))
    for catalogue, lineage in models:
        for model in catalogue.models:
            table = "/".join(model.key)
            found = lineage.get(model.unique_id, QueryLineage())
            graph.columns[table] = list(found.columns) or [item.name for item in model.columns]
            reads = ["/".join(key) for key in model.reads]
            _add_model(graph, table, reads, found)
    for item in declared.outputs.values():
        _add_output(graph, item.output)
    return graph


def add_others(graph: Graph, others: Sequence[OtherTable]) -> None:
    """Add tables of other code locations, which are made of tables of this one or of each other."""
    graph.columns |= {other.table: list(other.columns) for other in others}
    for other in others:
        _add_other(graph, other)


def _add_other(graph: Graph, other: OtherTable) -> None:
    """Add a table of another code location. If its event tells of no conditions, each column can decide its rows."""
    for name, origins in other.columns.items():
        for origin in origins:
            graph.below[origin].add((other.table, name))
    for read in other.reads:
        graph.below[read, ROWS].add((other.table, ROWS))
    assumed = ((read, name) for read in other.reads for name in graph.columns.get(read, ()))
    for origin in assumed if other.conditions is None else other.conditions:
        graph.below[origin].add((other.table, ROWS))


def _add_output(graph: Graph, output: Output) -> None:
    table = f"output/{output.name}"
    known = graph.columns.get(output.source, [])
    graph.below[output.source, ROWS].add((table, ROWS))
    for name in known:
        # what a filter reads is not looked for
        if output.keep_when:
            graph.below[output.source, name].add((table, ROWS))
        if not output.columns and not name.startswith("s_"):
            graph.below[output.source, name].add((table, name))
    for column in output.columns:
        # an expression may read any column
        for origin in known if column.expression else [column.of or column.name]:
            graph.below[output.source, origin].add((table, column.name))
    graph.columns[table] = [item.name for item in output.columns] or [
        name for name in known if not name.startswith("s_")
    ]


def _add_model(graph: Graph, table: str, reads: Sequence[str], found: QueryLineage) -> None:
    for name, origins in found.columns.items():
        for key, column in origins:
            graph.below["/".join(key), column].add((table, name))
    for key, column in found.conditions:
        graph.below["/".join(key), column].add((table, ROWS))
    for read in reads:
        graph.below[read, ROWS].add((table, ROWS))
        if not found.is_read:
            for column in graph.columns.get(read, ()):
                graph.below[read, column].add((table, ROWS))


def _add_source(graph: Graph, source: Source, rules: CompiledRules) -> None:
    for node in nodes(source, rules):
        graph.columns[node.key] = list(table_columns(source, node))
        if node.beside:
            graph.columns[node.beside] = []
        lineage = column_lineage(source, rules, node, graph.columns[node.key])
        for name, origins in lineage.items():
            for origin in origins:
                graph.below[origin].add((node.key, name))
        for read in node.reads:
            graph.below[read, ROWS].add((node.key, ROWS))
        stage = {"enrich": rules.snapshot, "recalculate": rules.current}.get(node.name)
        if stage is not None:
            _add_rules(graph, source, node, stage)
    _add_merge(graph, source)


def _add_rules(graph: Graph, source: Source, node: StepNode, stage: Stage) -> None:
    """Add what decides a rule or validation beside the columns that its value is made of."""
    upstream = node.reads[0]
    for rule in stage.rules.values():
        # the lineage of a rule has the columns that join its look-ups
        read = {(upstream, name) for name in rule.reads} | _looked_up(stage, rule.uses)
        if rule.windowed:
            # it reads other rows of its table
            read.add((upstream, ROWS))
        for origin in read:
            graph.below[origin].add((node.key, rule.name))
    for check in stage.validations:
        read = {(upstream, name) for name in check.reads} | {(item.table, item.column) for item in check.lineage}
        read |= _looked_up(stage, {item.name for item in check.failed.find_all(exp.Column)})
        for origin in read:
            graph.below[origin] |= {(node.key, "s_status"), (node.key, "s_failed")}
            if check.severity != "warn":
                graph.below[origin].add((f"hub/{source.name}", ROWS))


def _looked_up(stage: Stage, used: Set[str]) -> set[Node]:
    """Return the rows of all hubs that are passed on the way to the columns that are used."""
    paths = [item.path for item in stage.lookups if used & item.results]
    return {
        (f"hub/{item.source}", ROWS)
        for item in stage.lookups
        if any(path[: len(item.path)] == item.path for path in paths)
    }


def _add_merge(graph: Graph, source: Source) -> None:
    """Add how the columns of the lake decide which rows the hub has, and its system columns."""
    lake, hub, changes = f"lake/{source.name}", f"hub/{source.name}", f"lake/{source.name}_changes"
    deciding: Set[str] = {
        *source.refresh.key,
        *(name for name in (source.refresh.order_by, source.refresh.range_by) if name),
        *marking_columns(source),
        *filtering_columns(source),
    }
    tracked = set(tracked_columns(source))
    whole_rows = not source.refresh.key and not isinstance(source.refresh, AppendRefresh)
    for name in source.column_names:
        node = (lake, name)
        if name in deciding or (name in tracked and (source.refresh.history or whole_rows)):
            graph.below[node] |= {(hub, ROWS), (changes, ROWS)}
        if name in tracked:
            graph.below[node] |= {(hub, "s_row_hash"), (hub, "s_updated_at"), (changes, "s_row_hash"), (changes, ROWS)}
    graph.below[lake, ROWS].add((changes, ROWS))
