"""Locates an expression in a declaration, so that every error shows the place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from dataops_assets.errors import RuleError, RulePosition

# first and last character (both inclusive, from 0) of a part of an expression
TextSpan = tuple[int, int]


@dataclass(frozen=True)
class Place:
    """One declared expression: its source, whether it is a "rule" or a "validation", its name and its text."""

    source: str
    kind: str
    name: str
    text: str

    def error(
        self,
        problem: str,
        span: TextSpan | None = None,
        *,
        received: str = "",
        known: Sequence[str] = (),
        next_step: str = "",
    ) -> RuleError:
        """Return a RuleError that names this expression and shows `span` (or the whole expression)."""
        where = f"source {self.source!r}, {self.kind} {self.name!r}"
        line, column, excerpt = 0, 0, ""
        if self.text.strip():
            line, column, excerpt = _excerpt(self.text, *(span or _whole(self.text)))
            where += f", line {line}, column {column}"
        return RuleError(
            f"{where}: {problem}",
            RulePosition(self.source, self.name, line, column, excerpt),
            received=received,
            known=known,
            next_step=next_step,
        )


def span_of(node: exp.Expr) -> TextSpan | None:
    """Return the span of `node`, from the positions of its names and calls; None for a literal alone."""
    found = [part.meta for part in node.walk() if "start" in part.meta and "end" in part.meta]
    if not found:
        return None
    return min(meta["start"] for meta in found), max(meta["end"] for meta in found)


def _whole(text: str) -> TextSpan:
    start = len(text) - len(text.lstrip())
    return start, len(text.rstrip()) - 1


def _excerpt(text: str, start: int, end: int) -> tuple[int, int, str]:
    start = min(max(start, 0), len(text) - 1)
    begin = text.rfind("\n", 0, start) + 1
    stop = text.find("\n", start)
    shown = text[begin:] if stop < 0 else text[begin:stop]
    column = start - begin
    carets = max(1, min(end, begin + len(shown) - 1) - start + 1)
    # a tab before the place stays a tab, so that the caret is below the place
    indent = "".join("\t" if character == "\t" else " " for character in shown[:column])
    return text.count("\n", 0, start) + 1, column + 1, f"  {shown}\n  {indent}{'^' * carets}"
