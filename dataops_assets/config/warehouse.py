"""What a data team declares about the warehouse, beyond what the dbt project itself says."""

from __future__ import annotations

from pydantic import Field

from dataops_assets.config.declared import Declared
from dataops_assets.config.quality import Checks


class Warehouse(Declared):
    """The models of one dbt project as assets."""

    project: str = Field("dbt_project", description="Folder of the dbt project, relative to the project's root.")
    owners: tuple[str, ...] = Field(
        (), description="E-mail addresses or 'team:name', for models that name none of their own."
    )
    checks: Checks = Field(Checks(), description="The four kinds of check, for every model.")
    model_checks: dict[str, Checks] = Field({}, description="Checks of single models, instead of the common ones.")
