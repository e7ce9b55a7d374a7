"""Checks whether deletions by absence are suspended, since when, and how many rows of the hub are stale.

They are suspended while inputs have rejected rows whose key cannot be read.
"""

from __future__ import annotations

import itertools

from sqlglot import exp

from dataops_assets.engines.base import Session
from dataops_assets.report import CheckOutcome
from dataops_assets.sql import column, columns, query
from dataops_assets.steps.merging import replace_scope
from dataops_assets.steps.merging.change import Change, absence_deletes
from dataops_assets.steps.merging.input_periods import covers_of, told_by
from dataops_assets.steps.merging.manifest import AppliedInput, HubManifest
from dataops_assets.steps.merging.row_identity import key_text, value_text
from dataops_assets.storage import publish
from dataops_assets.storage.delta import TableVersion


def outcomes(
    session: Session, change: Change, after: HubManifest, hub: TableVersion, lake: exp.Expr
) -> tuple[CheckOutcome, ...]:
    """Return the check result of the hub: whether the newest inputs delete the rows that they do not contain."""
    source = change.source
    if not absence_deletes(source) or not after.inputs:
        return ()
    newest_first = list(reversed(after.ordered))
    run = list(itertools.takewhile(lambda item: not item.complete, newest_first))
    if not run:
        explanation = "the newest input deletes what it does not contain"
        numbers: dict[str, float | int | str | None] = {"inputs": 0, "stale": 0, "since": None}
    else:
        stale = _stale(session, change, run[0], hub, lake)
        since = f"{run[-1].extract_time:%Y-%m-%d %H:%M:%S} UTC"
        explanation = (
            f"deletes are suspended since {since}: {len(run)} input(s) in a row have rejected rows whose key cannot be "
            f"read; {stale:,} rows of the hub are missing in the newest one. Repair the rows, correct the contract, or "
            "set refresh.unreadable_rows to ignore"
        )
        numbers = {"inputs": len(run), "stale": stale, "since": since}
    return (CheckOutcome(f"hub/{source.name}", "suspended_deletes", not run, "warn", explanation, None, numbers),)


def _stale(session: Session, change: Change, item: AppliedInput, hub: TableVersion, lake: exp.Expr) -> int:
    """Count the rows of the hub that the newest input would delete if it had no rejected rows."""
    source, newest = change.source, item.input_id
    own = publish.rows_of(lake, [newest])
    probe = replace_scope.probe(source) if replace_scope.is_partial(source) else ()
    rows = query(
        "SELECT h.s_key, $probe FROM $hub AS h WHERE h.s_input_id <> $newest",
        probe=columns(probe, "h"),
        hub=session.scan(hub),
        newest=newest,
    )
    if source.refresh.history:
        rows = rows.where(column("s_is_current", "h"))
    if replace_scope.is_partial(source):
        rows = query(
            "SELECT h.* FROM $rows AS h SEMI JOIN $covers AS n ON $is_covered",
            rows=rows,
            covers=covers_of(session, source, lake, {newest: told_by(source, item.as_input)}),
            is_covered=replace_scope.is_covered(source, "h", "n", probe),
        )
    known: exp.Query = query("SELECT $key AS s_key FROM $own AS r", key=key_text(source, "r"), own=own)
    missing = query("SELECT h.* FROM $rows AS h ANTI JOIN $known AS k ON k.s_key = h.s_key", rows=rows, known=known)
    if change.spared is not None:
        kinds = {item.name: item.type for item in source.columns}
        by = source.refresh.range_by
        missing = query(
            "SELECT h.* FROM $rows AS h ANTI JOIN $spared AS x ON x.s_key = $same",
            rows=missing,
            spared=publish.rows_of(change.spared, [newest]),
            same=column("s_key", "h") if by is None else value_text(column(by, "h"), kinds[by]),
        )
    found = session.fetch(query("SELECT count(*) AS n FROM $missing AS m", missing=missing))
    return int(found.column("n")[0].as_py())
