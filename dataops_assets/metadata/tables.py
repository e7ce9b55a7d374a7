"""The metadata tables in SQLAlchemy: declarations, inputs, steps, profiles and checks.

The tables are the same on SQLite and on PostgreSQL. People query them, so natural keys (`source`, `input_id`) are in
every table, and most questions need one table. If a row is about a whole table and not about one input, `input_id` is
null. Times are UTC; counts are rows, durations seconds, sizes bytes.
"""

from __future__ import annotations

import datetime as dt
import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

COUNTS = ("rows", "new", "changed", "unchanged", "old", "deleted", "rejected")
"""The keys of a step's counts that have a column of their own, so that SQL can sum them."""


def storable(text: str) -> str:
    """Return `text` with escapes for characters that no database stores (NUL, surrogates of undecodable names)."""
    # nearly every text, and there are many
    if text.isascii() and "\x00" not in text:
        return text
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def plain(value: Any) -> Any:
    """Return `value` as JSON for both databases: numbers of any library become plain, NaN and infinity become texts."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        number = float(value)
        return number if math.isfinite(number) else str(number)
    if isinstance(value, Mapping):
        return {storable(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return storable(str(value))


class Text(sa.types.TypeDecorator[str]):
    """Text with any content. Characters that the database cannot store are escaped, so that no report fails."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, _dialect: sa.Dialect) -> str | None:
        """Escape a value that is written or compared, so that a query finds the stored text."""
        return None if value is None else storable(value)


class Timestamp(sa.types.TypeDecorator[dt.datetime]):
    """An aware datetime, stored and returned in UTC. SQLite has no time zones and stores the UTC clock time."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: sa.Dialect) -> dt.datetime | None:
        """Convert to UTC; a naive value raises ValueError because its instant is unknown."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"the time {value.isoformat()} has no zone")
        utc = value.astimezone(dt.UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """Return what reads a value. On SQLite one call makes the time of the text: a look reads thousands."""
        if dialect.name != "sqlite":
            return super().result_processor(dialect, coltype)
        read = dt.datetime.fromisoformat
        return lambda text: None if text is None else read(f"{text}+00:00")

    def process_result_value(self, value: dt.datetime | None, _dialect: sa.Dialect) -> dt.datetime | None:
        """Return the time in UTC, for any time zone of the server's session."""
        if value is None:
            return None
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


class Json(sa.types.TypeDecorator[Any]):
    """A JSON value; JSONB on PostgreSQL, so that it can be indexed and queried there. None is no value."""

    impl = sa.JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """Return the database's own JSON type."""
        kind = postgresql.JSONB if dialect.name == "postgresql" else sa.JSON
        return dialect.type_descriptor(kind(none_as_null=True))

    def process_bind_param(self, value: Any, _dialect: sa.Dialect) -> Any:
        """Convert the value to plain JSON."""
        return plain(value)


# SQLite generates a surrogate key only if its type is INTEGER
Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def _source() -> sa.Column[str]:
    return sa.Column(
        "source", Text, sa.ForeignKey("sources.source"), nullable=False, comment="Name of the declared source"
    )


def _of_input() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["source", "input_id"], ["inputs.source", "inputs.input_id"])


def _once_per_table(table: str, *columns: str) -> sa.Index:
    # a unique constraint allows repeated nulls, and rows about a whole table have a null input_id
    about_table = sa.text("input_id IS NULL")
    return sa.Index(
        f"uq_{table}_whole_table", *columns, unique=True, sqlite_where=about_table, postgresql_where=about_table
    )


sources = sa.Table(
    "sources",
    metadata,
    sa.Column("source", Text, primary_key=True, comment="Name of the declared source"),
    sa.Column("area", Text, nullable=False, comment="Subject area; the group in the Dagster UI"),
    sa.Column("description", Text, nullable=False, comment="What one row is and where it comes from"),
    sa.Column("owners", Json, nullable=False, comment="JSON list of e-mail addresses or team names"),
    sa.Column("refresh_type", Text, nullable=False, comment="How inputs make the hub: full, key, append, ..."),
    sa.Column("timezone", Text, comment="Time zone in which extract times without a zone are read; null: not known"),
    sa.Column("registered_at", Timestamp, nullable=False, comment="When the source was first seen (UTC)"),
    sa.Column("updated_at", Timestamp, nullable=False, comment="When its declaration last changed (UTC)"),
    comment="One row a declared source, as it is declared now",
)

contracts = sa.Table(
    "contracts",
    metadata,
    sa.Column("source", Text, sa.ForeignKey("sources.source"), primary_key=True, comment="Name of the declared source"),
    sa.Column(
        "version", sa.Integer, primary_key=True, autoincrement=False, comment="1, 2, ...; the highest is in force"
    ),
    sa.Column(
        "definition",
        Json,
        nullable=False,
        comment="JSON of columns, drift, refresh, relations, rules and validations, without descriptions",
    ),
    sa.Column("registered_at", Timestamp, nullable=False, comment="When this version was first seen (UTC)"),
    comment="One row a version of what a source's data means; a new version whenever that changes",
)

