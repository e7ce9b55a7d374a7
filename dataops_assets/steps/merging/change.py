"""What changing a hub is asked, and the names under which its parts lie in a session.

Everything that a change computes is one session's temporary tables (named in `Tables`); nothing is published.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlglot import exp

from dataops_assets.config.refresh import AppendRefresh, FullRefresh
from dataops_assets.config.source import Source
from dataops_assets.config.types import stored_type
from dataops_assets.engines.base import FILE, POSITION, Session
from dataops_assets.report import Input
from dataops_assets.sql import DIALECT, alias, column, columns, literal, query
from dataops_assets.steps.merging import replace_scope
from dataops_assets.steps.merging.input_statistics import Extents, between
from dataops_assets.steps.merging.manifest import AppliedInput, HubManifest, settings_of
from dataops_assets.steps.merging.row_identity import delete_marker, order_type
from dataops_assets.storage.delta import TableVersion

VALIDITY = ("s_valid_from", "s_valid_to", "s_is_current", "s_is_deleted")
ABSENT = -1
"""Row position of the observation that a key is absent from a full extract."""


def absence_deletes(source: Source) -> bool:
    """Whether a row can be deleted by its absence from an input."""
    return isinstance(source.refresh, FullRefresh) or replace_scope.is_partial(source)


def keeps_deletions(source: Source) -> bool:
    """Whether a deletion is a version of its own, of the key alone; a row without a key just ends."""
    return source.refresh.history and bool(source.refresh.key)


def system_columns(source: Source) -> tuple[str, ...]:
    """System columns of the source's hub, in order, without `s_status`."""
    basic = ("s_key", "s_input_id", "s_row_id", "s_order", "s_row_hash", "s_created_at", "s_updated_at")
    return basic + (VALIDITY if source.refresh.history else ())


def hub_columns_of(source: Source) -> tuple[str, ...]:
    """The columns of the source's hub, in order."""
    rules = tuple(rule.name for rule in source.snapshot_rules)
    return (*source.column_names, *rules, *system_columns(source), "s_status")


def says_gone(source: Source, table: str) -> exp.Expr:
    """Whether a row of a change set says that a key is gone, be it late or not: checks of rows are not for it."""
    return exp.or_(
        column("s_change", table).eq("deleted"),
        column("s_row_id", table).eq(literal(ABSENT)),
        delete_marker(source, table),
    )


def observed_columns(source: Source) -> tuple[str, ...]:
    """Columns of an observation."""
    return (*_OBSERVED, *replace_scope.carried_names(source))


@dataclass(frozen=True)
class Tables:
    """Names of the session's temporary tables that a merge leaves behind.

    `inputs`: applied and added inputs in order. `excluded`: rows that validations keep out. `delivered`: observations
    of the added inputs. `pairs`: each beside the hub's present version of its key. `added`: the same observations
    alone. `covers`: what inputs cover.
    `spared`: keys of rejected rows. `touched`: keys whose versions may change. `observed`: observations of these.
    `seen`: the same without what is excluded, absences too. `repeated`: keys that are said several times. `once`: what
    is seen of all others. `timeline`: observations of the touched keys, one an instant. `lost`: those beside them at
    the same instant. `kinds`: one row an observation of the touched keys in the added inputs with its `s_change`.
    `versions`: the hub rows of the touched keys as they should be (system columns). `existing`: the same as they are,
    with file and position. `difference`: each beside the other. `fresh`: versions whose content is not in the hub yet.
    `amended`: versions whose content is, under other system columns. `removed`: file and position of hub rows that go.
    """

    inputs: str = "s_inputs"
    excluded: str = "s_excluded"
    delivered: str = "s_delivered"
    pairs: str = "s_pairs"
    added: str = "s_added_observations"
    covers: str = "s_covers"
    spared: str = "s_spared"
    touched: str = "s_touched"
    existing: str = "s_existing"
    observed: str = "s_observed"
    seen: str = "s_seen"
    repeated: str = "s_repeated"
    once: str = "s_once"
    timeline: str = "s_timeline"
    lost: str = "s_lost"
    kinds: str = "s_kinds"
    versions: str = "s_versions"
    difference: str = "s_difference"
    fresh: str = "s_fresh"
    amended: str = "s_amended"
    removed: str = "s_removed"


T = Tables()


