"""What a delivery needs: the declared output, the sources, the databases, the engine and the metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dataops_assets.config.databases import AnyConnection
from dataops_assets.config.environment import Environment
from dataops_assets.config.outputs import Output
from dataops_assets.config.source import Source
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.steps.source_context import SourceContext

_CURRENT = "_current"


def source_of(output: Output, sources: Mapping[str, Source]) -> Source | None:
    """Return the source whose hub an output delivers; None for a model, or if there is no such source."""
    layer, _, name = output.source.partition("/")
    if layer != "hub":
        return None
    found = sources.get(name)
    if found is None and name.endswith(_CURRENT):
        found = sources.get(name.removesuffix(_CURRENT))
        return found if found is not None and found.keep_current_rules else None
    return found


@dataclass(frozen=True)
class OutputContext:
    """One output of a code location with `sources` and `databases`. Rows are computed by DuckDB.

    `relation` is the table of a model as dbt names it, such as `"warehouse"."main"."orders"`; '' if it is not known.
    """

    environment: Environment
    output: Output
    sources: Mapping[str, Source]
    databases: Mapping[str, AnyConnection]
    engine: DuckDBEngine
    metadata: MetadataStore
    relation: str = ""

    @property
    def asset(self) -> str:
        """The asset key of the output."""
        return f"output/{self.output.name}"

    @property
    def source(self) -> Source | None:
        """The source whose hub is delivered; None for a model."""
        return source_of(self.output, self.sources)

    @property
    def source_context(self) -> SourceContext | None:
        """The context of that source; None for a model."""
        source = self.source
        if source is None:
            return None
        return SourceContext(self.environment, source, self.sources, self.engine, self.metadata)
