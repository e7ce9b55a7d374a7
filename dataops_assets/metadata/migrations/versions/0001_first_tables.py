"""First tables: declarations, inputs, steps, profiles and checks."""

from __future__ import annotations

import sqlalchemy as sa
import sqlalchemy.dialects.postgresql
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """First tables: declarations, inputs, steps, profiles and checks."""
    op.create_table(
        "sources",
        sa.Column("source", sa.Text(), nullable=False, comment="Name of the declared source"),
        sa.Column("area", sa.Text(), nullable=False, comment="Subject area; the group in the Dagster UI"),
        sa.Column("description", sa.Text(), nullable=False, comment="What one row is and where it comes from"),
        sa.Column(
            "owners",
            sa.JSON().with_variant(sa.dialects.postgresql.JSONB(), "postgresql"),
            nullable=False,
            comment="JSON list of e-mail addresses or team names",
        ),
        sa.Column("refresh_type", sa.Text(), nullable=False, comment="How inputs make the hub: full, key, append, ..."),
        sa.Column(
            "registered_at", sa.DateTime(timezone=True), nullable=False, comment="When the source was first seen (UTC)"
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), nullable=False, comment="When its declaration last changed (UTC)"
        ),
        sa.PrimaryKeyConstraint("source", name=op.f("pk_sources")),
        comment="One row a declared source, as it is declared now",
    )
    op.create_table(
        "contracts",
        sa.Column("source", sa.Text(), nullable=False, comment="Name of the declared source"),
        sa.Column(
            "version", sa.Integer(), autoincrement=False, nullable=False, comment="1, 2, ...; the highest is in force"
        ),
        sa.Column(
            "definition",
            sa.JSON().with_variant(sa.dialects.postgresql.JSONB(), "postgresql"),
            nullable=False,
            comment="JSON of columns, drift, refresh, relations, rules and validations, without descriptions",
        ),
        sa.Column(
            "registered_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When this version was first seen (UTC)",
        ),
        sa.ForeignKeyConstraint(["source"], ["sources.source"], name=op.f("fk_contracts_sources")),
        sa.PrimaryKeyConstraint("source", "version", name=op.f("pk_contracts")),
        comment="One row a version of what a source's data means; a new version whenever that changes",
    )
    op.create_table(
        "inputs",
        sa.Column("source", sa.Text(), nullable=False, comment="Name of the declared source"),
        sa.Column(
            "input_id", sa.Text(), nullable=False, comment="Extract time and digest; the partition key in the UI"
        ),
        sa.Column(
            "extract_time",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the data was taken from its system (UTC)",
        ),
        sa.Column("digest", sa.Text(), nullable=False, comment="SHA-256 of the bytes as received"),
        sa.Column("origin", sa.Text(), nullable=False, comment="Path or URL it was taken from"),
        sa.Column("size", sa.BigInteger(), nullable=False, comment="Bytes as received"),
        sa.Column(
            "registered_at", sa.DateTime(timezone=True), nullable=False, comment="When the platform first saw it (UTC)"
        ),
        sa.ForeignKeyConstraint(["source"], ["sources.source"], name=op.f("fk_inputs_sources")),
        sa.PrimaryKeyConstraint("source", "input_id", name=op.f("pk_inputs")),
        comment="One row an input: a file, an extract or a slice that a source was given",
    )
    op.create_index(op.f("ix_inputs_source_digest"), "inputs", ["source", "digest"], unique=False)
    op.create_index(
        op.f("ix_inputs_source_extract_time_input_id"), "inputs", ["source", "extract_time", "input_id"], unique=False
    )
    op.create_table(
        "arrivals",
        sa.Column("source", sa.Text(), nullable=False, comment="Name of the declared source"),
        sa.Column("origin", sa.Text(), nullable=False, comment="Path or URL that was looked at"),
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False, comment="Bytes"),
        sa.Column("modified", sa.DateTime(timezone=True), nullable=False, comment="Modification time (UTC)"),
        sa.Column("digest", sa.Text(), nullable=False, comment="SHA-256 of the bytes; empty if they were not read"),
        sa.Column("input_id", sa.Text(), nullable=True, comment="The input it is; null if none was made of it"),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False, comment="When discovery looked at it (UTC)"),
        sa.Column(
            "note", sa.Text(), nullable=False, comment="Why it made no new input, e.g. already known; empty if it did"
        ),
        sa.ForeignKeyConstraint(
            ["source", "input_id"], ["inputs.source", "inputs.input_id"], name=op.f("fk_arrivals_inputs")
        ),
        sa.ForeignKeyConstraint(["source"], ["sources.source"], name=op.f("fk_arrivals_sources")),
        sa.PrimaryKeyConstraint("source", "origin", "size", "modified", name=op.f("pk_arrivals")),
        comment="One row a version of a file that discovery looked at, so that each is read once",
    )
    op.create_index(op.f("ix_arrivals_source_input_id"), "arrivals", ["source", "input_id"], unique=False)
    op.create_table(
        "check_results",
        sa.Column(
            "check_result_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Surrogate key; ascends with time",
        ),
        sa.Column("source", sa.Text(), nullable=False, comment="Name of the declared source"),
        sa.Column("step", sa.Text(), nullable=False, comment="Step that ran the check"),
        sa.Column("asset", sa.Text(), nullable=False, comment="Asset key of the table, e.g. lake/sales"),
        sa.Column("input_id", sa.Text(), nullable=True, comment="The input; null for the whole table"),
        sa.Column("kind", sa.Text(), nullable=False, comment="Kind of check, e.g. volume"),
        sa.Column("passed", sa.Boolean(), nullable=False, comment="Whether the check passed"),
        sa.Column("severity", sa.Text(), nullable=False, comment="warn or fail"),
        sa.Column("explanation", sa.Text(), nullable=False, comment="The outcome in words, with numbers"),
        sa.Column(
            "numbers",
            sa.JSON().with_variant(sa.dialects.postgresql.JSONB(), "postgresql"),
            nullable=False,
            comment="JSON object of the numbers behind it",
        ),
        sa.Column("run_id", sa.Text(), nullable=False, comment="Dagster run that ran the check"),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False, comment="When (UTC)"),
        sa.CheckConstraint("severity IN ('warn', 'fail')", name=op.f("ck_check_results_severity")),
        sa.ForeignKeyConstraint(
            ["source", "input_id"], ["inputs.source", "inputs.input_id"], name=op.f("fk_check_results_inputs")
        ),
        sa.ForeignKeyConstraint(["source"], ["sources.source"], name=op.f("fk_check_results_sources")),
        sa.PrimaryKeyConstraint("check_result_id", name=op.f("pk_check_results")),
        comment="One row a check each time it ran; the newest of a kind, asset and input is in force",
    )
    op.create_index(
        op.f("ix_check_results_source_asset_kind_checked_at"),
        "check_results",
        ["source", "asset", "kind", "checked_at"],
        unique=False,
    )
    op.create_index(op.f("ix_check_results_source_input_id"), "check_results", ["source", "input_id"], unique=False)
    op.create_table(
        "processes",
        sa.Column(
            "process_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False, comment="Surrogate key"
        ),
        sa.Column("source", sa.Text(), nullable=False, comment="Name of the declared source"),
        sa.Column("step", sa.Text(), nullable=False, comment="ingest, parse, cdc, enrich, refresh or recalculate"),
        sa.Column("input_id", sa.Text(), nullable=True, comment="The input; null for a step over the whole table"),
        sa.Column("asset", sa.Text(), nullable=True, comment="Asset key of the table the step writes, e.g. lake/sales"),
        sa.Column("status", sa.Text(), nullable=False, comment="Of the last attempt: running, done or failed"),
        sa.Column("attempts", sa.Integer(), nullable=False, comment="How often the step was started"),
        sa.Column("run_id", sa.Text(), nullable=False, comment="Dagster run of the last attempt"),
        sa.Column("contract_version", sa.Integer(), nullable=False, comment="Contract in force at the last attempt"),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False, comment="Start of the last attempt (UTC)"),
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
        sa.Column("rows", sa.BigInteger(), nullable=True, comment="Rows the step handled"),
        sa.Column("new", sa.BigInteger(), nullable=True, comment="Rows with a key the hub did not have"),
        sa.Column("changed", sa.BigInteger(), nullable=True, comment="Rows that change a row of the hub"),
        sa.Column("unchanged", sa.BigInteger(), nullable=True, comment="Rows the hub has already"),
        sa.Column("old", sa.BigInteger(), nullable=True, comment="Rows older than what the hub has"),
        sa.Column("deleted", sa.BigInteger(), nullable=True, comment="Rows the input deletes"),
        sa.Column("rejected", sa.BigInteger(), nullable=True, comment="Rows put into quarantine"),
        sa.Column(
            "counts",
            sa.JSON().with_variant(sa.dialects.postgresql.JSONB(), "postgresql"),
            nullable=False,
            comment="JSON object of all counts the step reported",
        ),
        sa.Column("error_type", sa.Text(), nullable=True, comment="Kind of failure, e.g. GateFailed"),
        sa.Column("error", sa.Text(), nullable=True, comment="What failed, in words"),
        sa.CheckConstraint("status IN ('running', 'done', 'failed')", name=op.f("ck_processes_status")),
        sa.ForeignKeyConstraint(
            ["source", "contract_version"],
            ["contracts.source", "contracts.version"],
            name=op.f("fk_processes_contracts"),
        ),
        sa.ForeignKeyConstraint(
            ["source", "input_id"], ["inputs.source", "inputs.input_id"], name=op.f("fk_processes_inputs")
        ),
        sa.ForeignKeyConstraint(["source"], ["sources.source"], name=op.f("fk_processes_sources")),
        sa.PrimaryKeyConstraint("process_id", name=op.f("pk_processes")),
        sa.UniqueConstraint("source", "step", "input_id", name=op.f("uq_processes_source_step_input_id")),
        comment="One row a step and input (or table): the last attempt and how many there were",
    )
    op.create_index(op.f("ix_processes_source_input_id"), "processes", ["source", "input_id"], unique=False)
    op.create_index(op.f("ix_processes_status"), "processes", ["status"], unique=False)
    op.create_index(
        "uq_processes_whole_table",
        "processes",
        ["source", "step"],
        unique=True,
        sqlite_where=sa.text("input_id IS NULL"),
        postgresql_where=sa.text("input_id IS NULL"),
    )
    op.create_table(
        "profiles",
        sa.Column(
            "profile_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False, comment="Surrogate key"
        ),
        sa.Column("source", sa.Text(), nullable=False, comment="Name of the declared source"),
        sa.Column("asset", sa.Text(), nullable=False, comment="Asset key of the table, e.g. lake/sales"),
        sa.Column("input_id", sa.Text(), nullable=True, comment="The input; null for the whole table"),
        sa.Column("rows", sa.BigInteger(), nullable=False, comment="Rows"),
        sa.Column("profiled_at", sa.DateTime(timezone=True), nullable=False, comment="When it was computed (UTC)"),
        sa.ForeignKeyConstraint(
            ["source", "input_id"], ["inputs.source", "inputs.input_id"], name=op.f("fk_profiles_inputs")
        ),
        sa.ForeignKeyConstraint(["source"], ["sources.source"], name=op.f("fk_profiles_sources")),
        sa.PrimaryKeyConstraint("profile_id", name=op.f("pk_profiles")),
        sa.UniqueConstraint("source", "asset", "input_id", name=op.f("uq_profiles_source_asset_input_id")),
        comment="One row an input in a table (or a whole table): how many rows, when profiled",
    )
    op.create_index(op.f("ix_profiles_source_input_id"), "profiles", ["source", "input_id"], unique=False)
    op.create_index(
        "uq_profiles_whole_table",
        "profiles",
        ["source", "asset"],
        unique=True,
        sqlite_where=sa.text("input_id IS NULL"),
        postgresql_where=sa.text("input_id IS NULL"),
    )
    op.create_table(
        "profile_columns",
        sa.Column(
            "profile_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="The profile it is part of",
        ),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False, comment="Order in the table, from 0"),
        sa.Column("name", sa.Text(), nullable=False, comment="Column name"),
        sa.Column("type", sa.Text(), nullable=False, comment="SQL type in the engine"),
        sa.Column("nulls", sa.BigInteger(), nullable=False, comment="Rows where it is null"),
        sa.Column("distinct_values", sa.BigInteger(), nullable=False, comment="Distinct values; may be an estimate"),
        sa.Column("min_value", sa.Text(), nullable=True, comment="Lowest value, as text"),
        sa.Column("max_value", sa.Text(), nullable=True, comment="Highest value, as text"),
        sa.Column("mean", sa.Double(), nullable=True, comment="Mean of a numeric column"),
        sa.Column("stddev", sa.Double(), nullable=True, comment="Sample standard deviation of a numeric column"),
        sa.ForeignKeyConstraint(
            ["profile_id"], ["profiles.profile_id"], name=op.f("fk_profile_columns_profiles"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("profile_id", "position", name=op.f("pk_profile_columns")),
        comment="One row a column of a profile",
    )
