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
from dataops_assets.sql import column, columns, query
from dataops_assets.steps.enriching.row_status import flags_of
from dataops_assets.steps.merging.row_identity import delete_marker, key_text, order_value, row_hash
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.stored_rows import lake_of, lake_rows
from dataops_assets.storage.publish import rows_of


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
    times = pa.array([item.extract_time for item in inputs], pa.timestamp("us", tz="UTC"))
    found: exp.Query = query(
        """
        SELECT $columns, r.s_input_id, r.s_row_id, $key AS s_key, $order AS s_order, $hash AS s_row_hash,
               'unchanged' AS s_change
        FROM $rows AS r JOIN $inputs AS i ON i.s_input_id = r.s_input_id
        ANTI JOIN $changed AS c ON c.s_input_id = r.s_input_id AND c.s_row_id = r.s_row_id
        WHERE NOT $deleted
        """,
        columns=columns(source.column_names, "r"),
        key=key_text(source, "r"),
        order=order_value(source, "r", column("s_extract_time", "i")),
        hash=row_hash(source, "r"),
        rows=rows_of(lake_rows(session, source, lake_of(context), ids), ids),
        inputs=session.register(pa.table({"s_input_id": pa.array(ids, pa.string()), "s_extract_time": times})),
        changed=changed,
        deleted=delete_marker(source, "r"),
    )
    return found
