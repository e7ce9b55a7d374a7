"""Dagster components: they turn YAML declarations into assets, checks, sensors and schedules."""

from dataops_assets.components.source import SourceComponent
from dataops_assets.components.templates import TemplatesComponent
from dataops_assets.components.warehouse import WarehouseComponent

__all__ = ["SourceComponent", "TemplatesComponent", "WarehouseComponent"]
