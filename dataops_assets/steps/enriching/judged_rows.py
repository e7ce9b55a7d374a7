"""Collects the rows that refresh validates, and adds them to `hub/<source>_enriched`."""

from __future__ import annotations

from sqlglot import exp

from dataops_assets.engines.base import Session
from dataops_assets.sql import DIALECT, alias, column, columns, query, values
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage import publish

_JUDGED = "s_judged"


def forget_judged(session: Session) -> None:
    """Create an empty table of the rows that `publish_judged` adds."""
    names = {"s_input_id": "VARCHAR", "s_row_id": "BIGINT"}
    session.create(values([], names), _JUDGED)


def note_judged(session: Session, rows: exp.Query) -> None:
    """Collect rows of `enrich_query` whose status is not in `hub/<source>_enriched` yet."""
    judged = query("SELECT e.*, 'old' AS s_change FROM $rows AS e", rows=rows)
    noted = session.fetch(query("SELECT 1 AS one FROM $noted AS n LIMIT 1", noted=_JUDGED)).num_rows
    both = exp.union(query("SELECT * FROM $noted AS n", noted=_JUDGED), judged, distinct=False)
    session.create(both if noted else judged, "s_judged_now")
    session.create(query("SELECT * FROM s_judged_now"), _JUDGED)


def publish_judged(context: SourceContext, session: Session) -> None:
    """Add the collected rows to `hub/<source>_enriched`, so that it has every row that is kept out, with its status.

    These rows are in no change set: they changed nothing until another row was repaired, removed or kept out.
    """
    ids = publish.input_ids_of(session, _JUDGED)
    known = context.enriched.snapshot()
    if not ids or known is None:
        return
    present = session.schema(query("SELECT * FROM $noted AS n", noted=_JUDGED))
    rows = query(
        "SELECT $names FROM $noted AS n",
        names=[
            column(name, "n") if name in present else alias(exp.cast(exp.null(), kind, dialect=DIALECT), name)
            for name, kind in known.columns.items()
        ],
        noted=_JUDGED,
    )
    there = publish.rows_of(session.scan(known), ids)
    kept = query("SELECT $names FROM $there AS e", names=columns(known.columns, "e"), there=there)
    publish.replace_inputs(session, context.enriched, exp.union(kept, rows, distinct=False), ids, keep_written=True)
