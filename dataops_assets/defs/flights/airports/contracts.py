"""The contract that an extract of airports must satisfy before it is published."""

from __future__ import annotations

import pandera.pandas as pa

extract = pa.DataFrameSchema(
    {
        "faa": pa.Column(str, pa.Check.str_length(3, 4), unique=True),
        "name": pa.Column(str),
        "lat": pa.Column(float, pa.Check.in_range(-90, 90)),
        "lon": pa.Column(float, pa.Check.in_range(-180, 180)),
        "tz": pa.Column(int, pa.Check.in_range(-12, 14)),
        "dst": pa.Column(str, pa.Check.isin(["A", "U", "N"])),
    },
)
