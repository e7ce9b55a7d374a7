"""Every command and file of docs/tutorial.md, word for word and in its order, in a fresh copy of the project."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_dagster import PROJECT
from project_copy import project_copy

PAGE = PROJECT / "docs" / "tutorial.md"
# the environment of the tests stands in for the one that this command makes; test_readme.py makes one
SETUP = "make setup"
DONE = "--- done with block"


def blocks() -> list[tuple[str, str]]:
    """The blocks of the page: language and content."""
    text = PAGE.read_text(encoding="utf-8")
    return [(match[1], match[2]) for match in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S)]


def script() -> Iterator[str]:
    """The page as one script of a shell, because the first block activates the environment for all."""
    yield "set -euo pipefail"
    for number, (language, content) in enumerate(blocks()):
        if language == "sh":
            yield "\n".join(line for line in content.splitlines() if line != SETUP)
        elif language in ("yaml", "sql"):
            path = content.splitlines()[0].removeprefix("#").removeprefix("--").strip()
            yield f"mkdir -p $(dirname {path})\ncat > {path} <<'END OF FILE'\n{content}END OF FILE"
        yield f"echo '{DONE}' {number}"


def variables(copy: Path) -> dict[str, str]:
    """Those of someone who has never worked here; the package is the copy's."""
    ours = ("DAGSTER_", "DATAOPS_", "PYTEST_", "VIRTUAL_ENV", "DBT_")
    found = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    active = str(Path(sys.prefix) / "bin")
    found["PATH"] = os.pathsep.join(part for part in found["PATH"].split(os.pathsep) if part != active)
    return found | {"PYTHONPATH": str(copy)}


@pytest.mark.slow
def test_the_tutorial_gives_what_it_prints(tmp_path: Path) -> None:
    copy = project_copy(tmp_path / "project")
    (copy / ".venv").symlink_to(sys.prefix, target_is_directory=True)
    done = subprocess.run(
        ["bash"],
        input="\n".join(script()),
        cwd=copy,
        env=variables(copy),
        capture_output=True,
        text=True,
        timeout=6000,
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    printed = re.split(rf"{DONE} \d+\n", done.stdout)
    shown = [number for number, (language, _) in enumerate(blocks()) if language == "text"]
    assert shown
    for number in shown:
        assert printed[number - 1].strip() == blocks()[number][1].strip()
    wrong = "".join(printed[shown[-1] + 1 :])
    assert "amount_not_negative" in wrong
    assert "02.05.2024" in wrong


def test_the_first_commands_set_up_and_activate_the_environment() -> None:
    assert blocks()[0] == ("sh", f"{SETUP}\nsource .venv/bin/activate\n")
    assert {language for language, _ in blocks()} == {"sh", "yaml", "sql", "text"}
