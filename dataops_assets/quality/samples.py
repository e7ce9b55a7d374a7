"""Quantiles of numbers and patterns of texts, of a sample of the rows of each input.

A sample has the same rows in each run and engine, because the place of a row decides whether it is in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp

from dataops_assets.engines.base import Session
from dataops_assets.sql import Rows, alias, all_rows, column, literal, query

FEWEST_ROWS = 30
"""Of fewer rows quantiles say no more than the mean, so there are none."""
QUANTILES = (0.05, 0.5, 0.95)
OTHER = "other"
"""Stands for all patterns that are not among the most frequent ones. No pattern looks like this."""

_LARGEST = 1e140
_LONGEST_TEXT = 100
_MOST_PATTERNS = 20
_COLUMNS_A_QUERY = 16
# Places are mixed by a multiplication, so that a row of every hundred is not a row of one kind. 2^32 divided by the
# golden ratio spreads places that follow each other evenly.
_MIXED_BY, _RANGE, _PLACES = 2654435769, 1 << 32, 1 << 31
# in this order: what a replacement writes must not be replaced again
_CLASSES = ((r"\p{Nd}+", "9"), (r"[\p{Ll}\p{Lt}\p{Lm}\p{Lo}\p{M}]+", "a"), (r"\p{Lu}+", "A"))


@dataclass(frozen=True)
class Sample:
    """Some of the rows of inputs. `halvings`: by input, how often the number of its rows is halved."""

    rows: Rows
    halvings: Mapping[str, int]

    @classmethod
    def of(cls, rows: Rows, counts: Mapping[str, int], most: int) -> Sample:
        """Return a sample of inputs with so many rows: at most about `most` of each. `rows` has their s_row_id."""
        return cls(rows, {key: (max(count - 1, 0) // most).bit_length() for key, count in counts.items()})

    @property
    def condition(self) -> exp.Expr:
        """Return whether a row is in the sample; the rows are called r."""
        mixed = query(
            "(CAST(r.s_row_id AS BIGINT) % $places) * $factor % $range",
            places=_PLACES,
            factor=_MIXED_BY,
            range=_RANGE,
        )
        by_halving: dict[int, list[str]] = {}
        for input_id, halvings in sorted(self.halvings.items()):
            by_halving.setdefault(halvings, []).append(input_id)
        parts: list[exp.Expr] = []
        for halvings, ids in by_halving.items():
            part = query("r.s_input_id IN ($ids)", ids=[literal(item) for item in ids])
            if halvings:
                below = query("$mixed < $limit", mixed=mixed.copy(), limit=_RANGE >> halvings)
                part = exp.and_(part, below)
            parts.append(part)
        return exp.or_(*parts)


def quantiles(session: Session, sample: Sample, names: Sequence[str]) -> dict[tuple[str, str], tuple[float, ...]]:
    """Return the quantiles of numbers, by input and column; nothing for a column without finite numbers."""
    found: dict[tuple[str, str], tuple[float, ...]] = {}
    for start in range(0, len(names), _COLUMNS_A_QUERY):
        part = names[start : start + _COLUMNS_A_QUERY]
        selected: list[exp.Expr] = []
        for place, name in enumerate(part):
            number = query("CAST($value AS DOUBLE)", value=column(name, "r"))
            finite = query("CASE WHEN abs($number) < $largest THEN $number END", number=number, largest=_LARGEST)
            wanted = query(
                "quantile_cont($finite, [$parts])", finite=finite, parts=[literal(item) for item in QUANTILES]
            )
            selected.append(alias(wanted, f"found_{place}"))
        rows = session.fetch(
            query(
                "SELECT r.s_input_id, $selected FROM $rows AS r WHERE $sampled GROUP BY r.s_input_id",
                selected=selected,
                rows=sample.rows,
                sampled=sample.condition,
            )
        )
        for row in rows.to_pylist():
            for place, name in enumerate(part):
                if row[f"found_{place}"] is not None:
                    found[row["s_input_id"], name] = tuple(row[f"found_{place}"])
    return found


def patterns(
    session: Session, sample: Sample, names: Sequence[str], wanted: Collection[tuple[str, str]]
) -> dict[tuple[str, str], dict[str, float]]:
    """Return the share of the sample's rows that each pattern of a text has, by input and column.

    Only of those in `wanted`; the most frequent patterns, and `OTHER` for the rest. A pattern has `a` for small letters
    in a row (and letters without a case), `A` for capitals, `9` for digits, and all else as it is: 'Aa-9' for 'Mar-17'.
    """
    sampled: exp.Query = query(
        "SELECT r.s_input_id, $columns FROM $rows AS r WHERE $sampled",
        columns=[column(name, "r") for name in names],
        rows=sample.rows,
        sampled=sample.condition,
    )
    rows = session.create(sampled)
    # below each other, so that each expression is compiled once; the rows at place -1 are the size of the sample
    texts: list[exp.Query] = [
        query("SELECT s_input_id, CAST(-1 AS INTEGER) AS s_place, '' AS s_text FROM $rows AS r", rows=rows)
    ]
    texts += [
        query(
            "SELECT s_input_id, CAST($place AS INTEGER) AS s_place, left($value, $longest) AS s_text "
            "FROM $rows AS r WHERE $value IS NOT NULL",
            place=place,
            value=column(name),
            longest=_LONGEST_TEXT,
            rows=rows,
        )
        for place, name in enumerate(names)
    ]
    counted = query(
        "SELECT s_input_id, s_place, $pattern AS s_pattern, count(*) AS s_count FROM $texts AS t "
        "GROUP BY s_input_id, s_place, $pattern",
        pattern=_pattern(column("s_text")),
        texts=all_rows(texts),
    )
    ranked = query(
        "SELECT c.*, row_number() OVER (PARTITION BY s_input_id, s_place ORDER BY s_count DESC, s_pattern) AS s_rank, "
        "sum(s_count) OVER (PARTITION BY s_input_id, s_place) AS s_all FROM $counted AS c",
        counted=counted,
    )
    most = query("SELECT * FROM $ranked AS k WHERE s_rank <= $most ORDER BY s_input_id, s_place, s_rank",
                 ranked=ranked, most=_MOST_PATTERNS)  # fmt: skip
    return _shares(session.fetch(most).to_pylist(), names, wanted)


def _shares(
    rows: Sequence[Mapping[str, object]], names: Sequence[str], wanted: Collection[tuple[str, str]]
) -> dict[tuple[str, str], dict[str, float]]:
    totals = {str(row["s_input_id"]): int(str(row["s_count"])) for row in rows if row["s_place"] == -1}
    found: dict[tuple[str, str], dict[str, float]] = {}
    rest: Counter[tuple[str, str]] = Counter()
    for row in rows:
        place, input_id = int(str(row["s_place"])), str(row["s_input_id"])
        key = input_id, names[place]
        if place < 0 or key not in wanted:
            continue
        count = int(str(row["s_count"]))
        found.setdefault(key, {})[str(row["s_pattern"])] = count / totals[input_id]
        rest.setdefault(key, int(str(row["s_all"])))
        rest[key] -= count
    for key, count in rest.items():
        if count:
            found[key][OTHER] = count / totals[key[0]]
    return found


def _pattern(text: exp.Expr) -> exp.Expr:
    made = text
    for letters, sign in _CLASSES:
        made = query("regexp_replace($text, $letters, $sign, 'g')", text=made, letters=letters, sign=sign)
    return made
