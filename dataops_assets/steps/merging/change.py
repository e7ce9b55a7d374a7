"""Defines a change of a hub: the inputs to add and to remove, and what decides how they change its rows."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlglot import exp

from dataops_assets.config.refresh import AppendRefresh, FullRefresh
from dataops_assets.config.source import Source
from dataops_assets.config.types import stored_type
from dataops_assets.engines.base import FILE, POSITION, Session
from dataops_assets.report import IN_ORDER, Input
from dataops_assets.sql import DIALECT, alias, column, columns, query
from dataops_assets.steps.merging import input_periods, merged_values, replace_scope
from dataops_assets.steps.merging.input_periods import Told, told_by
from dataops_assets.steps.merging.input_statistics import Extent, Extents, ValueRange, between
from dataops_assets.steps.merging.manifest import AppliedInput, HubManifest
from dataops_assets.steps.merging.row_identity import delete_marker, group_deletes, order_type
from dataops_assets.storage.delta import TableVersion

VALIDITY = ("s_valid_from", "s_valid_to", "s_is_current", "s_is_deleted")
ABSENT = -1
"""Row position of an observation that says that a key is absent from an input."""


def absence_deletes(source: Source) -> bool:
    """Whether a row can be deleted by its absence from an input."""
    return isinstance(source.refresh, FullRefresh) or replace_scope.is_partial(source)


def deletes_without_rows(source: Source) -> bool:
    """Whether a row can be deleted without a row of its key: by its absence, or with a group of keys."""
    return absence_deletes(source) or bool(group_deletes(source))


def keeps_deletions(source: Source) -> bool:
    """Whether a deletion is a version of its own, in which only the key has values. Without a key a row just ends."""
    return source.refresh.history and bool(source.refresh.key)


def system_columns(source: Source) -> tuple[str, ...]:
    """Return the system columns of the source's hub, in order, without `s_status`."""
    basic = ("s_key", "s_input_id", "s_row_id", "s_order", "s_row_hash", "s_created_at", "s_updated_at")
    return basic + (VALIDITY if source.refresh.history else ())


def hub_columns_of(source: Source) -> tuple[str, ...]:
    """Return the columns of the source's hub, in order."""
    rules = tuple(rule.name for rule in source.snapshot_rules)
    return (*source.column_names, *rules, *system_columns(source), "s_status")


def is_deletion(source: Source, table: str) -> exp.Expr:
    """Whether a row of a change set is a deletion, in order or late. Deletions are not validated."""
    return exp.or_(
        column("s_change", table).eq("deleted"),
        has_no_row(table),
        delete_marker(source, table),
    )


def has_no_row(table: str) -> exp.Expr:
    """Whether an observation is a deletion without a row of its own: by absence, or by a row that deletes a group."""
    found: exp.Expr = query("$row <= $absent", row=column("s_row_id", table), absent=ABSENT)
    return found


def observed_columns(source: Source) -> tuple[str, ...]:
    """Return the columns of an observation."""
    return (*_OBSERVED, *replace_scope.carried_names(source), *merged_values.carried_names(source))


