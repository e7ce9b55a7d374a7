"""The report on paper: no colour of the dark page is left, which would be pale on white."""

from __future__ import annotations

import datetime as dt
import re

from dataops_assets.reporting.facts import Facts
from dataops_assets.reporting.page import Report, page


def test_paper_has_all_colours_of_its_own() -> None:
    text = page(Report(Facts(dt.datetime.now(dt.UTC))))
    begins = [text.index(f"@media {what}") for what in ("(prefers-color-scheme: dark)", "print")]
    # the later rule is the one that holds
    assert begins == sorted(begins)
    dark, paper = (dict(re.findall(r"(--[a-z]+): (#[0-9a-f]+)", text[at : text.index("}", at)])) for at in begins)
    assert dark
    assert dark.keys() == paper.keys()
    assert paper["--bg"] == "#fff"
    assert {name for name in dark if dark[name] == paper[name]} == set()