inputs = sa.Table(
    "inputs",
    metadata,
    sa.Column("source", Text, sa.ForeignKey("sources.source"), primary_key=True, comment="Name of the declared source"),
    sa.Column("input_id", Text, primary_key=True, comment="Extract time and content; the partition key in the UI"),
    sa.Column("extract_time", Timestamp, nullable=False, comment="When the data was taken from its system (UTC)"),
    sa.Column("arrival", Timestamp, comment="When the newest version with this content was made (UTC)"),
    sa.Column("digest", Text, nullable=False, comment="SHA-256 of the bytes as received"),
    sa.Column("origin", Text, nullable=False, comment="Path or URL it was taken from"),
    sa.Column("size", sa.BigInteger, nullable=False, comment="Bytes as received"),
    sa.Column("content", Text, comment="SHA-256 of what the bytes unpack to; digest if not compressed"),
    sa.Column("registered_at", Timestamp, nullable=False, comment="When the platform first saw it (UTC)"),
    sa.Column(
        "manifest",
        Text,
        nullable=False,
        server_default=sa.text("''"),
        comment="Manifest delivered with it; empty: none",
    ),
    sa.Index(None, "source", "extract_time", "input_id"),
    sa.Index(None, "source", "digest"),
    comment="One row an input: a content that a source was given for an extract time",
)

positions = sa.Table(
    "positions",
    metadata,
    sa.Column("source", Text, sa.ForeignKey("sources.source"), primary_key=True, comment="Name of the declared source"),
    sa.Column("looks", sa.BigInteger, nullable=False, comment="Number of looks that were recorded"),
    sa.Column("looked_at", Timestamp, nullable=False, comment="When the last look was (UTC)"),
    sa.Column("position", Json, nullable=False, comment="JSON object of what the next look continues from"),
    comment="One row a source that is read from a database: how far it was read",
)

looks = sa.Table(
    "looks",
    metadata,
    sa.Column("source", Text, primary_key=True, comment="Name of the declared source"),
    sa.Column("error", Text, nullable=False, comment="Why the last look failed; empty if it did not"),
    sa.Column("failing_since", Timestamp, comment="Since when looks fail (UTC); null if the last one did not"),
    sa.Column("paused_at", Timestamp, comment="When a person switched looks off (UTC); null while they are on"),
    sa.Column("paused_by", Text, nullable=False, comment="Who did so; empty while they are on"),
    sa.Column("paused_because", Text, nullable=False, comment="Why; empty while they are on"),
    comment="One row a source: why the looks for its new inputs fail, and whether a person paused them",
)

output_positions = sa.Table(
    "output_positions",
    metadata,
    sa.Column("output", Text, primary_key=True, comment="Name of the declared output, and where it goes"),
    sa.Column("changes", sa.BigInteger, nullable=False, comment="How often it was recorded"),
    sa.Column("changed_at", Timestamp, nullable=False, comment="When it was recorded (UTC)"),
    sa.Column(
        "position",
        Json,
        nullable=False,
        comment="JSON object: the version that is done, and one that is begun",
    ),
    comment="One row an output whose target keeps no position: how far it was delivered",
)

arrivals = sa.Table(
    "arrivals",
    metadata,
    sa.Column("source", Text, sa.ForeignKey("sources.source"), primary_key=True, comment="Name of the declared source"),
    sa.Column("origin", Text, primary_key=True, comment="Path or URL that was looked at"),
    sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False, comment="Bytes"),
    sa.Column("modified", Timestamp, primary_key=True, comment="Modification time (UTC)"),
    sa.Column("digest", Text, nullable=False, comment="SHA-256 of the bytes; empty if they were not read"),
    sa.Column("input_id", Text, comment="The input it is; null if none was made of it"),
    sa.Column("seen_at", Timestamp, nullable=False, comment="When discovery looked at it (UTC)"),
    sa.Column(
        "note",
        Text,
        nullable=False,
        comment="What is to say of it, e.g. replaces an input, already known, left out",
    ),
    _of_input(),
    sa.Index(None, "source", "input_id"),
    comment="One row a version of a file that discovery looked at, so that each is read once",
)

approvals = sa.Table(
    "approvals",
    metadata,
    sa.Column("source", Text, sa.ForeignKey("sources.source"), primary_key=True, comment="Name of the declared source"),
    sa.Column("input_id", Text, primary_key=True, comment="The input that may go on"),
    sa.Column("kind", Text, primary_key=True, comment="What a person found right: deletes or anomaly"),
    sa.Column("run_id", Text, nullable=False, comment="Dagster run by which it was approved"),
    sa.Column("approved_at", Timestamp, nullable=False, comment="When (UTC)"),
    _of_input(),
    comment="One row an input, and what of it a person approved",
)

