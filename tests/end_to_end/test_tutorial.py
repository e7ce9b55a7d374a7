"""Every command and file of docs/tutorial.md, word for word and in its order, in a fresh copy of the project."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_dagster import PROJECT, LiveDagster, environment, free_port, running, wait_until
from pages import keep_picture, page_of
from playwright.sync_api import Browser, expect
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


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project_copy(tmp_path_factory.mktemp("tutorial") / "project")


@pytest.fixture(scope="module")
def printed(copy: Path) -> list[str]:
    """What each block of the page prints."""
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
    return re.split(rf"{DONE} \d+\n", done.stdout)


@pytest.mark.slow
def test_the_tutorial_gives_what_it_prints(printed: list[str]) -> None:
    shown = [number for number, (language, _) in enumerate(blocks()) if language == "text"]
    assert shown
    for number in shown:
        assert printed[number - 1].strip() == blocks()[number][1].strip()
    wrong = "".join(printed[shown[-1] + 1 :])
    assert "amount_not_negative" in wrong
    assert "02.05.2024" in wrong


@pytest.mark.slow
@pytest.mark.browser
def test_the_ui_shows_what_the_tutorial_shows(printed: list[str], copy: Path, browser: Browser) -> None:
    """The pictures of the page: `make pictures` takes them."""
    home, port = copy / ".dataops", free_port()
    # the command of the page did without Dagster's own settings
    settings = home / "dagster" / "dagster.yaml"
    settings.write_bytes((copy / "deploy" / "local" / "dagster.yaml").read_bytes())
    own = environment(home, PYTHONPATH=str(copy), DATAOPS_ENV="local")
    command = ["dagster-webserver", "--workspace", "workspace.yaml", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with running(command, own, copy.parent / "webserver.log", copy), page_of(browser, url) as page:
        server = LiveDagster(url, home / "landing", copy.parent / "webserver.log")
        wait_until(server.answers, "the webserver answers", 300)
        wait_until(lambda: "hub/orders" in server.assets(), "the code location is loaded", 300)
        page.goto("/locations/dataops_assets/asset-groups/shop/lineage")
        for name in ("orders_changes", "orders_enriched", "fct_orders"):
            expect(page.get_by_text(name, exact=True).first).to_be_visible()
        keep_picture(page, "tutorial-graph")
        page.goto("/assets/hub/orders")
        expect(page.get_by_text("One row for each order.").first).to_be_visible()
        expect(page.get_by_text("Latest materialization", exact=True)).to_be_visible()
        keep_picture(page, "tutorial-hub")
        page.goto("/assets/lake/orders?view=checks")
        page.get_by_text("schema", exact=True).first.click()
        expect(page.get_by_text("looks like %d.%m.%Y").first).to_be_visible()
        keep_picture(page, "tutorial-check")
    for name in re.findall(r"images/(\S+)\.png", PAGE.read_text(encoding="utf-8")):
        assert (PAGE.parent / "images" / f"{name}.png").exists()


def test_the_first_commands_set_up_and_activate_the_environment() -> None:
    assert blocks()[0] == ("sh", f"{SETUP}\nsource .venv/bin/activate\n")
    assert {language for language, _ in blocks()} == {"sh", "yaml", "sql", "text"}
