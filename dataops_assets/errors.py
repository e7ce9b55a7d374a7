"""Typed errors of the platform.

Every error says what was attempted, what was received, what is known, and what to do next. `permanent` says
whether a retry can help. A permanent error (a wrong file, a failed gate) needs a change of the input or the
configuration. A transient error (a lost race, an unreachable store) needs only another try.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from dataops_assets.masking import mask

_NEXT = "next: "


class DataOpsError(Exception):
    """Base of all platform errors.

    * `attempted`: what the platform was doing.
    * `received`: the value or state that it found.
    * `known`: the valid alternatives.
    * `next_step`: what a person can do.

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
            parts.append(f"{_NEXT}{self.next_step}")
        return "; ".join(parts)


class ConfigError(DataOpsError):
    """A declaration or setting is wrong; nothing was run."""


class InputError(DataOpsError):
    """An input cannot be accepted (truncated, wrong type, null key, ...); the hub is unchanged."""


class EmptyFile(InputError):
    """A file has no bytes, or unpacks to none: perhaps its content was lost on the way."""


class InputHeld(DataOpsError):
    """An input waits for a person's approval; nothing of it was published."""


class InputWaits(DataOpsError):
    """An input waits until another source is recent enough; nothing of it was published."""


class GateFailed(DataOpsError):
    """A blocking check failed before publishing; nothing was published."""


@dataclass(frozen=True)
class RulePosition:
    """The rule that an error is about, and where in its expression.

    `line` and `column` (from 1) are the position in the expression, and `excerpt` shows that line with a caret below
    the position. All three are empty if the error has no position.
    """

    source: str = ""
    rule: str = ""
    line: int = 0
    column: int = 0
    excerpt: str = ""


class RuleError(ConfigError):
    """A rule expression is wrong; `at` is the rule and the position in its expression."""

    def __init__(
        self,
        attempted: str,
        at: RulePosition,
        *,
        received: str = "",
        known: Sequence[str] = (),
        next_step: str = "",
    ) -> None:
        self.at = at
        super().__init__(attempted, received=received, known=known, next_step=next_step)

    def _message(self) -> str:
        message = super()._message()
        return f"{message}\n{self.at.excerpt}" if self.at.excerpt else message


class StorageError(DataOpsError):
    """A table or raw object could not be read or written; the last published version stays readable."""

    permanent = False


class LookFailed(DataOpsError):
    """A look for new inputs of a source ended with an error that no part of it expected; the next look tries again."""

    permanent = False


class RunDied(DataOpsError):
    """A run ended without a result for its inputs: it was killed, or it ran out of memory or disk."""

    permanent = False


class GivenUp(DataOpsError):
    """Several runs for one input ended without a result; the next try waits, longer each time."""

    permanent = False


class Damaged(StorageError):
    """Stored data differ from what was written. A retry reads the same data, so a person must restore or reset them."""

    permanent = True


class CommitConflict(StorageError):
    """Another writer published first; read the new version and try again."""


def is_permanent(name: str) -> bool:
    """Return whether errors of the class with this name are permanent; False for a name that is not known."""
    kind = globals().get(name)
    return isinstance(kind, type) and issubclass(kind, DataOpsError) and kind.permanent


def split_next_step(text: str) -> tuple[str, str]:
    """Split the stored text of an error into what happened, and what to do next ('' if the error does not say it)."""
    what, found, next_step = text.rpartition(f"; {_NEXT}")
    return (what, next_step) if found else (text, "")


def nearest(name: str, known: Sequence[str]) -> str:
    """Return a `did you mean` hint for `name`, or an empty string if no known name is similar.

    A name that differs in case, spaces or punctuation alone comes first.
    """
    same = [other for other in known if _letters(other) == _letters(name)]
    match = same or difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {match[0]!r}?" if match else ""


def _letters(name: str) -> str:
    """Return letters and digits of a name, or the name itself if it has none."""
    return "".join(sign for sign in name.casefold() if sign.isalnum()) or name
