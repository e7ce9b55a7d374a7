"""The contracts of a day of flights: as parsed, as enriched, and with its keep-current rules."""

from __future__ import annotations

import pandera.pandas as pa

day = pa.DataFrameSchema(
    {
        "month": pa.Column(int, pa.Check.in_range(1, 12)),
        "day": pa.Column(int, pa.Check.in_range(1, 31)),
        "sched_dep_time": pa.Column(int, pa.Check.in_range(0, 2400)),
        "dep_delay": pa.Column(int, pa.Check.in_range(-120, 2880), nullable=True),
        "carrier": pa.Column(str, pa.Check.str_length(2, 2)),
        "flight": pa.Column(int, pa.Check.ge(1)),
        "origin": pa.Column(str, pa.Check.isin(["EWR", "JFK", "LGA"])),
        "dest": pa.Column(str, pa.Check.str_length(3, 3)),
        "air_time": pa.Column(int, pa.Check.in_range(1, 1440), nullable=True),
        "distance": pa.Column(int, pa.Check.in_range(1, 10_000)),
        "time_hour": pa.Column("datetime64[ns, UTC]"),
    },
    unique=["time_hour", "carrier", "flight"],
)

enriched = pa.DataFrameSchema(
    {
        # an airline that is not in the list means that the list is older than the flights
        "carrier_name": pa.Column(str),
        "origin_name": pa.Column(str),
        "delay_category": pa.Column(str, pa.Check.isin(["cancelled", "unknown", "on time", "late", "very late"])),
        "speed_mph": pa.Column(float, pa.Check.in_range(20, 1000), nullable=True),
    },
)

current = pa.DataFrameSchema(
    {
        "plane_age": pa.Column(int, pa.Check.in_range(0, 100), nullable=True),
        "origin_wind_speed": pa.Column(float, pa.Check.in_range(0, 250), nullable=True),
        "origin_visibility": pa.Column(float, pa.Check.in_range(0, 10), nullable=True),
        "departures_in_hour": pa.Column(int, pa.Check.ge(1)),
    },
)
