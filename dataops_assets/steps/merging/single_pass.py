"""Observations in order, each beside the hub's present version of its key: all there is to know if keys are said once.

Then a version begins where the two differ, and takes the place of the hub's; nothing is sorted, no timeline is read.
"""

from __future__ import annotations

from sqlglot import exp

from dataops_assets.config.refresh import FullRefresh, KeyRefresh
from dataops_assets.config.source import Source
from dataops_assets.engines.base import FILE, POSITION, Session
from dataops_assets.sql import DIALECT, alias, column, columns, query
from dataops_assets.steps.merging import replace_scope
from dataops_assets.steps.merging.change import (
    ABSENT,
    Change,
    T,
    differs,
    is_event,
    is_gone,
    no_hub_rows,
    observed_columns,
    standing_rows,
    system_columns,
)
from dataops_assets.steps.merging.row_identity import order_type
from dataops_assets.storage.delta import TableVersion


def can_pair(change: Change, base: TableVersion | None) -> bool:
    """Whether the hub's present versions are all that a change in order needs, if it says each key once."""
    if base is None and change.settled is not None:
        return False
    is_one_extract = isinstance(change.source.refresh, FullRefresh) and len(change.adding) == 1
    if change.is_sparing(late=False):
        # a key may be absent from the rows and present in the extract
        return False
    return is_one_extract or isinstance(change.source.refresh, KeyRefresh)


def pair_by_key(session: Session, change: Change, hub: exp.Expr | None) -> bool:
    """Create `pairs`: each observation beside the hub's present version of its key.

    False where a key is said several times. Then it leaves `added` and `touched`, too.
    """
    source = change.source
    session.create(
        T.pairs,
        query(
            """
            SELECT $names, a.s_extract_time AS s_created_at, h.s_gone AS s_deleted_before, FALSE AS s_is_old,
                   $is_event AS s_is_event,
                   CASE WHEN h.s_gone = FALSE THEN h.s_created_at ELSE a.s_extract_time END AS s_life_started_at,
                   $nothing AS s_next, $held
            FROM $delivered AS a LEFT JOIN $hub AS h ON h.s_key = a.s_key
            """,
            names=columns(observed_columns(source), "a"),
            is_event=is_event("a", "h", column("s_gone", "h")),
            nothing=exp.cast(exp.null(), order_type(source), dialect=DIALECT),
            held=_held(source),
            delivered=T.delivered,
            hub=_present(source, hub),
        ),
    )
    repeated = query("SELECT p.s_key FROM $pairs AS p GROUP BY p.s_key HAVING count(*) > 1", pairs=T.pairs)
    if not session.fetch(query("SELECT 1 AS one FROM $repeated AS r LIMIT 1", repeated=repeated)).num_rows:
        return True
    said = query("SELECT $names FROM $pairs AS p", names=columns(observed_columns(source), "p"), pairs=T.pairs)
    session.define(T.added, said)
    session.create(T.touched, query("SELECT DISTINCT p.s_key FROM $pairs AS p WHERE p.s_is_event", pairs=T.pairs))
    return False


