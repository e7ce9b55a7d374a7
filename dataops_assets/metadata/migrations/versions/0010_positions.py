"""Positions: how far a source that is read from a database was read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Positions: how far a source that is read from a database was read."""
    op.create_table(
        "positions",
        sa.Column("source", sa.Text(), nullable=False, comment="Name of the declared source"),
        sa.Column("looks", sa.BigInteger(), nullable=False, comment="Number of looks that were recorded"),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=False, comment="When the last look was (UTC)"),
        sa.Column(
            "position",
            sa.JSON().with_variant(postgresql.JSONB(), "postgresql"),
            nullable=False,
            comment="JSON object of what the next look continues from",
        ),
        sa.PrimaryKeyConstraint("source", name=op.f("pk_positions")),
        sa.ForeignKeyConstraint(["source"], ["sources.source"], name=op.f("fk_positions_sources")),
        comment="One row a source that is read from a database: how far it was read",
    )
