"""What scaffolding writes loads as it is, and its first file goes through all steps."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from code_location import CodeLocation
from dagster.components.testing import create_defs_folder_sandbox

from dataops_assets.components import SourceComponent
from dataops_assets.errors import ConfigError

STEPS = ("raw/{}", "lake/{}", "lake/{}_quarantine", "lake/{}_changes", "hub/{}_enriched", "hub/{}")
NORTH = {"area": "north/shop"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("DATAOPS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DATAOPS_ENV", "test")
    monkeypatch.setenv("DATAOPS_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("path", "options", "name", "area"),
    [
        ("shop/orders", {}, "orders", "shop"),
        ("orders", {}, "orders", "orders"),
        ("north/orders-2", {"name": "orders", **NORTH}, "orders", "north/shop"),
    ],
)
def test_a_scaffolded_source_loads_as_it_is(
    home: Path, path: str, options: dict[str, Any], name: str, area: str
) -> None:
    with create_defs_folder_sandbox() as sandbox:
        sandbox.scaffold_component(component_cls=SourceComponent, defs_path=path, scaffold_params=options)
        with sandbox.build_all_defs() as definitions, dg.DagsterInstance.ephemeral() as instance:
            here = CodeLocation(definitions, instance, home)
            specs = {"/".join(spec.key.path): spec for spec in here.definitions.resolve_all_asset_specs()}
            assert set(specs) == {step.format(name) for step in STEPS}
            assert {spec.group_name for spec in specs.values()} == {area}


def test_its_first_file_goes_through_all_steps(home: Path) -> None:
    with create_defs_folder_sandbox() as sandbox:
        sandbox.scaffold_component(component_cls=SourceComponent, defs_path="north/orders", scaffold_params=NORTH)
        with sandbox.build_all_defs() as definitions, dg.DagsterInstance.ephemeral() as instance:
            here = CodeLocation(definitions, instance, home)
            (first,) = home.rglob("*.csv")
            # a file is taken when it has stood still for a while
            os.utime(first, (0, 0))
            assert [result.success for result in here.settle("orders")] == [True]
            assert here.rows("hub/orders", "order_id", "is_large") == [(1, False), (2, True)]
            assert here.rows("lake/orders_quarantine", "s_row_id") == []


def test_a_second_source_is_scaffolded_beside_the_first(home: Path) -> None:
    with create_defs_folder_sandbox() as sandbox:
        for name in ("orders", "returns"):
            sandbox.scaffold_component(component_cls=SourceComponent, defs_path=f"shop/{name}")
        with sandbox.build_all_defs() as definitions, dg.DagsterInstance.ephemeral() as instance:
            here = CodeLocation(definitions, instance, home)
            keys = {"/".join(spec.key.path) for spec in here.definitions.resolve_all_asset_specs()}
            assert keys == {step.format(name) for step in STEPS for name in ("orders", "returns")}


def test_files_that_landed_before_are_left_alone(home: Path) -> None:
    landed = home / "landing" / "shop" / "orders" / "orders_2024-01-01.csv"
    landed.parent.mkdir(parents=True)
    landed.write_text("mine")
    with create_defs_folder_sandbox() as sandbox:
        sandbox.scaffold_component(component_cls=SourceComponent, defs_path="shop/orders")
    assert landed.read_text() == "mine"


@pytest.mark.parametrize(
    ("path", "given", "words"),
    [
        ("shop/Orders", {}, "received: 'Orders'; next: give --name"),
        ("shop/orders", {"scaffold_params": {"name": "1st"}}, "received: '1st'; next: give --name"),
        ("my-shop/orders", {}, "received: area 'my-shop'; next: give --area"),
        ("shop/orders", {"scaffold_format": "python"}, "received: python; known: yaml"),
    ],
)
def test_what_would_not_load_is_not_written(home: Path, path: str, given: dict[str, Any], words: str) -> None:
    with create_defs_folder_sandbox() as sandbox:
        with pytest.raises(ConfigError) as caught:
            sandbox.scaffold_component(component_cls=SourceComponent, defs_path=path, **given)
        assert words in str(caught.value)
        assert not list(sandbox.defs_folder_path.rglob("*.yaml"))
    assert not list(home.rglob("*.csv"))