holds = sa.Table(
    "holds",
    metadata,
    sa.Column("source", Text, sa.ForeignKey("sources.source"), primary_key=True, comment="Name of the declared source"),
    sa.Column("input_id", Text, primary_key=True, comment="The input that is held"),
    sa.Column("kind", Text, nullable=False, comment="Why: deletes or anomaly"),
    sa.Column("reason", Text, nullable=False, comment="What would be lost or is odd, and how to go on"),
    sa.Column(
        "judged_against",
        Text,
        nullable=False,
        comment="Hash of the inputs before it in the hub, and of the settings; another one: it is judged again",
    ),
    sa.Column("held_at", Timestamp, nullable=False, comment="When it was last judged (UTC)"),
    _of_input(),
    comment="One row an input that waits for a person: too much would be lost by it, or it is odd",
)

removals = sa.Table(
    "removals",
    metadata,
    sa.Column("source", Text, sa.ForeignKey("sources.source"), primary_key=True, comment="Name of the declared source"),
    sa.Column("input_id", Text, primary_key=True, comment="The input that was removed from the hub"),
    sa.Column("removed_at", Timestamp, nullable=False, comment="When (UTC)"),
    sa.Column("rollback_id", sa.BigInteger, comment="The rollback that left it out; null if a person removed it alone"),
    _of_input(),
    comment="One row for each input that a person removed from the hub and that was not merged again",
)

processes = sa.Table(
    "processes",
    metadata,
    sa.Column("process_id", Serial, primary_key=True, comment="Surrogate key"),
    _source(),
    sa.Column("step", Text, nullable=False, comment="ingest, parse, cdc, enrich, refresh or recalculate"),
    sa.Column("input_id", Text, comment="The input; null for a step over the whole table"),
    sa.Column("asset", Text, comment="Asset key of the table the step writes, e.g. lake/sales"),
    sa.Column("status", Text, nullable=False, comment="Of the last attempt: running, done or failed"),
    sa.Column("attempts", sa.Integer, nullable=False, comment="How often the step was started"),
    sa.Column("run_id", Text, nullable=False, comment="Dagster run of the last attempt"),
    sa.Column("contract_version", sa.Integer, nullable=False, comment="Contract in force at the last attempt"),
    sa.Column("started_at", Timestamp, nullable=False, comment="Start of the last attempt (UTC)"),
    sa.Column("finished_at", Timestamp, comment="End of the last attempt (UTC); null while running"),
    sa.Column("seconds", sa.Double, comment="This input's even share of the step's seconds, so they can be summed"),
    sa.Column("table_version", sa.BigInteger, comment="Delta version of the table after the step"),
    sa.Column("table_commit", Text, comment="Id of the commit that made that version; the number alone can recur"),
    sa.Column("written", Text, comment="Id of the write that has the input's rows in the table (refresh: in the lake)"),
    sa.Column("declared", Text, comment="Hash of the declaration that decides the step's rows; null: not known"),
    sa.Column(
        "judged_against",
        Text,
        comment="Fingerprint of what the step judged the input against, besides its content; null: not known",
    ),
    sa.Column("rows", sa.BigInteger, comment="Rows the step handled"),
    sa.Column("new", sa.BigInteger, comment="Rows with a key the hub did not have"),
    sa.Column("changed", sa.BigInteger, comment="Rows that change a row of the hub"),
    sa.Column("unchanged", sa.BigInteger, comment="Rows the hub has already"),
    sa.Column("old", sa.BigInteger, comment="Rows older than what the hub has"),
    sa.Column("deleted", sa.BigInteger, comment="Rows the input deletes"),
    sa.Column("rejected", sa.BigInteger, comment="Rows put into quarantine"),
    sa.Column("counts", Json, nullable=False, comment="JSON object of all counts the step reported"),
    sa.Column("error_type", Text, comment="Kind of failure, e.g. GateFailed"),
    sa.Column("error", Text, comment="What failed, in words"),
    sa.CheckConstraint("status IN ('running', 'done', 'failed')", name="status"),
    sa.UniqueConstraint("source", "step", "input_id"),
    sa.ForeignKeyConstraint(["source", "contract_version"], ["contracts.source", "contracts.version"]),
    _of_input(),
    _once_per_table("processes", "source", "step"),
    sa.Index(None, "source", "input_id"),
    sa.Index(None, "status"),
    # a sensor reads these columns of every input at each look: all of them are in the index, so no row is read
    sa.Index("ix_processes_progress", "source", "status", "step", "input_id", "written", "finished_at", "rejected"),
    comment="One row a step and input (or table): the last attempt and how many there were",
)

