"""Kinds of unhealthy texts: blanks, strange characters, traces of other formats."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from dataops_assets.declaring.health.finding import ColumnView, Finding

_STRANGE_BLANKS = re.compile("[\u00a0\u1680\u2000-\u200f\u2028\u2029\u202f\u205f\u2060\u3000\ufeff\u00ad]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f]")
_ENTITY = re.compile(r"&(?:[a-zA-Z]{2,8}|#[0-9]{1,6}|#x[0-9a-fA-F]{1,5});")
_TAG = re.compile(r"</?(?:br|p|div|span|b|i|strong|em|a|li|ul|td|tr|table|img)(?:\s[^<>]*)?/?>", re.IGNORECASE)
# UTF-8 that was read as Windows-1252: a letter of the first bytes, then one of the second bytes
_MOJIBAKE = re.compile(
    "[\u00c2\u00c3][\u0080-\u00bf\u20ac\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\u017d"
    "\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\u017e\u0178]|\u00e2\u20ac.|\u00ef\u00bf\u00bd"
)
_ERRORS = re.compile(r"#(?:REF|VALUE|DIV/0|NAME|NULL|NUM|SPILL|CALC)[!?]|#N/A|#GETTING_DATA", re.IGNORECASE)
_SCIENTIFIC = re.compile(r"[0-9](?:[.,][0-9]+)?E\+[0-9]{1,2}")
_LEAST_CUT = 10
_PARTS = re.compile(r"[^;|]+")


def blanks_at_ends(view: ColumnView) -> Finding | None:
    """Blanks before or after a value."""
    bad = [text for text in view.values if text != text.strip(" \t") and text.strip()]
    return view.found("blanks_at_ends", "values have blanks at their start or end", bad)


def blank_texts(view: ColumnView) -> Finding | None:
    """Values of blanks alone, which are no nulls."""
    bad = [text for text in view.values if text and not text.strip()]
    return view.found("blank_texts", "values are only blanks: add them to null_words if they mean null", bad)


def repeated_blanks(view: ColumnView) -> Finding | None:
    """Several blanks between words, in a column where most values have one."""
    bad = [text for text in view.values if re.search(r"\S  +\S", text)]
    if 2 * len(bad) > len(view.values):
        return None
    return view.found("repeated_blanks", "values have several blanks between words", bad)


def non_standard_blanks(view: ColumnView) -> Finding | None:
    """Characters that look like a blank, or like nothing, but are not the usual blank."""
    bad = [text for text in view.values if _STRANGE_BLANKS.search(text)]
    found = view.found("non_standard_blanks", "", bad)
    if found is None:
        return None
    signs = sorted({sign for text in bad for sign in _STRANGE_BLANKS.findall(text)})
    names = ", ".join(unicodedata.name(sign, f"U+{ord(sign):04X}").lower() for sign in signs[:3])
    what = f"values have blanks or invisible characters that are no plain blanks: {names}"
    return Finding(found.kind, found.column, what, found.rows, tuple(map(ascii, found.examples)))


def control_characters(view: ColumnView) -> Finding | None:
    """Characters that nobody types."""
    bad = [text for text in view.values if _CONTROL.search(text)]
    found = view.found("control_characters", "values have control characters", bad)
    if found is None:
        return None
    return Finding(found.kind, found.column, found.what, found.rows, tuple(map(ascii, found.examples)))


def mojibake(view: ColumnView) -> Finding | None:
    """Text that was read in a wrong encoding once."""
    bad = [text for text in view.values if _MOJIBAKE.search(text) or "\ufffd" in text]
    return view.found("mojibake", "values look as if they were read in a wrong encoding before they were sent", bad)


def markup(view: ColumnView) -> Finding | None:
    """Traces of HTML."""
    bad = [text for text in view.values if _ENTITY.search(text) or _TAG.search(text)]
    return view.found("markup", "values have HTML entities or tags", bad)


def spreadsheet_errors(view: ColumnView) -> Finding | None:
    """Errors of a spreadsheet."""
    bad = [text for text in view.values if _ERRORS.fullmatch(text.strip())]
    return view.found("spreadsheet_errors", "values are errors of a spreadsheet", bad)


def scientific_codes(view: ColumnView) -> Finding | None:
    """Long numbers that a spreadsheet has shortened to 1.23E+11."""
    if view.family not in ("text", "double"):
        return None
    bad = [text for text in view.values if _SCIENTIFIC.fullmatch(text.strip())]
    whole = [text for text in view.values if re.fullmatch(r"[0-9]{9,}", text.strip())]
    if not bad or (len(bad) < len(view.values) and not whole):
        return None
    return view.found("scientific_codes", "values look like codes that a spreadsheet has shortened", bad)


def kept_quotes(view: ColumnView) -> Finding | None:
    """Quotes around a value that belong to the notation and not to the value."""
    bad = [text for text in view.words if len(text) > 2 and text[0] == text[-1] and text[0] in "\"'"]
    return view.found("kept_quotes", "values have quotes around them", bad)


def cut_texts(view: ColumnView) -> Finding | None:
    """Texts that were cut at a fixed length: many have exactly the greatest length, and end within a word."""
    if not view.is_text or not view.facts.is_complete:
        return None
    lengths = Counter(len(text) for text in view.words)
    longest = max(lengths, default=0)
    if longest < _LEAST_CUT or len(lengths) < _LEAST_CUT // 2:
        return None
    cut = [text for text in view.words if len(text) == longest]
    near = sum(lengths[length] for length in range(longest - 5, longest)) / 5
    # free text has fewer texts of a length the longer they are
    if len(cut) < 5 or len(cut) < 4 * max(near, 1) or not all(" " in text for text in cut):
        return None
    return view.found("cut_texts", f"{len(cut):,} texts have exactly {longest} characters, as if cut there", cut)


def lists_in_values(view: ColumnView) -> Finding | None:
    """Several values in one field."""
    if not view.is_text or len(view.words) < 2:
        return None
    parts = {text: [part.strip() for part in _PARTS.findall(text)] for text in view.words}
    several = [text for text, found in parts.items() if len(found) > 1]
    known = Counter(part for found in parts.values() for part in found)
    # the parts come again, alone or in other lists
    shared = [text for text in several if all(known[part] > 1 for part in parts[text])]
    if len(shared) < 3 or 2 * len(shared) < len(several):
        return None
    return view.found("lists_in_values", "values are lists of several values", shared)


def line_breaks(view: ColumnView) -> Finding | None:
    """Line ends within a value, in a column of short values."""
    bad = [text for text in view.values if "\n" in text or "\r" in text]
    found = view.found("line_breaks", "values have line ends", bad)
    if found is None or view.facts.longest > 200:
        return None
    return Finding(found.kind, found.column, found.what, found.rows, tuple(map(ascii, found.examples)))


KINDS = (
    blanks_at_ends,
    blank_texts,
    repeated_blanks,
    non_standard_blanks,
    control_characters,
    mojibake,
    markup,
    spreadsheet_errors,
    scientific_codes,
    kept_quotes,
    cut_texts,
    lists_in_values,
    line_breaks,
)
