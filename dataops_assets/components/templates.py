"""The component that declares what several sources share."""

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

    Makes no assets of its own. A change of a template is a change of every rule made from it.
    """

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """What the YAML file's attributes may be."""
        return Templates

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """What dg shows of the component."""
        return dg.ComponentTypeSpec(description="Rules and parameters that several sources share.", tags=["dataops"])

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """The component of a valid declaration. Raises ConfigError for a file that declares nothing."""
        if not isinstance(attributes, Templates):
            raise ConfigError(f"reading {context.path}", received="no attributes", known=list(Templates.model_fields))
        return cls()

    def build_defs(self, _context: dg.ComponentLoadContext) -> dg.Definitions:
        """Nothing: the sources that use it build theirs."""
        return dg.Definitions()
