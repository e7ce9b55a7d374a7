"""Dagster components: what YAML can declare, and how it becomes assets, checks and sensors."""

from dataops_assets.components.source import SourceComponent
from dataops_assets.components.warehouse import WarehouseComponent

__all__ = ["SourceComponent", "WarehouseComponent"]
