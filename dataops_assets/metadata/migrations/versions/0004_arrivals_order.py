"""Inputs get an arrival time and the digest of their unpacked content; arrivals get a note."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Inputs registered before have the arrival and the content that decided so far: extract time and digest."""
    op.add_column(
        "inputs",
        sa.Column(
            "arrival",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the newest version with this content was made (UTC)",
        ),
    )
    op.add_column(
        "inputs",
        sa.Column(
            "content",
            sa.Text(),
            nullable=True,
            comment="SHA-256 of what the bytes unpack to; digest if not compressed",
        ),
    )
    inputs = sa.table("inputs", *map(sa.column, ("extract_time", "digest", "arrival", "content")))
    op.execute(inputs.update().values(arrival=inputs.c.extract_time, content=inputs.c.digest))
    if op.get_context().dialect.name == "postgresql":
        # SQLite keeps no comments
        op.alter_column("inputs", "input_id", comment="Extract time and content; the partition key in the UI")
        op.create_table_comment("inputs", "One row an input: a content that a source was given for an extract time")
        op.alter_column(
            "arrivals", "note", comment="What is to say of it, e.g. replaces an input, already known, left out"
        )
