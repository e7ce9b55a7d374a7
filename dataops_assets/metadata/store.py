"""The metadata store: records of sources, inputs, steps, profiles and checks.

Methods take and return values of the platform and do not use Dagster. Each is one short transaction with a few
statements, for any number of inputs, and several processes and threads may call them at once: writers queue on SQLite
(WAL, BEGIN IMMEDIATE, busy timeout); on PostgreSQL they upsert their rows in one order, so they never deadlock.

An empty `input_id` (a step or profile of a whole table) is stored as null.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dataops_assets.errors import DataOpsError, StorageError
from dataops_assets.metadata import tables
from dataops_assets.metadata.contract_store import ContractStore
from dataops_assets.metadata.database import Database
from dataops_assets.metadata.decision_store import DecisionStore
from dataops_assets.metadata.declaration_store import DeclarationStore
from dataops_assets.metadata.forecast_store import ForecastStore
from dataops_assets.metadata.look_store import LookStore
from dataops_assets.metadata.moment_store import MomentStore
from dataops_assets.metadata.output_position_store import OutputPositionStore
from dataops_assets.metadata.plan_store import PlanStore
from dataops_assets.metadata.position_store import PositionStore
from dataops_assets.metadata.profile_store import ProfileStore
from dataops_assets.metadata.registered import contract_version, require, require_inputs
from dataops_assets.metadata.release_store import ReleaseStore, is_left_out, require_startable
from dataops_assets.metadata.statements import (
    Existing,
    columns_of,
    count_in,
    delete_inputs,
    insert,
    insert_of,
    is_removed,
    portions,
    row_of_input,
    upsert,
    utc_now,
)
from dataops_assets.metadata.token_store import TokenStore
from dataops_assets.report import IN_ORDER, PER_INPUT, CheckOutcome, Input, InputReport, RuleReceipt, StepReport

# neither is in an id
_TAB, _NEWLINE = "\t", "\n"
# the steps that hold inputs; an input that passes one of them is released
_JUDGED_BY = ("cdc", "refresh")
_MOVED = ("source", "input_id", "arrival")
_PROCESS = ("source", "step", "input_id")
_LATER_ARRIVAL = (
    tables.inputs.update()
    .where(
        tables.inputs.c.source == sa.bindparam("of_source"),
        tables.inputs.c.input_id == sa.bindparam("of_input_id"),
        tables.inputs.c.arrival < sa.bindparam("of_arrival"),
    )
    .values(arrival=sa.bindparam("of_arrival"))
)


@dataclass(frozen=True)
class Arrival:
    """One version of a file that discovery found, identified by (origin, size, modified).

    `input_id` is the input with its content; None if there is none (yet). `note` says which input it replaces or
    repeats, or why it is left out. Both times are aware.
    """

    origin: str
    size: int
    modified: dt.datetime
    digest: str
    input_id: str | None
    seen_at: dt.datetime
    note: str = ""


VersionKey = tuple[str, int, str]
"""What identifies a version of a file: origin, size, and the time of its last change as SQLite stores it."""


def version_key(origin: str, size: int, modified: dt.datetime) -> VersionKey:
    """Return the key of a version; `modified` is in UTC."""
    return origin, size, modified.isoformat(" ", "microseconds")[:26]


@dataclass(frozen=True)
class StepStatus:
    """The last attempt of a step for one input ('' for the whole table). Counts are rows; times are aware, in UTC."""

    source: str
    step: str
    input_id: str
    status: str
    attempts: int
    run_id: str
    contract_version: int
    started_at: dt.datetime
    finished_at: dt.datetime | None
    asset: str | None
    table_version: int | None
    seconds: float | None
    counts: Mapping[str, int]
    error_type: str | None
    error: str | None
    table_commit: str | None = None
    written: str | None = None
    declared: str | None = None
    judged_against: str | None = None


@dataclass(frozen=True)
class ParsedInput:
    """An input that a parse was tried for, and the hash of the declaration that it was parsed with, if known."""

    input_id: str
    declared: str | None


@dataclass(frozen=True)
class StepTotal:
    """The rows, seconds and inputs of all last attempts of a step of a source that are done."""

    rows: int
    seconds: float
    inputs: int


@dataclass(frozen=True)
class CheckResult:
    """The result of one check in one run."""

    step: str
    run_id: str
    checked_at: dt.datetime
    outcome: CheckOutcome


@dataclass(frozen=True)
class Receipt:
    """The receipt of one rule in one table, with the run ('' if started by hand)."""

    asset: str
    table_version: int | None
    run_id: str
    recalculated_at: dt.datetime
    receipt: RuleReceipt


class MetadataStore:
    """The metadata structure behind one database URL (SQLite or PostgreSQL).

    The constructor does no I/O; call `migrate` once before all other methods. All methods raise StorageError if the
    database cannot be reached or refuses, and ConfigError for a source that is not registered.
    """

    def __init__(self, url: str) -> None:
        self._database = Database(url)
        self._insert = insert_of(self._database.dialect)
        self.contracts = ContractStore(self._database)
        self.decisions = DecisionStore(self._database)
        self.profiles = ProfileStore(self._database)
        self.positions = PositionStore(self._database)
        self.looks = LookStore(self._database)
        self.output_positions = OutputPositionStore(self._database)
        self.releases = ReleaseStore(self._database)
        self.declarations = DeclarationStore(self._database)
        self.plans = PlanStore(self._database)
        self.tokens = TokenStore(self._database)
        self.moments = MomentStore(self._database)
        self.forecasts = ForecastStore(self._database)

    def migrate(self) -> None:
        """Create or upgrade the tables to the version of this code; one cheap query if that is done already."""
        self._database.migrate()

    def copy_to(self, target: Path) -> None:
        """Copy the metadata to another SQLite file, as they are at one moment. Raises ConfigError for PostgreSQL."""
        self._database.copy_to(target)

    def state_of_file(self) -> tuple[int, ...] | None:
        """Return numbers that change with each write; None if that is not known without a query."""
        return self._database.state_of_file()

    def kept_open(self) -> AbstractContextManager[None]:
        """Keep one connection open for all reads of this thread within the returned context."""
        return self._database.kept_open("connecting to the metadata")

    # --- what is declared --------------------------------------------------------------------------------------------

    # --- what arrived ------------------------------------------------------------------------------------------------

    def register_inputs(self, source: str, inputs: Sequence[Input]) -> list[str]:
        """Record inputs and return the ids that are new, in the given order.

        A known input stays unchanged, except that a later arrival time replaces the earlier one. Raises StorageError if
        another input has one of the ids: two looks at one source chose it at the same time.
        """
        if not inputs:
            return []
        now = utc_now()
        unique = {item.input_id: item for item in sorted(inputs)}
        rows = [row_of_input(source, item, now) for _, item in sorted(unique.items())]
        table = tables.inputs
        statement = self._insert(table).on_conflict_do_nothing().returning(table.c.input_id)
        with self._database.write(f"registering {len(rows)} inputs of source {source!r}") as connection:
            contract_version(connection, source)
            new = set(connection.execute(statement, rows).scalars())
            again = [row for row in rows if row["input_id"] not in new]
            if again:
                _refuse_other_contents(connection, source, again)
                connection.execute(_LATER_ARRIVAL, [{f"of_{name}": row[name] for name in _MOVED} for row in again])
        return [input_id for input_id in dict.fromkeys(item.input_id for item in inputs) if input_id in new]

    def inputs(self, source: str, ids: Sequence[str] | None = None) -> list[Input]:
        """Return the source's inputs, or those with these ids, in the order in which they supersede each other.

        Raises InputError if an id is unknown.
        """
        with self._database.read(f"reading inputs of source {source!r}") as connection:
            if ids is None:
                return _inputs(connection, source)
            found = [
                item
                for some in portions(ids)
                for item in _inputs(connection, source, tables.inputs.c.input_id.in_(some))
            ]
        require(source, ids, [item.input_id for item in found])
        return sorted(found)

    def remember_arrivals(self, source: str, arrivals: Sequence[Arrival]) -> None:
        """Record file versions that discovery found; a record of the same version is replaced.

        Register an arrival's input first. Raises InputError if an input is unknown.
        """
        if not arrivals:
            return
        unique = {(item.origin, item.size, item.modified): item for item in arrivals}
        rows = [
            {
                "source": source,
                "origin": item.origin,
                "size": item.size,
                "modified": item.modified,
                "digest": item.digest,
                "input_id": item.input_id or None,
                "seen_at": item.seen_at,
                "note": item.note,
            }
            for _, item in sorted(unique.items())
        ]
        with self._database.write(f"remembering {len(rows)} arrivals of source {source!r}") as connection:
            contract_version(connection, source)
            require_inputs(connection, source, [item.input_id for item in arrivals])
            upsert(connection, tables.arrivals, rows)

    def arrivals(
        self,
        source: str,
        *,
        noted_only: bool = False,
        input_ids: Sequence[str] | None = None,
        origins: Sequence[str] | None = None,
    ) -> list[Arrival]:
        """Return the recorded file versions: all, those with a note, those of some inputs, or those of some files.

        They are in the order of origin, modification time and size.
        """
        table = tables.arrivals
        statement = sa.select(*columns_of(table, Arrival)).where(table.c.source == source)
        if noted_only:
            statement = statement.where(table.c.note != "")
        parts = [statement]
        for column, wanted in ((table.c.input_id, input_ids), (table.c.origin, origins)):
            if wanted is not None:
                parts = [part.where(column.in_(some)) for part in parts for some in portions(sorted(set(wanted)))]
        with self._database.read(f"reading arrivals of source {source!r}") as connection:
            found = [Arrival(*row) for part in parts for row in connection.execute(part).all()]
        # ordered here, because databases sort text by their own collations
        return sorted(found, key=lambda item: (item.origin, item.modified, item.size))

    def taken_versions(self, source: str, *, after: str = "") -> frozenset[VersionKey]:
        """Return the file versions that were read, as `version_key` writes them.

        With `after`, only those of origins that sort after it, as S3 sorts names.

        They are what a look without anything new compares with, so they are read in the cheapest way.
        """
        table = tables.arrivals
        modified = sa.type_coerce(table.c.modified, sa.Text) if self._database.dialect == "sqlite" else table.c.modified
        statement = sa.select(table.c.origin, table.c.size, modified).where(
            table.c.source == source, table.c.digest != ""
        )
        if after:
            # by bytes: the order of a language differs from that of the store
            is_sqlite = self._database.dialect == "sqlite"
            statement = statement.where(sa.collate(table.c.origin, "BINARY" if is_sqlite else "C") > after)
        with self._database.read(f"reading what was taken of source {source!r}") as connection:
            rows = connection.execute(statement).all()
        if self._database.dialect == "sqlite":
            return frozenset(map(tuple, rows))
        return frozenset(version_key(*row) for row in rows)

    def inputs_near(self, source: str, times: Collection[dt.datetime], within: dt.timedelta) -> list[Input]:
        """Return the source's inputs whose extract time is near one of some times, in order."""
        column = tables.inputs.c.extract_time
        near = [column.between(time - within, time + within) for time in times]
        with self._database.read(f"reading inputs of source {source!r}") as connection:
            return _inputs(connection, source, sa.or_(*near)) if near else []

    # --- what was done -----------------------------------------------------------------------------------------------

    def start(self, source: str, step: str, input_ids: Sequence[str], run_id: str, declared: str | None = None) -> None:
        """Record that a run starts a step for these inputs ('' for the whole table): 'running', one more attempt.

        It replaces the record of an earlier attempt, finished or not. `declared` is the hash of the declaration that
        decides the step's rows. Raises InputError if an input is unknown or was
        left out by a rollback, StorageError while a rollback of the source is unfinished.
        """
        if not input_ids:
            return
        with self._database.write(f"starting {step} of source {source!r}") as connection:
            version = contract_version(connection, source)
            require_startable(connection, source, step, input_ids)
            require_inputs(connection, source, input_ids)
            blank = dict.fromkeys(
                (
                    *("asset", "finished_at", "seconds", "table_version", "table_commit", "written"),
                    *("judged_against", "error_type", "error"),
                )
            )
            shared = {
                "source": source,
                "step": step,
                "status": "running",
                "attempts": 1,
                "run_id": run_id,
                "contract_version": version,
                "started_at": utc_now(),
                "declared": declared,
                **blank,
                **_counts({}),
            }
            rows = [{**shared, "input_id": input_id or None} for input_id in sorted(set(input_ids))]
            upsert(
                connection,
                tables.processes,
                rows,
                Existing(by=_PROCESS, change={"attempts": tables.processes.c.attempts + 1}),
            )
            if step == PER_INPUT[-1]:
                delete_inputs(connection, tables.removals, source, input_ids)

    def forget(self, source: str, steps: Sequence[str], input_ids: Sequence[str]) -> None:
        """Delete the records of these steps for these inputs, as if the steps had never started."""
        table = tables.processes
        with self._database.write(f"forgetting {', '.join(steps)} of source {source!r}") as connection:
            for some in portions(sorted(set(input_ids))):
                connection.execute(
                    table.delete().where(table.c.source == source, table.c.step.in_(steps), table.c.input_id.in_(some))
                )

    def finish(
        self, source: str, report: StepReport, run_id: str, judged_against: Mapping[str, str] | None = None
    ) -> None:
        """Record the report of a step: status 'done' or 'failed', counts, time and error of each input, and all checks.

        The step's seconds are divided evenly among its inputs. A report without inputs is about the whole table. If a
        later run has started the same step of an input in the meantime, its record stays and only the check results
        are added. `judged_against` is by input the fingerprint of what it was judged against. Raises InputError if an
        input is unknown.
        """
        reports = report.inputs or (InputReport("", {} if report.rows is None else {"rows": report.rows}),)
        now = utc_now()
        shared = {
            "source": source,
            "step": report.step,
            "attempts": 1,
            "run_id": run_id,
            "started_at": now - dt.timedelta(seconds=report.seconds),
            "finished_at": now,
            "asset": report.asset,
            "table_version": report.version,
            "table_commit": report.commit_id or None,
            "seconds": report.seconds / len(reports),
        }
        unique = {item.input_id: item for item in reports}
        rows = [
            {
                **shared,
                "input_id": input_id or None,
                "status": "failed" if item.error else "done",
                "error_type": type(item.error).__name__ if item.error else None,
                "error": str(item.error) if item.error else None,
                "written": item.written or None,
                "judged_against": (judged_against or {}).get(input_id),
                **_counts(item.counts),
            }
            for input_id, item in sorted(unique.items())
        ]
        checks = [_check_row(outcome, "") for outcome in report.checks]
        checks += [_check_row(outcome, item.input_id) for item in reports for outcome in item.checks]
        for check in checks:
            check.update(source=source, step=report.step, run_id=run_id, checked_at=now)
        with self._database.write(f"finishing {report.step} of source {source!r}") as connection:
            version = contract_version(connection, source)
            require_inputs(connection, source, [*unique, *(check["input_id"] for check in checks)])
            upsert(
                connection,
                tables.processes,
                [{**row, "contract_version": version} for row in rows],
                Existing(by=_PROCESS, keep=("attempts", "started_at", "contract_version"), only_same=("run_id",)),
            )
            insert(connection, tables.check_results, checks)
            if report.step in _JUDGED_BY:
                delete_inputs(
                    connection, tables.holds, source, [item.input_id for item in reports if item.error is None]
                )
            _add_receipts(connection, source, report, run_id)

    def end_running(self, source: str, errors: Mapping[str, DataOpsError]) -> None:
        """Record that runs ended without a report: their steps with status 'running' become 'failed'.

        `errors` are by run id. If such a run reports after all, its report replaces this.
        """
        table = tables.processes
        with self._database.write(f"recording killed runs of source {source!r}") as connection:
            for run_id, error in sorted(errors.items()):
                connection.execute(
                    table.update()
                    .where(table.c.source == source, table.c.status == "running", table.c.run_id == run_id)
                    .values(status="failed", error_type=type(error).__name__, error=str(error), finished_at=utc_now())
                )

    def save_receipts(self, source: str, report: StepReport, run_id: str = "") -> None:
        """Record the receipts of a step that was started by hand; `finish` does so for a step of a run."""
        with self._database.write(f"recording receipts of source {source!r}") as connection:
            contract_version(connection, source)
            _add_receipts(connection, source, report, run_id)

    def receipts(self, source: str, asset: str | None = None) -> list[Receipt]:
        """Return the receipts of a source's rules, or of one asset, in the order of recording."""
        table = tables.rule_receipts
        statement = sa.select(table).where(table.c.source == source).order_by(table.c.rule_receipt_id)
        if asset is not None:
            statement = statement.where(table.c.asset == asset)
        with self._database.read(f"reading receipts of source {source!r}") as connection:
            return [_receipt(row) for row in connection.execute(statement).mappings()]

    def step_status(self, source: str, step: str) -> dict[str, str]:
        """Return the status ('running', 'done', 'failed') of a step's last attempt, for each input that has one."""
        table = tables.processes
        statement = sa.select(table.c.input_id, table.c.status).where(table.c.source == source, table.c.step == step)
        with self._database.read(f"reading the status of {step} of source {source!r}") as connection:
            return {row.input_id or "": row.status for row in connection.execute(statement)}

    def processes(
        self, source: str, step: str | None = None, input_ids: Sequence[str] | None = None
    ) -> list[StepStatus]:
        """Return the last attempts of a source's steps, ordered by step and input id.

        With `step` or `input_ids` only those of this step, or of these inputs.
        """
        table = tables.processes
        statement = sa.select(*columns_of(table, StepStatus)).where(table.c.source == source)
        if step is not None:
            statement = statement.where(table.c.step == step)
        parts = [statement]
        if input_ids is not None:
            parts = [statement.where(table.c.input_id.in_(some)) for some in portions(sorted(set(input_ids)))]
        with self._database.read(f"reading processes of source {source!r}") as connection:
            return _statuses(row for part in parts for row in connection.execute(part).mappings())

    def running(self, source: str) -> list[StepStatus]:
        """Return the attempts of a source's steps that have started and not ended, ordered by step and input id."""
        table = tables.processes
        statement = sa.select(*columns_of(table, StepStatus)).where(
            table.c.source == source, table.c.status == "running"
        )
        with self._database.read(f"reading running processes of source {source!r}") as connection:
            return _statuses(connection.execute(statement).mappings())

    def unfinished(self, source: str) -> list[Input]:
        """Return the inputs for which the last step of `PER_INPUT` is not done, in order, without those left out.

        These are few, even if many inputs are known. So a sensor reads only these.
        """
        table, inputs = tables.processes, tables.inputs
        # a set that the database makes once: to look for each input takes six times as long
        done = sa.select(table.c.input_id).where(
            table.c.source == source,
            table.c.step == PER_INPUT[-1],
            table.c.status == "done",
            table.c.input_id.is_not(None),
        )
        with self._database.read(f"reading unfinished inputs of source {source!r}") as connection:
            return _inputs(connection, source, inputs.c.input_id.not_in(done), ~is_left_out())

    def input_ids(self, source: str) -> list[str]:
        """Return the ids of the source's inputs, in no order."""
        table = tables.inputs
        statement = sa.select(table.c.input_id).where(table.c.source == source)
        with self._database.read(f"reading the ids of inputs of source {source!r}") as connection:
            return list(connection.execute(statement).scalars())

    def arrived(self, source: str) -> tuple[int, dt.datetime | None]:
        """Return how many inputs the source has, and when the last of them arrived."""
        table = tables.inputs
        statement = sa.select(sa.func.count(), sa.func.max(table.c.arrival)).where(table.c.source == source)
        with self._database.read(f"counting inputs of source {source!r}") as connection:
            count, last = connection.execute(statement).one()
        return count, last

    def inputs_before(self, source: str, moment: dt.datetime) -> frozenset[str]:
        """Return the ids of the inputs that were extracted before a moment."""
        table = tables.inputs
        statement = sa.select(table.c.input_id).where(table.c.source == source, table.c.extract_time < moment)
        with self._database.read(f"reading old inputs of source {source!r}") as connection:
            return frozenset(connection.execute(statement).scalars())

    def inputs_of_one_time(self, source: str) -> list[Input]:
        """Return the inputs that share their extract time with another input, in order."""
        table = tables.inputs
        several = (
            sa.select(table.c.extract_time)
            .where(table.c.source == source)
            .group_by(table.c.extract_time)
            .having(sa.func.count() > 1)
        )
        with self._database.read(f"reading inputs of one time of source {source!r}") as connection:
            return _inputs(connection, source, table.c.extract_time.in_(several))

    def done_writes(self, source: str) -> dict[str, dict[str, str | None]]:
        """Return for each step the inputs for which it is done, with the id of the write that has their rows."""
        table = tables.processes
        # one text a step: a row object for each of half a million records would take seconds
        pair = table.c.input_id + _TAB + sa.func.coalesce(table.c.written, "")
        statement = (
            sa.select(table.c.step, sa.func.aggregate_strings(pair, _NEWLINE))
            .where(table.c.source == source, table.c.status == "done", table.c.input_id.is_not(None))
            .group_by(table.c.step)
        )
        with self._database.read(f"reading done steps of source {source!r}") as connection:
            found = connection.execute(statement).all()
        return {
            step: {input_id: write or None for input_id, _, write in map(_split_at_tab, text.split(_NEWLINE))}
            for step, text in found
        }

    def rejecting(self, source: str) -> frozenset[str]:
        """Return the inputs that were parsed and have rejected rows."""
        table = tables.processes
        statement = sa.select(table.c.input_id).where(
            table.c.source == source, table.c.step == "parse", table.c.status == "done", table.c.rejected > 0
        )
        with self._database.read(f"reading inputs with rejected rows of source {source!r}") as connection:
            return frozenset(connection.execute(statement).scalars())

    def filtered_rows(self, source: str) -> int:
        """Return how many rows of a source's inputs were filtered while parsing."""
        table = tables.processes
        filtered = sa.func.sum(count_in(table.c.counts, "filtered"))
        statement = sa.select(filtered).where(
            table.c.source == source, table.c.step == "parse", table.c.status == "done"
        )
        with self._database.read(f"counting filtered rows of source {source!r}") as connection:
            return int(connection.execute(statement).scalar_one() or 0)

    def done_steps(self, source: str, steps: Sequence[str]) -> tuple[int, dt.datetime | None]:
        """Return how often one of these steps is done for an input, and when the last of them ended."""
        table = tables.processes
        statement = sa.select(sa.func.count(), sa.func.max(table.c.finished_at)).where(
            table.c.source == source, table.c.status == "done", table.c.step.in_(steps)
        )
        with self._database.read(f"counting done steps of source {source!r}") as connection:
            count, last = connection.execute(statement).one()
        return count, last

    def parsed_inputs(self) -> dict[str, list[ParsedInput]]:
        """Return by source the inputs that a parse ended for, without those that are removed or left out."""
        table = tables.processes
        wanted = sa.select(table.c.source, table.c.input_id, table.c.declared).where(
            table.c.step == "parse",
            table.c.status.in_(("done", "failed")),
            table.c.input_id.is_not(None),
            ~is_removed(table),
        )
        found: dict[str, list[ParsedInput]] = {}
        with self._database.read("reading with what declarations inputs were parsed") as connection:
            for source, input_id, declared in connection.execute(wanted):
                found.setdefault(source, []).append(ParsedInput(input_id, declared))
        return found

    def step_totals(self) -> dict[tuple[str, str], StepTotal]:
        """Return the totals of all steps, by source and step. For each input the last attempt counts."""
        table = tables.processes
        sums = (sa.func.sum(table.c.rows), sa.func.sum(table.c.seconds), sa.func.count())
        wanted = (
            sa.select(table.c.source, table.c.step, *sums)
            .where(table.c.status == "done")
            .group_by(table.c.source, table.c.step)
        )
        with self._database.read("adding up what steps have done") as connection:
            return {
                (source, step): StepTotal(int(rows or 0), float(seconds or 0.0), count)
                for source, step, rows, seconds, count in connection.execute(wanted)
            }

    def check_results(self, source: str, asset: str | None = None) -> list[CheckResult]:
        """Return all results of a source's checks, or of one asset, in the order of recording."""
        table = tables.check_results
        statement = sa.select(table).where(table.c.source == source).order_by(table.c.check_result_id)
        if asset is not None:
            statement = statement.where(table.c.asset == asset)
        with self._database.read(f"reading check results of source {source!r}") as connection:
            return [_check_result(row) for row in connection.execute(statement).mappings()]

    # --- how it looked -----------------------------------------------------------------------------------------------

    # --- writing -----------------------------------------------------------------------------------------------------


