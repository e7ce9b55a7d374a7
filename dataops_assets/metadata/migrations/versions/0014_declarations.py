"""The declarations that a deployment runs with; plans of changes to them, and what became of the plans."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """The declarations that a deployment runs with; plans of changes to them, and what became of the plans."""
    for table in ("processes", "release_processes"):
        op.add_column(
            table,
            sa.Column(
                "declared",
                sa.Text(),
                nullable=True,
                comment="Hash of the declaration that decides the step's rows; null: not known",
            ),
        )
    op.add_column(
        "releases",
        sa.Column(
            "load_id",
            sa.BigInteger(),
            nullable=True,
            comment="The declarations in force at that time; null if none were recorded",
        ),
    )
    _loads()
    _plans()


def _loads() -> None:
    op.create_table(
        "declarations",
        sa.Column("digest", sa.Text(), nullable=False, comment="SHA-256 of kind, name and content"),
        sa.Column(
            "kind",
            sa.Text(),
            nullable=False,
            comment="source, database, output, contract, model, ...",
        ),
        sa.Column("name", sa.Text(), nullable=False, comment="Name of the source, the model, ..."),
        sa.Column("content", _JSON, nullable=False, comment="JSON of the whole declaration"),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_declarations")),
        comment="One row for each declaration that a deployment ran with, however often it did",
    )
    op.create_index(op.f("ix_declarations_kind_name"), "declarations", ["kind", "name"])
    op.create_table(
        "loads",
        sa.Column("load_id", _SERIAL, nullable=False, comment="Surrogate key; the highest is in force"),
        sa.Column("digest", sa.Text(), nullable=False, comment="SHA-256 of all its declarations"),
        sa.Column("loaded_at", _TIME, nullable=False, comment="When the deployment began to run with them (UTC)"),
        sa.PrimaryKeyConstraint("load_id", name=op.f("pk_loads")),
        comment="One row each time a deployment began to run with other declarations",
    )
    op.create_table(
        "load_declarations",
        sa.Column("load_id", _SERIAL, autoincrement=False, nullable=False, comment="The load"),
        sa.Column("digest", sa.Text(), nullable=False, comment="A declaration it ran with"),
        sa.ForeignKeyConstraint(["digest"], ["declarations.digest"], name=op.f("fk_load_declarations_declarations")),
        sa.ForeignKeyConstraint(["load_id"], ["loads.load_id"], name=op.f("fk_load_declarations_loads")),
        sa.PrimaryKeyConstraint("load_id", "digest", name=op.f("pk_load_declarations")),
        comment="One row for each declaration of a load",
    )


def _plans() -> None:
    op.create_table(
        "plans",
        sa.Column("plan_id", sa.Text(), nullable=False, comment="First digits of the SHA-256 of all that it compares"),
        sa.Column("created_at", _TIME, nullable=False, comment="When it was made first (UTC)"),
        sa.Column("created_by", sa.Text(), nullable=False, comment="Who made it"),
        sa.Column(
            "against", sa.Text(), nullable=False, comment="Release that it compares with; empty: what is in force"
        ),
        sa.Column(
            "load_id",
            sa.BigInteger(),
            nullable=True,
            comment="The load that it compares with; null if nothing was ever loaded",
        ),
        sa.Column("declared", sa.Text(), nullable=False, comment="SHA-256 of the declarations of the working tree"),
        sa.Column("content", _JSON, nullable=False, comment="JSON of the plan, as dataops plan --json prints it"),
        sa.PrimaryKeyConstraint("plan_id", name=op.f("pk_plans")),
        comment="One row for each plan",
    )
    op.create_table(
        "applies",
        sa.Column("apply_id", _SERIAL, nullable=False, comment="Surrogate key; ascends with time"),
        sa.Column("plan_id", sa.Text(), nullable=False, comment="The plan that it does"),
        sa.Column(
            "state", sa.Text(), nullable=False, comment="begun, done, or failed: then the plan can be applied again"
        ),
        sa.Column("begun_by", sa.Text(), nullable=False, comment="Who began it"),
        sa.Column("begun_at", _TIME, nullable=False, comment="When (UTC)"),
        sa.Column(
            "ended_at",
            _TIME,
            nullable=True,
            comment="When it was done or failed (UTC); null while it runs or was killed",
        ),
        sa.Column(
            "outcome", _JSON, nullable=False, comment="JSON list: of each piece of work, what was predicted and done"
        ),
        sa.CheckConstraint("state IN ('begun', 'done', 'failed')", name=op.f("ck_applies_state")),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.plan_id"], name=op.f("fk_applies_plans")),
        sa.PrimaryKeyConstraint("apply_id", name=op.f("pk_applies")),
        comment="One row each time a plan was applied",
    )
    op.create_index(op.f("ix_applies_plan_id"), "applies", ["plan_id"])
