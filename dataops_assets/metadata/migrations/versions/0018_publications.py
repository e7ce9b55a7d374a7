"""Publications: which version of each table readers saw from when on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")


def upgrade() -> None:
    """Publications: which version of each table readers saw from when on."""
    op.create_table(
        "publications",
        sa.Column("publication", sa.Text(), nullable=False, comment="Name of the publication"),
        sa.Column("number", sa.BigInteger(), nullable=False, comment="Ascends with time; the highest is in force"),
        sa.Column("published_at", _TIME, nullable=False, comment="From when on readers see it (UTC)"),
        sa.Column(
            "tables",
            _JSON,
            nullable=False,
            comment="JSON list: asset key, Delta version, commit or build id, and rows of each table",
        ),
        sa.Column(
            "warehouse",
            sa.Text(),
            nullable=False,
            comment="Copy of the warehouse with its models; empty without models",
        ),
        sa.PrimaryKeyConstraint("publication", "number", name=op.f("pk_publications")),
        comment="One row for each moment of a publication",
    )
