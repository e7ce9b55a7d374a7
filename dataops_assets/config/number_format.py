"""Declared notation of the numbers of a column in text."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from dataops_assets.config.declared import Declared

Minus = Literal["before", "after", "parentheses"]
_IN_NUMBERS = re.compile(r"[0-9+\-()\s]")


class NumberFormat(Declared):
    """How the numbers of a column are written. What is not named is as in the other columns of the format."""

    decimal_mark: str = Field("", description="Decimal mark; empty for that of the format.", max_length=1)
    thousands_mark: str | None = Field(
        None, description="Thousands separator; empty for none. Default: that of the format.", max_length=1
    )
    minus: tuple[Minus, ...] = Field(
        ("before",),
        min_length=1,
        description="Where the sign of a negative number can be: `before` (-5), `after` (5-), `parentheses` (5).",
    )
    units: tuple[str, ...] = Field(
        (),
        description="Units, such as €, EUR or %. One of them may be before or after a number. It is left out, and the "
        "number itself is not changed.",
    )

    @field_validator("units")
    @classmethod
    def _is_no_number(cls, units: tuple[str, ...]) -> tuple[str, ...]:
        for unit in units:
            if not unit or _IN_NUMBERS.search(unit):
                raise ValueError(f"unit {unit!r} must have no digit, sign, bracket or blank")
        return units

    @model_validator(mode="after")
    def _has_different_signs(self) -> NumberFormat:
        marks = {self.decimal_mark, self.thousands_mark or ""} - {""}
        for unit in self.units:
            if unit in marks:
                raise ValueError(f"unit {unit!r} is a mark of the numbers")
        if self.decimal_mark and self.decimal_mark == self.thousands_mark:
            raise ValueError(f"decimal_mark and thousands_mark are both {self.decimal_mark!r}")
        return self

    @property
    def has_marks(self) -> bool:
        """Return whether it says which marks numbers have."""
        return bool(self.decimal_mark) or self.thousands_mark is not None
