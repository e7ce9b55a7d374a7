"""Profiles have quantiles of numbers, and the shares of patterns of texts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_BELOW = {"low": "5 %", "median": "Half", "high": "95 %"}


def upgrade() -> None:
    """Profiles have quantiles of numbers, and the shares of patterns of texts."""
    for table in ("profile_columns", "release_profile_columns"):
        for name, part in _BELOW.items():
            told = f"{part} of the values of a numeric column are below it; of a sample"
            op.add_column(table, sa.Column(name, sa.Double(), nullable=True, comment=told))
        told = "JSON list of [pattern, share], for a text column with many values"
        op.add_column(table, sa.Column("patterns", _JSON, nullable=True, comment=told))
