"""The component that declares the channels and routes of incident messages."""

from __future__ import annotations

from typing import Self

import dagster as dg
from pydantic import BaseModel

from dataops_assets.components.scaffold import IncidentsScaffolder
from dataops_assets.config.incidents import Incidents


@dg.scaffold_with(IncidentsScaffolder)
class IncidentsComponent(dg.Component):
    """Settings of the incidents of a deployment: channels, routes, and when an incident opens again.

    A deployment without it has incidents, too, and sends no messages. It is declared once.
    """

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """Return the model of the YAML attributes; dg and editors use it for completion and checks."""
        return Incidents

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """Return the description of the component that dg shows."""
        return dg.ComponentTypeSpec(
            description="Channels and routes of the messages about incidents.", tags=["dataops"]
        )

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:  # noqa: ARG003
        """Create the component from a valid declaration, which may be empty."""
        return cls()

    def build_defs(self, _context: dg.ComponentLoadContext) -> dg.Definitions:
        """Build no definitions: the sensor and the job of incidents are those of the code location."""
        return dg.Definitions()