profiles = sa.Table(
    "profiles",
    metadata,
    sa.Column("profile_id", Serial, primary_key=True, comment="Surrogate key"),
    _source(),
    sa.Column("asset", Text, nullable=False, comment="Asset key of the table, e.g. lake/sales"),
    sa.Column("input_id", Text, comment="The input; null for the whole table"),
    sa.Column("rows", sa.BigInteger, nullable=False, comment="Rows"),
    sa.Column("profiled_at", Timestamp, nullable=False, comment="When it was computed (UTC)"),
    sa.UniqueConstraint("source", "asset", "input_id"),
    _of_input(),
    _once_per_table("profiles", "source", "asset"),
    sa.Index(None, "source", "input_id"),
    comment="One row an input in a table (or a whole table): how many rows, when profiled",
)

profile_columns = sa.Table(
    "profile_columns",
    metadata,
    sa.Column(
        "profile_id",
        Serial,
        sa.ForeignKey("profiles.profile_id", ondelete="CASCADE"),
        primary_key=True,
        comment="The profile it is part of",
    ),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False, comment="Order in the table, from 0"),
    sa.Column("name", Text, nullable=False, comment="Column name"),
    sa.Column("type", Text, nullable=False, comment="SQL type in the engine"),
    sa.Column("nulls", sa.BigInteger, nullable=False, comment="Rows where it is null"),
    sa.Column("distinct_values", sa.BigInteger, nullable=False, comment="Distinct values; may be an estimate"),
    sa.Column("min_value", Text, comment="Lowest value, as text"),
    sa.Column("max_value", Text, comment="Highest value, as text"),
    sa.Column("mean", sa.Double, comment="Mean of a numeric column"),
    sa.Column("stddev", sa.Double, comment="Sample standard deviation of a numeric column"),
    sa.Column("mean_length", sa.Double, comment="Mean number of characters of a text column"),
    sa.Column("frequent_values", Json, comment="JSON list of [value, rows], for a text column with few values"),
    sa.Column("low", sa.Double, comment="5 % of the values of a numeric column are below it; of a sample"),
    sa.Column("median", sa.Double, comment="Half of the values of a numeric column are below it; of a sample"),
    sa.Column("high", sa.Double, comment="95 % of the values of a numeric column are below it; of a sample"),
    sa.Column("patterns", Json, comment="JSON list of [pattern, share], for a text column with many values"),
    comment="One row a column of a profile",
)

forecasts = sa.Table(
    "forecasts",
    metadata,
    sa.Column("source", Text, sa.ForeignKey("sources.source"), primary_key=True, comment="Name of the declared source"),
    sa.Column("asset", Text, primary_key=True, comment="Asset key of the table, e.g. lake/sales"),
    sa.Column("written_at", Timestamp, nullable=False, comment="When the state was written (UTC)"),
    sa.Column("state", sa.LargeBinary, nullable=False, comment="Of the filters after the last input they have seen"),
    comment="One row a table: where process control goes on; it may be deleted at any time",
)

check_results = sa.Table(
    "check_results",
    metadata,
    sa.Column("check_result_id", Serial, primary_key=True, comment="Surrogate key; ascends with time"),
    _source(),
    sa.Column("step", Text, nullable=False, comment="Step that ran the check"),
    sa.Column("asset", Text, nullable=False, comment="Asset key of the table, e.g. lake/sales"),
    sa.Column("input_id", Text, comment="The input; null for the whole table"),
    sa.Column("kind", Text, nullable=False, comment="Kind of check, e.g. volume"),
    sa.Column("passed", sa.Boolean, nullable=False, comment="Whether the check passed"),
    sa.Column("severity", Text, nullable=False, comment="warn or fail"),
    sa.Column("explanation", Text, nullable=False, comment="The outcome in words, with numbers"),
    sa.Column("numbers", Json, nullable=False, comment="JSON object of the numbers behind it"),
    sa.Column("run_id", Text, nullable=False, comment="Dagster run that ran the check"),
    sa.Column("checked_at", Timestamp, nullable=False, comment="When (UTC)"),
    sa.CheckConstraint("severity IN ('warn', 'fail')", name="severity"),
    _of_input(),
    sa.Index(None, "source", "asset", "kind", "checked_at"),
    sa.Index(None, "checked_at"),
    sa.Index(None, "source", "input_id"),
    comment="One row a check each time it ran; the newest of a kind, asset and input is in force",
)

rule_receipts = sa.Table(
    "rule_receipts",
    metadata,
    sa.Column("rule_receipt_id", Serial, primary_key=True, comment="Surrogate key; ascends with time"),
    _source(),
    sa.Column("asset", Text, nullable=False, comment="Asset key of the table, e.g. hub/sales_current"),
    sa.Column("rule", Text, nullable=False, comment="The rule, which is the column's name"),
    sa.Column("rule_version", Text, nullable=False, comment="Hash of all that decides the rule's values"),
    sa.Column("rows_seen", sa.BigInteger, nullable=False, comment="Rows that the rule was computed for"),
    sa.Column("rows_changed", sa.BigInteger, nullable=False, comment="Rows with another value, and new rows"),
    sa.Column("table_version", sa.BigInteger, comment="Delta version of the table afterwards"),
    sa.Column("run_id", Text, nullable=False, comment="Dagster run; empty where started by hand"),
    sa.Column("recalculated_at", Timestamp, nullable=False, comment="When (UTC)"),
    sa.Index(None, "source", "asset", "rule"),
    comment="One row a rule each time it was computed again for rows that a table has",
)

