"""Every example is loaded and run as its README says, and gives the tables that it promises."""

from __future__ import annotations

import csv
import re
import shutil
from collections import Counter
from pathlib import Path

import dagster as dg
import pytest
from code_location import CodeLocation
from dagster.components.testing import create_defs_folder_sandbox

from dataops_assets.components.declarations import declared_sources
from dataops_assets.sql import query
from dataops_assets.storage.delta import Table

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FOLDERS = sorted(folder for folder in EXAMPLES.iterdir() if folder.is_dir())


def expected(file: Path) -> tuple[list[str], Counter[tuple[str, ...]]]:
    """Columns and rows of an expected table, as texts; null is the empty text."""
    with file.open(newline="", encoding="utf-8") as opened:
        header, *rows = csv.reader(opened)
    return header, Counter(map(tuple, rows))


def found(here: CodeLocation, table: str, columns: list[str]) -> Counter[tuple[str, ...]]:
    snapshot = Table(f"{here.environment.storage}/{table}").snapshot()
    assert snapshot is not None, f"{table} was not made"
    with here.platform.engine.session() as session:
        rows = session.fetch(query("SELECT * FROM $rows AS r", rows=session.scan(snapshot))).to_pylist()
    return Counter(tuple(text(row[name]) for name in columns) for row in rows)


def text(value: object) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_an_example_gives_the_expected_tables(folder: Path, tmp_path: Path) -> None:
    with create_defs_folder_sandbox() as sandbox:
        shutil.copytree(folder / "defs", sandbox.defs_folder_path, dirs_exist_ok=True)
        with sandbox.build_all_defs() as definitions, dg.DagsterInstance.ephemeral() as instance:
            here = CodeLocation(definitions, instance, tmp_path)
            shutil.copytree(folder / "landing", here.landing)
            declared = declared_sources(folder / "defs")
            sources = sorted(declared.sources)
            runs = here.settle(*sources)
            assert runs
            assert all(run.success for run in runs)
            tables = sorted((folder / "expected").rglob("*.csv"))
            current = [path.stem for path in tables if path.stem.endswith("_current")]
            if current:
                assert here.materialize([f"hub/{name}" for name in current], {}).success
            assert tables
            if declared.outputs:
                assert here.materialize([f"output/{name}" for name in declared.outputs], {}).success
            for file in sorted((folder / "delivered").rglob("*.csv")):
                there = Path(here.environment.outputs) / file.relative_to(folder / "delivered")
                assert there.read_text() == file.read_text()
            for file in tables:
                columns, rows = expected(file)
                table = file.relative_to(folder / "expected").with_suffix("").as_posix()
                assert found(here, table, columns) == rows, table


def test_the_page_lists_every_example() -> None:
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert sorted(listed) == [folder.name for folder in FOLDERS]
