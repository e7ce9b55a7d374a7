"""The one version of every table that an attempt to recalculate works with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlglot import exp

from dataops_assets.engines.base import Session
from dataops_assets.rules.stage import Stage
from dataops_assets.sql import Relation, query
from dataops_assets.steps.enriching.look_ups import RelatedHubs
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage.delta import TableVersion


@dataclass(frozen=True)
class Tables:
    """What an attempt reads, and with which rules.

    * `hub`: the version of the hub. `base`: the version of the recalculated table; None if there is none yet.
    * `related`: the versions of the related hubs.
    * `stage`: the keep-current rules. `hub_columns`: the columns of the hub and their SQL types.
    """

    context: SourceContext
    session: Session
    stage: Stage
    hub_columns: Mapping[str, str]
    hub: TableVersion
    base: TableVersion | None
    related: RelatedHubs

    @property
    def columns(self) -> dict[str, str]:
        """The columns of the recalculated table, and their SQL types."""
        return {**self.hub_columns, **{name: rule.type for name, rule in self.stage.rules.items()}}


def those_in(wanted: Relation, rows: exp.Expr) -> exp.Query:
    """Return those of `rows` whose identity is in `wanted`."""
    found: exp.Query = query(
        """
        SELECT r.* FROM $rows AS r
        SEMI JOIN $wanted AS t ON t.s_input_id = r.s_input_id AND t.s_row_id = r.s_row_id
        """,
        rows=rows,
        wanted=wanted,
    )
    return found