def _statuses(rows: Iterable[Mapping[Any, Any]]) -> list[StepStatus]:
    found = [StepStatus(**{**row, "input_id": row["input_id"] or ""}) for row in rows]
    return sorted(found, key=lambda item: (item.step, item.input_id))


def _split_at_tab(line: str) -> tuple[str, str, str]:
    return line.partition(_TAB)


def _inputs(connection: sa.Connection, source: str, *conditions: sa.ColumnElement[bool]) -> list[Input]:
    table = tables.inputs
    statement = sa.select(*columns_of(table, Input)).where(table.c.source == source, *conditions)
    return sorted((Input(*row) for row in connection.execute(statement).all()), key=IN_ORDER)


def _refuse_other_contents(connection: sa.Connection, source: str, rows: Sequence[Mapping[str, Any]]) -> None:
    given = {row["input_id"]: row["content"] for row in rows}
    known = tables.inputs.c
    for some in portions(sorted(given)):
        found = sa.select(known.input_id, known.content).where(known.source == source, known.input_id.in_(some))
        for input_id, content in connection.execute(found).all():
            if content != given[input_id]:
                raise StorageError(
                    f"registering input {input_id} of {source!r}",
                    received="an input with other content, which was registered at the same time, has this id",
                    next_step="nothing was registered; the next look gives the input another id",
                )


