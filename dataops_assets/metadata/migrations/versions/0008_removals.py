"""Removals: inputs that a person removed from the hub, known even if the hub's newest commit or its folder is lost."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Removals: inputs that a person removed from the hub, known even if the hub's newest commit or folder is lost."""
    op.create_table(
        "removals",
        sa.Column("source", sa.Text(), nullable=False, comment="Name of the declared source"),
        sa.Column("input_id", sa.Text(), nullable=False, comment="The input that was removed from the hub"),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=False, comment="When (UTC)"),
        sa.PrimaryKeyConstraint("source", "input_id", name=op.f("pk_removals")),
        sa.ForeignKeyConstraint(["source"], ["sources.source"], name=op.f("fk_removals_sources")),
        sa.ForeignKeyConstraint(
            ["source", "input_id"],
            ["inputs.source", "inputs.input_id"],
            name=op.f("fk_removals_inputs"),
        ),
        comment="One row for each input that a person removed from the hub and that was not merged again",
    )
