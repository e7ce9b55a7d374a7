"""A command that the documentation shows exists, with the arguments it shows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path

import pytest

from dataops_assets.operations.cli import main
from dataops_assets.operations.command import AnswerCommand

PROJECT = Path(__file__).resolve().parents[2]
PAGES = sorted([*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md"), *(PROJECT / "examples").glob("*.md")])
TARGETS = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
# a word that stands for another one: <source>, [source], SOURCE, …
STANDS_FOR = re.compile(r"[<\[…]|\.\.\.|\b[A-Z]{3,}\b")


def shown() -> Iterator[tuple[str, str]]:
    """Every `dataops` and `make` command, with its page."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"^ *```(?:sh|bash)?\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
        lines = [line for block in blocks for line in block.splitlines()]
        inline = re.findall(r"`((?:dataops|make) [^`\n]+)`", re.sub(r"^ *```.*?^ *```$", "", text, flags=re.M | re.S))
        for command in (*lines, *inline):
            for part in re.split(r"&&|\|\||[|>]", command):
                if part.strip().startswith(("dataops ", "make ")):
                    yield str(page.relative_to(PROJECT)), part.strip()


@cache
def answer(*words: str) -> tuple[int, str]:
    """Status and messages of a command whose words are all read and checked, and which then does nothing.

    Many pages show one command, and many commands are known by their name alone: each is asked once.
    """
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(StringIO()), redirect_stderr(StringIO()) as told:
        patched.setattr(AnswerCommand, "invoke", lambda _command, _context: None)
        return main(list(words)), told.getvalue()


def test_commands_are_found() -> None:
    assert len({command for _, command in shown()}) > 30


@pytest.mark.parametrize(("page", "command"), sorted(set(shown())))
def test_a_shown_command_exists(page: str, command: str) -> None:
    program, *words = shlex.split(command, comments=True)
    if program == "make":
        assert {word for word in words if "=" not in word} <= TARGETS
        return
    is_whole = len(words) > 1 and not STANDS_FOR.search(" ".join(words))
    status, told = answer(*words) if is_whole else answer(words[0], "--help")
    assert status == 0, f"{page}: {command}: {told}"


@pytest.mark.parametrize(
    "words",
    [["nothing"], ["status", "--nothing"], ["reset", "orders"], ["vacuum", "--keep-days", "x"], ["demo", "orders"]],
)
def test_wrong_words_are_noticed(words: list[str]) -> None:
    assert answer(*words)[0] == 2
