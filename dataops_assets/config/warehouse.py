"""The `Warehouse` model: settings of the warehouse that are not in the dbt project itself."""

from __future__ import annotations

from pydantic import Field

from dataops_assets.config.declared import Declared
from dataops_assets.config.quality import Checks


class Warehouse(Declared):
    """Declares the models of one dbt project as assets."""

    project: str = Field("dbt_project", description="Folder of the dbt project, relative to the project's root.")
    owners: tuple[str, ...] = Field(
        (), description="E-mail addresses or 'team:name', for models without owners of their own."
    )
    checks: Checks = Field(Checks(), description="The four kinds of check, for every model.")
    model_checks: dict[str, Checks] = Field(
        {}, description="Checks by model name. They replace the common checks for that model."
    )
