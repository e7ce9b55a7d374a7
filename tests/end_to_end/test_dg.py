"""The dg command line on the project: what it scaffolds, checks and lists. `dg dev` is in test_live_dagster.py."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_dagster import environment
from project_copy import project_copy

# One process for all commands: most of a command's time is importing what is installed
COMMANDS = """
import json, sys
from contextlib import redirect_stdout
from io import StringIO
from dagster_dg_cli.cli import create_dg_cli

dg = create_dg_cli()
for line in sys.stdin:
    with redirect_stdout(StringIO()) as output:
        try:
            code = dg.main(line.split(), prog_name="dg", standalone_mode=False)
        except SystemExit as end:
            code = end.code
    print(json.dumps([code or 0, output.getvalue()]), flush=True)
"""
SOURCE = "dataops_assets.components.SourceComponent"
TEMPLATES = "dataops_assets.components.TemplatesComponent"
WAREHOUSE = "dataops_assets.components.WarehouseComponent"
INCIDENTS = "dataops_assets.components.IncidentsComponent"
PRODUCTS = "dataops_assets.components.DataProductsComponent"
PUBLICATIONS = "dataops_assets.components.PublicationsComponent"
OUTPUT = "dataops_assets.components.OutputComponent"
CONNECTIONS = "dataops_assets.components.ConnectionsComponent"
STEPS = {"raw/{}", "lake/{}", "lake/{}_quarantine", "lake/{}_changes", "hub/{}_enriched", "hub/{}"}


class Dg:
    """The dg command line in a copy of the project where only the sources of the warehouse are declared."""

    def __init__(self, process: subprocess.Popen[str], project: Path, log: Path) -> None:
        self.project = project
        self._process = process
        self._log = log

    def __call__(self, line: str) -> tuple[int, str]:
        """Exit code and output of a command."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, self._log.read_text()
        code, output = json.loads(answer)
        return code, output


@pytest.fixture(scope="module")
def dg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dg]:
    folder = tmp_path_factory.mktemp("dg")
    project = project_copy(folder / "project")
    for declared in (project / "dataops_assets" / "defs").iterdir():
        # a hub of the dbt project that no source makes is refused
        if declared.is_dir() and declared.name not in ("flights", "rossmann"):
            shutil.rmtree(declared)
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-c", COMMANDS],
            cwd=project,
            env=environment(folder / "home", PYTHONPATH=str(project)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        yield Dg(process, project, folder / "log")


@pytest.mark.slow
def test_a_wrong_declaration_fails_both_checks_with_its_place(dg: Dg) -> None:
    assert dg(f"scaffold defs {SOURCE} shop/wrong")[0] == 0
    declared = dg.project / "dataops_assets" / "defs" / "shop" / "wrong" / "defs.yaml"
    declared.write_text(declared.read_text().replace("refresh: {type: key,", "refresh: {typ: key,"))
    line = 1 + declared.read_text().splitlines().index("  refresh: {typ: key, key: [order_id]}")
    for command in ("check yaml", "check defs"):
        code, output = dg(command)
        assert code != 0
        assert f"defs.yaml:{line}" in output
        assert "typ" in output
    shutil.rmtree(declared.parent)


@pytest.mark.slow
def test_every_component_can_be_scaffolded_and_is_listed_with_its_assets(dg: Dg) -> None:
    known = {item["key"] for item in json.loads(dg("list components --json")[1])["items"]}
    ours = {name for name in known if name.startswith("dataops_assets.")}
    assert ours == {SOURCE, TEMPLATES, WAREHOUSE, INCIDENTS, CONNECTIONS, PRODUCTS, PUBLICATIONS, OUTPUT}
    for command in (
        f"scaffold defs {SOURCE} shop/orders",
        f"scaffold defs {TEMPLATES} shop/shared",
        f"scaffold defs {WAREHOUSE} warehouse",
        f"scaffold defs {INCIDENTS} incidents",
        f"scaffold defs {CONNECTIONS} databases",
        f"scaffold defs {OUTPUT} crm/orders_for_crm",
        "check yaml",
        "check defs",
    ):
        code, output = dg(command)
        assert code == 0, output
    code, output = dg("list defs --json")
    assert code == 0, output
    # dbt tells of itself first
    found = json.loads(output[output.index("{\n") :])
    assets = {item["asset_key"]: item for item in found["assets"]}
    assert {key for key in assets if assets[key]["group_name"] == "shop"} == {step.format("orders") for step in STEPS}
    assert assets["hub/orders"]["dependency_keys"] == ["hub/orders_enriched"]
    assert assets["output/orders_for_crm"]["dependency_keys"] == ["hub/orders"]
    assert assets["output/orders_for_crm"]["group_name"] == "crm"
    models = {path.stem for path in (dg.project / "dbt_project" / "models").rglob("*.sql")}
    assert {f"warehouse/{model}" for model in models} <= set(assets)
    assert "looks_at_shop" in {item["name"] for item in found["sensors"]}
