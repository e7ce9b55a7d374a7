"""What a person sees of an asset in the UI: rows, statistics of columns, numbers of an input and numbers of its run."""

from __future__ import annotations

import csv
import io
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from code_location import CodeLocation, day_of, declaration, failures, loaded, orders

from dataops_assets.components.declarations import declared_sources
from dataops_assets.components.personal import personal_columns
from dataops_assets.quality import looks

PER_INPUT = ("lake/people", "lake/people_changes", "hub/people_enriched")
TABLES = (*PER_INPUT, "hub/people", "hub/people_current")
SECRETS = ("Quentin", "Rosamund", "Theodora")
ROWS = [
    {"id": "1", "name": SECRETS[0], "city": "Oslo", "amount": "10.5", "note": "x" * 300},
    {"id": "2", "name": SECRETS[1], "city": "Bern", "amount": "", "note": "postgres://me:swordfish@db/x"},
    {"id": "3", "name": SECRETS[2], "city": "Oslo", "amount": "4.5", "note": ""},
    {"id": "4", "name": "", "city": "Oslo", "amount": "3", "note": "b"},
]

PEOPLE: dict[str, Any] = orders(
    name="people",
    connection={
        "type": "files",
        "path": "people/*",
        "extract_time": {"pattern": "people_%Y-%m-%d.csv"},
        "settle_seconds": 0,
    },
    columns=[
        {"name": "id", "type": "integer", "nullable": False},
        {"name": "name", "tags": {"pii": "name"}},
        {"name": "city"},
        {"name": "amount", "type": "double"},
        {"name": "note"},
    ],
    refresh={"type": "key", "key": ["id"]},
    relations={},
    rules=[
        {"name": "greeting", "expression": "'dear ' || name"},
        {"name": "of_city", "expression": "sum(amount) over (partition by city)", "mode": "keep_current"},
        {"name": "called", "expression": "max(name) over (partition by city)", "mode": "keep_current"},
    ],
    validations=[],
)


@pytest.fixture(scope="module")
def people() -> Iterator[dg.Definitions]:
    with loaded(PEOPLE) as definitions:
        yield definitions


