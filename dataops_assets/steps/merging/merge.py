"""Computes which rows of the hub a set of inputs changes.

The hub is a function of its set of inputs. Every input makes *observations*: a row of a key at an order, a delete
marker, or (for a full extract) the absence of a key. The observations of a key, sorted by (order, extract time,
arrival, input id, row position), are its timeline. The timeline gives the *versions* of the key: a version starts where
a row appears, where its content changes or where the key is deleted, and ends where the next version starts. The hub
keeps the last version unless it is a deletion, or all of them with `history`. A row that an input covers
(`replace_scope`) and does not contain is deleted by it.

An input that comes after all applied inputs needs only the current versions of its keys in the hub as the start of
their timelines (`affected_keys`). If it contains each key once, it needs no timelines at all (`single_pass`). A late
input, a repeated one or a removal reads the whole timelines of its keys from the lake (`timelines`). The merge writes
the difference between the versions as they should be and the hub as it is:

    seen = observe(session, change, base, lake, own)
    timeline = order(session, seen, excluded=failed)
    diff = compare(session, timeline)
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp

from dataops_assets.config.refresh import AppendRefresh, FullRefresh
from dataops_assets.config.source import Source
from dataops_assets.engines.base import FILE, POSITION, Session
from dataops_assets.sql import Relation, column, columns, literal, query, values
from dataops_assets.steps.merging import group_deletes, merged_values, replace_scope, validity
from dataops_assets.steps.merging.affected_keys import AffectedKeys, Observed, affected_keys, observe_keys
from dataops_assets.steps.merging.change import (
    Change,
    has_no_row,
    hub_rows,
    keeps_deletions,
    no_hub_rows,
    system_columns,
)
from dataops_assets.steps.merging.hub_diff import HubDiff, hub_diff
from dataops_assets.steps.merging.observations import (
    Delivery,
    is_late,
    observations,
    ranked_inputs,
    settled_start,
    spared_keys,
)
from dataops_assets.steps.merging.single_pass import (
    Pairs,
    ended_versions,
    pairs_by_extract,
    pairs_by_key,
    pairs_not_excluded,
    pairs_suffice,
    replaced_rows,
)
from dataops_assets.steps.merging.timelines import Ordered, no_rows_of, observations_not_excluded, ordered
from dataops_assets.storage.delta import TableVersion
from dataops_assets.storage.publish import rows_of

KINDS = ("new", "changed", "unchanged", "old", "deleted")
Seen = Pairs | Observed
"""What decides the versions of the affected keys: `Pairs` if each key occurs once, else all their observations."""


@dataclass(frozen=True)
class Timeline:
    """The observations of the affected keys in order, and the versions that follow from them.

    * `seen`: all observations. `excluded`: the rows of them that do not count (`s_input_id`, `s_row_id`).
    * `ordered`: the others in order.
    * `versions`: the hub rows of the affected keys as they should be (system columns).
    """

    seen: Seen
    excluded: Relation
    ordered: Ordered
    versions: Relation

    @property
    def delivery(self) -> Delivery:
        """Return the observations of the added inputs."""
        return self.seen.delivery

    @property
    def change(self) -> Change:
        """Return the change that is computed."""
        return self.seen.delivery.change


def observe(session: Session, change: Change, base: TableVersion | None, lake: exp.Expr, own: exp.Expr) -> Seen:
    """Read the observations of the affected keys, and their rows in the hub.

    `lake` has the parsed rows of the source, `own` at least those of the added inputs.
    """
    late = is_late(session, change)
    inputs = ranked_inputs(session, change, late=late)
    rows = session.define(observations(change.source, rows_of(own, change.ids), inputs))
    hub = hub_rows(session, change, base, late=late)
    if isinstance(change.source.refresh, AppendRefresh):
        return _own_rows(session, Delivery(change, inputs, rows, late), hub)
    if not late and change.deletes_groups(change.ids):
        before = settled_start(change, lake) if hub is None and change.settled is not None else hub
        rows = _with_group_deletes(session, rows, inputs, before, rows_of(own, change.ids), change.source)
    delivery = Delivery(change, inputs, rows, late, spared=spared_keys(session, change, inputs, late=late))
    found: Pairs | AffectedKeys | None = None
    if not late and pairs_suffice(change, base):
        is_extract = isinstance(change.source.refresh, FullRefresh)
        found = pairs_by_extract(session, delivery, base, hub) if is_extract else pairs_by_key(session, delivery, hub)
    if isinstance(found, Pairs):
        return found
    return observe_keys(session, delivery, found or affected_keys(session, delivery, hub, lake), hub, lake)


def _with_group_deletes(
    session: Session, rows: Relation, inputs: Relation, before: exp.Expr | None, own: exp.Expr, source: Source
) -> Relation:
    """Return the observations `rows` of the added inputs, with the deletions of groups of keys, in order.

    `before` has the rows with which the timelines start, `own` the parsed rows of the added inputs.
    """
    stored = session.create(query("SELECT r.* FROM $rows AS r", rows=rows))
    delivered = query("SELECT s.* FROM $stored AS s", stored=stored)
    keys = group_deletes.keys_once(session, source, [delivered] if before is None else [delivered, before])
    return session.define(
        exp.union(delivered.copy(), group_deletes.deletions(source, own, inputs, keys), distinct=False)
    )


def observe_change_set(
    session: Session, change: Change, base: TableVersion | None, lake: exp.Expr, enriched: exp.Expr
) -> Seen:
    """Read the observations like `observe`, from change sets that were compared with this version of the hub.

    `old` rows are left out: in such a change set they lost to another row at the same order, which is in the hub or in
    the change set.
    """
    inputs = ranked_inputs(session, change, late=False)
    observed = query(
        """
        SELECT e.s_input_id, e.s_row_id, e.s_key, e.s_order, e.s_row_hash, i.s_extract_time, i.s_rank, i.s_added,
               e.s_change = 'deleted' AS s_deleted, $carried
        FROM $enriched AS e JOIN $inputs AS i ON i.s_input_id = e.s_input_id WHERE e.s_change <> 'old'
        """,
        carried=replace_scope.carried_columns(change.source, "e"),
        enriched=enriched,
        inputs=inputs,
    )
    delivery = Delivery(change, inputs, session.define(observed), late=False, planned=True)
    hub = hub_rows(session, change, base, late=False)
    if isinstance(change.source.refresh, AppendRefresh):
        return _own_rows(session, delivery, hub)
    found: Pairs | AffectedKeys
    if validity.begins_in_rows(change.source):
        keys = query("SELECT DISTINCT d.s_key FROM $rows AS d", rows=delivery.rows)
        found = AffectedKeys(session.create(keys), delivery.rows)
    else:
        found = pairs_by_key(session, delivery, hub)
    return found if isinstance(found, Pairs) else observe_keys(session, delivery, found, hub, lake)


def _own_rows(session: Session, delivery: Delivery, hub: exp.Expr | None) -> Observed:
    """Return the observations for `append`: only the own rows of the moved inputs, nothing is compared."""
    change = delivery.change
    rows = query("SELECT d.*, d.s_extract_time AS s_created_at FROM $delivered AS d", delivered=delivery.rows)
    existing = rows_of(hub, change.moved) if hub is not None and delivery.late else no_hub_rows(change.source)
    return Observed(delivery, session.define(rows), session.create(existing))


def nothing_excluded(session: Session) -> Relation:
    """Return an empty relation of excluded rows."""
    return session.define(values([], {"s_input_id": "VARCHAR", "s_row_id": "BIGINT"}))


def order(session: Session, seen: Seen, excluded: Relation) -> Timeline:
    """Order the observations without the `excluded` rows, and find the versions that they make."""
    source = seen.delivery.source
    if isinstance(seen, Pairs):
        rows = session.define(pairs_not_excluded(seen, excluded))
        found = Ordered(rows, session.define(no_rows_of(seen.rows)), rows)
    elif isinstance(source.refresh, AppendRefresh):
        rows = session.define(observations_not_excluded(seen, excluded))
        found = Ordered(rows, session.define(no_rows_of(rows)), rows)
        return Timeline(seen, excluded, found, session.define(_appended(rows)))
    else:
        found = ordered(session, seen, excluded)
    return Timeline(seen, excluded, found, session.define(_versions(seen, found.rows)))


def compare(session: Session, timeline: Timeline) -> HubDiff:
    """Return the difference between the versions and the hub as it is.

    Rows of an added input that is in the hub already are written again, because parsing or rules may have changed.
    """
    seen, change, source = timeline.seen, timeline.change, timeline.change.source
    if isinstance(seen, Pairs):
        return hub_diff(
            session,
            insert=query("SELECT v.* FROM $versions AS v", versions=timeline.versions),
            amend=ended_versions(source, timeline.ordered.rows),
            remove=replaced_rows(timeline.ordered.rows),
        )
    names = _version_columns(source)
    same = exp.and_(
        *[
            exp.NullSafeEQ(this=column(name, "v"), expression=column(name, "e"))
            for name in (*system_columns(source), *merged_values.value_names(source))
        ]
    )
    difference = session.create(
        query(
            """
            SELECT $names, v.s_input_id IS NOT NULL AS s_stands, $same AS s_same, e.s_file, e.s_position
            FROM $versions AS v FULL JOIN $existing AS e ON $one
            """,
            names=columns(names, "v"),
            same=same,
            versions=timeline.versions,
            existing=seen.existing,
            one=_is_same_version(change),
        )
    )

    def chosen(selected: tuple[str, ...], condition: str) -> exp.Query:
        rows = query("SELECT $names FROM $difference AS d", names=columns(selected, "d"), difference=difference)
        found: exp.Query = rows.where(query(condition))
        return found

    return hub_diff(
        session,
        insert=chosen(names, "d.s_file IS NULL"),
        amend=chosen((*names, FILE, POSITION), "d.s_stands AND NOT d.s_file IS NULL AND NOT d.s_same"),
        remove=chosen((FILE, POSITION), "NOT d.s_file IS NULL AND NOT (d.s_stands AND d.s_same)"),
    )


def _is_same_version(change: Change) -> exp.Expr:
    """Whether the version `v` has the content of the hub row `e`."""
    again = [literal(input_id) for input_id in change.ids if input_id in change.manifest.inputs]
    own: exp.Expr = column("s_input_id", "v")
    if again:
        own = query("CASE WHEN NOT $again THEN $own END", again=exp.In(this=own, expressions=again), own=own.copy())
    # a deletion by absence has no row, so only the key identifies it within an input
    others = ("s_row_id", "s_key") if keeps_deletions(change.source) else ("s_row_id",)
    return exp.and_(
        exp.EQ(this=own, expression=column("s_input_id", "e")),
        *[exp.EQ(this=column(name, "v"), expression=column(name, "e")) for name in others],
    )


def _appended(observed: Relation) -> exp.Query:
    """Return the versions for `append`: every observation is one."""
    rows: exp.Query = query(
        """
        SELECT s_key, s_input_id, s_row_id, s_order, s_row_hash, s_created_at, s_extract_time AS s_updated_at
        FROM $kept AS o
        """,
        kept=observed,
    )
    return rows


def _version_columns(source: Source) -> tuple[str, ...]:
    carried = replace_scope.carried_names(source) if keeps_deletions(source) else ()
    return (*system_columns(source), *carried, *merged_values.value_names(source))


def _versions(seen: Seen, timeline: Relation) -> exp.Query:
    """Return the hub rows of the affected keys as they should be: one a key, or with history one a version."""
    source = seen.delivery.source
    carried = replace_scope.carried_names(source) if keeps_deletions(source) else ()
    versions = query(
        """
        SELECT s_key, s_input_id, s_row_id, s_order, CASE WHEN NOT s_deleted THEN s_row_hash END AS s_row_hash,
               s_life_started_at AS s_created_at, $changed_at AS s_updated_at, $begin AS s_valid_from,
               s_next AS s_valid_to, s_next IS NULL AND NOT s_deleted AS s_is_current, s_deleted AS s_is_deleted,
               $carried
        FROM $timeline AS t WHERE s_is_event
        """,
        carried=[*columns(carried), *merged_values.of_versions(source, "t")],
        changed_at=column(merged_values.CHANGED_AT if source.refresh.update_in_place else "s_extract_time"),
        begin=validity.begin(source, "t"),
        timeline=timeline,
    )
    names = _version_columns(source)
    if isinstance(seen, Observed) and validity.begins_in_rows(source):
        return validity.placed(versions, None if seen.delivery.late else seen.existing, names)
    kept = query("SELECT $names FROM $versions AS v", names=columns(names, "v"), versions=versions)
    if not keeps_deletions(source):
        kept = kept.where(exp.not_(column("s_is_deleted", "v")))
    return kept if source.refresh.history else kept.where(column("s_is_current", "v"))


def classify(session: Session, timeline: Timeline) -> Relation:
    """Return the kind of change of each observation in the added inputs (`s_change`), with its carried columns."""
    source = timeline.change.source
    if isinstance(source.refresh, AppendRefresh):
        return session.create(
            query(
                "SELECT s_input_id, s_row_id, s_key, s_order, s_row_hash, 'new' AS s_change FROM $delivered AS d",
                delivered=timeline.delivery.rows,
            )
        )
    return session.create(
        query(
            """
            SELECT s_input_id, s_row_id, s_key, s_order, s_row_hash,
                   CASE WHEN s_is_old THEN 'old'
                        WHEN s_deleted AND s_is_event THEN 'deleted'
                        WHEN s_deleted THEN 'unchanged'
                        WHEN s_deleted_before IS NULL OR s_deleted_before THEN 'new'
                        WHEN $changes THEN 'changed'
                        ELSE 'unchanged' END AS s_change, $carried
            FROM $timeline AS t WHERE s_added AND (s_is_event OR NOT $rowless)
            UNION ALL
            SELECT s_input_id, s_row_id, s_key, s_order, s_row_hash, 'old' AS s_change, $carried
            FROM $lost AS o WHERE s_added AND NOT $rowless_lost
            """,
            carried=columns(replace_scope.carried_names(source)),
            changes=query("s_is_event OR s_updates") if source.refresh.update_in_place else column("s_is_event"),
            timeline=timeline.ordered.rows,
            lost=timeline.ordered.lost,
            rowless=has_no_row("t"),
            rowless_lost=has_no_row("o"),
        )
    )


def counts(session: Session, change: Change, kinds: Relation) -> dict[str, dict[str, int]]:
    """Count the observations of each kind, by added input. Rows that are not in `kinds` are unchanged."""
    found = session.fetch(
        query(
            """
            SELECT s_input_id, s_change, count(*) AS n, count(CASE WHEN NOT $rowless THEN 1 END) AS delivered
            FROM $kinds AS k WHERE s_change <> 'unchanged' GROUP BY s_input_id, s_change
            """,
            kinds=kinds,
            rowless=has_no_row("k"),
        )
    )
    result = {input_id: {**dict.fromkeys(KINDS, 0), "unchanged": change.rows(input_id)} for input_id in change.ids}
    for row in found.to_pylist():
        result[row["s_input_id"]][row["s_change"]] = row["n"]
        result[row["s_input_id"]]["unchanged"] -= row["delivered"]
    return result
