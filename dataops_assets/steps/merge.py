"""The law of the hub: which of its rows a set of inputs changes.

The hub is a function of its set of inputs. Every input makes *observations*: a row of a key at an order, a delete
marker, or (for a full extract) the absence of a key. Sorted by (order, extract time, input id, row position) the
observations of a key are its timeline, and the timeline says which *versions* the key had: a version starts where a row
appears or its content changes, or the key is deleted, and ends where the next one starts. The hub keeps the last
version unless it is a deletion, or all of them with `history`. A row that an input covers (`steps/coverage.py`) and
does not contain is deleted by it.

An input that comes after everything applied needs only the hub's present version of the keys it touches as the start
of their timelines. A late input, a repeated one or a removal reads the whole timelines of its keys from the lake. Both
go through the same query, so they cannot disagree. What is written is the difference between the versions as they
should be and the hub as it is.

Everything here is one session's temporary tables (named in `Tables`); nothing is published.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa
from sqlglot import exp

from dataops_assets.config.source import AppendRefresh, FullRefresh, KeyRefresh, Source
from dataops_assets.config.types import stored_type
from dataops_assets.engines.base import FILE, POSITION, Session
from dataops_assets.sql import DIALECT, alias, column, columns, literal, query, table
from dataops_assets.steps import coverage, settled
from dataops_assets.steps.extents import Extents, between
from dataops_assets.steps.identity import delete_marker, key_text, order_type, order_value, row_hash
from dataops_assets.steps.manifest import AppliedInput, Manifest, settings_of
from dataops_assets.steps.report import Input
from dataops_assets.storage.delta import Snapshot
from dataops_assets.storage.publish import rows_of

VALIDITY = ("s_valid_from", "s_valid_to", "s_is_current", "s_is_deleted")
KINDS = ("new", "changed", "unchanged", "old", "deleted")
ABSENT = -1
"""Row position of the observation that a key is absent from a full extract."""


def absence_deletes(source: Source) -> bool:
    """Whether a row can be deleted by its absence from an input."""
    return isinstance(source.refresh, FullRefresh) or coverage.is_partial(source)


def keeps_deletions(source: Source) -> bool:
    """Whether a deletion is a version of its own, of the key alone; a row without a key just ends."""
    return source.refresh.history and bool(source.refresh.key)


def system_columns(source: Source) -> tuple[str, ...]:
    """System columns of the source's hub, in order, without `s_status`."""
    basic = ("s_key", "s_input_id", "s_row_id", "s_order", "s_row_hash", "s_created_at", "s_updated_at")
    return basic + (VALIDITY if source.refresh.history else ())


@dataclass(frozen=True)
class Tables:
    """Names of the session's temporary tables that a merge leaves behind.

    `delivered`: observations of the added inputs. `added`: the same, of one full extract in order those of the touched
    keys, absences too. `compared`: what one full extract in order says otherwise than the hub.
    `covers`: what inputs cover. `held`: hub rows of the keys that an input in order contains. `timeline`: observations
    of the touched keys, one an instant. `lost`: those beside them at the same instant. `kinds`: one row an observation
    of the touched keys in the added inputs with its `s_change`. `versions`: the hub rows of the touched keys as they
    should be (system columns). `existing`: the same as they are, with file and position. `difference`: each beside the
    other. `fresh`: versions whose content is not in the hub yet. `amended`: versions whose content is, under other
    system columns. `removed`: file and position of hub rows that go.
    """

    inputs: str = "s_inputs"
    excluded: str = "s_excluded"
    delivered: str = "s_delivered"
    added: str = "s_added_observations"
    compared: str = "s_compared"
    covers: str = "s_covers"
    held: str = "s_held"
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
    by input, the version of the lake that holds its rows. `extents`: what the added and removed inputs span. `settled`:
    the extract time that all settled inputs come before; timelines start with what is left of these in the lake.
    `revisited`: settled inputs of which other rows are kept out than before.
    """

    source: Source
    manifest: Manifest
    adding: tuple[Input, ...]
    removing: tuple[str, ...] = ()
    incomplete: frozenset[str] = frozenset()
    written: Mapping[str, int] = field(default_factory=dict)
    extents: Extents = field(default_factory=dict)
    settled: dt.datetime | None = None
    revisited: tuple[str, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the added inputs."""
        return tuple(item.input_id for item in self.adding)

    @property
    def moved(self) -> tuple[str, ...]:
        """Ids of all inputs that the change is about."""
        return (*self.ids, *self.removing, *self.revisited)

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
        return any(item is not None and item.written != self.written.get(item.input_id, 0) for item in moved)

    def rows(self, input_id: str) -> int:
        """How many rows an added or removed input has."""
        return self.extents[input_id].rows if input_id in self.extents else 0

    def concerned(self, table: str) -> exp.Expr:
        """A condition that holds for every row of `table`, in hub or lake, that the change can concern."""
        if self.is_remade:
            return exp.true()
        moved = (self.extents[input_id] for input_id in self.moved if input_id in self.extents)
        return between(self.source, moved, table)

    def applied_after(self) -> list[AppliedInput]:
        """All inputs of the hub afterwards but those that are settled, in order."""
        kept = {
            k: v
            for k, v in self.manifest.inputs.items()
            if k not in self.removing and (self.settled is None or v.extract_time >= self.settled)
        }
        kept.update(
            {
                item.input_id: AppliedInput(item.extract_time, item.input_id, item.input_id not in self.incomplete)
                for item in self.adding
            }
        )
        return sorted(kept.values())


