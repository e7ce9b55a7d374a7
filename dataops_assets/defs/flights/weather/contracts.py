"""The contract that a file of weather must satisfy before it is published."""

from __future__ import annotations

import pandera.pandas as pa

file = pa.DataFrameSchema(
    {
        "origin": pa.Column(str, pa.Check.isin(["EWR", "JFK", "LGA"])),
        "hour": pa.Column(int, pa.Check.in_range(0, 23)),
        "humid": pa.Column(float, pa.Check.in_range(0, 100), nullable=True),
        "wind_dir": pa.Column(int, pa.Check.in_range(0, 360), nullable=True),
        "wind_speed": pa.Column(float, pa.Check.ge(0), nullable=True),
        "visib": pa.Column(float, pa.Check.in_range(0, 10), nullable=True),
        "time_hour": pa.Column("datetime64[ns, UTC]"),
    },
    unique=["origin", "time_hour"],
)
