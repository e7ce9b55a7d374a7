"""Reads the hubs of related sources for look-ups, as they are now, with the columns that the rules use."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from sqlglot import exp

from dataops_assets.config.rules import VALIDITY
from dataops_assets.config.source import Source
from dataops_assets.engines.base import Session
from dataops_assets.errors import InputError
from dataops_assets.rules.query import OWN_PREFIX, ambiguous
from dataops_assets.rules.stage import Lookup, Stage
from dataops_assets.sql import DIALECT, Relation, alias, column, query
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep.lost_data import version_of
from dataops_assets.storage.delta import TableVersion

_EXAMPLES = 3
# a comparison read from the related column's side
_TURNED = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<=", "<>": "<>"}

Versions = Literal["all", "current", "existing"]
"""Rows of a hub: all; with history the current versions, or all that are no deletion."""


def versions_of(source: Source, lookup: Lookup | None = None) -> Versions:
    """Return the versions of a source that rules read: of its own rows, or of those that a look-up of it reads."""
    if lookup is not None and lookup.as_of is not None:
        return "existing"
    return "current" if source.refresh.history else "all"


class RelatedHubs:
    """One version of every hub that a stage looks up, so that all its look-ups agree. Call it with a look-up.

    `absent` has the names of the hubs that do not exist yet: their look-ups are null. `snapshots` and `versions` are
    the table versions that are read.
    """

    def __init__(self, context: SourceContext, session: Session, stage: Stage) -> None:
        self._context = context
        self._session = session
        self.snapshots = {name: _hub_of(context, name) for name in stage.related}
        self.absent = tuple(name for name, snapshot in self.snapshots.items() if snapshot is None)
        self.versions: Mapping[str, Sequence[int | str]] = {
            name: snapshot.known_as for name, snapshot in self.snapshots.items() if snapshot is not None
        }

    def __call__(self, lookup: Lookup) -> exp.Query:
        """Return the rows of the look-up's source: with history the current versions, or all that were ever valid."""
        snapshot = self.snapshots[lookup.source]
        if snapshot is None:
            return nothing(lookup.columns)
        which = versions_of(self._context.sources[lookup.source], lookup)
        return rows_cast_or_null(self._session, snapshot, lookup.columns, which)

    @property
    def notes(self) -> dict[str, str]:
        """Return the notes of a report about hubs that do not exist."""
        if not self.absent:
            return {}
        return {"look-ups without a hub": ", ".join(f"hub/{name} does not exist yet: null" for name in self.absent)}


def _hub_of(context: SourceContext, name: str) -> TableVersion | None:
    """Return the newest version of a source's hub. Raises StorageError if it is missing although inputs are in it."""
    other = replace(context, source=context.sources[name])
    return version_of(other, other.hub, "refresh")


def rows_cast_or_null(
    session: Session,
    snapshot: TableVersion,
    wanted: Mapping[str, str],
    which: Versions,
    *,
    only: Collection[str] | None = None,
    at: Relation | None = None,
) -> exp.Query:
    """Return a table's rows with the columns and SQL types of `wanted`; a value that cannot be cast is null.

    A column that the table lacks is null, too. `storage.retyping.rows_cast_exactly` raises an error instead.
    `which`: of a table with history, the versions to read.
    `only`: read only these data files. `at`: the row positions to read.
    """
    rows = session.scan(snapshot, positions=at is not None, only=only)
    found: exp.Select = query("SELECT $selected FROM $rows AS r", selected=typed_columns(snapshot, wanted), rows=rows)
    if at is not None:
        found = found.where(query("r.s_position IN (SELECT p.s_position FROM $positions AS p)", positions=at))
    if which == "all":
        return found
    return found.where(column("s_is_current") if which == "current" else exp.not_(column("s_is_deleted")))


def typed_columns(snapshot: TableVersion, wanted: Mapping[str, str]) -> list[exp.Expr]:
    """Return the columns of a table in the SQL types of `wanted`; a column that it lacks is null."""
    selected: list[exp.Expr] = []
    for name, kind in wanted.items():
        target = exp.DataType.build(kind, dialect=DIALECT)
        if name not in snapshot.columns:
            selected.append(alias(exp.Cast(this=exp.null(), to=target), name))
        elif snapshot.columns[name] != kind:
            selected.append(alias(exp.TryCast(this=column(name), to=target), name))
        else:
            selected.append(column(name))
    return selected


def nothing(columns: Mapping[str, str]) -> exp.Query:
    """Return a query without rows, with the given columns and SQL types."""
    selected = [alias(exp.cast(exp.null(), kind, dialect=DIALECT), name) for name, kind in columns.items()]
    return exp.select(*selected).where(exp.false())


def refuse_ambiguous(session: Session, stage: Stage, rows: exp.Query, related: RelatedHubs) -> dict[str, InputError]:
    """Return an error for each input with a row that matches more than one row of a to-one look-up.

    The error has examples of the first such look-up. Look-ups that cover the related key cannot be ambiguous and are
    not checked. `rows` has s_input_id and the columns of the source.
    """
    errors: dict[str, InputError] = {}
    for lookup in stage.lookups:
        if not lookup.may_be_ambiguous or lookup.source in related.absent:
            continue
        found = session.fetch(ambiguous(stage, lookup, rows, related)).to_pylist()
        keys = [OWN_PREFIX + own for own in lookup.own]
        by_input: dict[str, list[Mapping[str, Any]]] = {}
        for row in sorted(found, key=lambda row: (-row["s_rows"], *(str(row[key]) for key in keys))):
            by_input.setdefault(row["s_input_id"], []).append(row)
        for input_id, several in by_input.items():
            errors.setdefault(input_id, _ambiguous(lookup, several))
    return errors


def _ambiguous(lookup: Lookup, several: Sequence[Mapping[str, Any]]) -> InputError:
    rows = sum(row["s_rows"] for row in several)
    conditions = [(own, "=", other) for own, other in lookup.on] + list(lookup.where)
    if lookup.as_of is not None:
        conditions += [(lookup.as_of, ">=", VALIDITY[0]), (lookup.as_of, "<", VALIDITY[1])]
    examples = "; ".join(
        ", ".join(f"{other}{_TURNED[is_]}{row[OWN_PREFIX + own]!r}" for own, is_, other in conditions)
        + f" matches {row['s_matches']} rows of hub/{lookup.source}"
        for row in several[:_EXAMPLES]
    )
    related = ", ".join(dict.fromkeys(other for _, _, other in conditions))
    return InputError(
        f"looking up {lookup.name!r}: a to-one relation matches more than one row",
        received=f"{rows:,} rows with {len(several):,} such keys; e.g. {examples}",
        next_step=f"make {related} unique in {lookup.source!r}, relate on its whole key, or declare "
        "'cardinality: to_many' and aggregate",
    )
