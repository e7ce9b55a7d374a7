"""Steps record their commit id and write id, because the number of a table version can occur twice."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_COLUMNS = {
    "table_commit": "Id of the commit that made that version; the number alone can recur",
    "written": "Id of the write that has the input's rows in the table (refresh: in the lake)",
}


def upgrade() -> None:
    """Null where a step was done before: then only the input's name is looked for in the table."""
    for name, comment in _COLUMNS.items():
        op.add_column("processes", sa.Column(name, sa.Text(), nullable=True, comment=comment))
