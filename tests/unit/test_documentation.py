"""The site has every page in its navigation, every link leads somewhere, and the index of decisions is complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
DOCS = PROJECT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *PROJECT.glob("*.md"), *(PROJECT / "examples").glob("*.md")])


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r": ([\w/-]+\.md)$", (PROJECT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert listed == {page for page in pages if not re.match(r"decisions/\d", page)}


def test_every_decision_is_in_the_index_under_its_title() -> None:
    listed = re.findall(
        r"^\| \[\d+\]\((\S+)\) \| (.*) \|$", (DOCS / "decisions" / "index.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    titles = [
        (page.name, re.sub(r"^# \d+\. ", "", page.read_text(encoding="utf-8").partition("\n")[0]))
        for page in sorted((DOCS / "decisions").glob("0*.md"))
    ]
    assert listed == titles


def test_a_number_stands_for_one_decision() -> None:
    numbers = [page.name[:4] for page in (DOCS / "decisions").glob("0*.md")]
    assert len(numbers) == len(set(numbers))


def anchor(heading: str) -> str:
    """The name that a heading's link has, on GitHub and in the site."""
    return re.sub(r"[^\w -]", "", re.sub(r"<[^>]+>", "", heading).strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(PROJECT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", target):
            continue
        place, _, part = target.partition("#")
        other = (page.parent / place).resolve() if place else page
        assert other.exists(), target
        if part:
            headings = re.findall(r"^#+ (.*)$", other.read_text(encoding="utf-8"), re.MULTILINE)
            assert part in [anchor(heading) for heading in headings], target


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_how_to_activate_the_environment_stands_where_the_first_command_stands(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for block in re.finditer(r"^```(?:sh|bash)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if re.search(r"^(dataops|dg|dbt) ", block[1], re.MULTILINE):
            assert "source .venv/bin/activate" in text[: block.end()]
            return