@dataclass(frozen=True)
class Change:
    """The request to add the inputs `adding` to the hub that `manifest` describes, and to remove `removing`.

    * `incomplete`: ids of the inputs whose absences delete nothing, because keys of their rejected rows cannot be read,
      or because they are settled.
    * `written`: by input, the id of the write to the lake that has its rows.
    * `extents`: row counts and value ranges of the added, removed and judged inputs.
    * `settled`: every input with an earlier extract time is settled. Timelines start with the rows that the lake keeps
      of settled inputs.
    * `revisited`: settled inputs of which the validations now keep out different rows.
    * `spared`: input and key of the rejected rows whose key can be read. `spares`: the inputs with such rows.
    * `judged`: applied inputs that come after an added or removed one. The number of rows they delete can change, so
      the delete guard checks them again.
    """

    source: Source
    manifest: HubManifest
    adding: tuple[Input, ...]
    removing: tuple[str, ...] = ()
    incomplete: frozenset[str] = frozenset()
    written: Mapping[str, str] = field(default_factory=dict)
    extents: Extents = field(default_factory=dict)
    settled: dt.datetime | None = None
    revisited: tuple[str, ...] = ()
    spared: exp.Expr | None = None
    spares: frozenset[str] = frozenset()
    judged: tuple[str, ...] = ()

    @functools.cached_property
    def ids(self) -> tuple[str, ...]:
        """Return the ids of the added inputs."""
        return tuple(item.input_id for item in self.adding)

    @functools.cached_property
    def moved(self) -> tuple[str, ...]:
        """Return the ids of the inputs that are added, removed or revisited."""
        return (*self.ids, *self.removing, *self.revisited)

    @functools.cached_property
    def reached(self) -> tuple[str, ...]:
        """Return the ids of the inputs whose keys are read: the moved inputs and the inputs that are judged again."""
        return (*self.moved, *self.judged)

    @property
    def has_known_inputs(self) -> bool:
        """Whether an added input is in the hub already."""
        return any(input_id in self.manifest.inputs for input_id in self.ids)

    @property
    def is_remade(self) -> bool:
        """Whether rows of an applied input were written to the lake again since the hub applied them.

        The earlier rows are not known any more, so every key can be affected.
        """
        moved = [self.manifest.inputs.get(input_id) for input_id in (*self.ids, *self.removing)]
        return any(item is not None and item.written != self.written.get(item.input_id, "") for item in moved)

    def is_sparing(self, *, late: bool) -> bool:
        """Whether an input that deletes by absence has rejected rows with readable keys, which count as present."""
        return bool(self.spares) if late else not self.spares.isdisjoint(self.ids)

    @functools.cached_property
    def repeated(self) -> frozenset[str]:
        """Return the ids of the inputs that add nothing to an `append` hub: an earlier input has the same content."""
        if not isinstance(self.source.refresh, AppendRefresh):
            return frozenset()
        seen: set[str] = set()
        repeated = set()
        for item in self.applied_after():
            if item.content and item.content in seen:
                repeated.add(item.input_id)
            seen.add(item.content)
        return frozenset(repeated)

    def rows(self, input_id: str) -> int:
        """Return the number of rows of an added or removed input."""
        return self.extents[input_id].rows if input_id in self.extents else 0

    def concerned(self, table: str) -> exp.Expr:
        """Return a condition that holds for every row of `table` (hub or lake) that the change can concern."""
        if self.is_remade or self.deletes_groups(self.reached):
            return exp.true()
        reached = [self.extents[input_id] for input_id in self.reached if input_id in self.extents]
        if input_periods.declared_period(self.source) is not None:
            reached += [_extent_of_period(self.source, item) for item in self.told_of(self.reached).values()]
        return between(self.source, reached, table)

    def deletes_groups(self, input_ids: Iterable[str]) -> bool:
        """Whether one of these added or removed inputs has rows that delete many keys."""
        return any(self.extents[input_id].deletes_groups for input_id in input_ids if input_id in self.extents)

    def told_of(self, input_ids: Iterable[str]) -> dict[str, Told]:
        """Return the values that the periods of applied or added inputs are read from."""
        added = {item.input_id: told_by(self.source, item) for item in self.adding}
        return {
            input_id: added[input_id]
            if input_id in added
            else told_by(self.source, self.manifest.inputs[input_id].as_input)
            for input_id in input_ids
        }

    def applied_after(self) -> list[AppliedInput]:
        """Return the inputs of the hub after the change, in order, without settled inputs."""
        removing = set(self.removing)
        kept = {
            k: v
            for k, v in self.manifest.inputs.items()
            if k not in removing and (self.settled is None or v.extract_time >= self.settled)
        }
        kept.update(
            {
                item.input_id: AppliedInput(
                    item.extract_time,
                    item.arrival,
                    item.input_id,
                    item.input_id not in self.incomplete,
                    content=item.content,
                    name=told_by(self.source, item).name,
                )
                for item in self.adding
            }
        )
        return sorted(kept.values(), key=IN_ORDER)


def _extent_of_period(source: Source, told: Told) -> Extent:
    """Return the extent of an input that covers a period, whether it has rows or not."""
    low, high = input_periods.period_of(source, told)
    return Extent(0, {str(source.refresh.range_by): ValueRange(str(low), str(high), 0)})


def settings_match(change: Change) -> bool:
    """Whether the hub was merged with the settings that are declared now."""
    return not change.manifest.inputs or change.manifest.is_of(change.source)


