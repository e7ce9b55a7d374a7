"""What a plan of many sources and models costs, beside SQLMesh's plan and environment of the same models. Run by hand.

Grain of the output: one line a question, with CPU seconds (with children) and elapsed seconds. Every source has a hub
of one row; each model selects from one, and each tenth joins the model before. One model is changed, then planned.
SQLMesh reads the hubs as tables of DuckDB.

    python plans.py --sources 500 --peers .venv-peers/bin/python
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
CHANGED = 7


@contextmanager
def timed(what: str) -> Iterator[None]:
    before, began = os.times(), time.monotonic()
    yield
    after = os.times()
    print(f"{what:<58} {sum(after[:4]) - sum(before[:4]):8.2f} {time.monotonic() - began:8.2f}", flush=True)


def model(index: int, hub: str, earlier: str, factor: int = 2) -> str:
    """The query of a model; each tenth joins the one before."""
    if index % 10 or not index:
        return f"SELECT id, shop, amount * {factor} AS amount FROM {hub}\n"
    return f"SELECT h.id, e.shop, h.amount * {factor} AS amount FROM {hub} AS h JOIN {earlier} AS e ON e.id = h.id\n"


def ours(home: Path, number: int) -> None:
    """Plan the change of one model, with what dbt takes to read the project again."""
    sys.path[:0] = [str(PROJECT / "tests"), str(PROJECT / "tests" / "benchmarks")]
    from planned_cases import Deployment
    from releases import declared

    from dataops_assets.components.declarations import declared_sources
    from dataops_assets.operations import environments
    from dataops_assets.operations.planning.plan import Tree, make_plan

    here = Deployment(home, home / "landing")
    here.write(declared(number))  # type: ignore[arg-type]
    dbt = home / "dbt_project"
    shutil.copytree(PROJECT / "dbt_project", dbt, ignore=shutil.ignore_patterns("models", "target", "logs", "tests"))
    (dbt / "models" / "outputs" / "shop").mkdir(parents=True)
    columns = "[{name: id, data_type: bigint}, {name: shop, data_type: varchar}, {name: amount, data_type: double}]"
    tables = "".join(f"      - {{name: sales_{index}, columns: {columns}}}\n" for index in range(number))
    sources = f"version: 2\nsources:\n  - name: hub\n    schema: hub\n    tables:\n{tables}"
    (dbt / "models" / "sources.yml").write_text(sources)

    def write(index: int, factor: int) -> None:
        hub, earlier = f"{{{{ source('hub', 'sales_{index}') }}}}", f"{{{{ ref('m_{index - 1}') }}}}"
        file = dbt / "models" / "outputs" / "shop" / f"m_{index}.sql"
        file.write_text("{{ config(materialized='table') }}\n" + model(index, hub, earlier, factor))

    for index in range(number):
        write(index, 2)
    (here.folder / "warehouse").mkdir()
    (here.folder / "warehouse" / "defs.yaml").write_text("type: dataops_assets.components.WarehouseComponent\n")
    metadata = here.platform.metadata
    metadata.migrate()
    with timed(f"the first read of {number} sources and {number} models"):
        before = Tree.of(declared_sources(here.folder), home, here.environment)
    metadata.declarations.record(before.state)
    # what a plan does once for each state of the project
    make_plan(before, here.contexts(before), metadata)
    write(CHANGED, 3)
    with timed("dataops plan, one model is changed: dbt reads it"):
        tree = Tree.of(declared_sources(here.folder), home, here.environment)
    with timed("dataops plan, one model is changed: the plan"):
        plan = make_plan(tree, here.contexts(tree), metadata)
    assert {item.subject for item in plan.changes} == {f"m_{CHANGED}"}, plan.changes
    # another process, where nothing is read yet
    for file in here.folder.rglob("defs.yaml"):
        os.utime(file)
    with timed("dataops plan again, the project as it was parsed"):
        again = Tree.of(declared_sources(here.folder), home, here.environment)
        make_plan(again, here.contexts(again), metadata)
    with timed("dataops env create (tables without rows)"):
        wanted = environments.described(here.environment, "bench", "b", dt.timedelta(days=1))
        environments.create(here.environment, metadata, list(tree.declared.sources), wanted)


def theirs(home: Path, number: int) -> None:
    """The same with SQLMesh, in its own process."""
    import duckdb
    from sqlmesh import Context
    from sqlmesh.core.config import Config, DuckDBConnectionConfig, GatewayConfig, ModelDefaultsConfig

    with duckdb.connect(str(home / "table.duckdb")) as connection:
        connection.execute("CREATE SCHEMA hub")
        for index in range(number):
            row = "SELECT 1::BIGINT AS id, 'a' AS shop, 1.0::DOUBLE AS amount"
            connection.execute(f"CREATE TABLE hub.sales_{index} AS {row}")
    (home / "models").mkdir()
    tables = "".join(
        f"- name: hub.sales_{index}\n  columns: {{id: BIGINT, shop: VARCHAR, amount: DOUBLE}}\n"
        for index in range(number)
    )
    (home / "external_models.yaml").write_text(tables)

    def write(index: int, factor: int) -> None:
        query = model(index, f"hub.sales_{index}", f"d.m_{index - 1}", factor)
        (home / "models" / f"m_{index}.sql").write_text(f"MODEL (name d.m_{index}, kind FULL);\n{query}")

    def context() -> Context:
        config = Config(
            gateways={
                "": GatewayConfig(
                    connection=DuckDBConnectionConfig(database=str(home / "table.duckdb")),
                    state_connection=DuckDBConnectionConfig(database=str(home / "state.duckdb")),
                )
            },
            model_defaults=ModelDefaultsConfig(dialect="duckdb", start="2024-01-01"),
            disable_anonymized_analytics=True,
        )
        return Context(paths=str(home), config=config)

    for index in range(number):
        write(index, 2)
    with timed(f"SQLMesh: the first plan of {number} models, applied"):
        made = context()
        made.plan(auto_apply=True, no_prompts=True)
    made.close()
    write(CHANGED, 3)
    with timed("SQLMesh: load and plan, one model is changed"):
        made = context()
        builder = made.plan_builder("dev", skip_tests=True)
        found = builder.build()
    assert len(found.directly_modified) == 1, found.directly_modified
    with timed("SQLMesh: apply it as a virtual environment"):
        made.apply(found)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sources", type=int, default=500)
    parser.add_argument("--peers", default="")
    parser.add_argument("--only-theirs", default="")
    wanted = parser.parse_args()
    if wanted.only_theirs:
        theirs(Path(wanted.only_theirs), wanted.sources)
        return
    home = Path(tempfile.mkdtemp(prefix="dataops-plans-"))
    try:
        print(f"{'':<58} {'CPU s':>8} {'s':>8}", flush=True)
        ours(home / "ours", wanted.sources)
        if wanted.peers:
            (home / "theirs").mkdir()
            command = [wanted.peers, __file__, "--sources", str(wanted.sources), "--only-theirs", str(home / "theirs")]
            done = subprocess.run(command, capture_output=True, text=True)
            print("\n".join(line for line in done.stdout.splitlines() if line.startswith("SQLMesh:")))
            if done.returncode:
                raise SystemExit(done.stderr[-3000:] + done.stdout[-1000:])
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
