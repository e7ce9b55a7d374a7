"""Writes a pandera contract of what all rows of the files fulfil beyond types: no nulls, the key, fixed lengths."""

from __future__ import annotations

import json
from collections.abc import Sequence

from dataops_assets.config.connection import CsvFormat, ExcelFormat
from dataops_assets.declaring.columns import SuggestedColumn
from dataops_assets.declaring.draft import Draft

CONTRACT = "delivered"
"""The name of the contract in its module."""
_LEAST_ROWS = 50
_LEAST_CODES = 20
_MOST_LENGTH = 40
_TYPES = {"text": "str", "integer": "int", "double": "float", "boolean": "bool"}


def contract_text(draft: Draft) -> str:
    """Return the text of a module with the contract; empty if the files show nothing to demand.

    A change feed gets none: a deletion has no values, and a key occurs as often as its row changes.
    """
    if draft.envelope:
        return ""
    unhealthy = {item.column for item in draft.findings if not item.kind.startswith("personal_")}
    lines = []
    for item in draft.columns:
        column = _column(draft, item)
        if column and item.declared.name not in unhealthy:
            lines.append(f"        {_text(item.declared.name)}: {column},\n")
    key: Sequence[str] = draft.refresh.declared.get("key", ())
    if not lines and not key:
        return ""
    total = f"{len(draft.file_names)} file{'s' if len(draft.file_names) > 1 else ''}"
    unique = f"    unique=[{', '.join(map(_text, key))}],\n" if key else ""
    return "".join(
        (
            f'"""A suggestion from {total} with {draft.rows:,} rows, all of which fulfil it: check it."""\n\n',
            "from __future__ import annotations\n\nimport pandera.pandas as pa\n\n",
            f"{CONTRACT} = pa.DataFrameSchema(\n",
            *(["    {\n", *lines, "    },\n"] if lines else []),
            f"{unique})\n",
        )
    )


def _column(draft: Draft, item: SuggestedColumn) -> str:
    """Return what is demanded of a column; empty if it is nothing."""
    kind = _TYPES.get(item.declared.type, "None")
    has_nulls = item.facts.nulls > 0 or bool(item.declared.null_words) or _has_null_words(draft, item)
    length = _length(item)
    if item.facts.rows < _LEAST_ROWS or (has_nulls and not length):
        return ""
    check = f", pa.Check.str_length({length}, {length})" if length else ""
    return f"pa.Column({kind}{check}{', nullable=True' if has_nulls else ''})"


def _has_null_words(draft: Draft, item: SuggestedColumn) -> bool:
    layout = draft.layout
    words = layout.null_words if isinstance(layout, CsvFormat | ExcelFormat) else ()
    return any(word in item.facts.values for word in words)


def _length(item: SuggestedColumn) -> int:
    """Return the length that all codes of a column have; 0 if they have several, or if they are few."""
    if item.declared.type != "text" or not item.facts.is_complete or len(item.facts.values) < _LEAST_CODES:
        return 0
    lengths = {len(value) for value in item.facts.values}
    length = lengths.pop() if len(lengths) == 1 else 0
    return length if length <= _MOST_LENGTH else 0


def _text(value: str) -> str:
    # text in double quotes, as the formatter writes it
    return json.dumps(value, ensure_ascii=not value.isprintable())
