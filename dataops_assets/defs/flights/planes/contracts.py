"""The contract that an extract of planes must satisfy before it is published."""

from __future__ import annotations

import pandera.pandas as pa

extract = pa.DataFrameSchema(
    {
        "tailnum": pa.Column(str, pa.Check.str_length(5, 6), unique=True),
        "year": pa.Column(int, pa.Check.in_range(1903, 2013), nullable=True),
        "manufacturer": pa.Column(str),
        "engines": pa.Column(int, pa.Check.in_range(1, 8)),
        "seats": pa.Column(int, pa.Check.in_range(1, 900)),
    },
)
