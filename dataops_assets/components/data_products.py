"""The component that declares data products: their sources, owners and objectives."""

from __future__ import annotations

from typing import Self

import dagster as dg
from pydantic import BaseModel

from dataops_assets.config.data_products import DataProducts


class DataProductsComponent(dg.Component):
    """Data products with their owners and the objectives of their service, which the report shows each morning."""

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """Return the model of the YAML attributes; dg and editors use it for completion and checks."""
        return DataProducts

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """Return the description of the component that dg shows."""
        return dg.ComponentTypeSpec(description="Data products and their objectives.", tags=["dataops"])

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:  # noqa: ARG003
        """Create the component from a valid declaration."""
        return cls()

    def build_defs(self, _context: dg.ComponentLoadContext) -> dg.Definitions:
        """Build no definitions: the report is an asset of the code location."""
        return dg.Definitions()