def manifest_after(change: Change) -> HubManifest:
    """Return the manifest of the hub after the change."""
    order_by = change.source.refresh.order_by
    applied = []
    for item in change.adding:
        # from the lake: a row that changed nothing is in no change set, but its order counts
        extent = change.extents.get(item.input_id)
        high = extent.spans[order_by].high if order_by is not None and extent is not None else None
        complete, written = item.input_id not in change.incomplete, change.written.get(item.input_id, "")
        content = item.content if isinstance(change.source.refresh, AppendRefresh) else ""
        place = item.extract_time, item.arrival, item.input_id
        name = told_by(change.source, item).name
        applied.append(AppliedInput(*place, complete, high, written, content, name))
    return change.manifest.after(change.source, applied, change.removing)


def hub_rows(session: Session, change: Change, base: TableVersion | None, *, late: bool) -> exp.Query | None:
    """Return the hub rows that the change can concern, with file and position.

    In order only the newest versions, unless a new version can change older ones.
    """
    if base is None:
        return None
    source = change.source
    rows: exp.Select = query(
        "SELECT $names, $carried FROM $hub AS h WHERE $concerned",
        names=columns((*system_columns(source), FILE, POSITION), "h"),
        carried=[*replace_scope.carried_columns(source, "h"), *merged_values.stored(source, "h")],
        hub=session.scan(base, positions=True),
        concerned=change.concerned("h"),
    )
    is_newest_enough = not late and source.refresh.history and source.refresh.valid_from is None
    return rows.where(column("s_valid_to", "h").is_(exp.null())) if is_newest_enough else rows


def no_hub_rows(source: Source) -> exp.Query:
    """Return an empty relation with the columns of `hub_rows`."""
    order = order_type(source)
    kinds = {**_SYSTEM_TYPES, "s_order": order, "s_valid_from": order, "s_valid_to": order}
    declared = {item.name: item.type for item in source.columns}
    kinds |= {called: stored_type(declared[name]) for name, called in replace_scope.carried_as(source).items()}
    names = (*system_columns(source), FILE, POSITION, *replace_scope.carried_names(source))
    nulls = [alias(exp.cast(exp.null(), kinds[name], dialect=DIALECT), name) for name in names]
    return exp.select(*nulls, *merged_values.nothing(source)).where(exp.false())


def null_carried_columns(source: Source) -> list[exp.Expr]:
    """Return the carried columns as nulls."""
    declared = {item.name: item.type for item in source.columns}
    return [
        alias(exp.cast(exp.null(), stored_type(declared[name]), dialect=DIALECT), called)
        for name, called in replace_scope.carried_as(source).items()
    ]


def current_row_count(session: Session, source: Source, base: TableVersion | None) -> int:
    """Return the number of current rows of the hub."""
    if base is None:
        return 0
    if not source.refresh.history:
        return base.rows
    current = query("SELECT count(*) AS n FROM $hub AS h WHERE h.s_is_current", hub=session.scan(base))
    return int(session.fetch(current).column("n")[0].as_py())


def differs(observed: str, stored: str, gone: exp.Expr) -> exp.Expr:
    """Whether an observed row differs from the stored version of its key, or that version is `gone` or missing."""
    found: exp.Expr = query(
        "$key IS NULL OR $gone OR $before <> $now",
        key=column("s_key", stored),
        gone=gone,
        before=column("s_row_hash", stored),
        now=column("s_row_hash", observed),
    )
    return found


def is_event(observed: str, stored: str, gone: exp.Expr) -> exp.Expr:
    """Whether an observation (a row or a deletion) starts a version or ends the stored one."""
    found: exp.Expr = query(
        "CASE WHEN $deleted THEN coalesce(NOT $gone, FALSE) ELSE $differs END",
        deleted=column("s_deleted", observed),
        gone=gone.copy(),
        differs=differs(observed, stored, gone),
    )
    return found


def is_gone(source: Source, table: str) -> exp.Expr:
    """Whether a hub row is the deletion of its key."""
    return column("s_is_deleted", table) if source.refresh.history else exp.false()


_OBSERVED = (
    "s_input_id",
    "s_row_id",
    "s_key",
    "s_order",
    "s_row_hash",
    "s_extract_time",
    "s_rank",
    "s_added",
    "s_deleted",
)
_SYSTEM_TYPES: Mapping[str, str] = {
    "s_key": "VARCHAR",
    "s_input_id": "VARCHAR",
    "s_row_id": "BIGINT",
    "s_row_hash": "BIGINT",
    "s_created_at": "TIMESTAMPTZ",
    "s_updated_at": "TIMESTAMPTZ",
    "s_is_current": "BOOLEAN",
    "s_is_deleted": "BOOLEAN",
    FILE: "VARCHAR",
    POSITION: "BIGINT",
}