def is_late(session: Session, change: Change) -> bool:
    """Whether the lake must be read: some added observation may come before one that is applied already."""
    if change.removing or change.revisited or change.known_repeats:
        return True
    if isinstance(change.source.refresh, AppendRefresh) or not change.manifest.inputs:
        return False
    if change.source.refresh.order_by is None:
        return not change.manifest.is_before(change.adding)
    highs = [item.high for item in change.manifest.inputs.values() if item.high is not None]
    if not highs:
        return False
    kind = order_type(change.source)
    known = exp.func("greatest", *[exp.cast(literal(high), kind, dialect=DIALECT) for high in highs])
    found = session.fetch(
        query(
            "SELECT coalesce(min(s_order) <= $known, FALSE) AS late FROM $delivered AS a",
            known=known,
            delivered=T.delivered,
        )
    )
    return bool(found.column("late")[0].as_py())


def observe(session: Session, change: Change, lake: exp.Expr) -> None:
    """Create `inputs` and `delivered`: the observations of the added inputs. `lake` holds the source's parsed rows."""
    _create_inputs(session, change)
    session.define(T.delivered, observations(change.source, rows_of(lake, change.ids)))


def observe_change_set(session: Session, change: Change, enriched: exp.Expr) -> None:
    """Create `inputs` and `added` from the added inputs' change sets, made against this very hub; touch all their keys.

    In such a change set an `old` row lost to another row at the same order, which stands unchanged in the hub or in the
    change set; without that other row it would win.
    """
    _create_inputs(session, change)
    session.create(
        T.added,
        query(
            """
            SELECT e.s_input_id, e.s_row_id, e.s_key, e.s_order, e.s_row_hash, i.s_extract_time, i.s_rank, i.s_added,
                   e.s_change = 'deleted' AS s_deleted, $carried
            FROM $enriched AS e JOIN s_inputs AS i ON i.s_input_id = e.s_input_id WHERE e.s_change <> 'old'
            """,
            carried=coverage.carried_columns(change.source, "e"),
            enriched=enriched,
        ),
    )
    session.define(T.touched, query("SELECT s_key FROM $added AS a", added=T.added))


def observations(source: Source, rows: exp.Expr) -> exp.Query:
    """Observations of parsed rows: identity, key, order, content hash, delete marker. Needs the table `inputs`."""
    return query(
        """
        SELECT r.s_input_id, r.s_row_id, $key AS s_key, $order AS s_order, $hash AS s_row_hash,
               i.s_extract_time, i.s_rank, i.s_added, $deleted AS s_deleted, $carried
        FROM $rows AS r JOIN s_inputs AS i ON i.s_input_id = r.s_input_id
        """,
        key=key_text(source, "r"),
        order=order_value(source, "r", column("s_extract_time", "i")),
        hash=row_hash(source, "r"),
        deleted=delete_marker(source, "r"),
        carried=coverage.carried_columns(source, "r"),
        rows=rows,
    )


def _create_inputs(session: Session, change: Change) -> None:
    """The table `inputs`: applied inputs ranked in order from 1, each with the next complete one after it.

    Rank 0 stands for where timelines start: the hub as it is, or for whole timelines the settled inputs.
    """
    applied, added = change.applied_after(), set(change.ids)
    # settled inputs are before all others, the hub as it is only before the added ones
    is_whole = change.settled is not None and is_late(session, change)
    following: list[int | None] = [None] * (len(applied) + 1)
    for rank in range(len(applied) - 1, 0, -1):
        following[rank] = rank + 1 if applied[rank].complete else following[rank + 1]
    following[0] = next(
        (i for i, item in enumerate(applied, 1) if item.complete and (is_whole or item.input_id in added)), None
    )
    session.register(
        T.inputs,
        pa.table(
            {
                "s_input_id": pa.array([None, *(item.input_id for item in applied)], pa.string()),
                "s_extract_time": pa.array(
                    [None, *(item.extract_time for item in applied)], pa.timestamp("us", tz="UTC")
                ),
                "s_rank": pa.array(range(len(applied) + 1), pa.int64()),
                "s_added": pa.array([False, *(item.input_id in added for item in applied)], pa.bool_()),
                "s_complete": pa.array([False, *(item.complete for item in applied)], pa.bool_()),
                "s_next_rank": pa.array(following, pa.int64()),
            }
        ),
    )


def exclude_nothing(session: Session) -> None:
    """Start with an empty `excluded`: rows that validations keep out of the hub."""
    session.define(
        T.excluded, query("SELECT CAST('' AS VARCHAR) AS s_input_id, CAST(0 AS BIGINT) AS s_row_id WHERE FALSE")
    )


