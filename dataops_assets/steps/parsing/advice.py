"""Says what an input without declared columns looks like, so that the error names the cause and not its symptom."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dataops_assets.errors import nearest

_SEPARATORS = {";": "';'", "\t": "'\\t' (a tab)", "|": "'|'", ",": "','", "^": "'^'", "~": "'~'"}
# a number, a date or a time: what stands in a first row of data more often than in a header
_VALUE = re.compile(r"[+-]?[\d.,]*\d[\d.,]*(e[+-]?\d+)?|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T].*)?", re.IGNORECASE)


def advice(missing: Sequence[str], header: Sequence[str], new: Sequence[str]) -> str:
    """Return what to do about declared columns that are `missing` in an input; empty if it looks like nothing known.

    `header` are the columns of the input, `new` those of them that are not declared.
    """
    return _another_separator(missing, header) or _no_header(header, new) or _similar(missing, new)


def _another_separator(missing: Sequence[str], header: Sequence[str]) -> str:
    for separator, shown in _SEPARATORS.items():
        parts = {part.strip().strip("\"'") for name in header for part in name.split(separator)}
        # another separator makes more columns of the header, the missing ones among them
        if len(parts) > len(set(header)) and set(missing) <= parts:
            return f"the file looks separated by {shown}: set delimiter in the format of the connection"
    return ""


def _no_header(header: Sequence[str], new: Sequence[str]) -> str:
    values = [name for name in header if _VALUE.fullmatch(name.strip())]
    # no name is a declared one, and most are values
    if len(new) == len(header) > 1 and 2 * len(values) > len(header):
        return "the first line looks like data: deliver the file with a header line, or correct skip_rows"
    return ""


def _similar(missing: Sequence[str], new: Sequence[str]) -> str:
    return "; ".join(f"{name}: {hint}" for name in missing if (hint := nearest(name, new)))
