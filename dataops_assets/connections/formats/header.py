"""Names the fields of a header."""

from __future__ import annotations

from collections.abc import Sequence


def unnamed_name(place: int) -> str:
    """Return the name of a field without a name in the data, by its position (from 0): `column_3`."""
    return f"column_{place + 1}"


def named(fields: Sequence[str | None]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return the names of a header's fields, and those that were made for fields without a name."""
    given = [(name or "").strip() for name in fields]
    unnamed = set()
    for place, name in enumerate(given):
        if not name:
            made_up = unnamed_name(place)
            while made_up in given:
                made_up += "_"
            given[place] = made_up
            unnamed.add(made_up)
    return tuple(given), frozenset(unnamed)
