"""Keeps the profiles of inputs in tables: what process control compares an input with, and what pages show.

Grain: one row an input and table, and one row a column of it. The profile of a whole table has the input ''.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from dataops_assets.metadata import tables
from dataops_assets.metadata.database import Database
from dataops_assets.metadata.registered import contract_version, require_inputs
from dataops_assets.metadata.statements import Existing, insert, is_newer_version, is_removed, portions, upsert, utc_now
from dataops_assets.profiles import ColumnProfile, Profile

# the columns of `profile_columns`, as the fields of a ColumnProfile
_FACTS = (
    "name",
    "type",
    "nulls",
    "distinct_values",
    "min_value",
    "max_value",
    "mean",
    "stddev",
    "mean_length",
    "frequent_values",
    "low",
    "median",
    "high",
    "patterns",
)
# read as texts: there are thousands, and most columns have no list
_LISTS = ("frequent_values", "patterns")
_PLACES_OF_LISTS = tuple(place for place, name in enumerate(_FACTS) if name in _LISTS)


class ProfileStore:
    """The profiles in the metadata. Its methods raise StorageError if the database cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, source: str, asset: str, profiles: Sequence[Profile]) -> None:
        """Record the profiles of inputs in a table; a newer profile of the same input replaces the older one.

        Raises InputError if an input is unknown.
        """
        if not profiles:
            return
        now = utc_now()
        unique = {item.input_id: item for item in profiles}
        rows = [
            {"source": source, "asset": asset, "input_id": key or None, "rows": item.rows, "profiled_at": now}
            for key, item in sorted(unique.items())
        ]
        table, columns = tables.profiles, tables.profile_columns
        with self._database.write(f"saving {len(rows)} profiles of {asset}") as connection:
            contract_version(connection, source)
            require_inputs(connection, source, list(unique))
            saved = upsert(
                connection,
                table,
                rows,
                Existing(by=("source", "asset", "input_id")),
                returning=(table.c.input_id, table.c.profile_id),
            )
            ids = {row.input_id or "": row.profile_id for row in saved}
            for some in portions(list(ids.values())):
                connection.execute(columns.delete().where(columns.c.profile_id.in_(some)))
            described = [
                row for input_id, item in unique.items() for row in _profile_column_rows(ids[input_id], item.columns)
            ]
            insert(connection, columns, described)

    def newest(self, source: str, asset: str, exclude: Sequence[str] = (), limit: int = 30) -> list[Profile]:
        """Return at most `limit` profiles of inputs in a table, newest extract time first, without inputs in `exclude`.

        Of several versions of one file (same origin and extract time) only the one that arrived last is returned. A
        removed input counts as if it had never been there. The profile of the whole table, if there is one, is last.
        """
        table, inputs = tables.profiles, tables.inputs
        newest_first = (
            sa.select(table.c.profile_id, table.c.input_id, table.c.rows)
            .select_from(
                table.outerjoin(
                    inputs, sa.and_(inputs.c.source == table.c.source, inputs.c.input_id == table.c.input_id)
                )
            )
            .where(table.c.source == source, table.c.asset == asset, *_counting())
            .order_by(
                inputs.c.extract_time.desc().nulls_last(), inputs.c.arrival.desc().nulls_last(), table.c.input_id.desc()
            )
            # excluded ids are left out below and not in SQL, which would need a parameter for each
            .limit(limit + len(exclude))
        )
        left_out = set(exclude)
        with self._database.read(f"reading profiles of {asset}") as connection:
            found = [row for row in connection.execute(newest_first) if (row.input_id or "") not in left_out][:limit]
            described = _profile_columns(connection, [row.profile_id for row in found])
        return [Profile(asset, row.input_id or "", row.rows, described[row.profile_id]) for row in found]

    def before(self, source: str, asset: str, input_ids: Sequence[str], most: int) -> list[Profile]:
        """Return the profiles of these inputs and of the last `most` inputs before each of them, or more, in no order.

        As in `profiles`, older versions of a file and removed inputs are not there. It reads as many rows whatever else
        is known, and as much for an old input as for the newest one.
        """
        table, inputs = tables.profiles, tables.inputs
        limit = most + len(input_ids)
        newest_first = (
            sa.select(table.c.profile_id, inputs.c.input_id, table.c.rows, inputs.c.extract_time)
            .select_from(
                inputs.join(table, sa.and_(table.c.source == inputs.c.source, table.c.input_id == inputs.c.input_id))
            )
            .where(inputs.c.source == source, table.c.source == source, table.c.asset == asset, *_counting())
            .order_by(inputs.c.extract_time.desc(), inputs.c.input_id.desc())
            .limit(limit)
        )
        found: dict[int, sa.Row[Any]] = {}
        # of the rows that were read last, which have no gap
        times: list[dt.datetime] = []
        is_all = False
        with self._database.read(f"reading profiles of {asset}") as connection:
            for time in _extract_times(connection, source, input_ids):
                before = bisect_left(times, time)
                if times and times[0] <= time and (is_all or before >= most):
                    continue
                rows = connection.execute(newest_first.where(inputs.c.extract_time <= time)).all()
                found |= {row.profile_id: row for row in rows}
                times, is_all = [row.extract_time for row in reversed(rows)], len(rows) < limit
            described = _profile_columns(connection, list(found))
        return [Profile(asset, row.input_id, row.rows, described[key]) for key, row in found.items()]

    def of_inputs(self, source: str, asset: str, input_ids: Sequence[str]) -> dict[str, Profile]:
        """Return the profiles of these inputs in a table, by id; an input that was not profiled is not in it."""
        table = tables.profiles
        statement = sa.select(table.c.profile_id, table.c.input_id, table.c.rows).where(
            table.c.source == source, table.c.asset == asset
        )
        with self._database.read(f"reading {len(input_ids)} profiles of {asset}") as connection:
            found = [
                row
                for some in portions(sorted(set(input_ids)))
                for row in connection.execute(statement.where(table.c.input_id.in_(some)))
            ]
            described = _profile_columns(connection, [row.profile_id for row in found])
        return {row.input_id: Profile(asset, row.input_id, row.rows, described[row.profile_id]) for row in found}

    def of_input(self, source: str, asset: str, input_id: str) -> Profile | None:
        """Return the profile of one input in a table; None if it has none."""
        table = tables.profiles
        statement = sa.select(table.c.profile_id, table.c.rows).where(
            table.c.source == source, table.c.asset == asset, table.c.input_id == input_id
        )
        with self._database.read(f"reading the profile of input {input_id} in {asset}") as connection:
            row = connection.execute(statement).one_or_none()
            if row is None:
                return None
            described = _profile_columns(connection, [row.profile_id])
        return Profile(asset, input_id, row.rows, described[row.profile_id])