def pair_by_extract(session: Session, change: Change, base: TableVersion | None, hub: exp.Expr | None) -> bool:
    """Create `pairs` from one look at a full extract and the hub: what the extract says otherwise, and absences.

    A full extract says mostly what the hub says already, and nothing of that is kept. False where the extract has a key
    several times: then a row that says what the hub says may be beside one that does not, and was passed over.
    """
    source, (item,) = change.source, change.adding
    session.create(
        T.pairs,
        query(
            """
            SELECT $input_id AS s_input_id, coalesce(d.s_row_id, $absent) AS s_row_id,
                   coalesce(d.s_key, h.s_key) AS s_key, $time AS s_order, d.s_row_hash, $time AS s_extract_time,
                   CAST($rank AS BIGINT) AS s_rank, TRUE AS s_added, d.s_key IS NULL AS s_deleted, $carried,
                   $time AS s_created_at, h.s_gone AS s_deleted_before, FALSE AS s_is_old,
                   $complete OR NOT d.s_key IS NULL AS s_is_event,
                   CASE WHEN h.s_gone = FALSE THEN h.s_created_at ELSE $time END AS s_life_started_at,
                   CAST(NULL AS TIMESTAMPTZ) AS s_next, $held
            FROM $delivered AS d FULL JOIN $hub AS h ON h.s_key = d.s_key
            WHERE CASE WHEN d.s_key IS NULL THEN NOT h.s_gone ELSE $differs END
            """,
            input_id=item.input_id,
            absent=ABSENT,
            time=item.extract_time,
            rank=len(change.applied_after()),
            carried=[
                alias(exp.func("coalesce", column(name, "d"), column(name, "h")), name)
                for name in replace_scope.carried_names(source)
            ],
            complete=item.input_id not in change.incomplete,
            held=_held(source),
            differs=differs("d", "h", column("s_gone", "h")),
            delivered=T.delivered,
            hub=_present(source, hub),
        ),
    )
    tally = query(
        """
        SELECT count(*) AS pairs, count(DISTINCT p.s_key) AS keys, count(CASE WHEN NOT p.s_deleted THEN 1 END) AS said,
               count(CASE WHEN p.s_deleted_before = FALSE THEN 1 END) AS standing
        FROM $pairs AS p
        """,
        pairs=T.pairs,
    )
    found = session.fetch(tally).to_pylist()[0]
    # what was passed over: rows of the extract, and rows of the hub, which are the same if each has one beside it
    passed_over = change.rows(item.input_id) - found["said"], standing_rows(session, source, base) - found["standing"]
    return found["pairs"] == found["keys"] and passed_over[0] == passed_over[1]


def lay_out(session: Session) -> None:
    """Create `timeline` from `pairs` without what is `excluded`; nothing of it is `lost`."""
    said = query(
        """
        SELECT p.* FROM $pairs AS p
        ANTI JOIN $excluded AS x ON x.s_input_id = p.s_input_id AND x.s_row_id = p.s_row_id
        """,
        pairs=T.pairs,
        excluded=T.excluded,
    )
    session.define(T.timeline, said)
    session.define(T.lost, query("SELECT p.* FROM $pairs AS p WHERE FALSE", pairs=T.pairs))


def compare_pairs(session: Session, source: Source) -> None:
    """Create `fresh`, `amended` and `removed`: what begins, and what it takes the place of or, with history, ends."""
    names = system_columns(source)
    session.define(T.fresh, query("SELECT v.* FROM $versions AS v", versions=T.versions))
    replaced = query(
        "SELECT t.s_file, t.s_position FROM $timeline AS t WHERE t.s_is_event AND NOT t.s_file IS NULL",
        timeline=T.timeline,
    )
    session.define(T.removed, replaced)
    if source.refresh.history:
        ends = {"s_valid_to": column("s_order", "t"), "s_is_current": exp.false()}
        values = [alias(ends.get(name, column(f"s_held_{name}", "t")), name) for name in names]
        ended = replaced.copy().select(*values, append=False).select(*columns((FILE, POSITION), "t"))
        session.define(T.amended, ended)
    else:
        nothing = query(
            "SELECT $told FROM $none AS n", told=columns((*names, FILE, POSITION)), none=no_hub_rows(source)
        )
        session.define(T.amended, nothing)


def _present(source: Source, hub: exp.Expr | None) -> exp.Query:
    """The hub's present versions; `s_gone` where one is the deletion of its key."""
    rows = hub if hub is not None else no_hub_rows(source)
    found: exp.Query = query("SELECT h.*, $gone AS s_gone FROM $rows AS h", gone=is_gone(source, "h"), rows=rows)
    return found


def _held(source: Source) -> list[exp.Expr]:
    """What `pairs` has of the hub's version: its place, and with history all that its end leaves as it is."""
    ended = [alias(column(name, "h"), f"s_held_{name}") for name in system_columns(source) if source.refresh.history]
    return [*columns((FILE, POSITION), "h"), *ended]
