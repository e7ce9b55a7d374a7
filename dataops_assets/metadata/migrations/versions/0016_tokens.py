"""Tokens: which version of a table a consumer took, and whether it is still approved."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Tokens: which version of a table a consumer took, and whether it is still approved."""
    op.create_table(
        "tokens",
        sa.Column("token", sa.Text(), nullable=False, comment="Hash of consumer, table and release"),
        sa.Column("consumer", sa.Text(), nullable=False, comment="Who took it, such as the name of a model"),
        sa.Column("asset", sa.Text(), nullable=False, comment="Asset key of the table, e.g. hub/sales"),
        sa.Column("source", sa.Text(), nullable=True, comment="Its source; null for a table of the warehouse"),
        sa.Column(
            "release", sa.Text(), nullable=False, comment="The release whose version it is; may be dropped since"
        ),
        sa.Column("released_at", _TIME, nullable=False, comment="When that release was made (UTC)"),
        sa.Column(
            "version", sa.BigInteger(), nullable=True, comment="Delta version; null for a table of the warehouse"
        ),
        sa.Column(
            "commit_id", sa.Text(), nullable=False, comment="Id of the commit of that version; empty for the warehouse"
        ),
        sa.Column("given_at", _TIME, nullable=False, comment="When it was taken (UTC)"),
        sa.Column("given_by", sa.Text(), nullable=False, comment="Who took it for the consumer"),
        sa.Column("revoked_at", _TIME, nullable=True, comment="When it was revoked (UTC); null while it is approved"),
        sa.Column("reason", sa.Text(), nullable=False, comment="Why it was revoked; empty while it is approved"),
        sa.PrimaryKeyConstraint("token", name=op.f("pk_tokens")),
        comment="One row for each version of a table that a consumer took",
    )