def touch(
    session: Session, change: Change, base: Snapshot | None, lake: exp.Expr, *, late: bool
) -> tuple[exp.Expr | None, bool]:
    """Create `added` and `touched`: the keys whose versions may change.

    The result are the rows of the hub, if any, and whether `added` says itself which keys are absent. A full extract
    says mostly what the hub says already: the newest one is compared while it is read, without being kept.
    """
    source = change.source
    if coverage.is_partial(source):
        _create_covers(session, change, lake, late=late)
    current: exp.Expr | None = hub_rows(session, change, base, late=late) if base is not None else None
    is_one_extract = isinstance(source.refresh, FullRefresh) and len(change.adding) == 1
    if current is not None and is_one_extract and not late and _touch_by_one_extract(session, change, base, current):
        return current, True
    session.create(T.added, query("SELECT d.* FROM $delivered AS d", delivered=T.delivered))
    if current is None:
        keys = query("SELECT a.s_key FROM $added AS a", added=T.added)
        if change.settled is not None:
            keys = exp.union(keys, query("SELECT s.s_key FROM $start AS s", start=_start(change, lake)), distinct=False)
        session.create(T.touched, query("SELECT DISTINCT s_key FROM $keys AS k", keys=keys))
        return None, False
    if isinstance(source.refresh, KeyRefresh) and not late:
        # only keys that are said can change, so the hub is looked through once
        rows = query(
            "SELECT h.* FROM $rows AS h SEMI JOIN $added AS a ON a.s_key = h.s_key", rows=current, added=T.added
        )
        session.create(T.held, rows)
        current = table(T.held)
    if late:
        keys = _touched_late(change, current, lake)
    else:
        keys = _changed_keys(source, current)
        if isinstance(source.refresh, FullRefresh):
            keys = exp.union(keys, _missing_keys(source, current, len(change.adding)), distinct=False)
        elif coverage.is_partial(source):
            keys = exp.union(keys, _uncovered_keys(source, current), distinct=False)
    session.create(T.touched, query("SELECT DISTINCT s_key FROM $keys AS k", keys=keys))
    return current, False


def _touch_by_one_extract(session: Session, change: Change, base: Snapshot | None, current: exp.Expr) -> bool:
    """Create `added` and `touched` from one look at extract and hub; False where the extract has a key several times.

    Then a row that says what the hub says may be beside one that does not, and was passed over.
    """
    source, (input_id,) = change.source, change.ids
    carried = [
        alias(exp.func("coalesce", column(name, "d"), column(name, "h")), name)
        for name in coverage.carried_names(source)
    ]
    session.create(
        T.compared,
        query(
            """
            SELECT $input_id AS s_input_id, coalesce(d.s_key, h.s_key) AS s_key, d.s_row_id, d.s_row_hash, $carried,
                   NOT (h.s_key IS NULL OR $gone) AS s_stands
            FROM $delivered AS d FULL JOIN $current AS h ON h.s_key = d.s_key
            WHERE CASE WHEN d.s_key IS NULL THEN NOT $gone
                       ELSE h.s_key IS NULL OR $gone OR h.s_row_hash <> d.s_row_hash END
            """,
            input_id=input_id,
            carried=carried,
            gone=_is_gone(source, "h"),
            delivered=T.delivered,
            current=current,
        ),
    )
    otherwise = query(
        """
        SELECT count(c.s_row_id) AS delivered, count(CASE WHEN c.s_stands THEN 1 END) AS standing FROM $compared AS c
        """,
        compared=T.compared,
    )
    found = session.fetch(otherwise).to_pylist()[0]
    # what was passed over: rows of the extract, and rows of the hub, which are the same if each has one beside it
    if change.rows(input_id) - found["delivered"] != standing_rows(session, source, base) - found["standing"]:
        return False
    session.create(T.touched, query("SELECT DISTINCT s_key FROM $compared AS c", compared=T.compared))
    session.create(
        T.added,
        query(
            """
            SELECT i.s_input_id, coalesce(c.s_row_id, $absent) AS s_row_id, c.s_key, i.s_extract_time AS s_order,
                   c.s_row_hash, i.s_extract_time, i.s_rank, i.s_added, c.s_row_id IS NULL AS s_deleted, $carried
            FROM $compared AS c JOIN s_inputs AS i ON i.s_input_id = c.s_input_id
            WHERE i.s_complete OR NOT c.s_row_id IS NULL
            """,
            absent=ABSENT,
            carried=columns(coverage.carried_names(source), "c"),
            compared=T.compared,
        ),
    )
    return True


def standing_rows(session: Session, source: Source, base: Snapshot | None) -> int:
    """How many rows of the hub are current."""
    if base is None:
        return 0
    if not source.refresh.history:
        return base.rows
    current = query("SELECT count(*) AS n FROM $hub AS h WHERE h.s_is_current", hub=session.scan(base))
    return int(session.fetch(current).column("n")[0].as_py())


