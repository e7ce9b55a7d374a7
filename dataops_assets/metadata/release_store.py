"""Records releases and rollbacks: what was pinned, and how far a rollback has come.

A release copies, by SQL and in one transaction, all rows of the metadata that say how far the inputs were: their
arrivals and removals, their steps, their profiles. A rollback puts these copies back in one transaction, which also
ends it. From its begin to its end no step of its sources can start.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

import sqlalchemy as sa

from dataops_assets.errors import CommitConflict, InputError, StorageError
from dataops_assets.metadata import tables
from dataops_assets.metadata.database import Database
from dataops_assets.metadata.statements import insert, insert_of, is_removed, portions, utc_now
from dataops_assets.metadata.token_store import revoke_dropped, revoke_later
from dataops_assets.report import PER_INPUT

LaterInputs = Literal["leave-out", "replay"]
LEAVE_OUT: LaterInputs = "leave-out"
REPLAY: LaterInputs = "replay"
"""What becomes of the inputs that a release lacks, after a rollback to it."""

_ROLLBACK_LOCK = 0x52_6F_6C_6C_62_61_63_6B
BEGUN, DONE, CANCELLED = "begun", "done", "cancelled"
RUN_ID = "dataops rollback"
"""The run of the check results that a rollback puts in force again."""

# SQLite gives the number of a deleted row to the next one, so a number alone can recur; every step adds check results
_MEASURES: tuple[tuple[sa.Table, tuple[sa.ColumnElement[Any], ...]], ...] = (
    (
        tables.processes,
        (
            sa.func.sum(tables.processes.c.attempts),
            sa.func.max(tables.processes.c.process_id),
            sa.func.count(sa.case((tables.processes.c.status == "done", 1))),
            sa.func.max(tables.processes.c.started_at),
            sa.func.max(tables.processes.c.finished_at),
        ),
    ),
    (tables.check_results, (sa.func.max(tables.check_results.c.check_result_id),)),
    (tables.holds, (sa.func.max(tables.holds.c.held_at),)),
    (tables.removals, (sa.func.max(tables.removals.c.removed_at),)),
    (tables.inputs, (sa.func.max(tables.inputs.c.registered_at), sa.func.max(tables.inputs.c.arrival))),
)
"""What tells, beside the number of rows, that a table of the metadata changed for a source."""

_BEFORE = {step: PER_INPUT[place - 1] for place, step in enumerate(PER_INPUT) if place}
_SHOWN = 3


@dataclass(frozen=True)
class Release:
    """A named set of table versions with the code that made them; `contracts` and `rules` are versions by source.

    `load_id` is the load of declarations that was in force; None if none was recorded.
    """

    release: str
    created_at: dt.datetime
    created_by: str
    note: str
    code_version: str
    dbt_digest: str
    lock_digest: str
    contracts: Mapping[str, int]
    rules: Mapping[str, Mapping[str, str]]
    load_id: int | None = None


@dataclass(frozen=True)
class ReleaseTable:
    """One table of a release. A Delta table has a version, the warehouse has the path `pin` of its copy."""

    asset: str
    source: str | None
    version: int | None
    commit_id: str
    rows: int | None
    pin: str = ""


@dataclass(frozen=True)
class Rollback:
    """A rollback to a release. `inputs` are, by source, those that the release lacks."""

    rollback_id: int
    release: str
    area: str
    sources: Sequence[str]
    later_inputs: LaterInputs
    inputs: Mapping[str, Sequence[str]]
    state: str
    begun_by: str
    begun_at: dt.datetime
    ended_at: dt.datetime | None = None


@dataclass(frozen=True)
class RestoredTable:
    """A table that a rollback restored: the version of the release, and the version with the same rows after it."""

    asset: str
    restored: int | None
    version: int | None


@dataclass(frozen=True)
class Activity:
    """A fingerprint of the steps and inputs of some sources.

    It is equal as long as no step of them started, ended or was forgotten, and no input came, was held or was removed.
    """

    parts: tuple[tuple[Any, ...], ...] = field(default=())


class ReleaseStore:
    """The releases and rollbacks in the metadata. Its methods raise StorageError if the database cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- releases ----------------------------------------------------------------------------------------------------

    def activity(self, sources: Sequence[str]) -> Activity:
        """Return the present activity. Raises StorageError if a step of the sources is running."""
        with self._database.read("reading the activity of sources") as connection:
            return _activity(connection, sources)

    def make(self, made: Release, pinned: Sequence[ReleaseTable], sources: Sequence[str], seen: Activity) -> None:
        """Record a release, all or nothing.

        Raises InputError if there is one of this name, CommitConflict if a step ran since `seen`.
        """
        attempted = f"making the release {made.release!r}"
        with self._database.write(attempted) as connection:
            _lock(connection, sources)
            if _activity(connection, sources) != seen:
                raise CommitConflict(attempted, received="a step ran meanwhile", next_step="try again")
            new = insert_of(self._database.dialect)(tables.releases).on_conflict_do_nothing()
            last = connection.execute(sa.select(sa.func.max(tables.check_results.c.check_result_id))).scalar_one()
            if connection.execute(new, {**asdict(made), "last_check": last or 0}).rowcount != 1:
                raise InputError(
                    attempted, received="a release with this name", next_step="choose another name, or drop it first"
                )
            insert(connection, tables.release_tables, [{"release": made.release, **asdict(item)} for item in pinned])
            _copy_inputs(connection, made.release, sources)
            _copy(connection, made.release, tables.processes, tables.release_processes, sources)
            _copy(connection, made.release, tables.profiles, tables.release_profiles, sources)
            _copy_profile_columns(connection, made.release)

    def releases(self) -> list[Release]:
        """Return all releases, the newest first."""
        table = tables.releases
        wanted = sa.select(*(table.c[item.name] for item in fields(Release))).order_by(table.c.created_at.desc())
        with self._database.read("reading the releases") as connection:
            return [Release(*row) for row in connection.execute(wanted)]

    def tables_of(self, release: str) -> list[ReleaseTable]:
        """Return the tables of a release, by asset key."""
        table = tables.release_tables
        wanted = sa.select(*(table.c[item.name] for item in fields(ReleaseTable))).where(table.c.release == release)
        with self._database.read(f"reading the tables of release {release!r}") as connection:
            return sorted((ReleaseTable(*row) for row in connection.execute(wanted)), key=lambda item: item.asset)

    def drop(self, release: str) -> None:
        """Delete a release; the tables stay. Raises StorageError while a rollback to it is unfinished."""
        attempted = f"dropping the release {release!r}"
        with self._database.write_alone(attempted, _ROLLBACK_LOCK) as connection:
            for unfinished in _unfinished(connection):
                if unfinished.release == release:
                    raise _interrupted(attempted, unfinished)
            for table in (tables.release_profile_columns, tables.release_profiles, tables.release_processes):
                connection.execute(table.delete().where(table.c.release == release))
            revoke_dropped(connection, release)
            connection.execute(tables.releases.delete().where(tables.releases.c.release == release))

    def pinned(self, asset: str) -> frozenset[int]:
        """Return the versions of a table that releases need."""
        table = tables.release_tables
        wanted = sa.select(table.c.version).where(table.c.asset == asset, table.c.version.is_not(None))
        with self._database.read(f"reading the pinned versions of {asset}") as connection:
            return frozenset(connection.execute(wanted).scalars())

    def pins(self) -> frozenset[str]:
        """Return the paths of the copies of the warehouse that releases need."""
        table = tables.release_tables
        with self._database.read("reading the copies of the warehouse") as connection:
            return frozenset(connection.execute(sa.select(table.c.pin).where(table.c.pin != "")).scalars())

    def pinned_inputs(self, source: str) -> frozenset[str]:
        """Return the inputs of a source that releases need."""
        table = tables.release_inputs
        with self._database.read(f"reading the pinned inputs of {source}") as connection:
            return frozenset(connection.execute(sa.select(table.c.input_id).where(table.c.source == source)).scalars())

    def later_inputs(self, release: str, sources: Sequence[str]) -> dict[str, list[str]]:
        """Return the inputs of each source that were not known at a release; sources without any are left out."""
        with self._database.read(f"reading the inputs since release {release!r}") as connection:
            return _later(connection, release, sources)

    def failing_checks(self, sources: Sequence[str]) -> list[str]:
        """Return the checks of severity fail whose newest result is a failure, of inputs that are not removed."""
        table = tables.check_results
        newest = (
            sa.select(sa.func.max(table.c.check_result_id))
            .where(table.c.source.in_(sources))
            .group_by(table.c.step, table.c.asset, table.c.kind, table.c.input_id)
        )
        wanted = sa.select(table.c.asset, table.c.kind, table.c.input_id, table.c.explanation).where(
            table.c.check_result_id.in_(newest), table.c.severity == "fail", ~table.c.passed, ~is_removed(table)
        )
        with self._database.read("reading failing checks") as connection:
            return [
                f"{asset}: the check {kind} fails{f' for input {input_id}' if input_id else ''}: {explanation}"
                for asset, kind, input_id, explanation in connection.execute(wanted)
            ]

    def left_out(self, source: str) -> frozenset[str]:
        """Return the inputs of a source that a rollback left out."""
        with self._database.read(f"reading the inputs of {source} that were left out") as connection:
            return frozenset(_left_out(connection, source))

    # --- rollbacks ---------------------------------------------------------------------------------------------------

    def begin(self, wanted: Rollback) -> Rollback:
        """Record that a rollback begins, and return it with its id and its inputs. No step of its sources starts then.

        Raises StorageError if a step of its sources is running, or another rollback is unfinished, also of other
        sources; InputError if the release was dropped meanwhile.
        """
        attempted = f"rolling back to {wanted.release!r}"
        with self._database.write_alone(attempted, _ROLLBACK_LOCK) as connection:
            _lock(connection, wanted.sources)
            for other in _unfinished(connection):
                raise _interrupted(attempted, other)
            known = sa.select(tables.releases.c.release)
            if not connection.execute(known.where(tables.releases.c.release == wanted.release)).first():
                names = sorted(connection.execute(known).scalars())
                raise InputError(attempted, known=names, next_step="choose a release; this one was dropped")
            _activity(connection, wanted.sources)
            later = _later(connection, wanted.release, wanted.sources)
            values = {**asdict(wanted), "state": BEGUN, "inputs": later}
            del values["rollback_id"]
            key = connection.execute(tables.rollbacks.insert().values(values)).inserted_primary_key
            found = connection.execute(_rollbacks().where(tables.rollbacks.c.rollback_id == (key or [0])[0])).one()
            return Rollback(*found)

    def unfinished(self) -> Rollback | None:
        """Return the rollback that began and has not ended; None if there is none."""
        with self._database.read("reading unfinished rollbacks") as connection:
            return next(iter(_unfinished(connection)), None)

    def rollbacks(self) -> list[Rollback]:
        """Return all rollbacks, the newest first."""
        with self._database.read("reading the rollbacks") as connection:
            found = connection.execute(_rollbacks().order_by(tables.rollbacks.c.rollback_id.desc()))
            return [Rollback(*row) for row in found]

    def restored_tables(self, rollback_id: int) -> list[RestoredTable]:
        """Return the tables that a rollback restored, by asset key."""
        table = tables.rollback_tables
        wanted = sa.select(table.c.asset, table.c.restored, table.c.version).where(table.c.rollback_id == rollback_id)
        with self._database.read(f"reading the tables of rollback {rollback_id}") as connection:
            return sorted((RestoredTable(*row) for row in connection.execute(wanted)), key=lambda item: item.asset)

    def require_no_rollback(self, source: str, attempted: str) -> None:
        """Raise StorageError if a rollback of a source is unfinished."""
        with self._database.read(attempted) as connection:
            _require_no_rollback(connection, source, attempted)

    def cancel(self, rollback: Rollback) -> None:
        """Record that a rollback ended before it changed anything."""
        with self._database.write(f"cancelling the rollback to {rollback.release!r}") as connection:
            _end(connection, rollback, CANCELLED)

    def finish(self, rollback: Rollback, restored: Sequence[RestoredTable]) -> None:
        """Put the metadata of the sources back to the release, and record the end of the rollback: all or nothing.

        Tokens of later releases are revoked.

        A rollback that has ended already is not changed.
        """
        with self._database.write(f"finishing the rollback to {rollback.release!r}") as connection:
            _lock(connection, rollback.sources)
            if not _end(connection, rollback, DONE):
                return
            rows = [{"rollback_id": rollback.rollback_id, **asdict(item)} for item in restored]
            insert(connection, tables.rollback_tables, rows)
            for source in rollback.sources:
                _put_back(connection, rollback, source)
            reason = f"rollback {rollback.rollback_id} to {rollback.release}"
            revoke_later(connection, rollback.release, rollback.sources, reason)

    def take_back(self, source: str, input_ids: Sequence[str]) -> None:
        """Record that a person wants inputs again that a rollback left out."""
        table = tables.removals
        with self._database.write(f"taking back inputs of source {source!r}") as connection:
            for some in portions(sorted(set(input_ids))):
                connection.execute(
                    table.delete().where(
                        table.c.source == source, table.c.input_id.in_(some), table.c.rollback_id.is_not(None)
                    )
                )


