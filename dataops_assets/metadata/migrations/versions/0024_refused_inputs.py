"""What a step judged each of its inputs against, and the time zone in which extract times of a source were read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """What a step judged its inputs against, also in the copies of a release, and the time zone of each source."""
    op.add_column(
        "sources",
        sa.Column(
            "timezone",
            sa.Text(),
            nullable=True,
            comment="Time zone in which extract times without a zone are read; null: not known",
        ),
    )
    for table in ("processes", "release_processes"):
        op.add_column(
            table,
            sa.Column(
                "judged_against",
                sa.Text(),
                nullable=True,
                comment="Fingerprint of what the step judged the input against, besides its content; null: not known",
            ),
        )
