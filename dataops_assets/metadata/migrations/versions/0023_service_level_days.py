"""What the indicators of data products counted on each day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """What the indicators of data products counted on each day."""
    op.create_table(
        "service_level_days",
        sa.Column("product", sa.Text(), nullable=False, comment="Name of the data product"),
        sa.Column("objective", sa.Text(), nullable=False, comment="freshness, completeness, correctness or incidents"),
        sa.Column("part", sa.Text(), nullable=False, comment="Source, or asset key of a table of the warehouse"),
        sa.Column("day", sa.DateTime(timezone=True), nullable=False, comment="Begin of the day (UTC)"),
        sa.Column(
            "counted_good",
            sa.Double(),
            nullable=False,
            comment="Seconds, rows, results or incidents that are good",
        ),
        sa.Column(
            "counted",
            sa.Double(),
            nullable=False,
            comment="All seconds, rows, results or incidents that count",
        ),
        sa.PrimaryKeyConstraint("product", "objective", "part", "day", name=op.f("pk_service_level_days")),
        comment="One row for each day, objective and part of a data product in which something happened",
    )
