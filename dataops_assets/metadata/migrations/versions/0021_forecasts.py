"""Where the forecasts of process control go on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Where the forecasts of process control go on."""
    op.create_table(
        "forecasts",
        sa.Column("source", sa.Text(), nullable=False, comment="Name of the declared source"),
        sa.Column("asset", sa.Text(), nullable=False, comment="Asset key of the table, e.g. lake/sales"),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False, comment="When the state was written (UTC)"),
        sa.Column(
            "state", sa.LargeBinary(), nullable=False, comment="Of the filters after the last input they have seen"
        ),
        sa.ForeignKeyConstraint(["source"], ["sources.source"], name=op.f("fk_forecasts_sources")),
        sa.PrimaryKeyConstraint("source", "asset", name=op.f("pk_forecasts")),
        comment="One row a table: where process control goes on; it may be deleted at any time",
    )
