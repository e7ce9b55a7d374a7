"""Declared change feeds of PostgreSQL and MariaDB: a table whose changes are read from the log of the database."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, field_validator, model_validator

from dataops_assets.config.declared import Declared, Duration
from dataops_assets.config.limits import Limits


class ReplicationConnection(Declared):
    """A table of a declared PostgreSQL or MariaDB database, read from the log: first its rows, then each change."""

    type: Literal["replication"]
    database: str = Field(description="Name of the PostgreSQL or MariaDB database in a ConnectionsComponent.")
    table: str = Field(description="Table as 'schema.name', of MariaDB as 'database.name', written as in the database.")
    slot: str = Field(
        "",
        pattern=r"^[a-z0-9_]{0,63}$",
        description="Of PostgreSQL: name of the replication slot; default: dataops_<environment>_<source>. A slot has "
        "one reader, so two deployments need two slots.",
    )
    publication: str = Field(
        "",
        description="Of PostgreSQL: name of the publication with the table; default: the name of the slot. If there is "
        "none, it is made, for which the user must own the table.",
    )
    snapshot: bool = Field(
        True,
        description="Whether the first input has all rows of the table, as they are where the log is read from.",
    )
    every: Duration | None = Field(
        None, description="Time between two looks at the log; default: 1 minute, or each tick of discovery.schedule."
    )
    most_changes: int = Field(
        200_000, ge=1, description="Changes after which an input ends; a transaction is never divided."
    )
    most_kept: int = Field(
        10 << 30,
        ge=1,
        description="Of PostgreSQL: bytes of the log that the server may keep for the slot. If it keeps more, each "
        "look says so: a log that nobody reads fills the disk of the server.",
    )
    lost: Literal["stop", "snapshot"] = Field(
        "stop",
        description="What to do if changes that were not read are gone: the slot was dropped, moved or lost, the log "
        "was removed, or it does not tell what a statement changed. "
        "`stop`: fail and say so. `snapshot`: begin again with all rows of the table, after a record that empties it.",
    )
    limits: Limits = Field(Limits(), description="Limits for reading one input.")

    @field_validator("every")
    @classmethod
    def _not_negative(cls, value: timedelta | None) -> timedelta | None:
        if value is not None and value < timedelta(0):
            raise ValueError("the time between two looks is not negative")
        return value

    @model_validator(mode="after")
    def _whole_name(self) -> ReplicationConnection:
        schema, dot, name = self.table.partition(".")
        if not (dot and schema.strip() == schema != "" and name.strip() == name != ""):
            raise ValueError(f"table is {self.table!r}; write it as 'schema.name', such as public.orders")
        return self

    @property
    def names(self) -> tuple[str, str]:
        """Return the schema and the name of the table."""
        schema, _, name = self.table.partition(".")
        return schema, name
