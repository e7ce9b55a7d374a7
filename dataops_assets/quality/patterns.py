r"""Translates Python's regular expressions to the engine's.

The engine matches with RE2, which has no look-around and no back-references, and for which \d, \w and \s are ASCII.
In Python they match any script, so they are written out. \b and \B cannot be, and stay ASCII.
"""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

from dataops_assets.errors import ConfigError

_SPACE = r"\t\n\r\f\v\x{1c}-\x{1f}\x{85}\p{Z}"
_OUTSIDE = {
    "d": r"\p{Nd}",
    "D": r"\P{Nd}",
    "w": r"[\p{L}\p{N}_]",
    "W": r"[^\p{L}\p{N}_]",
    "s": f"[{_SPACE}]",
    "S": f"[^{_SPACE}]",
    "Z": r"\z",
}
_INSIDE = {"d": r"\p{Nd}", "D": r"\P{Nd}", "w": r"\p{L}\p{N}_", "s": _SPACE, "b": r"\x{8}"}
_FLAGS = {re.IGNORECASE: "i", re.MULTILINE: "m", re.DOTALL: "s"}


def engine_pattern(pattern: str | re.Pattern[str]) -> str:
    """Translate a Python pattern to RE2. Raises ConfigError if RE2 cannot express it."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError("reading a regular expression", received=f"{pattern!r}: {error}") from error
    known = re.UNICODE | re.IGNORECASE | re.MULTILINE | re.DOTALL
    flags = "".join(letter for flag, letter in _FLAGS.items() if compiled.flags & flag)
    translated = (f"(?{flags})" if flags else "") + "".join(
        _translated(compiled.pattern, bool(compiled.flags & re.MULTILINE))
    )
    try:
        pc.match_substring_regex(pa.array([""]), translated)
    except pa.ArrowInvalid as error:
        raise _unknown(compiled.pattern, str(error)) from error
    if compiled.flags & ~known:
        raise _unknown(compiled.pattern, f"flags {re.RegexFlag(compiled.flags & ~known)!r}")
    return translated


def _translated(pattern: str, is_multiline: bool) -> list[str]:
    found: list[str] = []
    in_class = False
    for item in re.findall(r"\\u[0-9a-fA-F]{4}|\\U[0-9a-fA-F]{8}|\\.|\[\^?\]?|\{,|.", pattern, re.DOTALL):
        if item[:2] in (r"\u", r"\U"):
            found.append(f"\\x{{{item[2:]}}}")
        elif item[0] == "\\":
            meaning = (_INSIDE if in_class else _OUTSIDE).get(item[1], item)
            if in_class and item[1] in "WS":
                raise _unknown(pattern, f"{item} inside [...]")
            # the engine does not match a repeated end either
            if meaning != r"\z" or found[-1:] != [meaning]:
                found.append(meaning)
        elif item[0] == "[" and in_class:
            # a bracket is text here; RE2 would look for [:class:]
            found.append(r"\[" + item[1:])
            in_class = not item.endswith("]")
        elif item[0] == "[":
            in_class = True
            found.append(item.replace("]", r"\]"))
        elif item == "]" and in_class:
            in_class = False
            found.append(item)
        elif item == "$" and not in_class and not is_multiline:
            # Python's end is also before a last line break
            found.append(r"(?:\n?\z)")
        elif item == "^" and not in_class and found[-1:] == ["^"]:
            # the engine does not match a repeated start, which means the same as a single one
            continue
        elif item == "{," and not in_class:
            found.append("{0,")
        else:
            found.append(item)
    return found


def _unknown(pattern: str, reason: str) -> ConfigError:
    return ConfigError(
        "compiling a regular expression for the engine",
        received=f"{pattern!r}: {reason}",
        next_step="write it without look-around, back-references and possessive quantifiers",
    )
