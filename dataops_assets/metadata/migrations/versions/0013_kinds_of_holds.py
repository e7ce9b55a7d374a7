"""Inputs are held, and approved, for one of two reasons: their deletes, or an anomaly."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_DELETES = "deletes"


def upgrade() -> None:
    """Inputs are held, and approved, for one of two reasons: their deletes, or an anomaly."""
    kind = sa.Column("kind", sa.Text(), nullable=False, comment="Why: deletes or anomaly", server_default=_DELETES)
    with op.batch_alter_table("holds") as holds:
        holds.add_column(kind)
        holds.alter_column("kind", server_default=None)
    approved = sa.Column(
        "kind",
        sa.Text(),
        nullable=False,
        comment="What a person found right: deletes or anomaly",
        server_default=_DELETES,
    )
    with op.batch_alter_table("approvals") as approvals:
        approvals.add_column(approved)
        approvals.alter_column("kind", server_default=None)
        approvals.drop_constraint(op.f("pk_approvals"), type_="primary")
        approvals.create_primary_key(op.f("pk_approvals"), ["source", "input_id", "kind"])
    if op.get_bind().dialect.name == "postgresql":
        _comment_again()


def _comment_again() -> None:
    """Say of tables and columns what they mean now; SQLite stores no comments."""
    op.alter_column("approvals", "input_id", comment="The input that may go on")
    op.alter_column("holds", "reason", comment="What would be lost or is odd, and how to go on")
    op.alter_column(
        "holds",
        "judged_against",
        comment="Hash of the inputs before it in the hub, and of the settings; another one: it is judged again",
    )
    op.create_table_comment("approvals", "One row an input, and what of it a person approved")
    op.create_table_comment(
        "holds", "One row an input that waits for a person: too much would be lost by it, or it is odd"
    )