def _create_covers(session: Session, change: Change, lake: exp.Expr, *, late: bool) -> None:
    """Create `covers`: in order only the added inputs can cover anything that is in the hub.

    An input from which rows were rejected covers nothing, because it is not known what else it contained.
    """
    rows = query(
        """
        SELECT r.*, i.s_extract_time, i.s_rank, i.s_added FROM $lake AS r
        JOIN s_inputs AS i ON i.s_input_id = r.s_input_id WHERE i.s_complete
        """,
        lake=lake,
    )
    if not late:
        rows = rows.where(column("s_added", "i"))
    origin = ("s_input_id", "s_extract_time", "s_rank", "s_added")
    session.create(T.covers, coverage.covers(change.source, rows, origin))


def _uncovered_keys(source: Source, current: exp.Expr) -> exp.Expr:
    """Keys of the hub that an added input covers and does not contain."""
    return query(
        """
        SELECT h.s_key FROM $current AS h JOIN $covers AS n ON $is_covered
        ANTI JOIN $added AS a ON a.s_key = h.s_key AND a.s_rank = n.s_rank
        """,
        current=current,
        covers=T.covers,
        is_covered=coverage.is_covered(source, "h", "n"),
        added=T.added,
    )


def _is_gone(source: Source, table: str) -> exp.Expr:
    """Whether a row of the hub is the deletion of its key."""
    return column("s_is_deleted", table) if source.refresh.history else exp.false()


def _changed_keys(source: Source, current: exp.Expr) -> exp.Expr:
    """Keys of which an added input says something new."""
    return query(
        """
        SELECT a.s_key FROM $added AS a LEFT JOIN $current AS h ON h.s_key = a.s_key
        WHERE CASE WHEN a.s_deleted THEN NOT (h.s_key IS NULL OR $gone)
                   ELSE h.s_key IS NULL OR $gone OR h.s_row_hash <> a.s_row_hash END
        """,
        added=T.added,
        current=current,
        gone=_is_gone(source, "h"),
    )


def _missing_keys(source: Source, current: exp.Expr, extracts: int) -> exp.Expr:
    """Keys of the hub that are not in every one of the added extracts."""
    return query(
        """
        SELECT h.s_key FROM $current AS h
        LEFT JOIN (SELECT s_key, count(DISTINCT s_rank) AS s_seen FROM $added AS a GROUP BY s_key) AS p
          ON p.s_key = h.s_key
        WHERE coalesce(p.s_seen, 0) < $extracts AND NOT $gone
        """,
        current=current,
        gone=_is_gone(source, "h"),
        added=T.added,
        extracts=extracts,
    )


def _touched_late(change: Change, hub: exp.Expr, lake: exp.Expr) -> exp.Expr:
    """Keys that the added and removed inputs contain or cover; all, where an extract is full or was remade."""
    source, moved = change.source, change.moved
    concerned = query("SELECT r.* FROM $lake AS r WHERE $concerned", lake=lake, concerned=change.concerned("r"))
    key = key_text(source, "r")
    if change.settled is not None:
        # the key of a row without key columns depends on rows of its input that are not there any more
        key = query("coalesce($known, $key)", known=column(settled.KEY, "r"), key=key)
    rows = query("SELECT r.*, $key AS s_key FROM $rows AS r", key=key, rows=concerned)
    keys = query("SELECT r.s_key FROM $rows AS r", rows=rows)
    if change.is_remade:
        return exp.union(keys, query("SELECT h.s_key FROM $hub AS h", hub=hub), distinct=False)
    if not absence_deletes(source):
        keys = query("SELECT r.s_key FROM $rows AS r", rows=rows_of(rows, moved))
    elif coverage.is_partial(source):
        covered = query(
            "SELECT r.s_key FROM $rows AS r SEMI JOIN $moved AS n ON $is_covered",
            rows=rows,
            moved=coverage.covers(source, rows_of(lake, moved), ("s_input_id",)),
            is_covered=coverage.is_covered(source, "r", "n", coverage.probe(source)),
        )
        keys = exp.union(query("SELECT r.s_key FROM $rows AS r", rows=rows_of(rows, moved)), covered, distinct=False)
    held = query("SELECT h.s_key FROM $hub AS h", hub=rows_of(hub, moved))
    return exp.union(keys, held, distinct=False)


def hub_rows(session: Session, change: Change, base: Snapshot, *, late: bool) -> exp.Query:
    """The rows of the hub that the change can concern, with their places; in order only the newest versions."""
    source = change.source
    rows: exp.Select = query(
        "SELECT $names, $carried FROM $hub AS h WHERE $concerned",
        names=columns((*system_columns(source), FILE, POSITION), "h"),
        carried=coverage.carried_columns(source, "h"),
        hub=session.scan(base, positions=True),
        concerned=change.concerned("h"),
    )
    return rows.where(column("s_valid_to", "h").is_(exp.null())) if not late and source.refresh.history else rows


