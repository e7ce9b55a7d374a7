"""Apply changed rules to all rows, and follow the lineage of columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from dataops_assets.errors import ConfigError, nearest
from dataops_assets.report import StepReport
from dataops_assets.rules.compiler import compile_rules
from dataops_assets.steps.source_context import SourceContext

if TYPE_CHECKING:
    from dataops_assets.components.graph import Edges

TableColumn: TypeAlias = tuple[str, str]
"""The key of a table's asset, and the name of a column."""


@dataclass(frozen=True)
class Lineage:
    """The columns that some columns of a source's last table are computed from, up to the raw data."""

    starts: Sequence[TableColumn]
    edges: Edges

    def origins(self, node: TableColumn) -> list[TableColumn]:
        """Return the columns that a column is computed from directly."""
        return sorted(self.edges.get(node, ()))

    def reached(self, start: TableColumn) -> list[TableColumn]:
        """Return a column and all that it is computed from."""
        found, waiting = [start], [start]
        while waiting:
            for origin in self.origins(waiting.pop()):
                if origin not in found:
                    found.append(origin)
                    waiting.append(origin)
        return found

    def ends(self, start: TableColumn) -> list[TableColumn]:
        """Return the columns that a column is computed from and that are not computed from others."""
        return sorted({end for end in self.reached(start) if end != start and not self.edges.get(end)})

    def pairs(self) -> Iterator[tuple[TableColumn, TableColumn]]:
        """Return each pair of a column and one that it is computed from directly."""
        reached = dict.fromkeys(node for start in self.starts for node in self.reached(start))
        yield from ((node, origin) for node in reached for origin in self.origins(node))


def recalculate(context: SourceContext) -> list[StepReport]:
    """Apply changed rules to all rows, and recalculate the keep-current rules; return the report of each table."""
    # the import of Dagster, which gets the report, takes seconds
    from dataops_assets.components import by_hand

    reports = [by_hand.apply_rules(context)]
    # tables of a step that failed are not made from one another
    is_well = reports[0] is None or not reports[0].failures
    if is_well and context.source.keep_current_rules:
        reports.append(by_hand.recalculate(context))
    return [report for report in reports if report is not None]


def lineage(context: SourceContext, column: str = "") -> Lineage:
    """Return the lineage of a column, or of all columns. Raises ConfigError for an unknown column."""
    # the asset graph is in a module that takes seconds to import
    from dataops_assets.components.graph import lineage_edges, nodes

    source = context.source
    edges = lineage_edges(context.sources)
    table = nodes(source, compile_rules(source, context.sources))[-1]
    if column and (table.key, column) not in edges:
        raise ConfigError(
            f"lineage of {source.name}.{column}",
            received=f"{table.key} has no such column",
            known=list(table.columns),
            next_step=nearest(column, list(table.columns)),
        )
    return Lineage([(table.key, name) for name in ([column] if column else table.columns)], edges)