def require_startable(connection: sa.Connection, source: str, step: str, input_ids: Sequence[str]) -> None:
    """Refuse to start a step that a rollback excludes, in the transaction that records its start.

    Raises StorageError while a rollback of the source is unfinished, and for a step whose run began before a rollback
    that took the result of the step before. Raises InputError for inputs that a rollback left out.
    """
    attempted = f"starting {step} of source {source!r}"
    # a rollback that begins at the same time waits for this transaction, or this one for it
    key = sa.select(tables.sources.c.source).where(tables.sources.c.source == source)
    connection.execute(key.with_for_update(read=True, key_share=True)).all()
    _require_no_rollback(connection, source, attempted)
    ids = sorted({input_id for input_id in input_ids if input_id})
    out = sorted(set(ids).intersection(_left_out(connection, source)))
    if out:
        raise InputError(
            attempted,
            received=f"{len(out)} inputs that a rollback left out, such as {', '.join(out[:_SHOWN])}",
            next_step=f"take them back: dataops reset {source} ingest {' '.join(out[:_SHOWN])}",
        )
    before = _BEFORE.get(step)
    if before is None or not ids or not _was_rolled_back(connection, source):
        return
    process = tables.processes.c
    done = sa.select(sa.func.count()).where(process.source == source, process.step == before, process.status == "done")
    ready = sum(connection.execute(done.where(process.input_id.in_(some))).scalar_one() for some in portions(ids))
    if ready < len(ids):
        raise StorageError(
            attempted,
            received=f"{before} is not done for {len(ids) - ready} inputs: a rollback came between the two steps",
            next_step="nothing; the next look at the source requests the missing steps",
        )