def gather(session: Session, change: Change, hub: exp.Expr | None, lake: exp.Expr, *, late: bool) -> None:
    """Create `existing` and `observed`: hub rows, of those in `hub`, and observations of the touched keys."""
    source = change.source
    own = query(
        "SELECT $names, a.s_extract_time AS s_created_at FROM $added AS a",
        names=columns(_observed(source), "a"),
        added=T.added,
    )
    if isinstance(source.refresh, AppendRefresh):
        held = rows_of(hub, (*change.ids, *change.removing)) if hub is not None and late else _no_hub_rows(source)
        session.create(T.existing, held)
        session.define(T.observed, own)
        return
    if hub is None:
        session.create(T.existing, _no_hub_rows(source))
    else:
        rows = query(
            "SELECT h.* FROM $hub AS h SEMI JOIN $touched AS t ON t.s_key = h.s_key", hub=hub, touched=T.touched
        )
        session.create(T.existing, rows)
    if late:
        session.create(T.observed, _observed_in_lake(change, lake))
        return
    if hub is None and change.settled is not None:
        own = exp.union(own, _start(change, lake), distinct=False)
    if hub is not None:
        own = query(
            "SELECT o.* FROM $own AS o SEMI JOIN $touched AS t ON t.s_key = o.s_key", own=own, touched=T.touched
        )
        start = query(
            """
            SELECT s_input_id, s_row_id, s_key, s_order, s_row_hash, s_updated_at AS s_extract_time,
                   CAST(0 AS BIGINT) AS s_rank, FALSE AS s_added, $gone AS s_deleted, $carried, s_created_at
            FROM $existing AS e
            """,
            gone=_is_gone(source, "e"),
            carried=columns(coverage.carried_names(source), "e"),
            existing=T.existing,
        )
        own = exp.union(own, start, distinct=False)
    session.define(T.observed, own)


def _observed_in_lake(change: Change, lake: exp.Expr) -> exp.Query:
    """The whole timelines of the touched keys."""
    source = change.source
    rows = query("SELECT r.* FROM $lake AS r WHERE $concerned", lake=lake, concerned=change.concerned("r"))
    # a keyless row is keyed by its content and its place, so all equal rows of an input are needed to know its key
    if source.refresh.key:
        rows = query(
            "SELECT r.* FROM $rows AS r SEMI JOIN $touched AS t ON t.s_key = $key",
            rows=rows,
            touched=T.touched,
            key=key_text(source, "r"),
        )
    found: exp.Query = query(
        """
        SELECT $names, o.s_extract_time AS s_created_at FROM $observations AS o
        SEMI JOIN $touched AS t ON t.s_key = o.s_key
        """,
        names=columns(_observed(source), "o"),
        observations=observations(source, rows),
        touched=T.touched,
    )
    if change.settled is None:
        return found
    start = query(
        "SELECT s.* FROM $start AS s SEMI JOIN $touched AS t ON t.s_key = s.s_key",
        start=_start(change, lake),
        touched=T.touched,
    )
    return exp.union(found, start, distinct=False)


def _start(change: Change, lake: exp.Expr) -> exp.Query:
    """What timelines start with where inputs are settled: the rows that made the hub when there were only these."""
    rows: exp.Query = query(
        """
        SELECT r.s_input_id, r.s_row_id, $key AS s_key, $extracted AS s_order, $hash AS s_row_hash,
               $extracted AS s_extract_time, CAST(0 AS BIGINT) AS s_rank, FALSE AS s_added, FALSE AS s_deleted,
               $carried, $created AS s_created_at
        FROM $lake AS r WHERE $key IS NOT NULL
        """,
        key=column(settled.KEY, "r"),
        extracted=column(settled.EXTRACTED_AT, "r"),
        hash=row_hash(change.source, "r"),
        carried=coverage.carried_columns(change.source, "r"),
        created=column(settled.CREATED_AT, "r"),
        lake=lake,
    )
    return rows


def _no_hub_rows(source: Source) -> exp.Query:
    order = order_type(source)
    kinds = {**_SYSTEM_TYPES, "s_order": order, "s_valid_from": order, "s_valid_to": order}
    declared = {item.name: item.type for item in source.columns}
    kinds |= {called: stored_type(declared[name]) for name, called in coverage.carried_as(source).items()}
    names = (*system_columns(source), FILE, POSITION, *coverage.carried_names(source))
    nulls = [alias(exp.cast(exp.null(), kinds[name], dialect=DIALECT), name) for name in names]
    return exp.select(*nulls).where(exp.false())


def _observed(source: Source) -> tuple[str, ...]:
    return (*_OBSERVED, *coverage.carried_names(source))


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


def resolve(session: Session, change: Change, *, absences: bool = True) -> None:
    """Create `timeline` and `versions` from `observed` and `excluded`.

    May be run again after more rows were excluded. Without `absences`, `observed` says itself which keys are gone from
    a full extract.
    """
    source = change.source
    if isinstance(source.refresh, AppendRefresh):
        session.define(T.versions, _appended(source))
    else:
        _create_timeline(session, source, absences=absences)
        session.define(T.versions, _versions(source))


