"""What a record of delimited text is, by example."""

from __future__ import annotations

import io
import time
from typing import Any

import pytest

from dataops_assets.connections.formats.csv_text import Dialect, records

NOT_CLOSED = "a quoted field is not closed before the end of the file"
AFTER_QUOTE = "text follows the closing quote of a field"


def read(text: str, dialect: Dialect = Dialect(",", '"', '"')) -> list[Any]:  # noqa: B008
    return [
        (record.line, *(record.fields if record.problem is None else [record.problem]))
        for record in records(io.StringIO(text, newline=""), dialect)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("a,b\n\nc,d", [(1, "a", "b"), (3, "c", "d")]),
        ("a,b\r\nc,d\re,f\n", [(1, "a", "b"), (2, "c", "d"), (3, "e", "f")]),
        (",\n", [(1, "", "")]),
        ('"",""\n', [(1, "", "")]),
        ('"a ""b""",c\n', [(1, 'a "b"', "c")]),
        ('"a\r\nb",c\nd,e\n', [(1, "a\r\nb", "c"), (3, "d", "e")]),
        ('a"b,"c"\n', [(1, 'a"b', "c")]),
        (' "a" , "b,c" \n', [(1, "a", "b,c")]),
        (" a , b \n", [(1, " a ", " b ")]),
        ('"a"b,c\nd,e\n', [(1, AFTER_QUOTE), (2, "d", "e")]),
        ('a,"b\nc,d\ne,f\n', [(1, NOT_CLOSED), (2, "c", "d"), (3, "e", "f")]),
        ('a,"b\nc,"d\ne,f\n', [(1, AFTER_QUOTE), (3, "e", "f")]),
    ],
)
def test_records(text: str, expected: list[Any]) -> None:
    assert read(text) == expected


def test_other_marks() -> None:
    assert read("'a\\'b'||c'd\n", Dialect("||", "'", "\\")) == [(1, "a'b", "c'd")]
    assert read('"a\tb"\tc\n', Dialect("\t", "", "")) == [(1, '"a', 'b"', "c")]
    assert read('"a" "b c"\n', Dialect(" ", '"', '"')) == [(1, "a", "b c")]
    assert read('"a""b",c\n', Dialect(",", '"', "")) == [(1, AFTER_QUOTE)]


@pytest.mark.parametrize(
    ("begin", "repeated", "end"),
    [('"', "x\n", ""), ('"', '""\n', ""), ("", 'a,"b\n', ""), ('"', '""', ""), ("", "  ", '"')],
)
def test_time_is_linear_in_the_text_however_its_quotes_stand(begin: str, repeated: str, end: str) -> None:
    """Eight times the text may take 30 times the time, whatever the machine does beside it; a square takes 64 times."""

    def seconds(times: int) -> float:
        text = begin + repeated * times + end
        started = time.process_time()
        assert read(text)
        return time.process_time() - started

    short, long = (min(seconds(times) for _ in range(3)) for times in (2_500, 20_000))
    assert long < 30 * short
