"""The results of the report: service levels of data products, and quality scores."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """The results of the report: service levels of data products, and quality scores."""
    op.create_table(
        "service_levels",
        sa.Column("reported_at", _TIME, nullable=False, comment="When the report was made (UTC)"),
        sa.Column("product", sa.Text(), nullable=False, comment="Name of the data product"),
        sa.Column("objective", sa.Text(), nullable=False, comment="freshness, completeness, correctness or incidents"),
        sa.Column("target", sa.Double(), nullable=False, comment="Least good share that is promised"),
        sa.Column(
            "good", sa.Double(), nullable=True, comment="Good share of the window; null if nothing happened in it"
        ),
        sa.Column(
            "budget_left",
            sa.Double(),
            nullable=True,
            comment="Share of the error budget that is left; negative if it is missed",
        ),
        sa.Column(
            "burn_rate",
            sa.Double(),
            nullable=True,
            comment="How many times as fast as allowed it was spent in the last day",
        ),
        sa.PrimaryKeyConstraint("reported_at", "product", "objective", name=op.f("pk_service_levels")),
        comment="One row for each objective of a data product in each report",
    )
    op.create_table(
        "quality_scores",
        sa.Column("reported_at", _TIME, nullable=False, comment="When the report was made (UTC)"),
        sa.Column("scope", sa.Text(), nullable=False, comment="table, area or product"),
        sa.Column(
            "name", sa.Text(), nullable=False, comment="Asset key of the table, or name of the area or data product"
        ),
        sa.Column("score", sa.Double(), nullable=False, comment="0 to 100"),
        sa.Column(
            "losses",
            _JSON,
            nullable=False,
            comment="JSON list of [points, why, rows] of what a table lost points for",
        ),
        sa.PrimaryKeyConstraint("reported_at", "scope", "name", name=op.f("pk_quality_scores")),
        comment="One row for each quality score in each report",
    )