def compare(session: Session, change: Change) -> None:
    """Create `fresh`, `amended` and `removed`: what differs between `versions` and the hub as it is, in `existing`.

    Rows of an input that is in the hub already are written again, because parsing or rules may have changed since.
    """
    source = change.source
    names = _version_columns(source)
    again = [literal(input_id) for input_id in change.ids if input_id in change.manifest.inputs]
    own: exp.Expr = column("s_input_id", "v")
    if again:
        own = query("CASE WHEN NOT $again THEN $own END", again=exp.In(this=own, expressions=again), own=own.copy())
    # a deletion by absence has no row, so only the key tells those of one input apart
    others = ("s_row_id", "s_key") if keeps_deletions(source) else ("s_row_id",)
    one = exp.and_(
        exp.EQ(this=own, expression=column("s_input_id", "e")),
        *[exp.EQ(this=column(name, "v"), expression=column(name, "e")) for name in others],
    )
    same = exp.and_(
        *[exp.NullSafeEQ(this=column(name, "v"), expression=column(name, "e")) for name in system_columns(source)]
    )
    session.create(
        T.difference,
        query(
            """
            SELECT $names, v.s_input_id IS NOT NULL AS s_stands, $same AS s_same, e.s_file, e.s_position
            FROM $versions AS v FULL JOIN $existing AS e ON $one
            """,
            names=columns(names, "v"),
            same=same,
            versions=T.versions,
            existing=T.existing,
            one=one,
        ),
    )
    for name, told, kept in (
        (T.fresh, names, "d.s_file IS NULL"),
        (T.amended, (*names, FILE, POSITION), "d.s_stands AND NOT d.s_file IS NULL AND NOT d.s_same"),
        (T.removed, (FILE, POSITION), "NOT d.s_file IS NULL AND NOT (d.s_stands AND d.s_same)"),
    ):
        rows = query("SELECT $told FROM $difference AS d", told=columns(told, "d"), difference=T.difference)
        session.define(name, rows.where(query(kept)))


def _kept_observations(source: Source) -> exp.Query:
    kept: exp.Query = query(
        """
        SELECT $names, o.s_created_at FROM $observed AS o
        ANTI JOIN $excluded AS x ON x.s_input_id = o.s_input_id AND x.s_row_id = o.s_row_id
        """,
        names=columns(_observed(source), "o"),
        observed=T.observed,
        excluded=T.excluded,
    )
    return kept


def _appended(source: Source) -> exp.Query:
    """For `append`, every observation is a version."""
    rows: exp.Query = query(
        """
        SELECT s_key, s_input_id, s_row_id, s_order, s_row_hash, s_created_at, s_extract_time AS s_updated_at
        FROM $kept AS o
        """,
        kept=_kept_observations(source),
    )
    return rows


def _missing(source: Source) -> exp.Query:
    """For full extracts: each key's absence from the first complete extract after one that contained it.

    Extracts of the same time are a tie, so each of them has its observation.
    """
    names = coverage.carried_names(source)
    # an excluded row is still present in its extract, so presence looks at all that was observed
    rows: exp.Query = query(
        """
        SELECT n.s_input_id, CAST($absent AS BIGINT) AS s_row_id, p.s_key, n.s_extract_time AS s_order,
               CAST(NULL AS BIGINT) AS s_row_hash, n.s_extract_time, n.s_rank, n.s_added, TRUE AS s_deleted,
               $carried, n.s_extract_time AS s_created_at
        FROM (
            SELECT o.*, lead(s_rank) OVER (PARTITION BY s_key ORDER BY s_rank) AS s_present_again
            FROM (SELECT s_key, s_rank, $any FROM $observed AS o GROUP BY s_key, s_rank) AS o
        ) AS p
        JOIN s_inputs AS i ON i.s_rank = p.s_rank
        JOIN s_inputs AS f ON f.s_rank = i.s_next_rank
        JOIN s_inputs AS n ON n.s_complete AND n.s_rank >= f.s_rank AND n.s_extract_time = f.s_extract_time
        WHERE p.s_present_again IS NULL OR n.s_rank < p.s_present_again
        """,
        absent=ABSENT,
        carried=columns(names, "p"),
        any=[alias(exp.Min(this=column(name)), name) for name in names],
        observed=T.observed,
    )
    return rows


def _uncontained(source: Source) -> exp.Query:
    """Each row's absence from the inputs that cover it and come after it."""
    rows: exp.Query = query(
        """
        SELECT DISTINCT n.s_input_id, CAST($absent AS BIGINT) AS s_row_id, k.s_key, n.s_extract_time AS s_order,
               CAST(NULL AS BIGINT) AS s_row_hash, n.s_extract_time, n.s_rank, n.s_added, TRUE AS s_deleted,
               $carried_on, n.s_extract_time AS s_created_at
        FROM (SELECT s_key, $carried, min(s_rank) AS s_first FROM $observed AS o GROUP BY s_key, $carried) AS k
        JOIN $covers AS n ON n.s_rank > k.s_first AND $is_covered
        ANTI JOIN $observed AS p ON p.s_key = k.s_key AND p.s_rank = n.s_rank
        """,
        absent=ABSENT,
        carried=columns(coverage.carried_names(source)),
        carried_on=columns(coverage.carried_names(source), "k"),
        observed=T.observed,
        covers=T.covers,
        is_covered=coverage.is_covered(source, "k", "n"),
    )
    return rows


