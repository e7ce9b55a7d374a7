"""Compute profiles in the engine: all inputs and some dozens of columns in one query.

A second query counts the values of texts that have few different ones. Quantiles, and patterns of the other texts, come
from a sample.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlglot import exp

from dataops_assets.engines.base import Session
from dataops_assets.profiles import MOST_SAMPLED, MOST_TEXTS, ColumnProfile, Profile
from dataops_assets.quality.families import family_of
from dataops_assets.quality.samples import FEWEST_ROWS, Sample, patterns, quantiles
from dataops_assets.sql import Rows, alias, all_rows, column, query

# longer texts add no information, and a profile stays small
_LARGEST = 1e140
_LONGEST_TEXT = 100
# Planning time grows with the square of the number of aggregates: queries of 16 columns take two thirds of the time of
# queries of 32, and less than half the time of queries of 64.
_COLUMNS_A_QUERY = 16
# a text with more values is no category
_MOST_VALUES = 20
# each is one more pass over its column
_MOST_COUNTED = 20
_NUMBERS = ("integer", "double", "decimal")
# id of an input, and name of a column
_Key = tuple[str, str]


def profile_inputs(
    session: Session, rows: exp.Query, types: Mapping[str, str], asset: str, hidden: Collection[str] = ()
) -> list[Profile]:
    """Return the profile of every input with rows, by input id.

    `rows` has s_input_id, s_row_id and the columns of `types` (name to SQL type). Values of columns in `hidden` are not
    shown. The number of distinct values is an estimate (HyperLogLog).
    """
    names = list(types)
    # queries that each name all columns would grow with the square of their number
    source: Rows = session.define(rows) if len(names) > _COLUMNS_A_QUERY else rows
    rows_of: dict[str, int] = {}
    columns_of: dict[str, list[ColumnProfile]] = {}
    # also without columns there is one query, which counts the rows
    for start in range(0, max(len(names), 1), _COLUMNS_A_QUERY):
        part = names[start : start + _COLUMNS_A_QUERY]
        aggregates: list[exp.Expression] = []
        for index, name in enumerate(part):
            facts = _facts(name, types[name], name in hidden)
            aggregates += [alias(item, f"{fact}_{index}") for fact, item in facts.items()]
        found = session.fetch(
            query(
                "SELECT s_input_id, count(*) AS s_rows, $aggregates FROM $rows AS r "
                "GROUP BY s_input_id ORDER BY s_input_id",
                aggregates=aggregates,
                rows=source,
            )
        )
        for row in found.to_pylist():
            rows_of[row["s_input_id"]] = row["s_rows"]
            profiled = columns_of.setdefault(row["s_input_id"], [])
            profiled += [_column(row, index, name, types[name]) for index, name in enumerate(part)]
    more = _frequent(session, source, columns_of, hidden)
    more |= _sampled(session, source, (rows_of, columns_of, set(more)), hidden)
    return [
        Profile(
            asset,
            input_id,
            count,
            tuple(replace(item, **more.get((input_id, item.name), {})) for item in columns_of[input_id]),
        )
        for input_id, count in rows_of.items()
    ]


def _frequent(
    session: Session, rows: Rows, columns_of: Mapping[str, Sequence[ColumnProfile]], hidden: Collection[str]
) -> dict[_Key, dict[str, Any]]:
    """Count the rows of each value, by input and column, for the texts that have few different values."""
    few = {
        (input_id, item.name)
        for input_id, profiled in columns_of.items()
        for item in profiled
        if family_of(item.type) == "text" and 0 < item.distinct <= _MOST_VALUES and item.name not in hidden
    }
    names = list(dict.fromkeys(item.name for items in columns_of.values() for item in items))
    wanted = [name for name in names if any((input_id, name) in few for input_id in columns_of)][:_MOST_COUNTED]
    if not wanted:
        return {}
    selects: list[exp.Query] = [
        query(
            "SELECT s_input_id, CAST($place AS INTEGER) AS s_place, $value AS s_value, count(*) AS s_count "
            "FROM $rows AS r WHERE $value IS NOT NULL GROUP BY s_input_id, $value",
            place=place,
            value=column(name),
            rows=rows,
        )
        for place, name in enumerate(wanted)
    ]
    # cut when they are few
    counts = query(
        "SELECT s_input_id, s_place, left(s_value, $longest) AS s_value, CAST(sum(s_count) AS BIGINT) AS s_count "
        "FROM $counts AS c GROUP BY s_input_id, s_place, left(s_value, $longest) "
        "ORDER BY s_input_id, s_place, s_count DESC, s_value",
        longest=_LONGEST_TEXT,
        counts=all_rows(selects),
    )
    found: dict[_Key, dict[str, int]] = {}
    for row in session.fetch(counts).to_pylist():
        key = (row["s_input_id"], wanted[row["s_place"]])
        if key in few:
            found.setdefault(key, {})[row["s_value"]] = row["s_count"]
    # the number of distinct values was an estimate
    return {key: {"frequent": counted} for key, counted in found.items() if len(counted) <= 2 * _MOST_VALUES}


def _sampled(
    session: Session,
    rows: Rows,
    known: tuple[Mapping[str, int], Mapping[str, Sequence[ColumnProfile]], Collection[_Key]],
    hidden: Collection[str],
) -> dict[_Key, dict[str, Any]]:
    """Return the quantiles of numbers and the patterns of texts, by input and column, where there are enough rows.

    `known`: the number of rows and the columns of each input, and the texts whose values are counted already.
    """
    rows_of, columns_of, counted = known
    large = {input_id: count for input_id, count in rows_of.items() if count >= FEWEST_ROWS}
    shown = [
        ((input_id, item.name), family_of(item.type))
        for input_id in large
        for item in columns_of[input_id]
        if item.name not in hidden and item.distinct
    ]
    found: dict[_Key, dict[str, Any]] = {}
    numbers = [key for key, family in shown if family in _NUMBERS]
    if numbers:
        names = list(dict.fromkeys(name for _, name in numbers))
        for key, parts in quantiles(session, Sample.of(rows, large, MOST_SAMPLED), names).items():
            found[key] = dict(zip(("low", "median", "high"), parts, strict=True))
    texts = {key for key, family in shown if family == "text" and key not in counted}
    if texts:
        names = list(dict.fromkeys(name for key, _ in shown for name in [key[1]] if key in texts))[:_MOST_COUNTED]
        for key, shares in patterns(session, Sample.of(rows, large, MOST_TEXTS), names, texts).items():
            found[key] = {"patterns": shares}
    return found


def _facts(name: str, kind: str, is_hidden: bool) -> dict[str, exp.Expression]:
    value = column(name)
    family = family_of(kind)
    facts: dict[str, exp.Expression] = {
        "nulls": query("count(*) - count($value)", value=value),
        "distinct": query("approx_count_distinct($value)", value=value),
    }
    if family == "binary" or is_hidden:
        return facts
    for end in ("min", "max"):
        text = query("CAST($bound AS VARCHAR)", bound=exp.func(end, value.copy()))
        facts[end] = query("left($text, $longest)", text=text, longest=_LONGEST_TEXT)
    if family == "text":
        facts["mean_length"] = exp.Avg(this=query("CAST(length($value) AS DOUBLE)", value=value))
    if family in ("integer", "double", "decimal", "boolean"):
        number = query("CAST($value AS DOUBLE)", value=value)
        for fact, measure in (("mean", exp.Avg), ("stddev", exp.StddevSamp)):
            facts[fact] = measure(this=number.copy())
        if family == "double":
            # Infinity, NaN and what comes near to them are left out: a mean with them is useless, and the engine
            # refuses a deviation whose squares are more than a double holds. The test doubles the time, and other
            # numbers do not need it
            finite = query("abs($number) < $largest", number=number, largest=_LARGEST)
            for fact in ("mean", "stddev"):
                # made of nodes: a template does not parse FILTER after a placeholder
                facts[fact] = exp.Filter(this=facts[fact], expression=exp.Where(this=finite.copy()))
    return facts


def _column(row: Mapping[str, Any], index: int, name: str, kind: str) -> ColumnProfile:
    return ColumnProfile(
        name=name,
        type=kind,
        nulls=row[f"nulls_{index}"],
        distinct=row[f"distinct_{index}"],
        min=row.get(f"min_{index}"),
        max=row.get(f"max_{index}"),
        mean=row.get(f"mean_{index}"),
        stddev=row.get(f"stddev_{index}"),
        mean_length=row.get(f"mean_length_{index}"),
    )
