"""The type that all values of a column have, and the words in it that mean null."""

from __future__ import annotations

import pytest

from dataops_assets.declaring.value_types import text_type
from dataops_assets.steps.parsing.typed_values import TextMarks


@pytest.mark.parametrize(
    ("values", "kind", "formats"),
    [
        (["1", "-2", "0"], "integer", ()),
        (["01", "02"], "text", ()),
        (["+49", "+50"], "text", ()),
        (["9223372036854775807"], "integer", ()),
        (["9223372036854775808"], "text", ()),
        (["1.5", "2.25", "3"], "decimal(18,2)", ()),
        (["12345678901234567.25"], "decimal(38,2)", ()),
        (["0.1234567"], "double", ()),
        (["1e5", "2.5"], "double", ()),
        (["true", "False"], "boolean", ()),
        (["yes", "no"], "text", ()),
        (["0", "1"], "integer", ()),
        (["2024-01-31", "2023-1-2"], "date", ("",)),
        (["2024-02-30", "2023-01-02"], "text", ()),
        (["31.01.2024", "01.02.2024"], "date", ("%d.%m.%Y",)),
        (["01/31/2024", "02/01/2024"], "date", ("%m/%d/%Y",)),
        (["01/02/2024", "03/04/2024"], "text", ()),
        (["01/01/2024", "02/02/2024"], "date", ("%d/%m/%Y",)),
        (["2024-01-31 10:00", "2024-01-31T10:00:01.5"], "timestamp", ("",)),
        (["2024-01-31T10:00:00Z", "2024-01-31T10:00:00+02:00"], "timestamptz", ("",)),
        (["31 Jan 2024", "1 Feb 2024"], "date", ("%d %b %Y",)),
        (["2024-01-31", "2024-02-01", "13.02.2024"], "date", ("", "%d.%m.%Y")),
        (["01/31/2024 1:30 PM", "02/01/2024 11:00 AM"], "timestamp", ("%m/%d/%Y %I:%M %p",)),
        (["20240131", "20240201"], "integer", ()),
        (["1704067200", "1704067201"], "integer", ()),
        (["a", "1"], "text", ()),
        ([], "text", ()),
    ],
)
def test_the_narrowest_type_of_all_values(values: list[str], kind: str, formats: tuple[str, ...]) -> None:
    found = text_type("x", values, has_nulls=False).type
    assert (found.type, found.formats) == (kind, formats)


def test_a_date_without_marks_needs_a_name_that_says_so() -> None:
    found = text_type("order_date", ["20240131", "20240201"], has_nulls=False).type
    assert (found.type, found.formats) == ("date", ("%Y%m%d",))


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (["1704067200", "1704067201"], "epoch_seconds"),
        (["1704067200123"], "epoch_milliseconds"),
        (["1704067200123456"], "epoch_microseconds"),
    ],
)
def test_a_number_since_1970_needs_a_name_that_says_so(values: list[str], word: str) -> None:
    found = text_type("updated_at", values, has_nulls=False).type
    assert (found.type, found.formats) == ("timestamptz", (word,))


@pytest.mark.parametrize(
    ("values", "kind", "words"),
    [
        (["1", "2", "NA"], "integer", ("NA",)),
        (["2024-01-01", "2024-01-02", "n/a", "-"], "date", ("-", "n/a")),
        (["red", "blue", "NA"], "text", ()),
        (["1", "NA"], "text", ()),
    ],
)
def test_words_for_null_are_those_that_no_other_value_is_like(
    values: list[str], kind: str, words: tuple[str, ...]
) -> None:
    found = text_type("x", values, has_nulls=False)
    assert (found.type.type, found.null_words) == (kind, words)


def test_numbers_are_read_in_the_notation_of_the_files() -> None:
    found = text_type("x", ["1.234,50", "-5,1"], has_nulls=False, marks=TextMarks(",", "."))
    assert found.type.type == "decimal(18,2)"


def test_integers_written_with_a_fraction_because_of_nulls_are_integers() -> None:
    assert text_type("x", ["1.0", "2.0"], has_nulls=True).type.type == "integer"
    assert text_type("x", ["1.0", "2.0"], has_nulls=False).type.type == "decimal(18,1)"