@dataclass(frozen=True)
class Change:
    """What is asked: put `adding` in and take `removing` out of the hub that `manifest` describes.

    `incomplete`: ids of full extracts from which absence says nothing, because rows of them were rejected. `written`:
    by input, the id of the write to the lake that holds its rows. `extents`: what the added and removed inputs span.
    `settled`: the extract time that all settled inputs come before; timelines start with what is left of these in the
    lake. `revisited`: settled inputs of which other rows are kept out than before. `spared`: input and key of rejected
    rows whose key can be read; `spares`: the inputs that have such rows.
    `judged`: inputs of the hub that come after a moved one, so that what is lost by them may be another than when they
    were taken; `extents` has them, too.
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

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the added inputs."""
        return tuple(item.input_id for item in self.adding)

    @property
    def moved(self) -> tuple[str, ...]:
        """Ids of all inputs that the change is about."""
        return (*self.ids, *self.removing, *self.revisited)

    @property
    def reached(self) -> tuple[str, ...]:
        """Ids of all inputs whose keys are read: the moved ones, and those that are judged for them."""
        return (*self.moved, *self.judged)

    @property
    def known_repeats(self) -> bool:
        """Whether an added input is in the hub already."""
        return any(input_id in self.manifest.inputs for input_id in self.ids)

    @property
    def is_remade(self) -> bool:
        """Whether rows of an input that is in the hub are others now than when it was applied.

        What those rows did is not known any more, so every key may be touched.
        """
        moved = [self.manifest.inputs.get(input_id) for input_id in (*self.ids, *self.removing)]
        return any(item is not None and item.written != self.written.get(item.input_id, "") for item in moved)

    def is_sparing(self, *, late: bool) -> bool:
        """Whether an input whose absences count has rejected rows of known keys: those keys are present in it."""
        return bool(self.spares) if late else not self.spares.isdisjoint(self.ids)

    @property
    def repeated(self) -> frozenset[str]:
        """Ids of the inputs that bring nothing to an `append` hub: an input before them has the same content."""
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
        """How many rows an added or removed input has."""
        return self.extents[input_id].rows if input_id in self.extents else 0

    def concerned(self, table: str) -> exp.Expr:
        """A condition that holds for every row of `table`, in hub or lake, that the change can concern."""
        if self.is_remade:
            return exp.true()
        reached = (self.extents[input_id] for input_id in self.reached if input_id in self.extents)
        return between(self.source, reached, table)

    def applied_after(self) -> list[AppliedInput]:
        """All inputs of the hub afterwards but those that are settled, in order."""
        kept = {
            k: v
            for k, v in self.manifest.inputs.items()
            if k not in self.removing and (self.settled is None or v.extract_time >= self.settled)
        }
        kept.update(
            {
                item.input_id: AppliedInput(
                    item.extract_time,
                    item.arrival,
                    item.input_id,
                    item.input_id not in self.incomplete,
                    content=item.content,
                )
                for item in self.adding
            }
        )
        return sorted(kept.values())


def settings_match(change: Change) -> bool:
    """Whether the hub was merged under the settings now declared."""
    return not change.manifest.inputs or change.manifest.settings == settings_of(change.source)


def manifest_after(change: Change) -> HubManifest:
    """The manifest of the hub once the change is applied."""
    order_by = change.source.refresh.order_by
    applied = []
    for item in change.adding:
        # of the lake: a row that changed nothing is in no change set, and its order counts all the same
        extent = change.extents.get(item.input_id)
        high = extent.spans[order_by].high if order_by is not None and extent is not None else None
        complete, written = item.input_id not in change.incomplete, change.written.get(item.input_id, "")
        content = item.content if isinstance(change.source.refresh, AppendRefresh) else ""
        place = item.extract_time, item.arrival, item.input_id
        applied.append(AppliedInput(*place, complete, high, written, content))
    return change.manifest.after(change.source, applied, change.removing)


def hub_rows(session: Session, change: Change, base: TableVersion | None, *, late: bool) -> exp.Query | None:
    """The rows of the hub that the change can concern, with their places; in order only the newest versions."""
    if base is None:
        return None
    source = change.source
    rows: exp.Select = query(
        "SELECT $names, $carried FROM $hub AS h WHERE $concerned",
        names=columns((*system_columns(source), FILE, POSITION), "h"),
        carried=replace_scope.carried_columns(source, "h"),
        hub=session.scan(base, positions=True),
        concerned=change.concerned("h"),
    )
    return rows.where(column("s_valid_to", "h").is_(exp.null())) if not late and source.refresh.history else rows


def no_hub_rows(source: Source) -> exp.Query:
    """`hub_rows` of a hub that does not exist."""
    order = order_type(source)
    kinds = {**_SYSTEM_TYPES, "s_order": order, "s_valid_from": order, "s_valid_to": order}
    declared = {item.name: item.type for item in source.columns}
    kinds |= {called: stored_type(declared[name]) for name, called in replace_scope.carried_as(source).items()}
    names = (*system_columns(source), FILE, POSITION, *replace_scope.carried_names(source))
    nulls = [alias(exp.cast(exp.null(), kinds[name], dialect=DIALECT), name) for name in names]
    return exp.select(*nulls).where(exp.false())


def nothing_carried(source: Source) -> list[exp.Expr]:
    """The carried columns of an observation that has no values in them."""
    declared = {item.name: item.type for item in source.columns}
    return [
        alias(exp.cast(exp.null(), stored_type(declared[name]), dialect=DIALECT), called)
        for name, called in replace_scope.carried_as(source).items()
    ]


def standing_rows(session: Session, source: Source, base: TableVersion | None) -> int:
    """How many rows of the hub are current."""
    if base is None:
        return 0
    if not source.refresh.history:
        return base.rows
    current = query("SELECT count(*) AS n FROM $hub AS h WHERE h.s_is_current", hub=session.scan(base))
    return int(session.fetch(current).column("n")[0].as_py())


def differs(said: str, held: str, gone: exp.Expr) -> exp.Expr:
    """Whether a row that is `said` is other than the version `held` of its key, or that one is `gone` or missing."""
    found: exp.Expr = query(
        "$key IS NULL OR $gone OR $before <> $now",
        key=column("s_key", held),
        gone=gone,
        before=column("s_row_hash", held),
        now=column("s_row_hash", said),
    )
    return found


def is_event(said: str, held: str, gone: exp.Expr) -> exp.Expr:
    """Whether what is `said`, perhaps a deletion, starts a version or ends the one that is `held`."""
    found: exp.Expr = query(
        "CASE WHEN $deleted THEN coalesce(NOT $gone, FALSE) ELSE $differs END",
        deleted=column("s_deleted", said),
        gone=gone.copy(),
        differs=differs(said, held, gone),
    )
    return found


def is_gone(source: Source, table: str) -> exp.Expr:
    """Whether a row of the hub is the deletion of its key."""
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
