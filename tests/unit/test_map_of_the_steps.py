"""The map of `steps/` in docs/architecture.md names every module in its room, and none that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
STEPS = PROJECT / "dataops_assets" / "steps"


def modules_on_the_map() -> list[str]:
    page = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = page.partition("## A map of the steps\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([\w/]+)` \| \S.* \|$", section, re.MULTILINE)


def test_the_map_names_every_module_of_the_steps_once() -> None:
    modules = [path.relative_to(STEPS).with_suffix("").as_posix() for path in STEPS.rglob("*.py")]
    assert sorted(modules_on_the_map()) == sorted(name for name in modules if not name.endswith("__init__"))


def test_the_way_of_an_input_passes_every_door() -> None:
    page = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = page.partition("## The way of one input\n")[2].partition("\n## ")[0]
    doors = re.findall(r'\["`steps/(\w+)`', section)
    assert doors == ["ingest", "parse", "cdc", "enrich", "refresh", "recalculate"]
    assert all((STEPS / f"{door}.py").is_file() for door in doors)
