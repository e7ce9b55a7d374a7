"""The component that declares the databases that sources share."""

from __future__ import annotations

from typing import Self

import dagster as dg
from pydantic import BaseModel

from dataops_assets.components.scaffold import ConnectionsScaffolder
from dataops_assets.config.databases import Connections
from dataops_assets.errors import ConfigError


@dg.scaffold_with(ConnectionsScaffolder)
class ConnectionsComponent(dg.Component):
    """Databases, for the sources that name them in `connection.database`.

    It makes no assets. Passwords are references to environment variables or files.
    """

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """Return the model of the YAML attributes."""
        return Connections

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """Return the description of the component that dg shows."""
        return dg.ComponentTypeSpec(description="Databases that several sources share.", tags=["dataops", "ingestion"])

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """Create the component from a valid declaration. Raises ConfigError if the file declares nothing."""
        if not isinstance(attributes, Connections):
            raise ConfigError(f"reading {context.path}", received="no attributes", known=list(Connections.model_fields))
        return cls()

    def build_defs(self, _context: dg.ComponentLoadContext) -> dg.Definitions:
        """Build no definitions: the sources that use the databases build theirs."""
        return dg.Definitions()
