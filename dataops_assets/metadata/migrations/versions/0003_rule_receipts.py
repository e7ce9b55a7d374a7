"""Receipts: one record for each computation of a rule over stored rows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Receipts: one record for each computation of a rule over stored rows."""
    serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "rule_receipts",
        sa.Column("rule_receipt_id", serial, nullable=False, comment="Surrogate key; ascends with time"),
        sa.Column("source", sa.Text(), nullable=False, comment="Name of the declared source"),
        sa.Column("asset", sa.Text(), nullable=False, comment="Asset key of the table, e.g. hub/sales_current"),
        sa.Column("rule", sa.Text(), nullable=False, comment="The rule, which is the column's name"),
        sa.Column("rule_version", sa.Text(), nullable=False, comment="Hash of all that decides the rule's values"),
        sa.Column("rows_seen", sa.BigInteger(), nullable=False, comment="Rows that the rule was computed for"),
        sa.Column("rows_changed", sa.BigInteger(), nullable=False, comment="Rows with another value, and new rows"),
        sa.Column("table_version", sa.BigInteger(), nullable=True, comment="Delta version of the table afterwards"),
        sa.Column("run_id", sa.Text(), nullable=False, comment="Dagster run; empty where started by hand"),
        sa.Column("recalculated_at", sa.DateTime(timezone=True), nullable=False, comment="When (UTC)"),
        sa.PrimaryKeyConstraint("rule_receipt_id", name=op.f("pk_rule_receipts")),
        sa.ForeignKeyConstraint(["source"], ["sources.source"], name=op.f("fk_rule_receipts_sources")),
        comment="One row a rule each time it was computed again for rows that a table has",
    )
    op.create_index(op.f("ix_rule_receipts_source_asset_rule"), "rule_receipts", ["source", "asset", "rule"])
