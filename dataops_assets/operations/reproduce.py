"""Makes the tables of a release again from the raw bytes, in a private environment, and compares them with the release.

The deployment is only read. The environment is a copy of it that is rolled back to the release; then the tables are
removed there, and every step of every input of the release is run again. Each table is compared with all its columns,
the system columns, too. dbt models are not built.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlglot import exp

from dataops_assets.components.platform import Platform
from dataops_assets.config.environment import Environment, environment_from
from dataops_assets.engines.base import Session
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.engines.warehouse_copies import copies_of
from dataops_assets.errors import StorageError
from dataops_assets.metadata.release_store import LEAVE_OUT
from dataops_assets.operations import environments
from dataops_assets.operations.code_version import lock_digest, present_code
from dataops_assets.operations.planning.apply import ordered
from dataops_assets.operations.planning.data_differences import difference
from dataops_assets.operations.planning.trial import unreported
from dataops_assets.operations.rerun import Begin, inputs_to_make, make_again
from dataops_assets.rules.compiler import compile_rules
from dataops_assets.sql import Relation, identifier, query
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep.releases import WAREHOUSE, MadeRelease, release_of, rule_versions
from dataops_assets.steps.upkeep.rollback import Wanted, begin, carry_out
from dataops_assets.storage.delta import Table, TableVersion

_RUN = "dataops reproduce"
_SHOWN = 5
_LONGEST = 40


@dataclass(frozen=True)
class ReproducedTable:
    """One table: its rows in the release and made again, those that only one of both has, and columns that differ."""

    asset: str
    rows: int
    rows_again: int
    only_in_release: int
    only_again: int
    columns: Sequence[str]

    @property
    def is_equal(self) -> bool:
        """Return whether both have the same rows, with all their columns."""
        return not (self.only_in_release or self.only_again)


@dataclass(frozen=True)
class Reproduced:
    """The comparison of the tables of a release with those made again, and possible reasons for differences.

    `kept` is the name of the environment, if it was kept.
    """

    release: str
    tables: Sequence[ReproducedTable]
    reasons: Sequence[str]
    kept: str = ""

    @property
    def is_equal(self) -> bool:
        """Return whether every table is equal."""
        return all(item.is_equal for item in self.tables)


def reproduce(
    contexts: Sequence[SourceContext], name: str, project: Path, say: Begin, *, keep: bool = False
) -> Reproduced:
    """Make the tables of a release again from raw, and compare. `keep`: the environment stays, to look at it.

    Raises InputError for an unknown release, and while an environment that was kept is there, ConfigError where no
    private environment can be made, StorageError while a step runs, while another process reproduces the release, or if
    a table of the release cannot be read any more.
    """
    parent, metadata = contexts[0].environment, contexts[0].metadata
    made = release_of(metadata, name)
    wanted = environments.described(parent, _environment_name(name), getpass.getuser(), None)
    declared = [context for context in contexts if context.source.name in made.release.contracts]
    reasons = [*_other_code(made, project), *_not_declared(made, declared)]
    say("make a private environment")
    names = [context.source.name for context in contexts]
    with environments.while_working(parent, metadata, names, wanted, keep=keep) as inside:
        platform = Platform(environment_from(inside.variables, project))
        theirs = [platform.source_context(context.source, context.sources) for context in declared]
        _link_copies(parent, platform.environment)
        with unreported():
            begun = begin(platform.metadata, theirs[0].sources if theirs else {}, Wanted(name, LEAVE_OUT, _RUN))
            carry_out(platform.environment, platform.metadata, begun)
            for context in ordered(theirs):
                reasons += [*_other_declaration(context, made), *_made_again(context, say)]
        say("compare the tables")
        with DuckDBEngine(parent).session() as session:
            found = list(_compared(session, made, parent, platform.environment))
    reasons += _frozen(declared, found)
    return Reproduced(name, found, reasons, wanted.name if keep else "")


def _environment_name(release: str) -> str:
    """Return a name that a folder can have; releases whose names differ have different ones."""
    plain = re.sub(r"[^a-z0-9_.-]", "-", release.lower())[:_LONGEST]
    unlike = "" if plain == release else f"-{hashlib.sha256(release.encode()).hexdigest()[:8]}"
    return f"reproduce-{plain}{unlike}"


def _link_copies(parent: Environment, inside: Environment) -> None:
    """Give the environment the copies of the warehouse that releases have."""
    origin, target = copies_of(Path(parent.warehouse)), copies_of(Path(inside.warehouse))
    for path in origin.glob("*.duckdb"):
        target.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, target / path.name)
        except OSError as error:
            raise StorageError(
                f"linking {path}",
                received=f"{type(error).__name__}: {error}",
                next_step="check that the disk is there and has room, then run the command again",
            ) from error


def _made_again(context: SourceContext, say: Begin) -> Iterator[str]:
    """Remove the tables of a source and make them again from raw. Yield what stopped inputs."""
    source = context.source.name
    fresh, settled = inputs_to_make(context)
    if settled:
        yield f"{source}: {len(settled)} inputs are settled: retention has removed rows that they were made of"
    errors = make_again(context, fresh, _RUN, lambda step: say(f"{source}: {step}"))
    yield from (f"{source}: input {input_id} failed: {error}" for input_id, error in errors.items())


def _compared(
    session: Session, made: MadeRelease, parent: Environment, inside: Environment
) -> Iterator[ReproducedTable]:
    for item in made.tables:
        if item.asset == WAREHOUSE:
            continue
        then = Table(f"{parent.storage}/{item.asset}").snapshot(item.version)
        again = Table(f"{inside.storage}/{item.asset}").snapshot()
        yield _difference(session, item.asset, then, again)


def _difference(session: Session, asset: str, then: TableVersion | None, again: TableVersion | None) -> ReproducedTable:
    rows, rows_again = (item.rows if item is not None else 0 for item in (then, again))
    if then is None or again is None or not rows or not rows_again:
        return ReproducedTable(asset, rows, rows_again, rows, rows_again, ())
    gone = sorted(set(then.columns) ^ set(again.columns))
    common = [name for name in then.columns if name in again.columns]
    sides = [session.create(_columns(session, version, common)) for version in (then, again)]
    counts = [_only_in(session, one, other) for one, other in (sides, sides[::-1])]
    differ: list[str] = []
    if any(counts) and "s_key" in common:
        differ = [item.name for item in difference(session, asset, then, again, ()).columns]
    if gone and not any(counts):
        # every row lacks a value, or has one more
        counts = [rows, rows_again]
    return ReproducedTable(asset, rows, rows_again, counts[0], counts[1], [*differ, *gone])


def _columns(session: Session, version: TableVersion, names: Sequence[str]) -> exp.Query:
    wanted: exp.Query = query(
        "SELECT $columns FROM $rows AS r",
        columns=[exp.Column(this=identifier(name), table=identifier("r")) for name in names],
        rows=session.scan(version),
    )
    return wanted


def _only_in(session: Session, one: Relation, other: Relation) -> int:
    wanted = query(
        "SELECT count(*) AS n FROM (SELECT * FROM $one EXCEPT ALL SELECT * FROM $other) AS d", one=one, other=other
    )
    return int(session.fetch(wanted).to_pylist()[0]["n"])


def _other_code(made: MadeRelease, project: Path) -> Iterator[str]:
    release = made.release
    code = present_code(project)
    if code != release.code_version:
        yield f"code: the release was made with {release.code_version}, and this is {code or 'unknown'}"
    if lock_digest(project) != release.lock_digest:
        yield "packages: the lock is another one than that of the release"


def _not_declared(made: MadeRelease, declared: Sequence[SourceContext]) -> Iterator[str]:
    names = {context.source.name for context in declared}
    for name in sorted(set(made.release.contracts) - names):
        yield f"{name}: it is not declared any more, so that its tables are those of the release, and not made again"


def _other_declaration(context: SourceContext, made: MadeRelease) -> Iterator[str]:
    name, release = context.source.name, made.release
    contract = context.metadata.contracts.register(context.source)
    if contract != release.contracts[name]:
        yield f"{name}: the contract has version {contract}; that of the release is {release.contracts[name]}"
    then, now = release.rules.get(name, {}), rule_versions(context)
    changed = sorted(rule for rule in {*then, *now} if then.get(rule) != now.get(rule))
    if changed:
        yield f"{name}: another declaration than in the release: {', '.join(changed[:_SHOWN])}"


def _frozen(declared: Sequence[SourceContext], found: Sequence[ReproducedTable]) -> Iterator[str]:
    """Yield the frozen values of other hubs that can differ: made again, they have the last value of the release."""
    differ: Mapping[str, ReproducedTable] = {item.asset: item for item in found if not item.is_equal}
    for context in declared:
        snapshot = compile_rules(context.source, context.sources).snapshot
        table = differ.get(f"hub/{context.source.name}")
        if table is not None and snapshot.related:
            of = ", ".join(sorted(snapshot.related))
            yield f"{context.source.name}: frozen values of {of} are, made again, those that it has at the release"
