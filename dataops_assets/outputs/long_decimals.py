"""Decimals with more digits than a double: JSON and Excel have doubles alone."""

from __future__ import annotations

EXACT_DIGITS = 15
"""A double has all decimals of so many digits."""


def is_long(kind: str) -> bool:
    """Return whether a double cannot hold every value of an SQL type, a decimal."""
    return kind.startswith("DECIMAL(") and int(kind[8:].partition(",")[0]) > EXACT_DIGITS
