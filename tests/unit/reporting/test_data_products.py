"""What a declaration of data products may not say."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dataops_assets.components.declarations import declared_sources
from dataops_assets.errors import ConfigError

SOURCE = {
    "type": "dataops_assets.components.SourceComponent",
    "attributes": {
        "name": "orders",
        "area": "shop",
        "connection": {"type": "files", "path": "orders_*.csv"},
        "columns": [{"name": "id", "type": "integer"}],
        "refresh": {"type": "full"},
    },
}


def write(folder: Path, products: dict[str, object], name: str = "products") -> None:
    declared = {"type": "dataops_assets.components.DataProductsComponent", "attributes": {"products": products}}
    for path, document in (("orders", SOURCE), (name, declared)):
        (folder / path).mkdir(exist_ok=True)
        (folder / path / "defs.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")


def test_a_product_of_an_unknown_source_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    write(tmp_path, {"sales": {"sources": ["order"]}})
    with pytest.raises(ConfigError, match=r"attributes\.products\.sales: unknown source.*did you mean 'orders'"):
        declared_sources(tmp_path)
    write(tmp_path, {"sales": {"sources": ["orders"], "critical_columns": ["ordres.id"]}})
    with pytest.raises(ConfigError, match="unknown source; received: ordres"):
        declared_sources(tmp_path)
    write(tmp_path, {"sales": {"sources": ["orders"]}})
    assert declared_sources(tmp_path).data_products.products["sales"].sources == ("orders",)
    write(tmp_path, {"sales": {"sources": ["orders"]}}, "others")
    with pytest.raises(ConfigError, match="declared twice"):
        declared_sources(tmp_path)
