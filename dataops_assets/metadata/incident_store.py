"""The records of incidents in the metadata: events, present state, outbox; and what the metadata knows of problems.

A look reads and writes in one transaction, and only one look is made at a time, so a killed process leaves all of it or
nothing. Values are rows; `dataops_assets.incidents` knows what they mean.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from dataops_assets.errors import InputHeld, InputWaits
from dataops_assets.metadata import tables
from dataops_assets.metadata.database import Database
from dataops_assets.metadata.decision_store import DELETES
from dataops_assets.metadata.statements import insert_of, is_newer_version, is_removed, portions

Row = Mapping[str, Any]
_LOOK_LOCK = 0x49_6E_63_69_64_65_6E_74
# the holds tell of those that are held; to wait is no problem
_NO_FAILURE = (InputHeld.__name__, InputWaits.__name__)


class Recording:
    """The open transaction of one look."""

    def __init__(self, connection: sa.Connection, insert: Callable[..., Any]) -> None:
        self._connection = connection
        self._insert = insert

    def next_number(self) -> int:
        """Return the number of the next new incident."""
        return int(self._connection.execute(sa.select(sa.func.max(tables.incidents.c.incident_id))).scalar() or 0) + 1

    def events(self, since: dt.datetime) -> list[Row]:
        """Return the events of all incidents that are not resolved, or were resolved after `since`.

        Incidents that a person resolved although their problems are still there are among them.
        """
        incidents, table = tables.incidents, tables.incident_events
        matters = sa.or_(
            incidents.c.state != "resolved",
            incidents.c.resolved_at >= since,
            incidents.c.present > 0,
            incidents.c.incident_id.in_(sa.select(table.c.incident_id).where(table.c.told.is_(False))),
        )
        numbers = sa.select(incidents.c.incident_id).where(matters)
        return _rows(self._connection, sa.select(table).where(table.c.incident_id.in_(numbers)))

    def events_of(self, incident_id: int) -> list[Row]:
        """Return the events of one incident."""
        table = tables.incident_events
        return _rows(self._connection, sa.select(table).where(table.c.incident_id == incident_id))

    def save(self, incidents: Sequence[Row], events: Sequence[Row], messages: Sequence[Row] = ()) -> None:
        """Write incidents as they are now, and add events and messages; those that are there already stay."""
        if incidents:
            statement = self._insert(tables.incidents)
            values = {name: statement.excluded[name] for name in incidents[0] if name != "incident_id"}
            statement = statement.on_conflict_do_update(index_elements=["incident_id"], set_=values)
            self._connection.execute(statement, list(incidents))
        for table, rows in ((tables.incident_events, events), (tables.notifications, messages)):
            if rows:
                self._connection.execute(self._insert(table).on_conflict_do_nothing(), list(rows))

    def mark_told(self, event_ids: Sequence[str]) -> None:
        """Record that the messages about these events are in the outbox."""
        table = tables.incident_events
        for some in portions(event_ids):
            self._connection.execute(table.update().where(table.c.event_id.in_(some)).values(told=True))


class IncidentStore:
    """Incidents in one metadata database. The constructor does no I/O. Methods raise StorageError."""

    def __init__(self, url: str) -> None:
        self._database = Database(url)
        self._insert = insert_of(self._database.dialect)

    def record(self, attempted: str, work: Callable[[Recording], Any]) -> Any:
        """Do `work` in one transaction that no other look shares, and return what it returns."""
        with self._database.write_alone(attempted, _LOOK_LOCK) as connection:
            return work(Recording(connection, self._insert))

    # --- what people ask for -----------------------------------------------------------------------------------------

    def incidents(self, *, also_resolved: bool = False) -> list[Row]:
        """Return the incidents that are not resolved, or all of them, the newest first."""
        table = tables.incidents
        statement = sa.select(table).order_by(table.c.incident_id.desc())
        if not also_resolved:
            statement = statement.where(table.c.state != "resolved")
        with self._database.read("reading incidents") as connection:
            return _rows(connection, statement)

    def incident(self, incident_id: int) -> tuple[Row, list[Row]] | None:
        """Return an incident and its events in the order of recording; None if there is no such incident."""
        table, events = tables.incidents, tables.incident_events
        with self._database.read(f"reading incident {incident_id}") as connection:
            found = _rows(connection, sa.select(table).where(table.c.incident_id == incident_id))
            if not found:
                return None
            of_it = sa.select(events).where(events.c.incident_id == incident_id)
            return found[0], _rows(connection, of_it.order_by(events.c.at, events.c.recorded_at))

    def numbers(self) -> list[int]:
        """Return the numbers of the incidents that are not resolved."""
        table = tables.incidents
        with self._database.read("reading the numbers of incidents") as connection:
            return list(connection.execute(sa.select(table.c.incident_id).where(table.c.state != "resolved")).scalars())

    # --- what the metadata knows of problems -------------------------------------------------------------------------

    def fingerprint(self) -> str:
        """Return a text that changes whenever there is something new to look at."""
        checks, processes, inputs, looks = tables.check_results, tables.processes, tables.inputs, tables.looks
        removals = tables.removals
        parts = [
            sa.select(sa.func.max(checks.c.check_result_id)),
            sa.select(sa.func.count()).select_from(processes).where(processes.c.status == "failed"),
            sa.select(sa.func.max(processes.c.finished_at)).where(processes.c.status == "failed"),
            sa.select(sa.func.count()).select_from(tables.holds),
            sa.select(sa.func.max(tables.holds.c.held_at)),
            sa.select(sa.func.count()).select_from(removals),
            sa.select(sa.func.max(removals.c.removed_at)),
            sa.select(sa.func.count()).select_from(inputs),
            sa.select(sa.func.max(inputs.c.registered_at)),
            sa.select(sa.func.max(inputs.c.arrival)),
            sa.select(sa.func.count()).select_from(tables.incident_events),
            sa.select(sa.func.count()).select_from(looks).where(looks.c.error != "", looks.c.paused_at.is_(None)),
            sa.select(sa.func.max(looks.c.failing_since)),
        ]
        with self._database.read("looking for news of problems") as connection:
            (row,) = connection.execute(sa.select(*(part.scalar_subquery() for part in parts)))
        return "|".join(str(value) for value in row)

    def checks(self, since: dt.datetime | None) -> list[Row]:
        """Return the check results since a time, in the order of recording; without a time the newest of each check.

        All results of one report have the same time, so they are returned together. `is_removed` says that the input
        of a result was removed or left out. The newest results of the sources where that happened since are returned,
        too.
        """
        table, removals = tables.check_results, tables.removals
        check = (table.c.source, table.c.asset, table.c.kind)
        newest = sa.select(*check, sa.func.max(table.c.checked_at).label("last")).group_by(*check)
        if since is not None:
            changed = sa.select(removals.c.source).where(removals.c.removed_at >= since)
            newest = newest.where(table.c.source.in_(changed))
        last = newest.subquery()
        same = [table.c[column.name] == last.c[column.name] for column in check]
        number = table.c.check_result_id
        wanted = [sa.select(number).join(last, sa.and_(*same, table.c.checked_at == last.c.last))]
        if since is not None:
            wanted.append(sa.select(number).where(table.c.checked_at >= since))
        statement = (
            sa.select(table, is_removed(table).label("is_removed"))
            .where(number.in_(sa.union(*wanted)))
            .order_by(table.c.checked_at, table.c.check_result_id)
        )
        with self._database.read("reading new check results") as connection:
            return _rows(connection, statement)

    def step_runs(self, sources: Sequence[str], limit: int) -> list[Row]:
        """Return the last runs of each step of some sources, at most `limit` each: their end, seconds and rows.

        A step that took several inputs in one run is one row. Of each input only the last attempt is known.
        """
        table = tables.processes
        if not sources:
            return []
        step = (table.c.source, table.c.step)
        ended = sa.func.max(table.c.finished_at)
        runs = (
            sa.select(
                *step,
                ended.label("ended"),
                sa.func.sum(table.c.seconds).label("seconds"),
                sa.func.sum(table.c.rows).label("rows"),
                sa.func.row_number().over(partition_by=step, order_by=ended.desc()).label("place"),
            )
            .where(table.c.source.in_(sources), table.c.status == "done", table.c.seconds.is_not(None))
            .group_by(*step, table.c.run_id)
            .subquery()
        )
        with self._database.read("reading how long steps took") as connection:
            return _rows(connection, sa.select(runs).where(runs.c.place <= limit))

    def failed(self) -> list[Row]:
        """Return the failed steps, without those of removed inputs, and of files sent again under their own name."""
        table, inputs = tables.processes, tables.inputs
        of_input = sa.and_(inputs.c.source == table.c.source, inputs.c.input_id == table.c.input_id)
        columns = ("source", "step", "input_id", "attempts", "finished_at", "error_type", "error", "rejected", "run_id")
        statement = (
            sa.select(*(table.c[name] for name in columns), inputs.c.origin)
            .select_from(table.outerjoin(inputs, of_input))
            .where(table.c.status == "failed", table.c.error_type.not_in(_NO_FAILURE))
            .where(sa.or_(table.c.input_id.is_(None), ~_is_replaced(inputs)), ~is_removed(table))
        )
        with self._database.read("reading failed steps") as connection:
            return _rows(connection, statement)

    def held(self) -> list[Row]:
        """Return the inputs that wait for a person."""
        table, inputs = tables.holds, tables.inputs
        of_input = sa.and_(inputs.c.source == table.c.source, inputs.c.input_id == table.c.input_id)
        statement = (
            sa.select(table, inputs.c.origin).select_from(table.join(inputs, of_input)).where(~_is_replaced(inputs))
        )
        with self._database.read("reading held inputs") as connection:
            return _rows(connection, statement)

    def failing_looks(self) -> list[Row]:
        """Return the sources whose looks for new inputs fail and are not paused."""
        table = tables.looks
        statement = sa.select(table).where(table.c.error != "", table.c.paused_at.is_(None))
        with self._database.read("reading failing looks") as connection:
            return _rows(connection, statement.order_by(table.c.source))

    def approved(self) -> frozenset[tuple[str, str]]:
        """Return source and id of the inputs whose deletes a person approved."""
        table = tables.approvals
        with self._database.read("reading approvals") as connection:
            found = connection.execute(sa.select(table.c.source, table.c.input_id).where(table.c.kind == DELETES))
            return frozenset((row.source, row.input_id) for row in found)

    def last_inputs(self) -> dict[str, dt.datetime]:
        """Return by source when its newest input was registered."""
        table = tables.inputs
        statement = sa.select(table.c.source, sa.func.max(table.c.registered_at, type_=tables.Timestamp()))
        with self._database.read("reading the last arrivals") as connection:
            return {row.source: row[1] for row in connection.execute(statement.group_by(table.c.source))}

    def arrivals(self, source: str, limit: int) -> list[tuple[dt.datetime, dt.datetime]]:
        """Return the extract time and the arrival of the newest inputs of a source, the newest first.

        Inputs that a person removed are among them: they came.
        """
        table = tables.inputs
        statement = (
            sa.select(table.c.extract_time, table.c.arrival)
            .where(table.c.source == source, table.c.arrival.is_not(None))
            .order_by(table.c.extract_time.desc(), table.c.input_id.desc())
            .limit(limit)
        )
        with self._database.read("reading when inputs arrived") as connection:
            return [(row.extract_time, row.arrival) for row in connection.execute(statement)]

    # --- outbox ------------------------------------------------------------------------------------------------------

    def due_messages(self, now: dt.datetime) -> list[Row]:
        """Return the messages to send now, the oldest first."""
        table = tables.notifications
        statement = (
            sa.select(table)
            .where(table.c.sent_at.is_(None), table.c.due_at <= now)
            .order_by(table.c.created_at, table.c.notification_id)
        )
        with self._database.read("reading messages to send") as connection:
            return _rows(connection, statement)

    def claim(self, messages: Iterable[Row], again_at: Callable[[int], dt.datetime], error: str) -> list[Row]:
        """Count a try of each message, let it be due again later, and return those that no other process took.

        A process that is killed while it sends leaves the message to the next try.
        """
        table = tables.notifications
        taken = []
        with self._database.write("taking messages to send") as connection:
            for row in messages:
                statement = (
                    table.update()
                    .where(
                        table.c.notification_id == row["notification_id"],
                        table.c.attempts == row["attempts"],
                        table.c.sent_at.is_(None),
                    )
                    .values(attempts=row["attempts"] + 1, due_at=again_at(row["attempts"] + 1), error=error)
                )
                if connection.execute(statement).rowcount:
                    taken.append(row)
        return taken

    def sent(self, message_ids: Sequence[str], now: dt.datetime, digest: str | None) -> None:
        """Record that a channel took these messages."""
        table = tables.notifications
        with self._database.write("recording sent messages") as connection:
            for message_id in message_ids:
                connection.execute(
                    table.update()
                    .where(table.c.notification_id == message_id)
                    .values(sent_at=now, digest=digest, error="")
                )

    def not_sent(self, message_ids: Sequence[str], error: str) -> None:
        """Record why a channel did not take these messages."""
        table = tables.notifications
        with self._database.write("recording messages that were not sent") as connection:
            for message_id in message_ids:
                connection.execute(table.update().where(table.c.notification_id == message_id).values(error=error))

    def waiting_messages(self) -> list[Row]:
        """Return the messages that were tried and not sent."""
        table = tables.notifications
        statement = sa.select(table).where(table.c.sent_at.is_(None), table.c.attempts > 0)
        with self._database.read("reading messages that wait") as connection:
            return _rows(connection, statement.order_by(table.c.channel, table.c.created_at))

    def next_message(self) -> dt.datetime | None:
        """Return when the next message is due; None if the outbox is empty."""
        table = tables.notifications
        statement = sa.select(sa.func.min(table.c.due_at, type_=tables.Timestamp())).where(table.c.sent_at.is_(None))
        with self._database.read("reading when the next message is due") as connection:
            found: dt.datetime | None = connection.execute(statement).scalar()
            return found


def _is_replaced(inputs: sa.Table) -> sa.Exists:
    """Return the condition that the file of an input was sent again under its own name."""
    newer = inputs.alias("newer")
    return sa.exists().where(is_newer_version(newer, inputs))


def _rows(connection: sa.Connection, statement: sa.Select[Any]) -> list[Row]:
    return [dict(row) for row in connection.execute(statement).mappings()]