incidents = sa.Table(
    "incidents",
    metadata,
    sa.Column("incident_id", sa.BigInteger, primary_key=True, autoincrement=False, comment="1, 2, ..."),
    sa.Column("state", Text, nullable=False, comment="open, acknowledged or resolved"),
    sa.Column("severity", Text, nullable=False, comment="warn or fail: the worst of its problems"),
    sa.Column("source", Text, comment="Source of the cause; null for a table of the warehouse"),
    sa.Column("area", Text, nullable=False, comment="Subject area of the cause"),
    sa.Column("asset", Text, nullable=False, comment="Asset key of the cause: the most upstream table with a problem"),
    sa.Column("kind", Text, nullable=False, comment="Kind of the cause: a check, failed, crashed, held, late or stale"),
    sa.Column("summary", Text, nullable=False, comment="What is wrong, in words"),
    sa.Column("next_step", Text, nullable=False, comment="What a person can do"),
    sa.Column("problems", Json, nullable=False, comment="JSON list of all its problems: 'asset kind'"),
    sa.Column("present", sa.Integer, nullable=False, comment="How many of its problems are there now"),
    sa.Column("owners", Json, nullable=False, comment="JSON list of the owners of the cause"),
    sa.Column("downstream", Json, nullable=False, comment="JSON list of the tables below the cause"),
    sa.Column("inputs", Json, nullable=False, comment="JSON list of the ids of the inputs concerned"),
    sa.Column("columns", Json, nullable=False, comment="JSON list of the columns concerned, as far as known"),
    sa.Column("rows", sa.BigInteger, comment="Number of rows concerned; null if not known"),
    sa.Column("began_at", Timestamp, nullable=False, comment="When its first problem began (UTC)"),
    sa.Column("opened_at", Timestamp, nullable=False, comment="When it was found, or found again (UTC)"),
    sa.Column("acknowledged_at", Timestamp, comment="When a person took it; null if nobody did (UTC)"),
    sa.Column("acknowledged_by", Text, comment="Who took it"),
    sa.Column("resolved_at", Timestamp, comment="When it was resolved; null if it is not (UTC)"),
    sa.Column("resolved_by", Text, comment="Who resolved it; empty: its problems went away"),
    sa.Column("muted_until", Timestamp, comment="Until when it sends no messages (UTC)"),
    sa.Column("reopened", sa.Integer, nullable=False, comment="How often it came back"),
    sa.Column("joined", sa.BigInteger, comment="The incident that it became part of; null if it stands alone"),
    sa.Column("seconds_to_detect", sa.Double, comment="From its beginning until it was found"),
    sa.Column("seconds_to_acknowledge", sa.Double, comment="From when it was found until a person took it"),
    sa.Column("seconds_to_resolve", sa.Double, comment="From when it was found until it was resolved"),
    sa.CheckConstraint("state IN ('open', 'acknowledged', 'resolved')", name="state"),
    sa.CheckConstraint("severity IN ('warn', 'fail')", name="severity"),
    sa.Index(None, "state"),
    sa.Index(None, "asset", "kind"),
    comment="One row for each incident as it is now; it follows from its events",
)

service_levels = sa.Table(
    "service_levels",
    metadata,
    sa.Column("reported_at", Timestamp, primary_key=True, comment="When the report was made (UTC)"),
    sa.Column("product", Text, primary_key=True, comment="Name of the data product"),
    sa.Column("objective", Text, primary_key=True, comment="freshness, completeness, correctness or incidents"),
    sa.Column("target", sa.Double, nullable=False, comment="Least good share that is promised"),
    sa.Column("good", sa.Double, comment="Good share of the window; null if nothing happened in it"),
    sa.Column("budget_left", sa.Double, comment="Share of the error budget that is left; negative if it is missed"),
    sa.Column("burn_rate", sa.Double, comment="How many times as fast as allowed it was spent in the last day"),
    comment="One row for each objective of a data product in each report",
)

service_level_days = sa.Table(
    "service_level_days",
    metadata,
    sa.Column("product", Text, primary_key=True, comment="Name of the data product"),
    sa.Column("objective", Text, primary_key=True, comment="freshness, completeness, correctness or incidents"),
    sa.Column("part", Text, primary_key=True, comment="Source, or asset key of a table of the warehouse"),
    sa.Column("day", Timestamp, primary_key=True, comment="Begin of the day (UTC)"),
    sa.Column("counted_good", sa.Double, nullable=False, comment="Seconds, rows, results or incidents that are good"),
    sa.Column("counted", sa.Double, nullable=False, comment="All seconds, rows, results or incidents that count"),
    comment="One row for each day, objective and part of a data product in which something happened",
)

