"""Records plans, and what became of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import sqlalchemy as sa

from dataops_assets.errors import InputError, nearest
from dataops_assets.metadata import tables
from dataops_assets.metadata.database import Database
from dataops_assets.metadata.statements import insert_of

BEGUN, DONE, FAILED = "begun", "done", "failed"


@dataclass(frozen=True)
class StoredPlan:
    """A plan as it was read by a person; `content` is its JSON."""

    plan_id: str
    created_at: dt.datetime
    created_by: str
    against: str
    load_id: int | None
    declared: str
    content: Mapping[str, Any]


@dataclass(frozen=True)
class Apply:
    """One application of a plan. `outcome`: for each piece of work the estimate, and what was done."""

    apply_id: int
    plan_id: str
    state: str
    begun_by: str
    begun_at: dt.datetime
    ended_at: dt.datetime | None
    outcome: Sequence[Mapping[str, Any]]


class PlanStore:
    """The plans in the metadata. Its methods raise StorageError if the database cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, plan: StoredPlan) -> None:
        """Record a plan. The same plan of the same state is recorded once."""
        new = insert_of(self._database.dialect)(tables.plans).on_conflict_do_nothing()
        with self._database.write(f"recording the plan {plan.plan_id}") as connection:
            connection.execute(new, asdict(plan))

    def plan(self, plan_id: str) -> StoredPlan:
        """Return a plan. Raises InputError for an unknown one."""
        table = tables.plans
        wanted = sa.select(*(table.c[item.name] for item in fields(StoredPlan)))
        with self._database.read(f"reading the plan {plan_id!r}") as connection:
            found = connection.execute(wanted.where(table.c.plan_id == plan_id)).one_or_none()
        if found is None:
            known = self.plan_ids()
            raise InputError(
                f"finding the plan {plan_id!r}",
                known=known[:10],
                next_step=nearest(plan_id, known) or "make one: dataops plan",
            )
        return StoredPlan(*found)

    def plan_ids(self) -> list[str]:
        """Return the ids of all plans, the newest first."""
        table = tables.plans
        with self._database.read("reading the plans") as connection:
            return list(connection.execute(sa.select(table.c.plan_id).order_by(table.c.created_at.desc())).scalars())

    def begin(self, plan_id: str, by: str) -> int:
        """Record that a plan is being applied, and return the number of the attempt."""
        row = {"plan_id": plan_id, "state": BEGUN, "begun_by": by, "begun_at": dt.datetime.now(dt.UTC), "outcome": []}
        with self._database.write(f"beginning to apply the plan {plan_id}") as connection:
            new = tables.applies.insert().returning(tables.applies.c.apply_id)
            return int(connection.execute(new, row).scalar_one())

    def note(self, apply_id: int, outcome: Sequence[Mapping[str, Any]], state: str = BEGUN) -> None:
        """Record how far an attempt has come; with another state than `begun`, also its end."""
        ended = None if state == BEGUN else dt.datetime.now(dt.UTC)
        this = tables.applies.update().where(tables.applies.c.apply_id == apply_id)
        with self._database.write(f"recording attempt {apply_id} to apply a plan") as connection:
            connection.execute(this.values(state=state, ended_at=ended, outcome=list(outcome)))

    def applies(self, plan_id: str) -> list[Apply]:
        """Return the attempts to apply a plan, in order."""
        table = tables.applies
        wanted = sa.select(*(table.c[item.name] for item in fields(Apply))).where(table.c.plan_id == plan_id)
        with self._database.read(f"reading the attempts to apply the plan {plan_id!r}") as connection:
            return [Apply(*row) for row in connection.execute(wanted.order_by(table.c.apply_id))]

    def outcomes(self) -> list[Mapping[str, Any]]:
        """Return the outcomes of all work that was done for plans, in order."""
        table = tables.applies
        wanted = sa.select(table.c.outcome).where(table.c.state == DONE).order_by(table.c.apply_id)
        with self._database.read("reading what became of plans") as connection:
            return [item for found in connection.execute(wanted).scalars() for item in found]
