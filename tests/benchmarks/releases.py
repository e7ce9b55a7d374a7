"""What releases, rollbacks, private environments and plans cost by the number of tables. Run by hand.

Grain of the output: one line a question, with CPU seconds and elapsed seconds. The deployment is made here, in a
temporary folder: sources of six tables each (lake, quarantine, changes, enriched, hub, recalculated hub), with two
inputs. The tables of an environment are these, under further names.
"""

from __future__ import annotations

import argparse
import copy
import datetime as dt
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from planned_cases import Deployment, declarations

from dataops_assets.components.declarations import declared_sources
from dataops_assets.operations import environments
from dataops_assets.operations.planning.plan import Tree, make_plan
from dataops_assets.steps.upkeep.releases import Code, costs, make_release
from dataops_assets.steps.upkeep.rollback import Wanted, begin, carry_out

TABLES = 6
HEAD = "id,at,shop,amount,note,extra\n"


@contextmanager
def timed(what: str) -> Iterator[None]:
    cpu, began = time.process_time(), time.monotonic()
    yield
    print(f"{what:<58} {time.process_time() - cpu:8.2f} {time.monotonic() - began:8.2f}", flush=True)


def declared(number: int) -> dict[str, dict[str, object]]:
    """Sources of six tables each."""
    sales = declarations()["sales"]
    sales["rules"] = [rule for rule in sales["rules"] if "where_" not in rule["expression"]]
    found = {}
    for index in range(number):
        name = f"sales_{index}"
        connection = {**sales["connection"], "path": f"{name}-*.csv"}
        connection["extract_time"] = {"pattern": f"{name}-%Y-%m-%d.csv"}
        found[name] = copy.deepcopy({**sales, "name": name, "relations": {}, "connection": connection})
    return found


def land(landing: Path, number: int, day: int, rows: int) -> None:
    landing.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{row},{day},a,{row + day},x,p\n" for row in range(rows))
    for index in range(number):
        file = landing / f"sales_{index}-2024-01-0{day}.csv"
        file.write_text(f"{HEAD}{lines}{rows},1,a,much,x,p\n")
        os.utime(file, (1_704_000_000 + 86_400 * day,) * 2)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sources", type=int, default=17)
    parser.add_argument("--rows", type=int, default=1_000)
    parser.add_argument("--plan", type=int, default=500)
    wanted = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="dataops-releases-"))
    try:
        print(f"{'':<58} {'CPU s':>8} {'s':>8}")
        of_tables(home, wanted.sources, wanted.rows)
        of_plan(home / "plan", wanted.plan)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def of_tables(home: Path, number: int, rows: int) -> None:
    here = Deployment(home / "home", home / "landing")
    tree = here.write(declared(number))  # type: ignore[arg-type]
    contexts, metadata = here.contexts(tree), here.platform.metadata
    for day in (1, 2):
        land(home / "landing", number, day, rows)
        errors = here.run(tree)
        assert not errors, errors[:3]
        if day == 1:
            with timed(f"release of {number * TABLES} tables of {rows} rows"):
                made = make_release(contexts, "v1", Code("c", "", "", "b"))
            assert len(made.tables) == number * TABLES, len(made.tables)
    with timed("what releases cost"):
        costs(here.environment, metadata, {})
    with timed(f"rollback of {number * TABLES} tables"):
        begun = begin(metadata, contexts[0].sources, Wanted("v1", "leave-out", "b"))
        carry_out(here.environment, metadata, begun)
    storage = Path(here.environment.storage)
    copies = max(1, 1_000 // (number * TABLES))
    for times in range(1, copies):
        for layer in ("lake", "hub"):
            for table in sorted((storage / layer).iterdir()):
                if table.name.startswith("sales_"):
                    shutil.copytree(table, storage / layer / f"copy_{times}_{table.name}")
    tables = sum(1 for layer in ("lake", "hub") for _ in (storage / layer).iterdir())
    names = [context.source.name for context in contexts]
    with timed(f"environment of {tables} tables"):
        wanted = environments.described(here.environment, "bench", "b", dt.timedelta(days=1))
        made_environment = environments.create(here.environment, metadata, names, wanted)
    with timed(f"dropping it ({made_environment.linked.files} files)"):
        environments.drop(wanted)


def of_plan(home: Path, number: int) -> None:
    here = Deployment(home, home / "landing")
    sources = declared(number)
    before = here.write(sources)  # type: ignore[arg-type]
    here.platform.metadata.migrate()
    here.platform.metadata.declarations.record(before.state)
    sources["sales_1"]["rules"][0]["expression"] = "amount * 3"  # type: ignore[index]
    here.write({"sales_1": sources["sales_1"]})  # type: ignore[dict-item]
    with timed(f"plan of {number} sources, one rule is changed"):
        tree = Tree.of(declared_sources(here.folder), home, here.environment)
        plan = make_plan(tree, here.contexts(tree), here.platform.metadata)
    assert [item.name for item in plan.changes] == ["sales_1.doubled"], plan.changes


if __name__ == "__main__":
    main()