def _finite(value: float | None) -> float | None:
    # SQLite turns NaN into null, and sums with infinity are useless
    return float(value) if value is not None and math.isfinite(value) else None


def _profile_column_rows(profile_id: int, columns: Sequence[ColumnProfile]) -> list[dict[str, Any]]:
    return [
        {
            "profile_id": profile_id,
            "position": position,
            "name": column.name,
            "type": column.type,
            "nulls": column.nulls,
            "distinct_values": column.distinct,
            "min_value": column.min,
            "max_value": column.max,
            "mean": _finite(column.mean),
            "stddev": _finite(column.stddev),
            "mean_length": _finite(column.mean_length),
            "frequent_values": _as_list(column.frequent),
            "low": _finite(column.low),
            "median": _finite(column.median),
            "high": _finite(column.high),
            "patterns": _as_list(column.patterns),
        }
        for position, column in enumerate(columns)
    ]


def _counting() -> tuple[sa.ColumnElement[bool], ...]:
    """Return the conditions that a profile's input is neither removed nor an older version of a file."""
    inputs = tables.inputs
    version = inputs.alias("version")
    has_newer_version = sa.exists().where(is_newer_version(version, inputs), ~is_removed(version))
    return ~has_newer_version, ~is_removed(tables.profiles)


def _extract_times(connection: sa.Connection, source: str, input_ids: Sequence[str]) -> list[dt.datetime]:
    """Return the different extract times of these inputs, the newest first."""
    inputs = tables.inputs
    wanted = sa.select(inputs.c.extract_time).where(inputs.c.source == source)
    found = {
        time
        for some in portions(sorted(set(input_ids)))
        for time in connection.execute(wanted.where(inputs.c.input_id.in_(some))).scalars()
    }
    return sorted(found, reverse=True)


def _as_list(counted: Mapping[str, float] | None) -> list[list[Any]] | None:
    """Return an object as a list, because a database may sort the members of an object."""
    return None if counted is None else [[*item] for item in counted.items()]


def _profile_columns(connection: sa.Connection, ids: Sequence[int]) -> dict[int, tuple[ColumnProfile, ...]]:
    """Return the columns of profiles, in order, by the id of the profile."""
    columns = tables.profile_columns
    facts_of = [sa.type_coerce(columns.c[name], sa.Text) if name in _LISTS else columns.c[name] for name in _FACTS]
    found: dict[int, list[ColumnProfile]] = {profile_id: [] for profile_id in ids}
    for some in portions(list(found)):
        statement = (
            sa.select(columns.c.profile_id, *facts_of)
            .where(columns.c.profile_id.in_(some))
            .order_by(columns.c.profile_id, columns.c.position)
        )
        # by place: there are thousands
        for profile_id, *facts in connection.execute(statement).all():
            for place in _PLACES_OF_LISTS:
                # the driver of PostgreSQL has read it
                found_list = json.loads(facts[place]) if isinstance(facts[place], str) else facts[place]
                facts[place] = None if found_list is None else dict(found_list)
            found[profile_id].append(ColumnProfile(*facts))
    return {profile_id: tuple(described) for profile_id, described in found.items()}
