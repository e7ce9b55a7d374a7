"""Profiles have the mean length of texts, and the rows of each value of texts with few values."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """Profiles have the mean length of texts, and the rows of each value of texts with few values."""
    for table in ("profile_columns", "release_profile_columns"):
        op.add_column(
            table,
            sa.Column("mean_length", sa.Double(), nullable=True, comment="Mean number of characters of a text column"),
        )
        op.add_column(
            table,
            sa.Column(
                "frequent_values",
                _JSON,
                nullable=True,
                comment="JSON list of [value, rows], for a text column with few values",
            ),
        )
