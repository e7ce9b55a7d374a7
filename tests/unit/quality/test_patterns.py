"""Regular expressions mean in the engine what they mean in Python, or are refused."""

from __future__ import annotations

import re
from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dataops_assets.errors import ConfigError
from dataops_assets.quality.patterns import engine_pattern

PIECES = [
    *(
        "a",
        "b",
        "1",
        ".",
        r"\d",
        r"\D",
        r"\w",
        r"\W",
        r"\s",
        r"\S",
        "[ab]",
        "[^a]",
        r"[\d_]",
        r"[^\w]",
        r"[\s1]",
        "[]b]",
        r"[\]a]",
    ),
    *(
        "(a|b)",
        "(?:1a)",
        "(?P<n>b)",
        "a?",
        "b*",
        "1+",
        "a{2}",
        "b{,2}",
        "1{1,}",
        r"\.",
        r"\\",
        r"\u00e9",
        r"\x41",
        "é",
        "$",
        "^",
        r"\Z",
    ),
]
# a group's name stands in a pattern once
PATTERNS = (
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join).filter(lambda text: text.count("?P<n>") < 2)
)
TEXTS = st.lists(st.text(st.sampled_from("ab1A_.\\]é\u0663日 \n\u2003\x85\x1f"), max_size=4), min_size=1, max_size=20)


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


@settings(max_examples=200, deadline=None)
@example(pattern=r"\Z\Z", texts=["1"])
@given(pattern=PATTERNS, texts=TEXTS)
def test_the_engine_finds_what_python_finds(engine: duckdb.DuckDBPyConnection, pattern: str, texts: list[str]) -> None:
    found = engine.execute(
        "SELECT regexp_matches(unnest($texts), $pattern)", {"texts": texts, "pattern": engine_pattern(pattern)}
    ).fetchall()
    assert [row[0] for row in found] == [re.search(pattern, text) is not None for text in texts]


@pytest.mark.parametrize(
    ("pattern", "text"),
    [(re.compile("^b", re.MULTILINE), "a\nb"), (re.compile("a.b", re.DOTALL), "a\nb"), (re.compile("AÉ", re.I), "aé")],
)
def test_flags_are_kept(engine: duckdb.DuckDBPyConnection, pattern: re.Pattern[str], text: str) -> None:
    assert engine.execute("SELECT regexp_matches($1, $2)", [text, engine_pattern(pattern)]).fetchall() == [(True,)]


@pytest.mark.parametrize(
    "pattern", ["(?=a)", "(?<!a)b", r"(a)\1", "(?P<n>a)(?P=n)", "a++", "(?>a)", "(", r"[\W]", "a{1001}"]
)
def test_what_the_engine_cannot_do_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigError, match="regular expression"):
        engine_pattern(pattern)


@pytest.mark.parametrize("flag", [re.VERBOSE, re.ASCII])
def test_flags_that_the_engine_does_not_have_are_refused(flag: re.RegexFlag) -> None:
    with pytest.raises(ConfigError, match="flags"):
        engine_pattern(re.compile("a", flag))
