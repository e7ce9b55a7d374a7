"""Positions of outputs whose target keeps none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Positions of outputs whose target keeps none."""
    op.create_table(
        "output_positions",
        sa.Column("output", sa.Text(), nullable=False, comment="Name of the declared output, and where it goes"),
        sa.Column("changes", sa.BigInteger(), nullable=False, comment="How often it was recorded"),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False, comment="When it was recorded (UTC)"),
        sa.Column(
            "position",
            sa.JSON().with_variant(postgresql.JSONB(), "postgresql"),
            nullable=False,
            comment="JSON object: the version that is done, and one that is begun",
        ),
        sa.PrimaryKeyConstraint("output", name=op.f("pk_output_positions")),
        comment="One row an output whose target keeps no position: how far it was delivered",
    )
