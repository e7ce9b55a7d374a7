"""Finds ties: inputs with different rows for one key at the same order and the same extract time.

A fixed rule decides the tie (docs/refresh.md), but the result may not be what was meant: two extracts of one second, or
two local times that are one instant when the clocks change. So the report shows it.
"""

from __future__ import annotations

from dataops_assets.config.refresh import AppendRefresh
from dataops_assets.engines.base import Session
from dataops_assets.sql import query
from dataops_assets.steps.merging.merge import Timeline
from dataops_assets.steps.merging.single_pass import Pairs

_SHOWN = 3


def ties(session: Session, timeline: Timeline) -> dict[str, str | int]:
    """Return notes on the keys that a tie decides: their number, and the inputs."""
    if isinstance(timeline.seen, Pairs) or isinstance(timeline.change.source.refresh, AppendRefresh):
        return {}
    found = session.fetch(
        query(
            """
            SELECT t.s_input_id AS winner, o.s_input_id AS loser, count(DISTINCT t.s_key) AS n
            FROM $timeline AS t JOIN $seen AS o
              ON o.s_key = t.s_key AND o.s_order = t.s_order AND o.s_extract_time = t.s_extract_time
            WHERE t.s_input_id <> o.s_input_id AND t.s_rank <> 0 AND o.s_rank <> 0
              AND (t.s_deleted <> o.s_deleted OR t.s_row_hash <> o.s_row_hash)
            GROUP BY t.s_input_id, o.s_input_id ORDER BY n DESC, winner, loser
            """,
            timeline=timeline.ordered.rows,
            seen=timeline.ordered.every,
        )
    ).to_pylist()
    if not found:
        return {}
    shown = [f"{row['winner']} before {row['loser']}: {row['n']:,} keys" for row in found[:_SHOWN]]
    rest = [f"and {len(found) - _SHOWN} more pairs"] if len(found) > _SHOWN else []
    return {"keys decided by a tie": sum(row["n"] for row in found), "ties": "; ".join([*shown, *rest])}
