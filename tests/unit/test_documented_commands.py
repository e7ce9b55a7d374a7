"""A command that the documentation shows exists, with the arguments it shows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
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


def test_commands_are_found() -> None:
    assert len({command for _, command in shown()}) > 30


@pytest.mark.parametrize(("page", "command"), sorted(set(shown())))
def test_a_shown_command_exists(
    page: str, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program, *words = shlex.split(command, comments=True)
    if program == "make":
        assert {word for word in words if "=" not in word} <= TARGETS
        return
    # all words are read and checked, and then nothing is done
    monkeypatch.setattr(AnswerCommand, "invoke", lambda _command, _context: None)
    is_whole = len(words) > 1 and not STANDS_FOR.search(" ".join(words))
    status = main(words if is_whole else [words[0], "--help"])
    assert status == 0, f"{page}: {command}: {capsys.readouterr().err}"


@pytest.mark.parametrize(
    "words",
    [["nothing"], ["status", "--nothing"], ["reset", "orders"], ["vacuum", "--keep-days", "x"], ["demo", "orders"]],
)
def test_wrong_words_are_noticed(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AnswerCommand, "invoke", lambda _command, _context: None)
    assert main(words) == 2
