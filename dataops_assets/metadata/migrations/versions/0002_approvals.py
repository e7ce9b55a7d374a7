"""Approvals: a person approves the deletes of a held input."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Approvals: a person approves the deletes of a held input."""
    op.create_table(
        "approvals",
        sa.Column("source", sa.Text(), nullable=False, comment="Name of the declared source"),
        sa.Column("input_id", sa.Text(), nullable=False, comment="The input that may delete what it implies"),
        sa.Column("run_id", sa.Text(), nullable=False, comment="Dagster run by which it was approved"),
        sa.Column("approved_at", sa.DateTime(timezone=True), nullable=False, comment="When (UTC)"),
        sa.PrimaryKeyConstraint("source", "input_id", name=op.f("pk_approvals")),
        sa.ForeignKeyConstraint(["source"], ["sources.source"], name=op.f("fk_approvals_sources")),
        sa.ForeignKeyConstraint(
            ["source", "input_id"],
            ["inputs.source", "inputs.input_id"],
            name=op.f("fk_approvals_inputs"),
        ),
        comment="One row an input whose deletes a person approved",
    )
