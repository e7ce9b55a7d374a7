"""Kinds of unhealthy codes and categories: variants of one value, values of another pattern, too many or too few."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from dataops_assets.declaring.candidate_keys import is_named_as_key
from dataops_assets.declaring.health.finding import ColumnView, Finding, number_of, time_of
from dataops_assets.declaring.value_types import is_null_word

_LEAST_ROWS = 20
_FEW = 0.05
_MOST_CATEGORIES = 1_000
_YES = frozenset(("y", "yes", "true", "t", "1", "ja", "j", "oui", "si", "x", "on"))
_NO = frozenset(("n", "no", "false", "f", "0", "nein", "non", "off"))
_WORDS = {"y", "yes", "true", "ja", "oui", "no", "n", "false", "nein"}
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]*")
_LONG_TEXT = 25
_ISO = ("",)


def case_variants(view: ColumnView) -> Finding | None:
    """Categories that differ only in upper and lower case."""
    return _variants(view, "case_variants", str.casefold, "values differ only in upper and lower case")


def similar_categories(view: ColumnView) -> Finding | None:
    """Categories that differ only in blanks, punctuation or accents."""
    return _variants(view, "similar_categories", _letters, "values differ only in blanks, punctuation or accents")


def _variants(view: ColumnView, kind: str, same: Callable[[str], str], what: str) -> Finding | None:
    if not view.is_text or view.facts.distinct > _MOST_CATEGORIES or not _repeat(view):
        return None
    groups: dict[str, list[str]] = defaultdict(list)
    for text in view.words:
        groups[same(text)].append(text)
    variants = []
    for group, found in groups.items():
        # what differs in case is another kind; a letter or digit alone says little
        if len({text.casefold().strip() for text in found} if same is _letters else found) > 1 and len(group) > 1:
            variants += found
    return view.found(kind, what, variants)


def _repeat(view: ColumnView) -> bool:
    """Return whether the column has categories: values that come again."""
    return view.shown >= 2 * max(len(view.values), 1) or len(view.values) <= 20 < view.shown


def _letters(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(sign for sign in plain if sign.isalnum())
    # a number is its digits and its marks
    return text if not letters or letters.isdigit() else letters


def yes_no_variants(view: ColumnView) -> Finding | None:
    """Yes and no, written in more than two ways."""
    known = {text: text.strip().casefold() for text in view.words}
    there = set(known.values())
    if not there & _WORDS or not there <= _YES | _NO or len(there & _YES) + len(there & _NO) < 3:
        return None
    return view.found("yes_no_variants", "yes and no are written in several ways", known)


def null_words_in_text(view: ColumnView) -> Finding | None:
    """Words for a missing value that stay in the column as texts."""
    if view.family != "text":
        return None
    bad = [text for text in view.values if is_null_word(text)]
    if len(bad) == len(view.values) or any(len(text) == 1 and text.isalnum() for text in bad):
        bad = [text for text in bad if not text.isalnum()] if len(bad) < len(view.values) else bad
    # a code such as NA for Namibia stands among other codes of two letters
    codes = [text for text in view.words if re.fullmatch(r"[A-Z]{2}", text)]
    if len(codes) > 5 and 10 * len(codes) >= 9 * len(view.words):
        bad = [text for text in bad if not (len(text) == 2 and text.isalpha())]
    what = "values look like words for a missing value: add them to the column's null_words if they are"
    return view.found("null_words_in_text", what, bad)


def mixed_types(view: ColumnView) -> Finding | None:
    """Texts among numbers or dates."""
    if not view.is_text or len(view.words) < 5:
        return None
    numbers = {
        text for text in view.words if number_of(text) is not None or number_of(text.replace(",", ".")) is not None
    }
    times = {text for text in view.words if text not in numbers and time_of(text, _ISO) is not None}
    for found, name in ((numbers, "numbers"), (times, "dates")):
        others = [text for text in view.words if text not in found]
        rows = sum(view.words[text] for text in others)
        # codes with zeros before them are no numbers
        zeros = sum(1 for text in found if re.match(r"0[0-9]", text.strip()))
        if found and others and rows <= 0.2 * view.shown and not zeros and len(found) > 2 * len(others):
            return view.found("mixed_types", f"most values are {name}, and some are not", others)
    return None


def another_pattern(view: ColumnView) -> Finding | None:
    """A few codes of another shape than all others: AB-1234 beside 1234-AB."""
    if not view.is_text or view.shown < _LEAST_ROWS or view.facts.distinct < 5:
        return None
    shapes: dict[str, list[str]] = defaultdict(list)
    for text in view.words:
        shapes[_shape(text)].append(text)
    if len(shapes) < 2:
        return None
    rows = {shape: sum(view.words[text] for text in found) for shape, found in shapes.items()}
    usual = max(rows, key=lambda shape: rows[shape])
    total = sum(rows.values())
    # a code has digits, or is short and in capital letters
    if not re.search("9", usual) and not re.fullmatch("A{1,5}", usual):
        return None
    # a number with a unit has as many digits as it needs
    if " " in usual or re.search("9[.,]9", usual) or rows[usual] < (1 - _FEW) * total or len(shapes[usual]) < 5:
        return None
    others = [text for shape, found in shapes.items() if shape != usual for text in found]
    if all(number_of(text) is not None or time_of(text, _ISO) is not None for text in shapes[usual]):
        # texts among numbers or dates are another kind
        return None
    return view.found("another_pattern", f"almost all values have the form {shapes[usual][0]!r}; these do not", others)


def _shape(text: str) -> str:
    return "".join(
        "9" if sign.isdigit() else "A" if sign.isupper() else "a" if sign.isalpha() else sign for sign in text.strip()
    )


def mixed_case_codes(view: ColumnView) -> Finding | None:
    """Codes in capital letters, with a few in small ones."""
    if not view.is_text or view.shown < _LEAST_ROWS:
        return None
    codes = {
        text: count for text, count in view.words.items() if _CODE.fullmatch(text) and text.upper() != text.lower()
    }
    if len(codes) < len(view.words) or not codes or max(map(len, codes)) > 12:
        return None
    lower = [text for text in codes if text == text.lower()]
    upper = [text for text in codes if text == text.upper()]
    for few, many in ((lower, upper), (upper, lower)):
        rows = sum(codes[text] for text in few)
        if few and len(few) + len(many) == len(codes) and rows <= 0.1 * view.shown and len(many) >= len(few):
            return view.found("mixed_case_codes", "most codes are in one case of letters, and some in the other", few)
    return None


def text_in_codes(view: ColumnView) -> Finding | None:
    """Sentences among codes."""
    if not view.is_text or view.shown < _LEAST_ROWS:
        return None
    sentences = [text for text in view.words if len(text) > _LONG_TEXT and text.count(" ") >= 2]
    codes = [text for text in view.words if _CODE.fullmatch(text) and len(text) <= 12]
    rows = sum(view.words[text] for text in sentences)
    if len(codes) + len(sentences) < len(view.words) or rows > _FEW * view.shown:
        return None
    return view.found("text_in_codes", "almost all values are short codes, and some are sentences", sentences)


def leading_zeros(view: ColumnView) -> Finding | None:
    """Codes of digits, some with zeros before them and some without: zeros were lost on the way."""
    if not view.is_text:
        return None
    digits = [text for text in view.words if text.strip().isdigit()]
    if 2 * len(digits) < len(view.words) or len(digits) < 3:
        return None
    lengths = Counter(len(text.strip()) for text in digits)
    longest = max(lengths)
    zeros = [text for text in digits if text.strip().startswith("0") and len(text.strip()) == longest and longest > 1]
    short = [text for text in digits if len(text.strip()) < longest]
    if not zeros or not short or lengths[longest] < 3 or any(text.strip().startswith("0") for text in short):
        return None
    return view.found(
        "lost_zeros", f"codes have {longest} digits with zeros before them, and some have lost these", short
    )


def almost_constant(view: ColumnView) -> Finding | None:
    """One value in all rows."""
    if view.facts.distinct != 1 or view.facts.present < _LEAST_ROWS or view.facts.nulls:
        return None
    return view.found("constant", "all rows have the same value", view.values)


def almost_unique(view: ColumnView) -> Finding | None:
    """A column that looks like a key, with a few values that come twice."""
    facts = view.facts
    if facts.present < _LEAST_ROWS or facts.distinct == facts.present or not is_named_as_key(view.declared.name):
        return None
    repeated = [text for text, count in view.values.items() if count > 1]
    extra = facts.present - facts.distinct
    if extra > max(0.02 * facts.present, 1) or view.family not in ("integer", "text"):
        return None
    return view.found(
        "almost_unique", f"{extra:,} of {facts.present:,} rows repeat a value of what looks like a key", repeated
    )


def no_values(view: ColumnView) -> Finding | None:
    """A column without values."""
    if view.facts.present or not view.facts.rows:
        return None
    return Finding("no_values", view.declared.name, "the column has no value in any row", view.facts.rows)


def mostly_null(view: ColumnView) -> Finding | None:
    """A column with hardly any value."""
    facts = view.facts
    if facts.rows < _LEAST_ROWS or not facts.present or facts.present > _FEW * facts.rows:
        return None
    what = f"only {facts.present:,} of {facts.rows:,} rows have a value"
    return Finding("mostly_null", view.declared.name, what, facts.nulls, tuple(sorted(view.values))[:5])


KINDS: Sequence[Callable[[ColumnView], Finding | None]] = (
    case_variants,
    similar_categories,
    yes_no_variants,
    null_words_in_text,
    mixed_types,
    another_pattern,
    mixed_case_codes,
    text_in_codes,
    leading_zeros,
    almost_constant,
    almost_unique,
    no_values,
    mostly_null,
)