quality_scores = sa.Table(
    "quality_scores",
    metadata,
    sa.Column("reported_at", Timestamp, primary_key=True, comment="When the report was made (UTC)"),
    sa.Column("scope", Text, primary_key=True, comment="table, area or product"),
    sa.Column("name", Text, primary_key=True, comment="Asset key of the table, or name of the area or data product"),
    sa.Column("score", sa.Double, nullable=False, comment="0 to 100"),
    sa.Column(
        "losses", Json, nullable=False, comment="JSON list of [points, why, rows] of what a table lost points for"
    ),
    comment="One row for each quality score in each report",
)

incident_events = sa.Table(
    "incident_events",
    metadata,
    sa.Column("event_id", Text, primary_key=True, comment="Hash of the event, so that it is recorded once"),
    sa.Column(
        "incident_id",
        sa.BigInteger,
        sa.ForeignKey("incidents.incident_id"),
        nullable=False,
        comment="The incident it is about",
    ),
    sa.Column("kind", Text, nullable=False, comment="found, cleared, acknowledged, resolved, muted or joined"),
    sa.Column("problem", Text, nullable=False, comment="'asset kind' of found and cleared; empty for the others"),
    sa.Column("at", Timestamp, nullable=False, comment="When it happened (UTC)"),
    sa.Column("recorded_at", Timestamp, nullable=False, comment="When it was recorded (UTC)"),
    sa.Column("by", Text, nullable=False, comment="Who did it; empty: the platform"),
    sa.Column("note", Text, nullable=False, comment="What the person wrote"),
    sa.Column("details", Json, nullable=False, comment="JSON object: the problem, the end of a mute, ..."),
    sa.Column("told", sa.Boolean, nullable=False, comment="Whether the messages about it are in the outbox"),
    sa.CheckConstraint("kind IN ('found', 'cleared', 'acknowledged', 'resolved', 'muted', 'joined')", name="kind"),
    sa.Index(None, "incident_id"),
    sa.Index(None, "told"),
    comment="One row for each thing that happened to an incident; rows are only added",
)

notifications = sa.Table(
    "notifications",
    metadata,
    sa.Column("notification_id", Text, primary_key=True, comment="Hash; in the message, so that receivers see repeats"),
    sa.Column(
        "incident_id",
        sa.BigInteger,
        sa.ForeignKey("incidents.incident_id"),
        nullable=False,
        comment="The incident it is about",
    ),
    sa.Column("channel", Text, nullable=False, comment="Name of the declared channel"),
    sa.Column("reason", Text, nullable=False, comment="opened, reopened, acknowledged, resolved, escalated or unmuted"),
    sa.Column("title", Text, nullable=False, comment="Title of the message"),
    sa.Column("body", Text, nullable=False, comment="Text of the message"),
    sa.Column("created_at", Timestamp, nullable=False, comment="When it was put into the outbox (UTC)"),
    sa.Column("due_at", Timestamp, nullable=False, comment="When it is to be sent, or tried again (UTC)"),
    sa.Column("attempts", sa.Integer, nullable=False, comment="How often it was tried"),
    sa.Column("sent_at", Timestamp, comment="When the channel took it; null if it waits (UTC)"),
    sa.Column("digest", Text, comment="Id of the digest it was sent in; null if it was sent alone"),
    sa.Column("error", Text, nullable=False, comment="Why the last try failed; empty if it did not"),
    sa.Index(None, "incident_id"),
    sa.Index(None, "sent_at", "due_at"),
    comment="One row for each message to a channel: the outbox; a row is sent at least once",
)


def _copied(table: sa.Table, *but: str) -> list[sa.Column[Any]]:
    """Return the columns of a table for a copy of its rows as they were at a release."""
    return [sa.Column(item.name, item.type, comment=item.comment) for item in table.columns if item.name not in but]


def _of_release() -> sa.Column[str]:
    return sa.Column(
        "release",
        Text,
        sa.ForeignKey("releases.release", ondelete="CASCADE"),
        primary_key=True,
        comment="Name of the release",
    )


releases = sa.Table(
    "releases",
    metadata,
    sa.Column("release", Text, primary_key=True, comment="Name of the release"),
    sa.Column("created_at", Timestamp, nullable=False, comment="When it was made (UTC)"),
    sa.Column("created_by", Text, nullable=False, comment="Who made it"),
    sa.Column("note", Text, nullable=False, comment="What its maker wrote"),
    sa.Column("code_version", Text, nullable=False, comment="Git commit of the code, or DATAOPS_CODE_VERSION"),
    sa.Column("dbt_digest", Text, nullable=False, comment="SHA-256 of the dbt manifest; empty without a dbt project"),
    sa.Column("lock_digest", Text, nullable=False, comment="SHA-256 of requirements.lock; empty if there is none"),
    sa.Column("contracts", Json, nullable=False, comment="JSON object: version of the contract by source"),
    sa.Column("rules", Json, nullable=False, comment="JSON object: by source, the version of each rule"),
    sa.Column("last_check", sa.BigInteger, nullable=False, comment="The highest check_result_id at that time"),
    sa.Column("load_id", sa.BigInteger, comment="The declarations in force at that time; null if none were recorded"),
    comment="One row for each release: versions of all tables, with the code that made them",
)

