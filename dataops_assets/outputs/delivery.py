"""The parts that every kind of target uses: the table to deliver, the result, and the outcome of the comparison."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from dataops_assets.engines.duckdb import DuckDBSession
from dataops_assets.errors import DataOpsError, StorageError
from dataops_assets.outputs.context import OutputContext
from dataops_assets.outputs.mapping import Compiled, compiled, rows_kept
from dataops_assets.outputs.position import Position
from dataops_assets.outputs.table_rows import TableRows, opened
from dataops_assets.profiles import Profile
from dataops_assets.quality.checks import volume
from dataops_assets.report import CheckKind, CheckOutcome
from dataops_assets.sql import query

CHECK: CheckKind = "delivery"
"""Name of the check that compares a target with what it should have."""


@dataclass(frozen=True)
class Delivered:
    """The result of a delivery.

    * `position`: where the target is, if `is_new` or before. `written`: rows that were sent.
    * `counts`: what to show. `checks`: the outcomes. `is_new`: whether anything was delivered.
    * `read`: the version of the table that the target has, as reports name it.
    """

    position: Position
    written: int
    counts: Mapping[str, int | str]
    checks: tuple[CheckOutcome, ...]
    is_new: bool
    read: Mapping[str, int | None] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


class VolumeRefused(DataOpsError):
    """The table has fewer or more rows than the output may deliver, and nothing was sent; `outcome` is of the check."""

    def __init__(self, context: OutputContext, outcome: CheckOutcome) -> None:
        self.outcome = outcome
        super().__init__(f"delivering output {context.output.name!r}", received=outcome.explanation)


@dataclass(frozen=True)
class Target:
    """The output over the columns of its table, and the newest version of that table when it is asked for."""

    context: OutputContext
    compiled: Compiled

    @classmethod
    def of(cls, context: OutputContext) -> Target:
        """Compile the output over its table as it is now. Raises ConfigError, InputError and StorageError."""
        with context.engine.session() as session, opened(context, session, columns_alone=True) as table:
            return cls(context, _compiled(context, table))

    @contextmanager
    def rows(self) -> Iterator[tuple[DuckDBSession, TableRows]]:
        """Open the newest version of the table in a session of its own. The declared volume is judged of this version.

        Raises StorageError if its columns have changed since the output was compiled: another try compiles it again.
        Raises VolumeRefused if a volume of severity fail does not allow its number of rows.
        """
        with self.context.engine.session() as session, opened(self.context, session) as table:
            if _compiled(self.context, table).digest != self.compiled.digest:
                raise StorageError(
                    f"delivering output {self.context.output.name!r}",
                    received=f"the columns of {self.context.output.source} changed during the delivery",
                    next_step="run it again",
                )
            check = self.context.output.checks.volume
            if check.enabled and check.severity == "fail":
                judged = judged_volume(self.context, self.count(session, table))
                if not judged.passed:
                    raise VolumeRefused(self.context, judged)
            yield session, table

    def count(self, session: DuckDBSession, table: TableRows) -> int:
        """Return the number of rows that the output has."""
        kept = rows_kept(self.compiled, table.rows())
        return int(session.fetch(query("SELECT count(*) AS n FROM $kept AS k", kept=kept)).column("n")[0].as_py())

    def read(self, table: TableRows) -> dict[str, int | None]:
        """Return the version of the table as a report names it; None for a table without rows, nothing for a model."""
        if table.version is None:
            return {}
        return {self.context.output.source: table.version if table.has_rows else None}

    def position(self, table: TableRows, before: Position | None) -> Position:
        """Return the position after a delivery of this version; its rows are not known yet."""
        number = 1 if before is None else before.delivery + 1
        source = self.context.output.source
        return Position(source, table.version, table.commit_id, self.compiled.digest, number, 0)


def _compiled(context: OutputContext, table: TableRows) -> Compiled:
    source = context.source
    return compiled(context.output, table.columns, source.refresh.key if source is not None else ())


def judged_volume(context: OutputContext, rows: int) -> CheckOutcome:
    """Return the outcome of the declared volume for this number of rows."""
    # limits are not learnt here: they were for the inputs
    return volume(Profile(context.asset, "", rows, ()), (), context.output.checks.volume)


def outcome(context: OutputContext, problem: str, *, rows: int | None = None, compared: int = 0) -> CheckOutcome:
    """Return the outcome of the comparison; `problem` is empty if the target is as it should be."""
    if problem:
        told = f"{problem}; nothing was delivered"
    elif rows is None:
        told = "the target has this version already, and as many rows as it had"
    else:
        told = f"the target has {rows:,} rows as it should; count and checksum of {compared:,} written rows agree"
    return told_outcome(context, told, problem, rows=rows, compared=compared)


def told_outcome(
    context: OutputContext, told: str, problem: str = "", *, rows: int | None = None, compared: int = 0
) -> CheckOutcome:
    """Return the outcome of a comparison in the words of the target."""
    numbers: dict[str, float | int | str | None] = {"rows": rows, "rows compared": compared}
    return CheckOutcome(context.asset, CHECK, not problem, "fail", told, None, numbers)
