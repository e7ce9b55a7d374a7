"""Defines the context of a step: the declared source, the engine, the tables and the metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dataops_assets.config.environment import Environment
from dataops_assets.config.source import Source
from dataops_assets.engines.base import Engine
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.storage.corrections import Corrections
from dataops_assets.storage.delta import Table
from dataops_assets.storage.raw import RawArea


@dataclass(frozen=True)
class SourceContext:
    """The context of the steps of one source. `sources` has every source of the code location, by name."""

    environment: Environment
    source: Source
    sources: Mapping[str, Source]
    engine: Engine
    metadata: MetadataStore

    @property
    def raw(self) -> RawArea:
        """The source's raw area."""
        return RawArea.of(self.environment.storage, self.source.name)

    @property
    def corrections(self) -> Corrections:
        """The corrections that people made to the source's raw rows."""
        return Corrections(self.raw.uri)

    @property
    def lake(self) -> Table:
        """Parsed rows."""
        return self.table(f"lake/{self.source.name}")

    @property
    def quarantine(self) -> Table:
        """Rows that could not be parsed."""
        return self.table(f"lake/{self.source.name}_quarantine")

    @property
    def changes(self) -> Table:
        """Change sets."""
        return self.table(f"lake/{self.source.name}_changes")

    @property
    def enriched(self) -> Table:
        """Enriched change sets."""
        return self.table(f"hub/{self.source.name}_enriched")

    @property
    def hub(self) -> Table:
        """The merged hub table."""
        return self.table(f"hub/{self.source.name}")

    @property
    def current(self) -> Table:
        """The hub with its keep-current rules."""
        return self.table(f"hub/{self.source.name}_current")

    @property
    def tables(self) -> tuple[Table, ...]:
        """All Delta tables that the source's steps write; one that no step wrote yet has no version."""
        return self.lake, self.quarantine, self.changes, self.enriched, self.hub, self.current

    def table(self, key: str) -> Table:
        """The table behind an asset key such as 'hub/sales'."""
        return Table(f"{self.environment.storage}/{key}")
