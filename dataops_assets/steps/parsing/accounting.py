"""Counts the rows of each input, and compares them with the number of records in its bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dataops_assets.engines.base import Session
from dataops_assets.errors import DataOpsError, InputError
from dataops_assets.sql import query
from dataops_assets.steps.parsing.raw_inputs import RawInputs
from dataops_assets.steps.parsing.typed_rows import TypedRows


def row_counts(session: Session, typed: TypedRows, input_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return for each input the number of parsed rows, of rejected rows, and of records in its bytes."""
    found = session.fetch(
        query(
            "SELECT s_input_id, count(*) - count(s_fault) AS parsed, count(s_fault) AS rejected FROM $typed AS t "
            "GROUP BY s_input_id",
            typed=typed.table,
        )
    ).to_pylist()
    counts = {row["s_input_id"]: (row["parsed"], row["rejected"]) for row in found}
    return {
        input_id: {"rows": parsed, "rejected": rejected, "records": typed.raw.records[input_id]}
        for input_id in input_ids
        for parsed, rejected in [counts.get(input_id, (0, 0))]
    }


def unaccounted(raw: RawInputs, counts: Mapping[str, Mapping[str, int]]) -> dict[str, DataOpsError]:
    """Return an error for each input whose number of rows differs from its number of records.

    The records are counted independently of the rows.
    """
    errors: dict[str, DataOpsError] = {}
    for input_id, count in counts.items():
        made = count["rows"] + count["rejected"]
        if made != count["records"]:
            errors[input_id] = InputError(
                f"reading {raw.names[input_id]}",
                received=f"{count['records']:,} records, of which {made:,} became rows "
                f"({count['rows']:,} for the lake, {count['rejected']:,} rejected)",
                next_step="look at quotes, line ends and the declared format; nothing of the input is published",
            )
    return errors
