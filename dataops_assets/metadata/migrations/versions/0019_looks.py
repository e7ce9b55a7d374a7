"""Looks: why the looks for new inputs of a source fail, and whether a person paused them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Looks: why the looks for new inputs of a source fail, and whether a person paused them."""
    op.create_table(
        "looks",
        sa.Column("source", sa.Text(), nullable=False, comment="Name of the declared source"),
        sa.Column("error", sa.Text(), nullable=False, comment="Why the last look failed; empty if it did not"),
        sa.Column(
            "failing_since",
            _TIME,
            nullable=True,
            comment="Since when looks fail (UTC); null if the last one did not",
        ),
        sa.Column(
            "paused_at",
            _TIME,
            nullable=True,
            comment="When a person switched looks off (UTC); null while they are on",
        ),
        sa.Column("paused_by", sa.Text(), nullable=False, comment="Who did so; empty while they are on"),
        sa.Column("paused_because", sa.Text(), nullable=False, comment="Why; empty while they are on"),
        sa.PrimaryKeyConstraint("source", name=op.f("pk_looks")),
        comment="One row a source: why the looks for its new inputs fail, and whether a person paused them",
    )