def is_left_out() -> sa.ColumnElement[bool]:
    """Return the condition that a rollback left out the input of a row of `inputs`."""
    removed = tables.removals
    return sa.exists().where(
        removed.c.source == tables.inputs.c.source,
        removed.c.input_id == tables.inputs.c.input_id,
        removed.c.rollback_id.is_not(None),
    )


def _rollbacks() -> sa.Select[Any]:
    return sa.select(*(tables.rollbacks.c[item.name] for item in fields(Rollback)))


def _unfinished(connection: sa.Connection) -> list[Rollback]:
    return [Rollback(*row) for row in connection.execute(_rollbacks().where(tables.rollbacks.c.state == BEGUN))]


def _require_no_rollback(connection: sa.Connection, source: str, attempted: str) -> None:
    for unfinished in _unfinished(connection):
        if source in unfinished.sources:
            raise _interrupted(attempted, unfinished)


def _interrupted(attempted: str, unfinished: Rollback) -> StorageError:
    return StorageError(
        attempted,
        received=f"a rollback to {unfinished.release!r}, begun by {unfinished.begun_by} at "
        f"{unfinished.begun_at:%Y-%m-%d %H:%M:%S} UTC, that is running or was interrupted",
        next_step="wait until it has ended; if its process is gone: dataops rollback --resume",
    )


