"""Tokens of templates stand for a name, a number or a text, and never for more."""

from __future__ import annotations

import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st
from rule_cases import value_of

from dataops_assets.errors import ConfigError
from dataops_assets.rules.tokens import filled, filled_sql, tokens_of, unused
from dataops_assets.sql import DIALECT


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("${a} - ${b}", {"a": "Price", "b": "store.Cost"}, '"Price" - "store"."Cost"'),
        ("${p}_amount / 2", {"p": "net"}, '"net_amount" / 2'),
        ("store.${c}", {"c": "Kind"}, '"store"."Kind"'),
        ("sum(${r}.${c})", {"r": "orders", "c": "Amount"}, 'sum("orders"."Amount")'),
        ("${a} * ${n}", {"a": "x", "n": 1.5}, '"x" * 1.5'),
        ("${a} - ${n}", {"a": "x", "n": -2}, '"x" - (-2)'),
        ("coalesce(${a}, ${f})", {"a": "x", "f": False}, 'coalesce("x", FALSE)'),
        ("Note = '${t}'", {"t": "it's"}, "Note = 'it''s'"),
        ("Note = 'a${t}b' and ${c}", {"t": 7, "c": "Open"}, "Note = 'a7b' and \"Open\""),
        ('"${n} of day" + 1', {"n": 'a"b'}, '"a""b of day" + 1'),
        ("interval ${n} day", {"n": 7}, "interval 7 day"),
        ("${d} is null", {"d": "date"}, '"date" is null'),
        ("Sales", {}, "Sales"),
    ],
)
def test_a_token_in_sql(text: str, values: dict[str, str | int | float | bool], expected: str) -> None:
    assert filled_sql(text, values) == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${a} > 0", "Sales or true"),
        ("${a} > 0", "x; drop table y"),
        ("${a} > 0", "count(*)"),
        ("${a} > 0", "'text'"),
        ("${a} > 0", ""),
        ("${a} > 0", "a."),
        ("${a} > 0", "1x"),
        ("${a} > 0", "a -- b"),
        ("${a} > 0", 'a" or "b'),
        ("x_${a}", "y or z"),
        ("Note = '${a}'", "a\nb"),
        ("Note = '${a}'", "a\\"),
        ("Note = e'${a}'", "\\' or true or \\'"),
        ("Note = 1 -- ${a}", "x"),
        ("Note = 1 /* ${a} */", "x"),
    ],
)
def test_more_than_a_token_stands_for_is_refused(text: str, value: str) -> None:
    with pytest.raises(ConfigError):
        filled_sql(text, {"a": value})


@given(
    st.text(max_size=12),
    st.sampled_from(["'${a}'", "concat('-${a}', Note)", 'coalesce("${a}", 1)', "${a} + 1", "x_${a}"]),
)
def test_whatever_the_value_the_expression_keeps_its_shape(value: str, template: str) -> None:
    def shape(text: str) -> list[str]:
        return [type(node).__name__ for node in sqlglot.parse_one(text, dialect=DIALECT).walk()]

    try:
        text = filled_sql(template, {"a": value})
    except ConfigError:
        return
    parts = value.count(".") if "'" not in template and '"' not in template else 0
    assert shape(text) == shape(filled_sql(template, {"a": ".".join(["x"] * (parts + 1))}))
    if template == "'${a}'":
        assert value_of(text) == value


def test_whole_declarations_are_filled() -> None:
    declared = {
        "name": "orders_${country}",
        "connection": {"path": "${country}/*", "storage_options": {"key": "${AWS_KEY}"}, "settle_seconds": "${wait}"},
        "relations": {"who": {"source": "customers_${country}", "on": {"${key}": "id"}}},
        "rules": [{"name": "net", "expression": "${amount} / (1 + ${rate})"}],
        "tags": ["${country}", 5, None],
    }
    values = {"country": "de", "wait": 0.5, "key": "customer", "amount": "Amount", "rate": 0.19}
    assert tokens_of(declared) == {*values, "AWS_KEY"}
    assert filled(declared, values) == {
        "name": "orders_de",
        "connection": {"path": "de/*", "storage_options": {"key": "${AWS_KEY}"}, "settle_seconds": 0.5},
        "relations": {"who": {"source": "customers_de", "on": {"customer": "id"}}},
        "rules": [{"name": "net", "expression": '"Amount" / (1 + 0.19)'}],
        "tags": ["de", 5, None],
    }
    assert list(unused(declared, {**values, "other": 1})) == ["other"]
    with pytest.raises(ConfigError, match=r"filling \$\{country\}.*did you mean 'county'"):
        filled(declared, {"county": "de"})
