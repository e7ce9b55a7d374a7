"""Keeps what guards and people decide on inputs: held, approved, removed from the hub, or part of an incident.

Grain: one row an input and kind of decision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from dataops_assets.errors import InputHeld
from dataops_assets.metadata import tables
from dataops_assets.metadata.database import Database
from dataops_assets.metadata.registered import contract_version, require_inputs
from dataops_assets.metadata.statements import columns_of, delete_inputs, portions, upsert, utc_now

DELETES, ANOMALY = "deletes", "anomaly"
"""Why an input is held: it deletes too much, or its values are not as expected."""


@dataclass(frozen=True)
class Hold:
    """The reason why an input waits for a person, and a fingerprint of the inputs it was compared with."""

    input_id: str
    reason: str
    judged_against: str
    kind: str = DELETES


class DecisionStore:
    """The decisions in the metadata. Its methods raise StorageError if the database cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def approve(self, source: str, input_ids: Sequence[str], run_id: str, kind: str = DELETES) -> None:
        """Record that a person approves the deletes (or another kind) of these inputs.

        Raises InputError if an input is unknown.
        """
        rows = [
            {"source": source, "input_id": input_id, "kind": kind, "run_id": run_id, "approved_at": utc_now()}
            for input_id in sorted(set(input_ids))
        ]
        with self._database.write(f"approving inputs of source {source!r}") as connection:
            contract_version(connection, source)
            require_inputs(connection, source, input_ids)
            upsert(connection, tables.approvals, rows)

    def approved(self, source: str, kind: str = DELETES) -> frozenset[str]:
        """Return the ids of the inputs whose deletes (or another kind) a person approved."""
        table = tables.approvals
        statement = sa.select(table.c.input_id).where(table.c.source == source, table.c.kind == kind)
        with self._database.read(f"reading approvals of source {source!r}") as connection:
            return frozenset(connection.execute(statement).scalars())

    def hold(self, source: str, holds: Sequence[Hold]) -> None:
        """Record that these inputs are held for a person. If one was refreshed before, its refresh becomes failed.

        Raises InputError if an input is unknown.
        """
        if not holds:
            return
        now, processes, table = utc_now(), tables.processes, tables.holds
        unique = {item.input_id: item for item in holds}
        reason = sa.select(table.c.reason).where(
            table.c.source == processes.c.source, table.c.input_id == processes.c.input_id
        )
        refreshed = (processes.c.source == source, processes.c.step == "refresh", processes.c.status == "done")
        values = {"status": "failed", "error_type": InputHeld.__name__, "error": reason.scalar_subquery()}
        with self._database.write(f"holding inputs of source {source!r}") as connection:
            contract_version(connection, source)
            require_inputs(connection, source, list(unique))
            rows = [{"source": source, **asdict(item), "held_at": now} for _, item in sorted(unique.items())]
            upsert(connection, table, rows)
            for some in portions(sorted(unique)):
                connection.execute(
                    processes.update().where(*refreshed, processes.c.input_id.in_(some)).values(**values)
                )

    def release(self, source: str, input_ids: Sequence[str]) -> None:
        """Record that these inputs are not held any more; `finish` does so for inputs that pass a step."""
        with self._database.write(f"releasing inputs of source {source!r}") as connection:
            delete_inputs(connection, tables.holds, source, input_ids)

    def held(self, source: str) -> Mapping[str, Hold]:
        """Return the held inputs, by id."""
        table = tables.holds
        statement = sa.select(*columns_of(table, Hold)).where(table.c.source == source)
        with self._database.read(f"reading held inputs of source {source!r}") as connection:
            return {row["input_id"]: Hold(**row) for row in connection.execute(statement).mappings()}

    def remove(self, source: str, input_ids: Sequence[str]) -> None:
        """Record that a person removed these inputs from the hub. When a refresh of one starts, it counts no longer.

        Raises InputError if an input is unknown.
        """
        now = utc_now()
        rows = [{"source": source, "input_id": input_id, "removed_at": now} for input_id in sorted(set(input_ids))]
        with self._database.write(f"recording removed inputs of source {source!r}") as connection:
            require_inputs(connection, source, input_ids)
            upsert(connection, tables.removals, rows)

    def removed(self, source: str) -> frozenset[str]:
        """Return the ids of the inputs that a person removed from the hub."""
        table = tables.removals
        with self._database.read(f"reading removed inputs of source {source!r}") as connection:
            return frozenset(connection.execute(sa.select(table.c.input_id).where(table.c.source == source)).scalars())

    def faulty_inputs(self, source: str) -> frozenset[str]:
        """Return the inputs of incidents of volume or distribution that a person acknowledged: they are not usual.

        An input whose anomaly a person approved is usual.
        """
        table = tables.incidents
        statement = sa.select(table.c.inputs).where(
            table.c.source == source,
            table.c.kind.in_(("volume", "distribution")),
            table.c.acknowledged_at.is_not(None),
        )
        with self._database.read(f"reading the acknowledged incidents of {source}") as connection:
            faulty = {input_id for inputs in connection.execute(statement).scalars() for input_id in inputs}
            if not faulty:
                return frozenset()
            approvals = tables.approvals
            approved = sa.select(approvals.c.input_id).where(approvals.c.source == source, approvals.c.kind == ANOMALY)
            return frozenset(faulty.difference(connection.execute(approved).scalars()))
