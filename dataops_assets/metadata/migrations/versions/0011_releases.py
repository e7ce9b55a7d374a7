"""Releases, with copies of what the metadata said at that time; rollbacks, which are resumed from their rows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Releases, with copies of what the metadata said at that time; rollbacks, which are resumed from their rows."""
    op.create_table(
        "releases",
        sa.Column("release", sa.Text(), nullable=False, comment="Name of the release"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="When it was made (UTC)"),
        sa.Column("created_by", sa.Text(), nullable=False, comment="Who made it"),
        sa.Column("note", sa.Text(), nullable=False, comment="What its maker wrote"),
        sa.Column("code_version", sa.Text(), nullable=False, comment="Git commit of the code, or DATAOPS_CODE_VERSION"),
        sa.Column(
            "dbt_digest", sa.Text(), nullable=False, comment="SHA-256 of the dbt manifest; empty without a dbt project"
        ),
        sa.Column(
            "lock_digest", sa.Text(), nullable=False, comment="SHA-256 of requirements.lock; empty if there is none"
        ),
        sa.Column("contracts", _JSON, nullable=False, comment="JSON object: version of the contract by source"),
        sa.Column("rules", _JSON, nullable=False, comment="JSON object: by source, the version of each rule"),
        sa.Column("last_check", sa.BigInteger(), nullable=False, comment="The highest check_result_id at that time"),
        sa.PrimaryKeyConstraint("release", name=op.f("pk_releases")),
        comment="One row for each release: versions of all tables, with the code that made them",
    )
    op.create_table(
        "rollbacks",
        sa.Column("rollback_id", _SERIAL, nullable=False, comment="Surrogate key; ascends with time"),
        sa.Column(
            "release", sa.Text(), nullable=False, comment="The release that it returned to; it may be dropped since"
        ),
        sa.Column("area", sa.Text(), nullable=False, comment="The subject area that it was about; empty for all"),
        sa.Column("sources", _JSON, nullable=False, comment="JSON list of the sources whose tables it restores"),
        sa.Column(
            "later_inputs", sa.Text(), nullable=False, comment="leave-out or replay: the inputs that the release lacks"
        ),
        sa.Column("inputs", _JSON, nullable=False, comment="JSON object: by source, the ids of these inputs"),
        sa.Column("state", sa.Text(), nullable=False, comment="begun, done, or cancelled before it changed a table"),
        sa.Column("begun_by", sa.Text(), nullable=False, comment="Who began it"),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False, comment="When (UTC)"),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True, comment="When it was done or cancelled (UTC)"),
        sa.CheckConstraint("later_inputs IN ('leave-out', 'replay')", name=op.f("ck_rollbacks_later_inputs")),
        sa.CheckConstraint("state IN ('begun', 'done', 'cancelled')", name=op.f("ck_rollbacks_state")),
        sa.PrimaryKeyConstraint("rollback_id", name=op.f("pk_rollbacks")),
        comment="One row for each rollback: the journal that an interrupted one is resumed from",
    )
    op.create_table(
        "release_processes",
        sa.Column("release", sa.Text(), nullable=False, comment="Name of the release"),
        sa.Column(
            "process_id", _SERIAL, autoincrement=False, nullable=False, comment="Its key in processes at that time"
        ),
        sa.Column("source", sa.Text(), nullable=True, comment="Name of the declared source"),
        sa.Column("step", sa.Text(), nullable=True, comment="ingest, parse, cdc, enrich, refresh or recalculate"),
        sa.Column("input_id", sa.Text(), nullable=True, comment="The input; null for a step over the whole table"),
        sa.Column("asset", sa.Text(), nullable=True, comment="Asset key of the table the step writes, e.g. lake/sales"),
        sa.Column("status", sa.Text(), nullable=True, comment="Of the last attempt: running, done or failed"),
        sa.Column("attempts", sa.Integer(), nullable=True, comment="How often the step was started"),
        sa.Column("run_id", sa.Text(), nullable=True, comment="Dagster run of the last attempt"),
        sa.Column("contract_version", sa.Integer(), nullable=True, comment="Contract in force at the last attempt"),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True, comment="Start of the last attempt (UTC)"),
        sa.Column(
            "finished_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="End of the last attempt (UTC); null while running",
        ),
        sa.Column(
            "seconds",
            sa.Double(),
            nullable=True,
            comment="This input's even share of the step's seconds, so they can be summed",
        ),
        sa.Column("table_version", sa.BigInteger(), nullable=True, comment="Delta version of the table after the step"),
        sa.Column(
            "table_commit",
            sa.Text(),
            nullable=True,
            comment="Id of the commit that made that version; the number alone can recur",
        ),
        sa.Column(
            "written",
            sa.Text(),
            nullable=True,
            comment="Id of the write that has the input's rows in the table (refresh: in the lake)",
        ),
        sa.Column("rows", sa.BigInteger(), nullable=True, comment="Rows the step handled"),
        sa.Column("new", sa.BigInteger(), nullable=True, comment="Rows with a key the hub did not have"),
        sa.Column("changed", sa.BigInteger(), nullable=True, comment="Rows that change a row of the hub"),
        sa.Column("unchanged", sa.BigInteger(), nullable=True, comment="Rows the hub has already"),
        sa.Column("old", sa.BigInteger(), nullable=True, comment="Rows older than what the hub has"),
        sa.Column("deleted", sa.BigInteger(), nullable=True, comment="Rows the input deletes"),
        sa.Column("rejected", sa.BigInteger(), nullable=True, comment="Rows put into quarantine"),
        sa.Column("counts", _JSON, nullable=True, comment="JSON object of all counts the step reported"),
        sa.Column("error_type", sa.Text(), nullable=True, comment="Kind of failure, e.g. GateFailed"),
        sa.Column("error", sa.Text(), nullable=True, comment="What failed, in words"),
        sa.ForeignKeyConstraint(
            ["release"], ["releases.release"], name=op.f("fk_release_processes_releases"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("release", "process_id", name=op.f("pk_release_processes")),
        comment="A copy of the rows of processes as they were at a release",
    )
    op.create_table(
        "release_profile_columns",
        sa.Column("release", sa.Text(), nullable=False, comment="Name of the release"),
        sa.Column("profile_id", _SERIAL, autoincrement=False, nullable=False, comment="The profile it is part of"),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False, comment="Order in the table, from 0"),
        sa.Column("name", sa.Text(), nullable=True, comment="Column name"),
        sa.Column("type", sa.Text(), nullable=True, comment="SQL type in the engine"),
        sa.Column("nulls", sa.BigInteger(), nullable=True, comment="Rows where it is null"),
        sa.Column("distinct_values", sa.BigInteger(), nullable=True, comment="Distinct values; may be an estimate"),
        sa.Column("min_value", sa.Text(), nullable=True, comment="Lowest value, as text"),
        sa.Column("max_value", sa.Text(), nullable=True, comment="Highest value, as text"),
        sa.Column("mean", sa.Double(), nullable=True, comment="Mean of a numeric column"),
        sa.Column("stddev", sa.Double(), nullable=True, comment="Sample standard deviation of a numeric column"),
        sa.ForeignKeyConstraint(
            ["release"], ["releases.release"], name=op.f("fk_release_profile_columns_releases"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("release", "profile_id", "position", name=op.f("pk_release_profile_columns")),
        comment="A copy of the rows of profile_columns as they were at a release",
    )
    op.create_table(
        "release_profiles",
        sa.Column("release", sa.Text(), nullable=False, comment="Name of the release"),
        sa.Column(
            "profile_id", _SERIAL, autoincrement=False, nullable=False, comment="Its key in profiles at that time"
        ),
        sa.Column("source", sa.Text(), nullable=True, comment="Name of the declared source"),
        sa.Column("asset", sa.Text(), nullable=True, comment="Asset key of the table, e.g. lake/sales"),
        sa.Column("input_id", sa.Text(), nullable=True, comment="The input; null for the whole table"),
        sa.Column("rows", sa.BigInteger(), nullable=True, comment="Rows"),
        sa.Column("profiled_at", sa.DateTime(timezone=True), nullable=True, comment="When it was computed (UTC)"),
        sa.ForeignKeyConstraint(
            ["release"], ["releases.release"], name=op.f("fk_release_profiles_releases"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("release", "profile_id", name=op.f("pk_release_profiles")),
        comment="A copy of the rows of profiles as they were at a release",
    )
    op.create_table(
        "release_tables",
        sa.Column("release", sa.Text(), nullable=False, comment="Name of the release"),
        sa.Column("asset", sa.Text(), nullable=False, comment="Asset key of the table, e.g. hub/sales; or warehouse"),
        sa.Column("source", sa.Text(), nullable=True, comment="Name of the declared source; null for the warehouse"),
        sa.Column("version", sa.BigInteger(), nullable=True, comment="Delta version; null for the warehouse"),
        sa.Column(
            "commit_id", sa.Text(), nullable=False, comment="Id of the commit of that version; empty for the warehouse"
        ),
        sa.Column("rows", sa.BigInteger(), nullable=True, comment="Rows; null for the warehouse"),
        sa.Column(
            "pin", sa.Text(), nullable=False, comment="Path of the copy of the warehouse; empty for a Delta table"
        ),
        sa.ForeignKeyConstraint(
            ["release"], ["releases.release"], name=op.f("fk_release_tables_releases"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("release", "asset", name=op.f("pk_release_tables")),
        comment="One row for each table of a release",
    )
    op.create_table(
        "rollback_tables",
        sa.Column("rollback_id", _SERIAL, autoincrement=False, nullable=False, comment="The rollback"),
        sa.Column("asset", sa.Text(), nullable=False, comment="Asset key of the table, e.g. hub/sales"),
        sa.Column(
            "restored",
            sa.BigInteger(),
            nullable=True,
            comment="The Delta version of the release; null if it had no such table",
        ),
        sa.Column(
            "version", sa.BigInteger(), nullable=True, comment="The Delta version that was published with the same rows"
        ),
        sa.ForeignKeyConstraint(["rollback_id"], ["rollbacks.rollback_id"], name=op.f("fk_rollback_tables_rollbacks")),
        sa.PrimaryKeyConstraint("rollback_id", "asset", name=op.f("pk_rollback_tables")),
        comment="One row for each table that a rollback restored",
    )
    op.create_table(
        "release_inputs",
        sa.Column("release", sa.Text(), nullable=False, comment="Name of the release"),
        sa.Column("source", sa.Text(), nullable=False, comment="Name of the declared source"),
        sa.Column("input_id", sa.Text(), nullable=False, comment="An input that was known at the release"),
        sa.Column(
            "arrival", sa.DateTime(timezone=True), nullable=True, comment="Its arrival as it was known then (UTC)"
        ),
        sa.Column(
            "removed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When a person had removed it (UTC); null if nobody had",
        ),
        sa.ForeignKeyConstraint(
            ["release"], ["releases.release"], name=op.f("fk_release_inputs_releases"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["source", "input_id"], ["inputs.source", "inputs.input_id"], name=op.f("fk_release_inputs_inputs")
        ),
        sa.ForeignKeyConstraint(["source"], ["sources.source"], name=op.f("fk_release_inputs_sources")),
        sa.PrimaryKeyConstraint("release", "source", "input_id", name=op.f("pk_release_inputs")),
        comment="One row for each input that was known when a release was made",
    )
    op.add_column(
        "removals",
        sa.Column(
            "rollback_id",
            sa.BigInteger(),
            nullable=True,
            comment="The rollback that left it out; null if a person removed it alone",
        ),
    )