def _create_timeline(session: Session, source: Source, *, absences: bool) -> None:
    """Create `timeline`: observations of the touched keys, one an instant, each with what comes before and after it.

    Of several at one instant the last one counts, and the others are `lost`.

    `s_is_event`: a version starts or ends here. `s_next`: the order of the next event. `s_is_old`: an input that was
    applied before says something later.
    """
    seen = _kept_observations(source)
    if absences and absence_deletes(source):
        gone = _uncontained(source) if coverage.is_partial(source) else _missing(source)
        seen = exp.union(seen, gone, distinct=False)
    session.create(T.seen, seen)
    repeated = query(
        "SELECT o.s_key FROM $seen AS o WHERE o.s_rank <> 0 GROUP BY o.s_key HAVING count(*) > 1", seen=T.seen
    )
    if not session.fetch(query("SELECT 1 AS one FROM $repeated AS r LIMIT 1", repeated=repeated)).num_rows:
        session.create(T.timeline, _said_once(source, T.seen))
        session.define(T.lost, query("SELECT o.* FROM $seen AS o WHERE FALSE", seen=T.seen))
        return
    session.create(T.repeated, repeated)
    once = query(
        "SELECT o.* FROM $seen AS o ANTI JOIN $repeated AS r ON r.s_key = o.s_key", seen=T.seen, repeated=T.repeated
    )
    session.create(T.once, once)
    session.create(T.timeline, exp.union(_said_once(source, T.once), _said_often(source), distinct=False))
    lost = query(
        """
        SELECT o.* FROM $seen AS o SEMI JOIN $repeated AS r ON r.s_key = o.s_key
        ANTI JOIN $timeline AS t ON t.s_input_id = o.s_input_id AND t.s_row_id = o.s_row_id
        """,
        seen=T.seen,
        repeated=T.repeated,
        timeline=T.timeline,
    )
    session.define(T.lost, lost)


def _said_once(source: Source, seen: str) -> exp.Query:
    """The timelines of keys with one observation, perhaps after the hub's present version: no sorting is needed.

    What is said comes after the hub as it is, or the whole timelines were read and there is no such start.
    """
    starts = query("SELECT o.* FROM $seen AS o WHERE o.s_rank = 0", seen=seen)
    said = query("SELECT o.* FROM $seen AS o WHERE o.s_rank <> 0", seen=seen)
    is_event = """
        CASE WHEN a.s_deleted THEN coalesce(NOT h.s_deleted, FALSE)
             ELSE h.s_key IS NULL OR h.s_deleted OR h.s_row_hash <> a.s_row_hash END
        """
    first = query(
        """
        SELECT $names, h.s_created_at, CAST(NULL AS BOOLEAN) AS s_deleted_before, FALSE AS s_is_old, TRUE AS s_is_event,
               h.s_created_at AS s_life_started_at,
               CASE WHEN NOT a.s_key IS NULL AND $is_event THEN a.s_order END AS s_next
        FROM $starts AS h LEFT JOIN $said AS a ON a.s_key = h.s_key
        """,
        names=columns(_observed(source), "h"),
        is_event=query(is_event),
        starts=starts,
        said=said,
    )
    after = query(
        """
        SELECT $names, a.s_created_at, h.s_deleted AS s_deleted_before, FALSE AS s_is_old, $is_event AS s_is_event,
               CASE WHEN h.s_deleted = FALSE THEN h.s_created_at ELSE a.s_created_at END AS s_life_started_at,
               $nothing AS s_next
        FROM $said AS a LEFT JOIN $starts AS h ON h.s_key = a.s_key
        """,
        names=columns(_observed(source), "a"),
        is_event=query(is_event),
        nothing=exp.cast(exp.null(), order_type(source), dialect=DIALECT),
        starts=starts,
        said=said,
    )
    return exp.union(first, after, distinct=False)


def _said_often(source: Source) -> exp.Query:
    """The timelines of keys with several observations, sorted."""
    rows: exp.Query = query(
        """
        WITH latest AS (
            SELECT o.* FROM $seen AS o SEMI JOIN $repeated AS r ON r.s_key = o.s_key
            QUALIFY row_number() OVER (
                PARTITION BY s_key, s_order ORDER BY s_extract_time DESC, s_input_id DESC, s_row_id DESC
            ) = 1
        ), placed AS (
            SELECT o.*,
                   lag(s_deleted) OVER w AS s_deleted_before,
                   lag(s_row_hash) OVER w AS s_hash_before,
                   coalesce(sum(CASE WHEN s_deleted THEN 1 ELSE 0 END) OVER (
                       PARTITION BY s_key ORDER BY s_order ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)
                       AS s_life,
                   coalesce(max(CASE WHEN s_added THEN 0 ELSE 1 END) OVER (
                       PARTITION BY s_key ORDER BY s_order ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING), 0) = 1
                       AS s_is_old
            FROM latest AS o
            WINDOW w AS (PARTITION BY s_key ORDER BY s_order)
        ), told AS (
            SELECT p.*,
                   coalesce(CASE WHEN s_deleted THEN s_rank = 0 OR s_deleted_before = FALSE
                                 ELSE s_deleted_before IS NULL OR s_deleted_before OR s_hash_before <> s_row_hash END,
                            FALSE) AS s_is_event,
                   first_value(s_created_at) OVER (PARTITION BY s_key, s_life ORDER BY s_order) AS s_life_started_at
            FROM placed AS p
        )
        SELECT $names, t.s_created_at, t.s_deleted_before, t.s_is_old, t.s_is_event, t.s_life_started_at,
               min(CASE WHEN s_is_event THEN s_order END) OVER (
                   PARTITION BY s_key ORDER BY s_order ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS s_next
        FROM told AS t
        """,
        names=columns(_observed(source), "t"),
        seen=T.seen,
        repeated=T.repeated,
    )
    return query("SELECT s.* FROM $rows AS s", rows=rows)


