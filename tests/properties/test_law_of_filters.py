"""Each record is a row, rejected or filtered, as a model in plain Python says; no record is lost."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from declared import unchecked_source
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parsed_files import typed

from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.steps.parsing.filtered_rows import FILTERED

COLUMNS = {"id": "integer", "op": "text", "tenant": "integer", "v": "integer"}
RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.sampled_from(["1", "2", "", "x"]),
            "op": st.sampled_from(["c", "d", "beat", ""]),
            "tenant": st.sampled_from(["1", "2", "", "x"]),
            "v": st.sampled_from(["5", "", "x"]),
        }
    ),
    max_size=20,
)


def kept(row: dict[str, str], condition: str) -> bool:
    """What the conditions say of a row whose tenant is a number or nothing."""
    own = row["tenant"] == "1"
    return {"": True, "tenant = 1": own, "op <> 'beat' AND tenant = 1": own and row["op"] not in ("", "beat")}[
        condition
    ]


def verdict(row: dict[str, str], condition: str, deletes: str) -> str:
    """Whether a record is a row, rejected or filtered, from the definitions."""
    if condition and row["tenant"] != "x" and not kept(row, condition):
        return "filtered"
    reads_all = not (condition and row["tenant"] == "x")
    if row["id"] in ("", "x"):
        return "rejected"
    if deletes and row["op"] == "d" and reads_all:
        return "row"
    return "rejected" if "x" in (row["tenant"], row["v"]) else "row"


def declared(condition: str, deletes: str) -> Source:
    refresh: dict[str, Any] = {"type": "key", "key": ["id"], "delete_when": deletes}
    source = unchecked_source("things", COLUMNS, refresh=refresh, keep_when=condition)
    first = source.columns[0].model_copy(update={"nullable": False})
    return source.model_copy(update={"columns": (first, *source.columns[1:])})


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    home = tmp_path_factory.mktemp("engine")
    return DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))


@pytest.mark.parametrize("deletes", ["", "op = 'd'"], ids=["", "markers"])
@pytest.mark.parametrize("condition", ["", "tenant = 1", "op <> 'beat' AND tenant = 1"])
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(records=RECORDS)
def test_every_record_is_a_row_rejected_or_filtered(
    engine: DuckDBEngine, tmp_path_factory: pytest.TempPathFactory, condition: str, deletes: str, records: Any
) -> None:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(COLUMNS))
    writer.writeheader()
    writer.writerows(records)
    path = tmp_path_factory.getbasetemp() / "things.csv"
    path.write_text(out.getvalue(), encoding="utf-8", newline="")
    faults = {row["s_row_id"]: row["s_fault"] for row in typed(engine, Path(path), declared(condition, deletes))}
    found = [{None: "row", FILTERED: "filtered"}.get(faults[position], "rejected") for position in range(len(records))]
    assert found == [verdict(row, condition, deletes) for row in records]