def text_of(rows: list[dict[str, str]]) -> str:
    written = io.StringIO()
    writer = csv.DictWriter(written, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue()


def records(metadata: Mapping[str, dg.MetadataValue], label: str) -> list[dict[str, Any]]:
    table = metadata[label]
    assert isinstance(table, dg.TableMetadataValue)
    return [dict(record.data) for record in table.records]


def log_of(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> str:
    return "".join(entry.to_json() for entry in instance.all_logs(result.run_id))


def test_every_table_shows_rows_and_statistics_without_personal_values(
    people: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    here = CodeLocation(people, instance, tmp_path)
    here.land("people", "people_2024-01-01.csv", text_of(ROWS))
    results = here.settle("people")
    results.append(here.materialize(["hub/people_current"], {}))
    assert all(result.success for result in results), [failures(result) for result in results]

    amounts = [float(row["amount"]) for row in ROWS if row["amount"]]
    cities = Counter(row["city"] for row in ROWS)
    for asset in TABLES:
        (shown,) = here.materialized(asset).values()
        rows = sorted(records(shown.metadata, "preview"), key=lambda row: int(row["id"]))
        assert [row["id"] for row in rows] == ["1", "2", "3", "4"], asset
        assert [row["name"] for row in rows] == ["***", "***", "***", None], asset
        # the columns of the business first
        assert [column.name for column in shown.metadata["preview"].schema.columns][:5] == list(ROWS[0]), asset
        # long values are cut, and secrets are masked as everywhere
        assert (len(rows[0]["note"]), rows[1]["note"]) == (60, "postgres://***@db/x"), asset
        known = {row["column"]: row for row in records(shown.metadata, "column_statistics")}
        amount = known["amount"]
        assert amount["type"] == "DOUBLE", asset
        assert (amount["nulls"], amount["null share"], amount["distinct"]) == (1, "25.0%", 3), asset
        assert (amount["least"], amount["most"], amount["mean"]) == ("3.0", "10.5", statistics.fmean(amounts)), asset
        assert sum(block != "·" for block in amount["histogram"]) == 3, asset
        assert known["city"]["top values"] == ", ".join(f"{city} ({n})" for city, n in cities.most_common()), asset
        assert (known["name"]["nulls"], known["name"]["distinct"]) == (1, 3), asset
        for name in {"name", "greeting", "called"} & set(known):
            assert [known[name][fact] for fact in ("least", "most", "top values")] == ["***"] * 3, (asset, name)
            assert not known[name]["histogram"], (asset, name)
        assert "all 4 rows of" in str(shown.metadata["statistics_of"].value), asset
    assert {"greeting", "called", "of_city"} <= {row["column"] for row in records(shown.metadata, "column_statistics")}
    told = "".join(log_of(instance, result) for result in results)
    assert [value for value in (*SECRETS, "swordfish") if value in told] == []


def test_numbers_of_the_run_are_apart_and_the_newest_input_is_the_last(
    people: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    here = CodeLocation(people, instance, tmp_path)
    # the newest one is found first
    for day in (3, 1, 2):
        rows = [{"id": str(10 * day + row), "name": "", "city": "", "amount": "1", "note": ""} for row in range(day)]
        here.land("people", f"people_2024-01-0{day}.csv", text_of(rows))
    (run,) = here.settle("people")
    assert run.success, failures(run)
    newest = next(item for item in here.partitions("people") if day_of(item) == "20240103")
    for asset in ("raw/people", *PER_INPUT, "hub/people"):
        latest = instance.get_latest_materialization_event(dg.AssetKey(asset.split("/")))
        assert latest is not None
        assert latest.asset_materialization is not None
        assert latest.asset_materialization.partition == newest, asset
        for partition, event in here.materialized(asset).items():
            of_run = {label for label in event.metadata if label.startswith("run: ")}
            assert bool(of_run) == (partition == newest), (asset, partition)
            assert ("preview" in event.metadata) == (partition == newest and asset != "raw/people"), (asset, partition)
    hub = here.materialized("hub/people")
    assert {day_of(partition): event.metadata["new"].value for partition, event in hub.items()} == {
        "20240101": 1,
        "20240102": 2,
        "20240103": 3,
    }
    assert hub[newest].metadata["run: inserted"].value == 6
    assert hub[newest].metadata["run: inputs"].value == 3
    assert not {"inserted", "seconds", "inputs", "copied"} & {
        label for event in hub.values() for label in event.metadata
    }
    lake = here.materialized("lake/people")
    for partition, event in lake.items():
        assert event.metadata["dagster/partition_row_count"].value == int(day_of(partition)[6:8])
        assert event.metadata["dagster/row_count"].value == 6
    assert "all 3 rows of input" in str(lake[newest].metadata["statistics_of"].value)
    assert "all 6 rows of the table" in str(hub[newest].metadata["statistics_of"].value)


def test_a_look_at_a_large_table_is_a_sample_and_at_a_large_input_has_the_stored_profile(
    people: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "MOST_ROWS", 4)
    here = CodeLocation(people, instance, tmp_path)
    rows = [{"id": str(row), "name": "", "city": "", "amount": str(row), "note": ""} for row in range(10)]
    here.land("people", "people_2024-01-01.csv", text_of(rows))
    (run,) = here.settle("people")
    assert run.success, failures(run)
    (lake,) = here.materialized("lake/people").values()
    (hub,) = here.materialized("hub/people").values()
    assert "all 10 rows of input" in str(lake.metadata["statistics_of"].value)
    assert "the first 4 rows" in str(lake.metadata["statistics_of"].value)
    (amount,) = (row for row in records(lake.metadata, "column_statistics") if row["column"] == "amount")
    assert (amount["least"], amount["most"], amount["mean"]) == ("0.0", "9.0", 4.5)
    assert hub.metadata["statistics_of"].value == "a sample of 4 of 10 rows of the table"
    assert len(records(hub.metadata, "preview")) == 4


def test_personal_columns_are_known_to_the_warehouse_by_table(tmp_path: Path) -> None:
    (tmp_path / "defs.yaml").write_text(declaration(PEOPLE))
    found = set(personal_columns(declared_sources(tmp_path)))
    assert {column for key, column in found if key == ("hub", "people_current")} == {"name", "greeting", "called"}
    assert {"/".join(key) for key, _ in found} == {"raw/people", *TABLES}


def test_the_layer_stands_on_the_node(people: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    graph = CodeLocation(people, instance, tmp_path).repository.asset_graph
    for asset in ("raw/people", "lake/people_quarantine", *TABLES):
        layer = asset.partition("/")[0]
        kinds = graph.get(dg.AssetKey(asset.split("/"))).kinds
        assert kinds & {"raw", "lake", "hub"} == {layer}, asset
        # Dagster shows no more on a node
        assert len(kinds) <= 3, asset
