"""The contract that an extract of airlines must satisfy before it is published."""

from __future__ import annotations

import pandera.pandas as pa

extract = pa.DataFrameSchema(
    {
        "carrier": pa.Column(str, pa.Check.str_length(2, 2), unique=True),
        "name": pa.Column(str),
    },
    ordered=True,
)
