"""What a step judged each of its inputs against, so that a refused input is tried again when that changes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """What a step judged each of its inputs against, in the processes and in their copies of a release."""
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
