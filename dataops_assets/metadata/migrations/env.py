"""Alembic's environment: the connection comes from the caller, or from DATAOPS_METADATA_URL on the command line."""

from __future__ import annotations

import os
from typing import Any, Literal

import sqlalchemy as sa
from alembic import context

from dataops_assets.metadata import tables
from dataops_assets.metadata.database import VERSION_TABLE


def ours(_object: object, name: str | None, type_: str, _reflected: bool, _compare_to: object) -> bool:
    """Return whether autogenerate includes a table: other software may have tables in the same database."""
    return type_ != "table" or name in tables.metadata.tables


def rendered(kind: str, value: Any, _context: object) -> str | Literal[False]:
    """Render our column types as types of the database, so that old migrations do not change with our code."""
    if kind != "type" or not isinstance(value, sa.types.TypeDecorator):
        return False
    if isinstance(value, tables.Json):
        return 'sa.JSON().with_variant(sa.dialects.postgresql.JSONB(), "postgresql")'
    return f"sa.{value.impl_instance!r}"


def run(connection: sa.Connection) -> None:
    """Run the migrations on a connection."""
    context.configure(
        connection=connection,
        target_metadata=tables.metadata,
        version_table=VERSION_TABLE,
        include_object=ours,
        render_item=rendered,
        # SQLite cannot alter most parts of a table, so Alembic rebuilds the table
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with sa.create_engine(os.environ["DATAOPS_METADATA_URL"]).connect() as opened:
        run(opened)
