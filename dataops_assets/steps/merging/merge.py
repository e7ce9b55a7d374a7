"""Computes which rows of the hub a set of inputs changes.

The hub is a function of its set of inputs. Every input makes *observations*: a row of a key at an order, a delete
marker, or (for a full extract) the absence of a key. Sorted by (order, extract time, input id, row position) the
observations of a key are its timeline. The timeline gives the *versions* of the key: a version starts where a row
appears, where its content changes or where the key is deleted, and ends where the next version starts. The hub keeps
the last version unless it is a deletion, or all of them with `history`. A row that an input covers (`replace_scope`)
and does not contain is deleted by it.

An input that comes after all applied inputs needs only the current versions of its keys in the hub as the start of
their timelines (`affected_keys`). If it contains each key once, it needs no timelines at all (`single_pass`). A late
input, a repeated one or a removal reads the whole timelines of its keys from the lake (`timelines`). The merge writes
the difference between the versions as they should be and the hub as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp

from dataops_assets.config.refresh import AppendRefresh, FullRefresh
from dataops_assets.config.source import Source
from dataops_assets.engines.base import FILE, POSITION, Session
from dataops_assets.sql import column, columns, literal, query
from dataops_assets.steps.merging import replace_scope
from dataops_assets.steps.merging.affected_keys import create_affected_keys, create_existing_and_observed
from dataops_assets.steps.merging.change import (
    ABSENT,
    Change,
    T,
    hub_rows,
    keeps_deletions,
    no_hub_rows,
    system_columns,
)
from dataops_assets.steps.merging.observations import create_inputs, create_spared, is_late, observations
from dataops_assets.steps.merging.single_pass import (
    compare_pairs,
    create_pairs_by_extract,
    create_pairs_by_key,
    create_timeline_from_pairs,
    pairs_suffice,
)
from dataops_assets.steps.merging.timelines import create_timeline, observations_not_excluded
from dataops_assets.storage.delta import TableVersion
from dataops_assets.storage.publish import rows_of

KINDS = ("new", "changed", "unchanged", "old", "deleted")


@dataclass(frozen=True)
class Reading:
    """How the observations of a change were read. This decides what is left to compute.

    * `late`: the whole timelines of the affected keys come from the lake.
    * `paired`: each key occurs once, so `pairs` has everything that is needed.
    * `planned`: the observations come from enriched change sets. So absent keys are listed already, and new versions
      are enriched already.
    """

    late: bool = False
    paired: bool = False
    planned: bool = False


def read(session: Session, change: Change, base: TableVersion | None, lake: exp.Expr, own: exp.Expr) -> Reading:
    """Create the observations of the added inputs in the session, for `resolve`.

    `lake` has the parsed rows of the source, `own` at least those of the added inputs.
    """
    late = is_late(session, change)
    create_inputs(session, change, late=late)
    session.define(observations(change.source, rows_of(own, change.ids)), T.delivered)
    hub = hub_rows(session, change, base, late=late)
    if isinstance(change.source.refresh, AppendRefresh):
        _append(session, change, hub, late=late)
        return Reading(late=late)
    create_spared(session, change, late=late)
    if not late and pairs_suffice(change, base):
        if isinstance(change.source.refresh, FullRefresh):
            if create_pairs_by_extract(session, change, base, hub):
                return Reading(paired=True)
            create_affected_keys(session, change, hub, lake, late=late)
        elif create_pairs_by_key(session, change, hub):
            return Reading(paired=True)
    else:
        create_affected_keys(session, change, hub, lake, late=late)
    create_existing_and_observed(session, change, hub, lake, late=late)
    return Reading(late=late)


def read_change_set(
    session: Session, change: Change, base: TableVersion | None, lake: exp.Expr, enriched: exp.Expr
) -> Reading:
    """Create the observations like `read`, from change sets that were compared with this version of the hub.

    `old` rows are left out: in such a change set they lost to another row at the same order, which is in the hub or in
    the change set.
    """
    create_inputs(session, change, late=False)
    observed = query(
        """
        SELECT e.s_input_id, e.s_row_id, e.s_key, e.s_order, e.s_row_hash, i.s_extract_time, i.s_rank, i.s_added,
               e.s_change = 'deleted' AS s_deleted, $carried
        FROM $enriched AS e JOIN s_inputs AS i ON i.s_input_id = e.s_input_id WHERE e.s_change <> 'old'
        """,
        carried=replace_scope.carried_columns(change.source, "e"),
        enriched=enriched,
    )
    session.define(observed, T.delivered)
    hub = hub_rows(session, change, base, late=False)
    if isinstance(change.source.refresh, AppendRefresh):
        _append(session, change, hub, late=False)
        return Reading(planned=True)
    paired = create_pairs_by_key(session, change, hub)
    if not paired:
        create_existing_and_observed(session, change, hub, lake, late=False)
    return Reading(paired=paired, planned=True)


def _append(session: Session, change: Change, hub: exp.Expr | None, *, late: bool) -> None:
    """Create `observed` and `existing` for `append`: only the own rows of the moved inputs, nothing is compared."""
    observed = query("SELECT d.*, d.s_extract_time AS s_created_at FROM $delivered AS d", delivered=T.delivered)
    session.define(observed, T.observed)
    existing = rows_of(hub, change.moved) if hub is not None and late else no_hub_rows(change.source)
    session.create(existing, T.existing)


def exclude_nothing(session: Session) -> None:
    """Create an empty `excluded` (the rows that validations keep out of the hub)."""
    session.define(
        query("SELECT CAST('' AS VARCHAR) AS s_input_id, CAST(0 AS BIGINT) AS s_row_id WHERE FALSE"), T.excluded
    )


def resolve(session: Session, change: Change, reading: Reading) -> None:
    """Create `timeline` and `versions` from the observations and `excluded`.

    Can be run again after more rows were excluded.
    """
    source = change.source
    if isinstance(source.refresh, AppendRefresh):
        session.define(_appended(source), T.versions)
        return
    if reading.paired:
        create_timeline_from_pairs(session)
    else:
        spares = change.is_sparing(late=reading.late)
        create_timeline(session, source, absences=not reading.planned, spares=spares)
    session.define(_versions(source), T.versions)


def compare(session: Session, change: Change, reading: Reading) -> None:
    """Create `fresh`, `amended` and `removed`: the difference between `versions` and the hub as it is.

    Rows of an added input that is in the hub already are written again, because parsing or rules may have changed.
    """
    source = change.source
    if reading.paired:
        compare_pairs(session, source)
        return
    names = _version_columns(source)
    again = [literal(input_id) for input_id in change.ids if input_id in change.manifest.inputs]
    own: exp.Expr = column("s_input_id", "v")
    if again:
        own = query("CASE WHEN NOT $again THEN $own END", again=exp.In(this=own, expressions=again), own=own.copy())
    # a deletion by absence has no row, so only the key identifies it within an input
    others = ("s_row_id", "s_key") if keeps_deletions(source) else ("s_row_id",)
    one = exp.and_(
        exp.EQ(this=own, expression=column("s_input_id", "e")),
        *[exp.EQ(this=column(name, "v"), expression=column(name, "e")) for name in others],
    )
    same = exp.and_(
        *[exp.NullSafeEQ(this=column(name, "v"), expression=column(name, "e")) for name in system_columns(source)]
    )
    session.create(
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
        T.difference,
    )
    for name, selected, condition in (
        (T.fresh, names, "d.s_file IS NULL"),
        (T.amended, (*names, FILE, POSITION), "d.s_stands AND NOT d.s_file IS NULL AND NOT d.s_same"),
        (T.removed, (FILE, POSITION), "NOT d.s_file IS NULL AND NOT (d.s_stands AND d.s_same)"),
    ):
        rows = query("SELECT $names FROM $difference AS d", names=columns(selected, "d"), difference=T.difference)
        session.define(rows.where(query(condition)), name)


def _appended(source: Source) -> exp.Query:
    """Return the versions for `append`: every observation is one."""
    rows: exp.Query = query(
        """
        SELECT s_key, s_input_id, s_row_id, s_order, s_row_hash, s_created_at, s_extract_time AS s_updated_at
        FROM $kept AS o
        """,
        kept=observations_not_excluded(source),
    )
    return rows


def _version_columns(source: Source) -> tuple[str, ...]:
    return (*system_columns(source), *(replace_scope.carried_names(source) if keeps_deletions(source) else ()))


def _versions(source: Source) -> exp.Query:
    """Return the hub rows of the affected keys as they should be: one a key, or with history one a version."""
    carried = replace_scope.carried_names(source) if keeps_deletions(source) else ()
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
    """Create `kinds`: the kind of change of each observation in the added inputs, with its carried columns."""
    if isinstance(source.refresh, AppendRefresh):
        session.create(
            query(
                "SELECT s_input_id, s_row_id, s_key, s_order, s_row_hash, 'new' AS s_change FROM $delivered AS d",
                delivered=T.delivered,
            ),
            T.kinds,
        )
        return
    session.create(
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
            carried=columns(replace_scope.carried_names(source)),
            timeline=T.timeline,
            lost=T.lost,
            absent=ABSENT,
        ),
        T.kinds,
    )


def counts(session: Session, change: Change) -> dict[str, dict[str, int]]:
    """Count the observations of each kind, by added input. Rows that are not in `kinds` are unchanged."""
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
