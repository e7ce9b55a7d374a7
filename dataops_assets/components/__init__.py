"""Dagster components: they turn YAML declarations into assets, checks, sensors and schedules.

The classes are imported when they are asked for. So a module of this package that needs no Dagster (declarations,
platform, status) can be imported without it, which saves the command line seconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataops_assets.components.connections import ConnectionsComponent
    from dataops_assets.components.data_products import DataProductsComponent
    from dataops_assets.components.incidents import IncidentsComponent
    from dataops_assets.components.output import OutputComponent
    from dataops_assets.components.publications import PublicationsComponent
    from dataops_assets.components.source import SourceComponent
    from dataops_assets.components.templates import TemplatesComponent
    from dataops_assets.components.warehouse import WarehouseComponent

__all__ = [
    "ConnectionsComponent",
    "DataProductsComponent",
    "IncidentsComponent",
    "OutputComponent",
    "PublicationsComponent",
    "SourceComponent",
    "TemplatesComponent",
    "WarehouseComponent",
]

_MODULES = {
    "ConnectionsComponent": "connections",
    "DataProductsComponent": "data_products",
    "IncidentsComponent": "incidents",
    "OutputComponent": "output",
    "PublicationsComponent": "publications",
    "SourceComponent": "source",
    "TemplatesComponent": "templates",
    "WarehouseComponent": "warehouse",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    # dg lists the component types of a package by it
    return __all__
