"""Holds: inputs that wait for a person, with a fingerprint of the inputs they were compared with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Holds: inputs that wait for a person, with a fingerprint of the inputs they were compared with."""
    op.create_table(
        "holds",
        sa.Column("source", sa.Text(), nullable=False, comment="Name of the declared source"),
        sa.Column("input_id", sa.Text(), nullable=False, comment="The input that is held"),
        sa.Column("reason", sa.Text(), nullable=False, comment="What would be lost, and how to go on"),
        sa.Column(
            "judged_against",
            sa.Text(),
            nullable=False,
            comment="Hash of the inputs before it in the hub, and of the limits; another one: it is judged again",
        ),
        sa.Column("held_at", sa.DateTime(timezone=True), nullable=False, comment="When it was last judged (UTC)"),
        sa.PrimaryKeyConstraint("source", "input_id", name=op.f("pk_holds")),
        sa.ForeignKeyConstraint(["source"], ["sources.source"], name=op.f("fk_holds_sources")),
        sa.ForeignKeyConstraint(
            ["source", "input_id"],
            ["inputs.source", "inputs.input_id"],
            name=op.f("fk_holds_inputs"),
        ),
        comment="One row an input that waits for a person, because too much would be lost by it",
    )