def _was_rolled_back(connection: sa.Connection, source: str) -> bool:
    done = sa.select(tables.rollbacks.c.sources).where(tables.rollbacks.c.state == DONE)
    return any(source in sources for sources in connection.execute(done).scalars())


def _left_out(connection: sa.Connection, source: str) -> list[str]:
    table = tables.removals
    wanted = sa.select(table.c.input_id).where(table.c.source == source, table.c.rollback_id.is_not(None))
    return list(connection.execute(wanted).scalars())


def _lock(connection: sa.Connection, sources: Sequence[str]) -> None:
    """Lock the rows of the sources, in one order, so that no step of them starts until the transaction ends."""
    table = tables.sources
    wanted = sa.select(table.c.source).where(table.c.source.in_(sources)).order_by(table.c.source)
    connection.execute(wanted.with_for_update()).all()


def _activity(connection: sa.Connection, sources: Sequence[str]) -> Activity:
    table = tables.processes
    running = sa.select(table.c.source, table.c.step, table.c.run_id).where(
        table.c.source.in_(sources), table.c.status == "running"
    )
    for source, step, run_id in connection.execute(running.limit(1)):
        raise StorageError(
            f"waiting until no step of {', '.join(sources)} is running",
            received=f"{step} of {source} is running in run {run_id}",
            next_step="wait until it has ended; if its process was killed, the next look at the source (by the daemon "
            "or by dataops run) records it as failed",
        )
    parts = []
    for of, measures in _MEASURES:
        wanted = sa.select(of.c.source, sa.func.count(), *measures).where(of.c.source.in_(sources))
        found = connection.execute(wanted.group_by(of.c.source).order_by(of.c.source))
        parts.append(tuple(tuple(row) for row in found))
    return Activity(tuple(parts))


