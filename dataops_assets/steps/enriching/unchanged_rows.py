"""Reads the rows of inputs that are in no change set, where a validation can still stop their input.

A row that equals the row of the hub in all tracked columns changes nothing, so it is in no change set and is not
enriched. But a validation of severity `fail` may read a column of `ignore_changes_in`. It must look at all rows of an
input: otherwise the inputs that came before would decide whether this one is published.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from sqlglot import exp

from dataops_assets.engines.base import Session
from dataops_assets.report import Input
from dataops_assets.rules.stage import Stage
from dataops_assets.sql import columns, query
from dataops_assets.steps.enriching.row_status import flags_of
from dataops_assets.steps.merging.observations import observations
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.stored_rows import lake_of, lake_rows
from dataops_assets.storage.publish import rows_of

_SYSTEM = ("s_input_id", "s_row_id", "s_key", "s_order", "s_row_hash")


def unchanged_rows(
    context: SourceContext, session: Session, stage: Stage, inputs: Sequence[Input], changed: exp.Query
) -> exp.Query | None:
    """Return the rows of the inputs that are not among the `changed` ones, with the columns of a change set.

    Grain: one row for each row of the lake, without delete markers. None if such a row cannot stop its input.
    """
    source = context.source
    if not (inputs and source.refresh.ignore_changes_in and any(flag.severity == "fail" for flag in flags_of(stage))):
        return None
    ids = [item.input_id for item in inputs]
    # they are compared with nothing, so their rank does not matter
    arrived = session.register(
        pa.table(
            {
                "s_input_id": pa.array(ids, pa.string()),
                "s_extract_time": pa.array([item.extract_time for item in inputs], pa.timestamp("us", tz="UTC")),
                "s_rank": pa.array([0] * len(ids), pa.int64()),
                "s_added": pa.array([True] * len(ids), pa.bool_()),
            }
        )
    )
    own = rows_of(lake_rows(session, source, lake_of(context), ids), ids)
    found: exp.Query = query(
        """
        SELECT $columns, $system, 'unchanged' AS s_change
        FROM $observed AS o JOIN $rows AS r ON r.s_input_id = o.s_input_id AND r.s_row_id = o.s_row_id
        ANTI JOIN $changed AS c ON c.s_input_id = o.s_input_id AND c.s_row_id = o.s_row_id
        WHERE NOT o.s_deleted
        """,
        columns=columns(source.column_names, "r"),
        system=columns(_SYSTEM, "o"),
        observed=observations(source, own, arrived),
        rows=own,
        changed=changed,
    )
    return found
