"""Picks the facts that the last run of a sensor did not report, so that each fact is reported once.

A fact is the text of a message that stays true: an input is held, a file cannot be taken. A fact that changes is a new
one, and so is a fact that comes back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

_MOST = 500
_MARK = 8


class ToldOnce:
    """The facts of one look. It is made of the token of the look before, and gives the token for the next one."""

    def __init__(self, token: str) -> None:
        self._before = frozenset(token.split(","))
        self._now: dict[str, None] = {}
        self.repeated = 0

    def fresh(self, facts: Sequence[str]) -> list[str]:
        """Return the facts that the last look did not report.

        The token has a limited size: facts beyond the first 500 of one kind are told by their number.
        """
        rest = len(facts) - _MOST
        found = []
        for fact in [*facts[:_MOST], *([f"{rest:,} more like these"] if rest > 0 else [])]:
            mark = hashlib.sha256(fact.encode()).hexdigest()[:_MARK]
            if mark in self._before:
                self.repeated += 1
            elif mark not in self._now:
                found.append(fact)
            self._now[mark] = None
        return found

    @property
    def token(self) -> str:
        """Return the token for the next look."""
        return ",".join(sorted(self._now))
