"""Adds the rows that refresh validated to `hub/<source>_enriched`."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from dataops_assets.engines.base import Session
from dataops_assets.sql import DIALECT, alias, all_rows, column, columns, query
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage import publish


def publish_judged(context: SourceContext, session: Session, judged: Sequence[exp.Query]) -> None:
    """Add judged rows to `hub/<source>_enriched`, so that it has every row that is kept out, with its status.

    `judged` are rows of `enrich_query`, all with the same columns. They are in no change set: they changed nothing
    until another row was repaired, removed or kept out.
    """
    known = context.enriched.snapshot()
    if not judged or known is None:
        return
    parts = [query("SELECT e.*, 'old' AS s_change FROM $rows AS e", rows=rows) for rows in judged]
    noted = session.define(all_rows(parts))
    rows = query(
        "SELECT $names FROM $noted AS n",
        names=[
            column(name, "n") if name in noted.columns else alias(exp.cast(exp.null(), kind, dialect=DIALECT), name)
            for name, kind in known.columns.items()
        ],
        noted=noted,
    )
    ids = publish.input_ids_of(session, noted)
    there = publish.rows_of(session.scan(known), ids)
    kept = query("SELECT $names FROM $there AS e", names=columns(known.columns, "e"), there=there)
    publish.replace_inputs(session, context.enriched, exp.union(kept, rows, distinct=False), ids, keep_written=True)
