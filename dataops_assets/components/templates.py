"""The component for templates and parameters that several sources share."""

from __future__ import annotations

from typing import Self

import dagster as dg
from pydantic import BaseModel

from dataops_assets.components.scaffold import TemplatesScaffolder
from dataops_assets.config.templates import Templates
from dataops_assets.errors import ConfigError


@dg.scaffold_with(TemplatesScaffolder)
class TemplatesComponent(dg.Component):
    """Rule templates and lists of parameters, for the sources that name them in `use` and `for_each`.

    It makes no assets. A change of a template changes every rule that is made from it.
    """

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """Return the model of the YAML attributes."""
        return Templates

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """Return the description of the component that dg shows."""
        return dg.ComponentTypeSpec(description="Rules and parameters that several sources share.", tags=["dataops"])

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """Create the component from a valid declaration. Raises ConfigError if the file declares nothing."""
        if not isinstance(attributes, Templates):
            raise ConfigError(f"reading {context.path}", received="no attributes", known=list(Templates.model_fields))
        return cls()

    def build_defs(self, _context: dg.ComponentLoadContext) -> dg.Definitions:
        """Build no definitions: the sources that use the templates build theirs."""
        return dg.Definitions()
