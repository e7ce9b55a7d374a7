"""Incidents: their events, their present state, and the outbox of messages about them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """Incidents: their events, their present state, and the outbox of messages about them."""
    op.create_table(
        "incidents",
        sa.Column("incident_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="1, 2, ..."),
        sa.Column("state", sa.Text(), nullable=False, comment="open, acknowledged or resolved"),
        sa.Column("severity", sa.Text(), nullable=False, comment="warn or fail: the worst of its problems"),
        sa.Column("source", sa.Text(), nullable=True, comment="Source of the cause; null for a table of the warehouse"),
        sa.Column("area", sa.Text(), nullable=False, comment="Subject area of the cause"),
        sa.Column(
            "asset", sa.Text(), nullable=False, comment="Asset key of the cause: the most upstream table with a problem"
        ),
        sa.Column(
            "kind",
            sa.Text(),
            nullable=False,
            comment="Kind of the cause: a check, failed, crashed, held, late or stale",
        ),
        sa.Column("summary", sa.Text(), nullable=False, comment="What is wrong, in words"),
        sa.Column("next_step", sa.Text(), nullable=False, comment="What a person can do"),
        sa.Column("problems", _JSON, nullable=False, comment="JSON list of all its problems: 'asset kind'"),
        sa.Column("present", sa.Integer(), nullable=False, comment="How many of its problems are there now"),
        sa.Column("owners", _JSON, nullable=False, comment="JSON list of the owners of the cause"),
        sa.Column("downstream", _JSON, nullable=False, comment="JSON list of the tables below the cause"),
        sa.Column("inputs", _JSON, nullable=False, comment="JSON list of the ids of the inputs concerned"),
        sa.Column("columns", _JSON, nullable=False, comment="JSON list of the columns concerned, as far as known"),
        sa.Column("rows", sa.BigInteger(), nullable=True, comment="Number of rows concerned; null if not known"),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False, comment="When its first problem began (UTC)"),
        sa.Column(
            "opened_at", sa.DateTime(timezone=True), nullable=False, comment="When it was found, or found again (UTC)"
        ),
        sa.Column(
            "acknowledged_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When a person took it; null if nobody did (UTC)",
        ),
        sa.Column("acknowledged_by", sa.Text(), nullable=True, comment="Who took it"),
        sa.Column(
            "resolved_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it was resolved; null if it is not (UTC)",
        ),
        sa.Column("resolved_by", sa.Text(), nullable=True, comment="Who resolved it; empty: its problems went away"),
        sa.Column(
            "muted_until", sa.DateTime(timezone=True), nullable=True, comment="Until when it sends no messages (UTC)"
        ),
        sa.Column("reopened", sa.Integer(), nullable=False, comment="How often it came back"),
        sa.Column(
            "joined",
            sa.BigInteger(),
            nullable=True,
            comment="The incident that it became part of; null if it stands alone",
        ),
        sa.Column("seconds_to_detect", sa.Double(), nullable=True, comment="From its beginning until it was found"),
        sa.Column(
            "seconds_to_acknowledge",
            sa.Double(),
            nullable=True,
            comment="From when it was found until a person took it",
        ),
        sa.Column(
            "seconds_to_resolve", sa.Double(), nullable=True, comment="From when it was found until it was resolved"
        ),
        sa.PrimaryKeyConstraint("incident_id", name=op.f("pk_incidents")),
        sa.CheckConstraint("severity IN ('warn', 'fail')", name=op.f("ck_incidents_severity")),
        sa.CheckConstraint("state IN ('open', 'acknowledged', 'resolved')", name=op.f("ck_incidents_state")),
        comment="One row for each incident as it is now; it follows from its events",
    )
    op.create_index(op.f("ix_incidents_asset_kind"), "incidents", ["asset", "kind"])
    op.create_index(op.f("ix_incidents_state"), "incidents", ["state"])
    op.create_table(
        "incident_events",
        sa.Column("event_id", sa.Text(), nullable=False, comment="Hash of the event, so that it is recorded once"),
        sa.Column("incident_id", sa.BigInteger(), nullable=False, comment="The incident it is about"),
        sa.Column("kind", sa.Text(), nullable=False, comment="found, cleared, acknowledged, resolved, muted or joined"),
        sa.Column(
            "problem", sa.Text(), nullable=False, comment="'asset kind' of found and cleared; empty for the others"
        ),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, comment="When it happened (UTC)"),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False, comment="When it was recorded (UTC)"),
        sa.Column("by", sa.Text(), nullable=False, comment="Who did it; empty: the platform"),
        sa.Column("note", sa.Text(), nullable=False, comment="What the person wrote"),
        sa.Column("details", _JSON, nullable=False, comment="JSON object: the problem, the end of a mute, ..."),
        sa.Column("told", sa.Boolean(), nullable=False, comment="Whether the messages about it are in the outbox"),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_incident_events")),
        sa.CheckConstraint(
            "kind IN ('found', 'cleared', 'acknowledged', 'resolved', 'muted', 'joined')",
            name=op.f("ck_incident_events_kind"),
        ),
        sa.ForeignKeyConstraint(["incident_id"], ["incidents.incident_id"], name=op.f("fk_incident_events_incidents")),
        comment="One row for each thing that happened to an incident; rows are only added",
    )
    op.create_index(op.f("ix_incident_events_incident_id"), "incident_events", ["incident_id"])
    op.create_index(op.f("ix_incident_events_told"), "incident_events", ["told"])
    op.create_table(
        "notifications",
        sa.Column(
            "notification_id", sa.Text(), nullable=False, comment="Hash; in the message, so that receivers see repeats"
        ),
        sa.Column("incident_id", sa.BigInteger(), nullable=False, comment="The incident it is about"),
        sa.Column("channel", sa.Text(), nullable=False, comment="Name of the declared channel"),
        sa.Column(
            "reason",
            sa.Text(),
            nullable=False,
            comment="opened, reopened, acknowledged, resolved, escalated or unmuted",
        ),
        sa.Column("title", sa.Text(), nullable=False, comment="Title of the message"),
        sa.Column("body", sa.Text(), nullable=False, comment="Text of the message"),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, comment="When it was put into the outbox (UTC)"
        ),
        sa.Column(
            "due_at", sa.DateTime(timezone=True), nullable=False, comment="When it is to be sent, or tried again (UTC)"
        ),
        sa.Column("attempts", sa.Integer(), nullable=False, comment="How often it was tried"),
        sa.Column(
            "sent_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the channel took it; null if it waits (UTC)",
        ),
        sa.Column(
            "digest", sa.Text(), nullable=True, comment="Id of the digest it was sent in; null if it was sent alone"
        ),
        sa.Column("error", sa.Text(), nullable=False, comment="Why the last try failed; empty if it did not"),
        sa.PrimaryKeyConstraint("notification_id", name=op.f("pk_notifications")),
        sa.ForeignKeyConstraint(["incident_id"], ["incidents.incident_id"], name=op.f("fk_notifications_incidents")),
        comment="One row for each message to a channel: the outbox; a row is sent at least once",
    )
    op.create_index(op.f("ix_notifications_incident_id"), "notifications", ["incident_id"])
    op.create_index(op.f("ix_notifications_sent_at_due_at"), "notifications", ["sent_at", "due_at"])
    op.create_index(op.f("ix_check_results_checked_at"), "check_results", ["checked_at"])
