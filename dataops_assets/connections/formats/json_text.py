"""Writes a nested value as JSON text, digit for digit."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
from collections.abc import Mapping
from typing import Any


def json_text(value: Any) -> str:
    """Return the JSON text of a value; times in ISO 8601. Raises TypeError for a value that JSON cannot hold."""
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise TypeError(f"a key that is no text: {name!r}")
        members = (f"{json_text(name)}:{json_text(item)}" for name, item in value.items())
        return "{" + ",".join(members) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(json_text, value)) + "]"
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return json.dumps(value.isoformat())
    if isinstance(value, (decimal.Decimal, float)):
        # a decimal may be larger than any double
        if not (value.is_finite() if isinstance(value, decimal.Decimal) else math.isfinite(value)):
            raise TypeError(f"{value} inside a nested value")
        return str(value)
    if value is None or isinstance(value, (str, bool, int)):
        return json.dumps(value, ensure_ascii=False)
    raise TypeError(f"a {type(value).__name__} inside a nested value")