def _copy(connection: sa.Connection, release: str, table: sa.Table, copy: sa.Table, sources: Sequence[str]) -> None:
    names = [item.name for item in table.columns]
    rows = sa.select(sa.literal(release, tables.Text), *table.columns).where(table.c.source.in_(sources))
    connection.execute(copy.insert().from_select(["release", *names], rows))


def _copy_inputs(connection: sa.Connection, release: str, sources: Sequence[str]) -> None:
    known, removed = tables.inputs, tables.removals
    rows = (
        sa.select(
            sa.literal(release, tables.Text), known.c.source, known.c.input_id, known.c.arrival, removed.c.removed_at
        )
        .select_from(
            known.outerjoin(
                removed, sa.and_(removed.c.source == known.c.source, removed.c.input_id == known.c.input_id)
            )
        )
        .where(known.c.source.in_(sources))
    )
    names = ["release", "source", "input_id", "arrival", "removed_at"]
    connection.execute(tables.release_inputs.insert().from_select(names, rows))


def _copy_profile_columns(connection: sa.Connection, release: str) -> None:
    table, profiles = tables.profile_columns, tables.release_profiles
    rows = sa.select(sa.literal(release, tables.Text), *table.columns).where(
        table.c.profile_id.in_(sa.select(profiles.c.profile_id).where(profiles.c.release == release))
    )
    names = [item.name for item in table.columns]
    connection.execute(tables.release_profile_columns.insert().from_select(["release", *names], rows))


def _is_of_release(release: str, of: sa.Table) -> sa.ColumnElement[bool]:
    known = tables.release_inputs
    return sa.exists().where(
        known.c.release == release, known.c.source == of.c.source, known.c.input_id == of.c.input_id
    )


