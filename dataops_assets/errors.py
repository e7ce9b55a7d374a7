"""Typed failures of the platform.

Every error says what was attempted, what was received, what is known, and what to do next. `permanent` tells a caller
whether trying the same thing again can help: a permanent fault (a wrong file, a failed gate) needs a change of input
or configuration, a transient one (a lost race, an unreachable store) does not.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from dataops_assets.masking import mask


class DataOpsError(Exception):
    """Base of all platform errors.

    `attempted`: what the platform was doing. `received`: the value or state it met. `known`: the valid alternatives.
    `next_step`: what a person can do about it.
    Secrets are masked in all of them.
    """

    permanent = True

    def __init__(self, attempted: str, *, received: str = "", known: Sequence[str] = (), next_step: str = "") -> None:
        self.attempted = mask(attempted)
        self.received = mask(received)
        self.known = tuple(mask(item) for item in known)
        self.next_step = mask(next_step)
        super().__init__(mask(self._message()))

    def _message(self) -> str:
        parts = [self.attempted]
        if self.received:
            parts.append(f"received: {self.received}")
        if self.known:
            parts.append(f"known: {', '.join(self.known)}")
        if self.next_step:
            parts.append(f"next: {self.next_step}")
        return "; ".join(parts)


class ConfigError(DataOpsError):
    """A declaration or setting is wrong; nothing was run."""


class InputError(DataOpsError):
    """An input cannot be taken as it is (truncated, wrong type, null key, ...); the hub is untouched."""


class InputHeld(DataOpsError):
    """An input waits for a person's approval; nothing of it was published."""


class InputWaits(DataOpsError):
    """An input waits until another source is recent enough; nothing of it was published."""


class GateFailed(DataOpsError):
    """A blocking check failed before publishing; nothing was published."""


class RuleError(ConfigError):
    """A rule expression is wrong.

    `source` and `rule` name it; `line` and `column` (from 1) say where in the expression, `excerpt` shows that line
    with a caret below the place; all three are empty where the fault has no place.
    """

    def __init__(
        self,
        attempted: str,
        *,
        received: str = "",
        known: Sequence[str] = (),
        next_step: str = "",
        source: str = "",
        rule: str = "",
        line: int = 0,
        column: int = 0,
        excerpt: str = "",
    ) -> None:
        self.source = source
        self.rule = rule
        self.line = line
        self.column = column
        self.excerpt = excerpt
        super().__init__(attempted, received=received, known=known, next_step=next_step)

    def _message(self) -> str:
        message = super()._message()
        return f"{message}\n{self.excerpt}" if self.excerpt else message


class StorageError(DataOpsError):
    """A table or raw object could not be read or written; the last published version stays readable."""

    permanent = False


class RunDied(DataOpsError):
    """A run ended without telling what became of its inputs: it was killed, or memory or disk ran out."""

    permanent = False


class GivenUp(DataOpsError):
    """Several runs for one input ended without a result; the next try waits, longer each time."""

    permanent = False


class Damaged(StorageError):
    """What was stored is not what was written, and another try reads the same: a person must restore or reset it."""

    permanent = True


class CommitConflict(StorageError):
    """Another writer published first; read the new version and try again."""


def nearest(name: str, known: Sequence[str]) -> str:
    """A `did you mean` hint for `name`, or an empty string where nothing is close."""
    match = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {match[0]!r}?" if match else ""