def _counts(counts: Mapping[str, int]) -> dict[str, Any]:
    return {**{name: tables.plain(counts.get(name)) for name in tables.COUNTS}, "counts": counts}


def _check_row(outcome: CheckOutcome, input_id: str) -> dict[str, Any]:
    return {
        "asset": outcome.asset,
        "input_id": outcome.input_id or input_id or None,
        "kind": outcome.check,
        "passed": bool(outcome.passed),
        "severity": outcome.severity,
        "explanation": outcome.explanation,
        "numbers": outcome.numbers,
    }


def _check_result(row: Mapping[Any, Any]) -> CheckResult:
    outcome = CheckOutcome(
        asset=row["asset"],
        check=row["kind"],
        passed=row["passed"],
        severity=row["severity"],
        explanation=row["explanation"],
        input_id=row["input_id"],
        numbers=row["numbers"],
    )
    return CheckResult(row["step"], row["run_id"], row["checked_at"], outcome)


def _add_receipts(connection: sa.Connection, source: str, report: StepReport, run_id: str) -> None:
    rows = [
        {
            "source": source,
            "asset": report.asset,
            "rule": item.rule,
            "rule_version": item.version,
            "rows_seen": item.rows_seen,
            "rows_changed": item.rows_changed,
            "table_version": report.version,
            "run_id": run_id,
            "recalculated_at": utc_now(),
        }
        for item in report.receipts
    ]
    insert(connection, tables.rule_receipts, rows)


def _receipt(row: Mapping[Any, Any]) -> Receipt:
    receipt = RuleReceipt(row["rule"], row["rule_version"], row["rows_seen"], row["rows_changed"])
    return Receipt(row["asset"], row["table_version"], row["run_id"], row["recalculated_at"], receipt)