def _later(connection: sa.Connection, release: str, sources: Sequence[str]) -> dict[str, list[str]]:
    table = tables.inputs
    wanted = sa.select(table.c.source, table.c.input_id).where(
        table.c.source.in_(sources), ~_is_of_release(release, table)
    )
    found: dict[str, list[str]] = {}
    for source, input_id in connection.execute(wanted):
        found.setdefault(source, []).append(input_id)
    return {source: sorted(ids) for source, ids in sorted(found.items())}


def _end(connection: sa.Connection, rollback: Rollback, state: str) -> bool:
    table = tables.rollbacks
    this = table.update().where(table.c.rollback_id == rollback.rollback_id, table.c.state == BEGUN)
    return connection.execute(this.values(state=state, ended_at=utc_now())).rowcount == 1


def _put_back(connection: sa.Connection, rollback: Rollback, source: str) -> None:
    """Put the metadata of one source back to the release."""
    release, later = rollback.release, rollback.inputs.get(source, ())
    connection.execute(tables.holds.delete().where(tables.holds.c.source == source))
    _put_back_removals(connection, rollback, source, later)
    _put_back_processes(connection, release, source, later)
    _put_back_profiles(connection, rollback, source, later)
    _put_back_checks(connection, release, source)
    _put_back_contract(connection, release, source)
    if rollback.later_inputs == LEAVE_OUT:
        _put_back_arrivals(connection, release, source)


def _put_back_removals(connection: sa.Connection, rollback: Rollback, source: str, later: Sequence[str]) -> None:
    table, known = tables.removals, tables.release_inputs
    mine = (table.c.source == source,)
    if rollback.later_inputs == LEAVE_OUT:
        for some in portions(list(later)):
            connection.execute(table.delete().where(*mine, table.c.input_id.in_(some)))
        mark = {"source": source, "removed_at": utc_now(), "rollback_id": rollback.rollback_id}
        insert(connection, table, [{**mark, "input_id": input_id} for input_id in later])
    else:
        # a later input that a person removed stays out, although its steps are forgotten
        for some in portions(list(later)):
            left = table.update().where(*mine, table.c.input_id.in_(some))
            connection.execute(left.values(rollback_id=rollback.rollback_id))
    before = table.c.rollback_id
    left_before = set(connection.execute(sa.select(table.c.input_id).where(*mine, before.is_not(None))).scalars())
    connection.execute(table.delete().where(*mine, _is_of_release(rollback.release, table)))
    then = sa.select(known.c.source, known.c.input_id, known.c.removed_at).where(
        known.c.release == rollback.release, known.c.source == source, known.c.removed_at.is_not(None)
    )
    rows = [
        # an input that an earlier rollback left out is still left out
        {**row, "rollback_id": rollback.rollback_id if row["input_id"] in left_before else None}
        for row in map(dict, connection.execute(then).mappings())
    ]
    insert(connection, table, rows)


def _put_back_processes(connection: sa.Connection, release: str, source: str, later: Sequence[str]) -> None:
    table, copy = tables.processes, tables.release_processes
    connection.execute(
        table.delete().where(
            table.c.source == source, sa.or_(table.c.input_id.is_(None), _is_of_release(release, table))
        )
    )
    # the raw area keeps the bytes of later inputs, and no table has their rows
    for some in portions(list(later)):
        connection.execute(
            table.delete().where(table.c.source == source, table.c.input_id.in_(some), table.c.step != PER_INPUT[0])
        )
    names = [item.name for item in table.columns if item.name != "process_id"]
    rows = sa.select(*(copy.c[name] for name in names)).where(copy.c.release == release, copy.c.source == source)
    connection.execute(table.insert().from_select(names, rows, include_defaults=False))