def _version_columns(source: Source) -> tuple[str, ...]:
    return (*system_columns(source), *(coverage.carried_names(source) if keeps_deletions(source) else ()))


def _versions(source: Source) -> exp.Query:
    """The hub rows of the touched keys as they should be: one a key, or with history one a version."""
    carried = coverage.carried_names(source) if keeps_deletions(source) else ()
    versions = query(
        """
        SELECT s_key, s_input_id, s_row_id, s_order, CASE WHEN NOT s_deleted THEN s_row_hash END AS s_row_hash,
               s_life_started_at AS s_created_at, s_extract_time AS s_updated_at, s_order AS s_valid_from,
               s_next AS s_valid_to, s_next IS NULL AND NOT s_deleted AS s_is_current, s_deleted AS s_is_deleted,
               $carried
        FROM $timeline AS t WHERE s_is_event
        """,
        carried=columns(carried),
        timeline=T.timeline,
    )
    kept = query("SELECT $names FROM $versions AS v", names=columns(_version_columns(source), "v"), versions=versions)
    if not keeps_deletions(source):
        kept = kept.where(exp.not_(column("s_is_deleted", "v")))
    return kept if source.refresh.history else kept.where(column("s_is_current", "v"))


def classify(session: Session, source: Source) -> None:
    """Create `kinds`: what each observation of the touched keys in the added inputs changes, with what it carries."""
    if isinstance(source.refresh, AppendRefresh):
        session.create(
            T.kinds,
            query(
                "SELECT s_input_id, s_row_id, s_key, s_order, s_row_hash, 'new' AS s_change FROM $added AS a",
                added=T.added,
            ),
        )
        return
    session.create(
        T.kinds,
        query(
            """
            SELECT s_input_id, s_row_id, s_key, s_order, s_row_hash,
                   CASE WHEN s_is_old THEN 'old'
                        WHEN s_deleted AND s_is_event THEN 'deleted'
                        WHEN s_deleted THEN 'unchanged'
                        WHEN s_deleted_before IS NULL OR s_deleted_before THEN 'new'
                        WHEN s_is_event THEN 'changed'
                        ELSE 'unchanged' END AS s_change, $carried
            FROM $timeline AS t WHERE s_added AND (s_row_id <> $absent OR s_is_event)
            UNION ALL
            SELECT s_input_id, s_row_id, s_key, s_order, s_row_hash, 'old' AS s_change, $carried
            FROM $lost AS o WHERE s_added AND s_row_id <> $absent
            """,
            carried=columns(coverage.carried_names(source)),
            timeline=T.timeline,
            lost=T.lost,
            absent=ABSENT,
        ),
    )


def counts(session: Session, change: Change) -> dict[str, dict[str, int]]:
    """Per added input, the number of observations of each kind. Rows that `kinds` does not name are unchanged."""
    found = session.fetch(
        query(
            """
            SELECT s_input_id, s_change, count(*) AS n, count(CASE WHEN s_row_id <> $absent THEN 1 END) AS delivered
            FROM $kinds AS k WHERE s_change <> 'unchanged' GROUP BY s_input_id, s_change
            """,
            kinds=T.kinds,
            absent=ABSENT,
        )
    )
    result = {input_id: {**dict.fromkeys(KINDS, 0), "unchanged": change.rows(input_id)} for input_id in change.ids}
    for row in found.to_pylist():
        result[row["s_input_id"]][row["s_change"]] = row["n"]
        result[row["s_input_id"]]["unchanged"] -= row["delivered"]
    return result


def manifest_after(change: Change) -> Manifest:
    """The manifest of the hub once the change is applied."""
    order_by = change.source.refresh.order_by
    applied = []
    for item in change.adding:
        # of the lake: a row that changed nothing is in no change set, and its order counts all the same
        extent = change.extents.get(item.input_id)
        high = extent.spans[order_by].high if order_by is not None and extent is not None else None
        complete, written = item.input_id not in change.incomplete, change.written.get(item.input_id, 0)
        applied.append(AppliedInput(item.extract_time, item.input_id, complete, high, written))
    return change.manifest.after(change.source, applied, change.removing)


def settings_match(change: Change) -> bool:
    """Whether the hub was merged under the settings now declared."""
    return not change.manifest.inputs or change.manifest.settings == settings_of(change.source)
