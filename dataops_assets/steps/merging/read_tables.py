"""The tables that a merge reads, all in the versions of its start."""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp

from dataops_assets.config.source import Source
from dataops_assets.engines.base import Session
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage.delta import TableVersion


@dataclass(frozen=True)
class ReadTables:
    """The tables that a merge reads.

    * `base`: the hub; None if there is none, or if it is rebuilt.
    * `parsed`: the version of the lake. `lake`: its rows. `own`: at least the rows of the inputs of the change.
    * `enriched`: `hub/<source>_enriched`.
    * `anew`: the hub is rebuilt. Rows keep their rule values, and all other columns are read from the lake again.
    """

    context: SourceContext
    session: Session
    base: TableVersion | None
    parsed: TableVersion
    enriched: TableVersion | None
    lake: exp.Expr
    own: exp.Expr
    anew: bool = False

    @property
    def source(self) -> Source:
        """Return the source whose hub is merged."""
        return self.context.source
