"""The manifest that was delivered with an input."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The manifest that was delivered with an input."""
    op.add_column(
        "inputs",
        sa.Column(
            "manifest",
            sa.Text(),
            nullable=False,
            server_default=sa.text("''"),
            comment="Manifest delivered with it; empty: none",
        ),
    )
