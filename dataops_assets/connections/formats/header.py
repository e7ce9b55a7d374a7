"""What the fields of a header are called."""

from __future__ import annotations

from collections.abc import Sequence


def unnamed_name(place: int) -> str:
    """What a field at this place (from 0) is called where the data has no name for it: `column_3`."""
    return f"column_{place + 1}"


def named(fields: Sequence[str | None]) -> tuple[tuple[str, ...], frozenset[str]]:
    """The names of a header's fields, and which of them are made up because a field has none: `column_3`."""
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