release_tables = sa.Table(
    "release_tables",
    metadata,
    _of_release(),
    sa.Column("asset", Text, primary_key=True, comment="Asset key of the table, e.g. hub/sales; or warehouse"),
    sa.Column("source", Text, comment="Name of the declared source; null for the warehouse"),
    sa.Column("version", sa.BigInteger, comment="Delta version; null for the warehouse"),
    sa.Column("commit_id", Text, nullable=False, comment="Id of the commit of that version; empty for the warehouse"),
    sa.Column("rows", sa.BigInteger, comment="Rows; null for the warehouse"),
    sa.Column("pin", Text, nullable=False, comment="Path of the copy of the warehouse; empty for a Delta table"),
    comment="One row for each table of a release",
)

release_inputs = sa.Table(
    "release_inputs",
    metadata,
    _of_release(),
    sa.Column("source", Text, sa.ForeignKey("sources.source"), primary_key=True, comment="Name of the declared source"),
    sa.Column("input_id", Text, primary_key=True, comment="An input that was known at the release"),
    sa.Column("arrival", Timestamp, comment="Its arrival as it was known then (UTC)"),
    sa.Column("removed_at", Timestamp, comment="When a person had removed it (UTC); null if nobody had"),
    _of_input(),
    comment="One row for each input that was known when a release was made",
)

release_processes = sa.Table(
    "release_processes",
    metadata,
    _of_release(),
    sa.Column("process_id", Serial, primary_key=True, autoincrement=False, comment="Its key in processes at that time"),
    *_copied(processes, "process_id"),
    comment="A copy of the rows of processes as they were at a release",
)

release_profiles = sa.Table(
    "release_profiles",
    metadata,
    _of_release(),
    sa.Column("profile_id", Serial, primary_key=True, autoincrement=False, comment="Its key in profiles at that time"),
    *_copied(profiles, "profile_id"),
    comment="A copy of the rows of profiles as they were at a release",
)

release_profile_columns = sa.Table(
    "release_profile_columns",
    metadata,
    _of_release(),
    sa.Column("profile_id", Serial, primary_key=True, autoincrement=False, comment="The profile it is part of"),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False, comment="Order in the table, from 0"),
    *_copied(profile_columns, "profile_id", "position"),
    comment="A copy of the rows of profile_columns as they were at a release",
)

rollbacks = sa.Table(
    "rollbacks",
    metadata,
    sa.Column("rollback_id", Serial, primary_key=True, comment="Surrogate key; ascends with time"),
    sa.Column("release", Text, nullable=False, comment="The release that it returned to; it may be dropped since"),
    sa.Column("area", Text, nullable=False, comment="The subject area that it was about; empty for all"),
    sa.Column("sources", Json, nullable=False, comment="JSON list of the sources whose tables it restores"),
    sa.Column("later_inputs", Text, nullable=False, comment="leave-out or replay: the inputs that the release lacks"),
    sa.Column("inputs", Json, nullable=False, comment="JSON object: by source, the ids of these inputs"),
    sa.Column("state", Text, nullable=False, comment="begun, done, or cancelled before it changed a table"),
    sa.Column("begun_by", Text, nullable=False, comment="Who began it"),
    sa.Column("begun_at", Timestamp, nullable=False, comment="When (UTC)"),
    sa.Column("ended_at", Timestamp, comment="When it was done or cancelled (UTC)"),
    sa.CheckConstraint("state IN ('begun', 'done', 'cancelled')", name="state"),
    sa.CheckConstraint("later_inputs IN ('leave-out', 'replay')", name="later_inputs"),
    comment="One row for each rollback: the journal that an interrupted one is resumed from",
)

rollback_tables = sa.Table(
    "rollback_tables",
    metadata,
    sa.Column(
        "rollback_id",
        Serial,
        sa.ForeignKey("rollbacks.rollback_id"),
        primary_key=True,
        autoincrement=False,
        comment="The rollback",
    ),
    sa.Column("asset", Text, primary_key=True, comment="Asset key of the table, e.g. hub/sales"),
    sa.Column("restored", sa.BigInteger, comment="The Delta version of the release; null if it had no such table"),
    sa.Column("version", sa.BigInteger, comment="The Delta version that was published with the same rows"),
    comment="One row for each table that a rollback restored",
)

tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("token", Text, primary_key=True, comment="Hash of consumer, table and release"),
    sa.Column("consumer", Text, nullable=False, comment="Who took it, such as the name of a model"),
    sa.Column("asset", Text, nullable=False, comment="Asset key of the table, e.g. hub/sales"),
    sa.Column("source", Text, comment="Its source; null for a table of the warehouse"),
    sa.Column("release", Text, nullable=False, comment="The release whose version it is; may be dropped since"),
    sa.Column("released_at", Timestamp, nullable=False, comment="When that release was made (UTC)"),
    sa.Column("version", sa.BigInteger, comment="Delta version; null for a table of the warehouse"),
    sa.Column("commit_id", Text, nullable=False, comment="Id of the commit of that version; empty for the warehouse"),
    sa.Column("given_at", Timestamp, nullable=False, comment="When it was taken (UTC)"),
    sa.Column("given_by", Text, nullable=False, comment="Who took it for the consumer"),
    sa.Column("revoked_at", Timestamp, comment="When it was revoked (UTC); null while it is approved"),
    sa.Column("reason", Text, nullable=False, comment="Why it was revoked; empty while it is approved"),
    comment="One row for each version of a table that a consumer took",
)

publications = sa.Table(
    "publications",
    metadata,
    sa.Column("publication", Text, primary_key=True, comment="Name of the publication"),
    sa.Column(
        "number",
        sa.BigInteger,
        primary_key=True,
        autoincrement=False,
        comment="Ascends with time; the highest is in force",
    ),
    sa.Column("published_at", Timestamp, nullable=False, comment="From when on readers see it (UTC)"),
    sa.Column(
        "tables",
        Json,
        nullable=False,
        comment="JSON list: asset key, Delta version, commit or build id, and rows of each table",
    ),
    sa.Column("warehouse", Text, nullable=False, comment="Copy of the warehouse with its models; empty without models"),
    comment="One row for each moment of a publication",
)

declarations = sa.Table(
    "declarations",
    metadata,
    sa.Column("digest", Text, primary_key=True, comment="SHA-256 of kind, name and content"),
    sa.Column("kind", Text, nullable=False, comment="source, database, output, contract, model, ..."),
    sa.Column("name", Text, nullable=False, comment="Name of the source, the model, ..."),
    sa.Column("content", Json, nullable=False, comment="JSON of the whole declaration"),
    sa.Index(None, "kind", "name"),
    comment="One row for each declaration that a deployment ran with, however often it did",
)

loads = sa.Table(
    "loads",
    metadata,
    sa.Column("load_id", Serial, primary_key=True, comment="Surrogate key; the highest is in force"),
    sa.Column("digest", Text, nullable=False, comment="SHA-256 of all its declarations"),
    sa.Column("loaded_at", Timestamp, nullable=False, comment="When the deployment began to run with them (UTC)"),
    comment="One row each time a deployment began to run with other declarations",
)

load_declarations = sa.Table(
    "load_declarations",
    metadata,
    sa.Column(
        "load_id",
        Serial,
        sa.ForeignKey("loads.load_id"),
        primary_key=True,
        autoincrement=False,
        comment="The load",
    ),
    sa.Column(
        "digest", Text, sa.ForeignKey("declarations.digest"), primary_key=True, comment="A declaration it ran with"
    ),
    comment="One row for each declaration of a load",
)

plans = sa.Table(
    "plans",
    metadata,
    sa.Column("plan_id", Text, primary_key=True, comment="First digits of the SHA-256 of all that it compares"),
    sa.Column("created_at", Timestamp, nullable=False, comment="When it was made first (UTC)"),
    sa.Column("created_by", Text, nullable=False, comment="Who made it"),
    sa.Column("against", Text, nullable=False, comment="Release that it compares with; empty: what is in force"),
    sa.Column("load_id", sa.BigInteger, comment="The load that it compares with; null if nothing was ever loaded"),
    sa.Column("declared", Text, nullable=False, comment="SHA-256 of the declarations of the working tree"),
    sa.Column("content", Json, nullable=False, comment="JSON of the plan, as dataops plan --json prints it"),
    comment="One row for each plan",
)

applies = sa.Table(
    "applies",
    metadata,
    sa.Column("apply_id", Serial, primary_key=True, comment="Surrogate key; ascends with time"),
    sa.Column("plan_id", Text, sa.ForeignKey("plans.plan_id"), nullable=False, comment="The plan that it does"),
    sa.Column("state", Text, nullable=False, comment="begun, done, or failed: then the plan can be applied again"),
    sa.Column("begun_by", Text, nullable=False, comment="Who began it"),
    sa.Column("begun_at", Timestamp, nullable=False, comment="When (UTC)"),
    sa.Column("ended_at", Timestamp, comment="When it was done or failed (UTC); null while it runs or was killed"),
    sa.Column("outcome", Json, nullable=False, comment="JSON list: of each piece of work, what was predicted and done"),
    sa.CheckConstraint("state IN ('begun', 'done', 'failed')", name="state"),
    sa.Index(None, "plan_id"),
    comment="One row each time a plan was applied",
)
