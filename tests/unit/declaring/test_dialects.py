"""How a text is delimited: delimiter, quote, escape, header, lines before the header."""

from __future__ import annotations

import pytest

from dataops_assets.declaring.dialects import layout_of


@pytest.mark.parametrize(
    ("text", "delimiter", "quote", "escape", "header", "skip"),
    [
        ("a,b\n1,2\n3,4\n", ",", '"', '"', True, 0),
        ("a;b;c\n1;2,5;x\n3;4,5;y\n", ";", '"', '"', True, 0),
        ("1,5;2,5\n3,5;4,5\n6,1;7,2\n", ";", '"', '"', False, 0),
        ("a\tb\n1\tx, y\n2\tz, y\n", "\t", '"', '"', True, 0),
        ("a|b\n1|x\n2|y\n", "|", '"', '"', True, 0),
        ('a,b\n1,"x, ""y"""\n2,"z"\n', ",", '"', '"', True, 0),
        ('a,b\n1,"x \\"y\\", z"\n2,"z"\n3,"a \\"b\\""\n', ",", '"', "\\", True, 0),
        ("a,b\n1,'x, y'\n2,'z, y'\n3,'q'\n", ",", "'", "'", True, 0),
        ('a,b\n1,"x\ny"\n2,"z"\n', ",", '"', '"', True, 0),
        ("Report of June\n\na,b,c\n1,2,3\n4,5,6\n7,8,9\n", ",", '"', '"', True, 2),
        ("1,2,x\n3,4,y\n5,6,z\n", ",", '"', '"', False, 0),
        ("country,2019,2020,2021\nA,5,6,7\nB,8,9,1\n", ",", '"', '"', True, 0),
        ("id\n1\n2\n", ",", '"', '"', True, 0),
        ("name,city\nAnn,Oslo\nBob,Rome\n", ",", '"', '"', True, 0),
        ("red,yes\nblue,no\nred,no\nblue,yes\nred,yes\n", ",", '"', '"', False, 0),
        ("a b\n1 2.5\n3 4.5\n", " ", "", "", True, 0),
        ('a,b,c\n1,"x, y",2\n2,"z, y",3\n3,"u, v",4\n', ",", '"', '"', True, 0),
        (",a,b\n0,1,2\n1,3,4\n", ",", '"', '"', True, 0),
    ],
)
def test_the_layout_of_a_text_is_found(
    text: str, delimiter: str, quote: str, escape: str, header: bool, skip: int
) -> None:
    found = layout_of([text])
    assert (found.dialect.delimiter, found.dialect.quote, found.dialect.escape) == (delimiter, quote, escape)
    assert (found.header, found.skip_rows) == (header, skip)
