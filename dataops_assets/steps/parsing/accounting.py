"""Counts the rows of each input, and compares them with the number of records in its bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dataops_assets.engines.base import Session
from dataops_assets.errors import DataOpsError, InputError
from dataops_assets.sql import query
from dataops_assets.steps.parsing.filtered_rows import FILTERED
from dataops_assets.steps.parsing.raw_inputs import RawInputs
from dataops_assets.steps.parsing.typed_rows import TypedRows


def row_counts(session: Session, typed: TypedRows, input_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return for each input the number of parsed rows, of rejected rows, and of records in its bytes.

    `filtered` is the number of rows that `keep_when` does not keep, and of records of other types.
    """
    found = session.fetch(
        query(
            "SELECT s_input_id, count(*) - count(s_fault) AS rows, count(s_fault) AS rejected FROM $typed AS t "
            "GROUP BY s_input_id",
            typed=typed.table,
        )
    ).to_pylist()
    counts = {row["s_input_id"]: {"rows": row["rows"], "rejected": row["rejected"]} for row in found}
    for input_id, filtered in _filtered_rows(session, typed).items():
        counts[input_id] |= {"rejected": counts[input_id]["rejected"] - filtered, "filtered": filtered}
    for input_id, others in typed.raw.filtered.items():
        count = counts.setdefault(input_id, {})
        count["filtered"] = count.get("filtered", 0) + others
    kinds = ("rows", "rejected", *(["filtered"] if typed.source.filters_rows else []))
    return {
        input_id: {kind: counts.get(input_id, {}).get(kind, 0) for kind in kinds}
        | {"records": typed.raw.records[input_id]}
        for input_id in input_ids
    }


def _filtered_rows(session: Session, typed: TypedRows) -> dict[str, int]:
    """Return the number of filtered rows of each input that has any."""
    if not typed.source.keep_when:
        return {}
    found = session.fetch(
        query(
            "SELECT s_input_id, count(*) AS n FROM $typed AS t WHERE s_fault = $filtered GROUP BY s_input_id",
            typed=typed.table,
            filtered=FILTERED,
        )
    )
    return {row["s_input_id"]: row["n"] for row in found.to_pylist()}


def unaccounted(raw: RawInputs, counts: Mapping[str, Mapping[str, int]]) -> dict[str, DataOpsError]:
    """Return an error for each input whose number of rows differs from its number of records.

    The records are counted independently of the rows.
    """
    errors: dict[str, DataOpsError] = {}
    for input_id, count in counts.items():
        made = count["rows"] + count["rejected"] + count.get("filtered", 0)
        if made != count["records"]:
            errors[input_id] = InputError(
                f"reading {raw.names[input_id]}",
                received=f"{count['records']:,} records, of which {made:,} became rows "
                f"({count['rows']:,} for the lake, {count['rejected']:,} rejected{_filtered(count)})",
                next_step="look at quotes, line ends and the declared format; nothing of the input is published",
            )
    return errors


def _filtered(count: Mapping[str, int]) -> str:
    return f", {count['filtered']:,} filtered" if "filtered" in count else ""