def _put_back_profiles(connection: sa.Connection, rollback: Rollback, source: str, later: Collection[str]) -> None:
    table, copy = tables.profiles, tables.release_profiles
    mine = table.c.source == source
    connection.execute(
        table.delete().where(mine, sa.or_(table.c.input_id.is_(None), _is_of_release(rollback.release, table)))
    )
    if rollback.later_inputs == REPLAY:
        for some in portions(list(later)):
            connection.execute(
                table.delete().where(mine, table.c.input_id.in_(some), ~table.c.asset.startswith("raw/"))
            )
    names = [item.name for item in table.columns if item.name != "profile_id"]
    of_release = (copy.c.release == rollback.release, copy.c.source == source)
    connection.execute(
        table.insert().from_select(names, sa.select(*(copy.c[name] for name in names)).where(*of_release))
    )
    # their ids are new
    described, columns = tables.release_profile_columns, tables.profile_columns
    names = [item.name for item in columns.columns if item.name != "profile_id"]
    same = sa.and_(
        table.c.source == copy.c.source,
        table.c.asset == copy.c.asset,
        sa.func.coalesce(table.c.input_id, "") == sa.func.coalesce(copy.c.input_id, ""),
    )
    here = sa.and_(described.c.release == copy.c.release, described.c.profile_id == copy.c.profile_id)
    rows = (
        sa.select(table.c.profile_id, *(described.c[name] for name in names))
        .select_from(copy.join(described, here).join(table, same))
        .where(*of_release)
    )
    connection.execute(columns.insert().from_select(["profile_id", *names], rows))


def _put_back_checks(connection: sa.Connection, release: str, source: str) -> None:
    """Put the check results in force again that were in force at the release: the newest of a kind and input is."""
    table = tables.check_results
    last = sa.select(tables.releases.c.last_check).where(tables.releases.c.release == release).scalar_subquery()
    kind = (table.c.step, table.c.asset, table.c.kind, sa.func.coalesce(table.c.input_id, ""))
    of_release = sa.or_(table.c.input_id.is_(None), _is_of_release(release, table))
    newest = (
        sa.select(
            sa.func.max(sa.case((table.c.check_result_id <= last, table.c.check_result_id))).label("then"),
            sa.func.max(table.c.check_result_id).label("now"),
        )
        .where(table.c.source == source, of_release)
        .group_by(*kind)
        .subquery()
    )
    names = [item.name for item in table.columns if item.name != "check_result_id"]
    given: dict[str, sa.ColumnElement[Any]] = {
        "run_id": sa.literal(RUN_ID, tables.Text),
        "checked_at": sa.literal(utc_now(), tables.Timestamp),
    }
    values = [given.get(name, table.c[name]) for name in names]
    is_back = sa.and_(newest.c.then == table.c.check_result_id, newest.c.now > newest.c.then)
    rows = sa.select(*values).select_from(table.join(newest, is_back))
    connection.execute(table.insert().from_select(names, rows))


def _put_back_contract(connection: sa.Connection, release: str, source: str) -> None:
    """Put the contract of the release in force: a new version with the old definition."""
    table = tables.contracts
    then = connection.execute(
        sa.select(tables.releases.c.contracts).where(tables.releases.c.release == release)
    ).scalar_one()
    found = {
        row.version: row.definition
        for row in connection.execute(sa.select(table.c.version, table.c.definition).where(table.c.source == source))
    }
    newest = max(found, default=0)
    if source in then and found.get(then[source]) != found.get(newest):
        connection.execute(
            table.insert(),
            {
                "source": source,
                "version": newest + 1,
                "definition": found[then[source]],
                "registered_at": utc_now(),
            },
        )


def _put_back_arrivals(connection: sa.Connection, release: str, source: str) -> None:
    table, known = tables.inputs, tables.release_inputs
    then = (
        sa.select(known.c.arrival)
        .where(known.c.release == release, known.c.source == table.c.source, known.c.input_id == table.c.input_id)
        .scalar_subquery()
    )
    connection.execute(
        table.update().where(table.c.source == source, _is_of_release(release, table)).values(arrival=then)
    )
