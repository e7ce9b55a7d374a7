"""An index with all columns of processes that a sensor reads at each look."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """An index with all columns of processes that a sensor reads at each look."""
    op.create_index(
        "ix_processes_progress",
        "processes",
        ["source", "status", "step", "input_id", "written", "finished_at", "rejected"],
    )
