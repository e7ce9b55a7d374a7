"""Laws of the rule language: any text is a rule or a RuleError, values follow the arithmetic, order is sound."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataops_assets.config.source import Source
from dataops_assets.errors import ConfigError, RuleError
from dataops_assets.rules.compiler import compile_rules
from dataops_assets.rules.functions import FUNCTIONS
from dataops_assets.rules.order import CycleError, levels
from dataops_assets.rules.query import evaluate
from dataops_assets.sql import DIALECT, query, values

KINDS = {"a": "integer", "b": "integer", "c": "integer", "t": "text", "d": "date"}


def source(rules: list[dict[str, str]], name: str = "things", **declared: Any) -> Source:
    return Source.model_validate(
        {
            "name": name,
            "area": "tests",
            "connection": {"type": "files", "path": "x"},
            "columns": [{"name": column, "type": kind} for column, kind in KINDS.items()],
            "refresh": {"type": "append"},
            "rules": rules,
            **declared,
        }
    )


# --- any text --------------------------------------------------------------------------------------------------------

WORDS = (
    *FUNCTIONS,
    *KINDS,
    *("a", "b", "store", "x", "case", "when", "then", "else", "end", "and", "or", "not", "in", "is", "null", "between"),
    *(
        "over",
        "partition by",
        "order by",
        "rows",
        "range",
        "preceding",
        "following",
        "current row",
        "unbounded",
        "interval",
    ),
    *(
        "select",
        "from",
        "exists",
        "any",
        "all",
        "distinct",
        "filter",
        "where",
        "as",
        "date",
        "integer",
        "read_csv",
        "now",
    ),
    *(
        "'x'",
        "'",
        '"',
        "1",
        "2.5",
        "0",
        "(",
        ")",
        ",",
        ".",
        "+",
        "-",
        "*",
        "/",
        "//",
        "%",
        "||",
        "::",
        "=",
        "<>",
        "<",
        "->",
    ),
    *(
        "[",
        "]",
        "{",
        "}",
        ":",
        ";",
        "?",
        "$1",
        "@",
        "#",
        "~",
        "!",
        "\\",
        "--",
        "/*",
        "*/",
        "\n",
        "\t",
        "é",
        "\x00",
        "😀",
    ),
)


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join), st.text(max_size=20)), st.booleans())
def test_any_text_is_a_rule_or_a_rule_error(text: str, keep_current: bool) -> None:
    declared = source([{"name": "r", "expression": text, "mode": "keep_current" if keep_current else "snapshot"}])
    try:
        rules = compile_rules(declared, {})
    except RuleError as error:
        refusal: RuleError | None = error
    else:
        refusal = None
    if refusal is not None:
        assert (refusal.at.source, refusal.at.rule) == ("things", "r")
        return
    stage = rules.current if keep_current else rules.snapshot
    assert list(stage.rules) == ["r"]
    stage.rules["r"].expression.sql(DIALECT)


# --- arithmetic ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Term:
    """An expression with its binding strength and what it should give for a row."""

    text: str
    strength: int
    value: Callable[[dict[str, Any]], Any]

    def inside(self, strength: int) -> str:
        return self.text if self.strength >= strength else f"({self.text})"


def _null_through(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda left, right: None if left is None or right is None else function(left, right)


def _divided(left: Fraction, right: Fraction) -> Fraction | None:
    return None if right == 0 else left / right


def _and(left: bool | None, right: bool | None) -> bool | None:
    return False if left is False or right is False else None if left is None or right is None else True


def _or(left: bool | None, right: bool | None) -> bool | None:
    return True if left is True or right is True else None if left is None or right is None else False


def binary(left: Term, sign: str, right: Term, strength: int, function: Callable[[Any, Any], Any]) -> Term:
    text = f"{left.inside(strength)} {sign} {right.inside(strength + 1)}"
    return Term(text, strength, lambda row: function(left.value(row), right.value(row)))


LEAVES = st.one_of(
    st.sampled_from(["a", "b", "c", "A", '"b"']).map(
        lambda name: Term(name, 9, lambda row: row[name.strip('"').lower()])
    ),
    st.integers(0, 9).map(lambda number: Term(str(number), 9, lambda _: Fraction(number))),
    st.just(Term("null", 9, lambda _: None)),
)


def numbers(depth: int) -> st.SearchStrategy[Term]:
    if depth == 0:
        return LEAVES
    inner = numbers(depth - 1)
    signs = {"+": (5, operator.add), "-": (5, operator.sub), "*": (6, operator.mul), "/": (6, _divided)}

    def combined(left: Term, sign: str, right: Term) -> Term:
        strength, function = signs[sign]
        return binary(left, sign, right, strength, _null_through(function))

    return st.one_of(
        LEAVES,
        st.builds(combined, inner, st.sampled_from(sorted(signs)), inner),
        inner.map(
            lambda term: Term(f"-{term.inside(8)}", 7, lambda row: _null_through(operator.mul)(term.value(row), -1))
        ),
        st.builds(_coalesced, inner, inner),
        st.builds(_chosen, truths(depth - 1), inner, inner),
    )


def _coalesced(first: Term, second: Term) -> Term:
    def value(row: dict[str, Any]) -> Any:
        found = first.value(row)
        return second.value(row) if found is None else found

    return Term(f"coalesce({first.text}, {second.text})", 9, value)


def _chosen(condition: Term, yes: Term, no: Term) -> Term:
    return Term(
        f"case when {condition.text} then {yes.text} else {no.text} end",
        9,
        lambda row: yes.value(row) if condition.value(row) is True else no.value(row),
    )


def truths(depth: int) -> st.SearchStrategy[Term]:
    compared = {"=": operator.eq, "<>": operator.ne, "<": operator.lt, ">=": operator.ge}
    number = numbers(max(depth - 1, 0))
    comparison = st.builds(
        lambda left, sign, right: binary(left, sign, right, 4, _null_through(compared[sign])),
        number,
        st.sampled_from(sorted(compared)),
        number,
    )
    asked = number.map(lambda term: Term(f"{term.inside(5)} is null", 4, lambda row: term.value(row) is None))
    if depth == 0:
        return st.one_of(comparison, asked)
    inner = truths(depth - 1)
    return st.one_of(
        comparison,
        asked,
        st.builds(lambda left, right: binary(left, "and", right, 2, _and), inner, inner),
        st.builds(lambda left, right: binary(left, "or", right, 1, _or), inner, inner),
        inner.map(
            lambda term: Term(
                f"not {term.inside(3)}", 3, lambda row: None if term.value(row) is None else not term.value(row)
            )
        ),
    )


ROWS = [
    {"a": a, "b": b, "c": c}
    for a, b, c in itertools.product([Fraction(0), Fraction(3), None], [Fraction(-2), Fraction(0)], [Fraction(7), None])
]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(numbers(3), truths(3)), min_size=1, max_size=6))
def test_values_follow_the_documented_arithmetic(terms: list[Term]) -> None:
    """Precedence as SQL has it, null through everything that does not ask for it, division by zero is null."""
    declared = [{"name": f"r{place}", "expression": term.text, "type": ""} for place, term in enumerate(terms)]
    rules = compile_rules(source(declared), {})
    given_rows = [
        {"s_row_id": place, "s_input_id": "i", **{name: None if v is None else int(v) for name, v in row.items()}}
        for place, row in enumerate(ROWS)
    ]
    kinds = {"a": "BIGINT", "b": "BIGINT", "c": "BIGINT", "s_row_id": "BIGINT", "s_input_id": "VARCHAR"}
    found = evaluate(rules.snapshot, values(given_rows, kinds), lambda lookup: values([], lookup.columns))
    with duckdb.connect(config={"threads": 1}) as connection:
        result = connection.execute(query("SELECT * FROM $rows AS r ORDER BY s_row_id", rows=found).sql(DIALECT))
        actual = result.to_arrow_table().to_pylist()
    for row, given_row in zip(actual, ROWS, strict=True):
        for place, term in enumerate(terms):
            expected = term.value(given_row)
            value = row[f"r{place}"]
            if isinstance(expected, Fraction | int) and not isinstance(expected, bool):
                assert value == pytest.approx(float(expected), rel=1e-9, abs=1e-9), term.text
            else:
                assert value is expected or value == expected, term.text


# --- order -----------------------------------------------------------------------------------------------------------


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.lists(st.sampled_from("abcdefgh"), max_size=3), max_size=8))
def test_levels_are_sound_and_cycles_are_real(graph: dict[str, list[str]]) -> None:
    needs = {name: [used for used in uses if used in graph] for name, uses in graph.items()}
    path: tuple[str, ...] = ()
    found: list[list[str]] = []
    try:
        found = levels(needs)
    except CycleError as cycle:
        path = cycle.path
    if path:
        assert path[0] == path[-1]
        assert len(set(path[:-1])) == len(path) - 1
        assert all(used in needs[name] for name, used in itertools.pairwise(path))
        return
    assert sorted(name for level in found for name in level) == sorted(needs)
    place = {name: depth for depth, level in enumerate(found) for name in level}
    for name, uses in needs.items():
        assert place[name] == 1 + max((place[used] for used in uses), default=-1)


# --- look-ups --------------------------------------------------------------------------------------------------------

HOSTILE = st.sampled_from(["", "a", "A", "a ", "é", "'", "\\", "NULL", None])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(HOSTILE, max_size=6),
    st.dictionaries(HOSTILE.filter(lambda key: key is not None), st.integers(0, 9), max_size=5),
    st.integers(0, 2),
)
def test_a_look_up_gives_what_a_dictionary_gives(keys: list[str | None], related: dict[str, int], nulls: int) -> None:
    """One row for each row, the related value where the key is equal to the letter, null elsewhere and for null."""
    other = source([], "others")
    declared = source(
        [{"name": "found", "expression": "other.a"}], relations={"other": {"source": "others", "on": {"t": "t"}}}
    )
    rules = compile_rules(declared, {"others": other})
    assert not rules.snapshot.lookups[0].unique
    related_rows = [{"t": key, "a": value} for key, value in related.items()] + [{"t": None, "a": 1}] * nulls
    rows = values(
        [{"t": key, "s_row_id": place} for place, key in enumerate(keys)], {"t": "VARCHAR", "s_row_id": "BIGINT"}
    )
    found = evaluate(rules.snapshot, rows, lambda _: values(related_rows, {"t": "VARCHAR", "a": "BIGINT"}))
    with duckdb.connect(config={"threads": 1}) as connection:
        ordered = query("SELECT found FROM $rows AS r ORDER BY s_row_id", rows=found)
        actual = [row[0] for row in connection.execute(ordered.sql(DIALECT)).fetchall()]
    assert actual == [related.get(key) if key is not None else None for key in keys]


def test_errors_of_relations_are_errors_of_configuration() -> None:
    with pytest.raises(ConfigError, match="unknown source 'other', did you mean 'others'"):
        compile_rules(
            source([], relations={"other": {"source": "other", "on": {"t": "t"}}}), {"others": source([], "others")}
        )
