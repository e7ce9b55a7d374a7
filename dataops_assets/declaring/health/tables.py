"""Kinds of unhealthy files: their columns, their records, rows and columns that are copies."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence

from sqlglot import exp

from dataops_assets.config.connection import NestedRecords
from dataops_assets.declaring.columns import SuggestedColumn
from dataops_assets.declaring.delivered_rows import DeliveredRows
from dataops_assets.declaring.health.finding import Finding
from dataops_assets.declaring.nested_names import nested_name
from dataops_assets.engines.base import Session
from dataops_assets.sql import Relation, alias, column, query

_LEAST_ROWS = 5
_USUAL_NAME = re.compile(r"[^\W\d][\w $%#/.()&+-]*")
_LONGEST_NAME = 63


def of_table(
    session: Session, delivered: DeliveredRows, rows: Relation, columns: Sequence[SuggestedColumn]
) -> list[Finding]:
    """Return what is unhealthy in the files as a whole."""
    found = [
        *malformed_records(delivered),
        *unusual_names(delivered, columns),
        *names_alike(delivered.headers),
        *columns_missing(delivered),
        *names_as_rows(columns),
        repeated_rows(session, rows, columns),
        *copied_columns(session, rows, columns),
    ]
    return [item for item in found if item is not None]


def malformed_records(delivered: DeliveredRows) -> list[Finding]:
    """Records that are no rows: another number of fields, a quote that is not closed."""
    return [
        Finding(
            "malformed_records",
            "",
            f"records cannot be read and go to the quarantine: {problem}",
            count,
            (example[:60],),
        )
        for problem, count, example in delivered.malformed
    ]


def unusual_names(delivered: DeliveredRows, columns: Sequence[SuggestedColumn]) -> list[Finding]:
    """Names of columns that people mistype: blanks at the ends, line ends, no letter, very long, or no name."""
    found = []
    is_nested = isinstance(delivered.layout, NestedRecords)
    for item in columns:
        raw = item.facts.name
        if raw in delivered.unnamed:
            what = "the column has no name in the file"
        elif is_nested and nested_name(raw) == item.declared.name != raw:
            continue
        elif item.declared.name != raw:
            what = f"the name cannot be used in the lake; the column is {item.declared.name!r} there"
        elif not _USUAL_NAME.fullmatch(raw) or len(raw) > _LONGEST_NAME:
            what = "the name of the column is unusual: it starts with no letter, has strange characters or is very long"
        else:
            continue
        found.append(Finding("unusual_name", item.declared.name, what, item.facts.rows, (ascii(raw),)))
    return found


def names_alike(headers: Sequence[Sequence[str]]) -> list[Finding]:
    """Columns whose names differ only in case, blanks or punctuation."""
    names = list(dict.fromkeys(name for header in headers for name in header))
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault("".join(sign for sign in name.casefold() if sign.isalnum()) or name, []).append(name)
    return [
        Finding("names_alike", found[0], "names of columns differ only in case, blanks or punctuation", 0, tuple(found))
        for found in alike.values()
        if len(found) > 1
    ]


def columns_missing(delivered: DeliveredRows) -> list[Finding]:
    """Columns that some files do not have."""
    total = len(delivered.names)
    return [
        Finding("columns_missing", item.name, f"only {item.files} of {total} files have the column", 0)
        for item in delivered.columns
        if item.files < total
    ]


def names_as_rows(columns: Sequence[SuggestedColumn]) -> list[Finding]:
    """Headers in the middle of the data, as files that were joined have them."""
    named = [item for item in columns if item.facts.is_text and item.facts.values.get(item.facts.name)]
    if not named or 2 * len(named) < len(columns):
        return []
    rows = min(item.facts.values[item.facts.name] for item in named)
    names = tuple(item.facts.name for item in named[:5])
    return [Finding("headers_among_rows", "", "rows repeat the header", rows, names)]


def repeated_rows(session: Session, rows: Relation, columns: Sequence[SuggestedColumn]) -> Finding | None:
    """Rows of one file that are equal in all columns."""
    if len(columns) < 2:
        return None
    repeated = query(
        "SELECT coalesce(sum(n - 1), 0)::BIGINT AS repeated FROM ("
        "SELECT count(*) AS n FROM $rows AS r GROUP BY r.s_file, $all HAVING count(*) > 1) AS g",
        rows=rows,
        all=[column(item.facts.column, "r") for item in columns],
    )
    count = int(session.fetch(repeated).column("repeated")[0].as_py())
    return Finding("repeated_rows", "", "rows are equal in all columns", count) if count else None


def copied_columns(session: Session, rows: Relation, columns: Sequence[SuggestedColumn]) -> list[Finding]:
    """Columns with the same value as another column in every row."""
    alike = Counter(_outline(item) for item in columns)
    pairs: list[tuple[SuggestedColumn, SuggestedColumn]] = []
    for place, item in enumerate(columns):
        if alike[_outline(item)] > 1 and item.facts.distinct > 1 and item.facts.present >= _LEAST_ROWS:
            pairs += [(item, other) for other in columns[place + 1 :] if _outline(other) == _outline(item)]
    if not pairs:
        return []
    counts = [
        alias(
            exp.func(
                "count_if",
                query(
                    "$one IS DISTINCT FROM $other",
                    one=column(one.facts.column, "r"),
                    other=column(other.facts.column, "r"),
                ),
            ),
            f"n{place}",
        )
        for place, (one, other) in enumerate(pairs)
    ]
    row = session.fetch(query("SELECT $counts FROM $rows AS r", counts=counts, rows=rows)).to_pylist()[0]
    found = []
    copies: set[str] = set()
    for place, (one, other) in enumerate(pairs):
        if row[f"n{place}"] == 0 and other.declared.name not in copies:
            copies.add(other.declared.name)
            what = f"the column has the values of {one.declared.name} in every row"
            found.append(Finding("copied_column", other.declared.name, what, one.facts.rows))
    return found


def _outline(item: SuggestedColumn) -> str:
    facts = item.facts
    values = sorted(facts.values.items())[:3]
    return json.dumps([item.declared.type, facts.nulls, facts.distinct, values])
