"""Each preset of an envelope takes a feed of its kind, from the landing folder to the hub."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from planned_cases import Deployment
from pydantic import ValidationError

from dataops_assets.config.envelopes import PRESETS
from dataops_assets.config.source import Source
from dataops_assets.sql import query

PAGE = Path(__file__).resolve().parents[2] / "docs" / "coming-from.md"
JSON = {"type": "jsonl"}
COLUMNS = [{"name": "id", "type": "integer"}, {"name": "city"}, {"name": "amount", "type": "decimal(12,2)"}]


def row(number: int, city: str | None = None, amount: float | None = None) -> dict[str, Any]:
    return {"id": number, "city": city, "amount": amount}


def debezium(op: str, when: int, before: Any, after: Any) -> dict[str, Any]:
    source = {
        "version": "3.6.1",
        "connector": "postgresql",
        "ts_ms": when,
        "lsn": when,
        "db": "shop",
        "table": "orders",
    }
    return {"before": before, "after": after, "source": source, "op": op, "ts_ms": when + 7, "transaction": None}


def maxwell(kind: str, when: int, data: Any, old: Any = None) -> dict[str, Any]:
    said = {"database": "shop", "table": "orders", "type": kind, "ts": when, "xid": 7, "commit": True, "data": data}
    return said | ({"old": old} if old else {})


def goldengate(op: str, position: int, before: Any, after: Any) -> dict[str, Any]:
    said = {"table": "SHOP.ORDERS", "op_type": op, "op_ts": "2024-01-01 00:00:00.0", "pos": f"{position:020}"}
    return said | ({"before": before} if before else {}) | ({"after": after} if after else {})


def changed(kind: str, version: int, values: Mapping[str, Any]) -> dict[str, Any]:
    return {**values, "_change_type": kind, "_commit_version": version, "_commit_timestamp": "2024-01-01T00:00:00Z"}


def lines(records: Sequence[Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


# two files of each feed: 1 is inserted and changed, 2 is deleted, 3 is inserted, deleted and inserted again
FEEDS: Mapping[str, Sequence[str]] = {
    "debezium": [
        lines(
            [
                debezium("r", 10, None, row(1, "Rome", 1)),
                debezium("c", 11, None, row(2, "Oslo", 2)),
                debezium("c", 12, None, row(3, "Graz", 3)),
                debezium("m", 13, None, None),
            ]
        ),
        lines(
            [
                debezium("u", 20, row(1, "Rome", 1), row(1, "Bern", 1.5)),
                debezium("d", 21, row(2, "Oslo", 2), None),
                debezium("d", 22, row(3, "Graz", 3), None),
                debezium("c", 23, None, row(3, "Linz", 4)),
            ]
        ),
    ],
    "dms": [
        "id,city,amount\n1,Rome,1\n2,Oslo,2\n3,Graz,3\n",
        "Op,id,city,amount\nU,1,Bern,1.5\nD,2,Oslo,2\nD,3,Graz,3\nI,3,Linz,4\n",
    ],
    "maxwell": [
        lines(
            [
                maxwell("bootstrap-start", 9, {}),
                maxwell("bootstrap-insert", 10, row(1, "Rome", 1)),
                maxwell("insert", 11, row(2, "Oslo", 2)),
                maxwell("insert", 11, row(3, "Graz", 3)),
            ]
        ),
        lines(
            [
                maxwell("update", 20, row(1, "Bern", 1.5), {"city": "Rome"}),
                maxwell("delete", 20, row(2, "Oslo", 2)),
                maxwell("delete", 20, row(3, "Graz", 3)),
                maxwell("insert", 20, row(3, "Linz", 4)),
                {"type": "table-alter", "database": "shop", "table": "orders", "ts": 21},
            ]
        ),
    ],
    "goldengate": [
        lines([goldengate("I", n, None, item) for n, item in enumerate([row(1, "Rome", 1), row(2, "Oslo", 2)])])
        + lines([goldengate("I", 9, None, row(3, "Graz", 3))]),
        lines(
            [
                goldengate("U", 10, row(1, "Rome", 1), row(1, "Bern", 1.5)),
                goldengate("D", 11, row(2, "Oslo", 2), None),
                goldengate("D", 12, row(3, "Graz", 3), None),
                goldengate("I", 100, None, row(3, "Linz", 4)),
            ]
        ),
    ],
    "delta_cdf": [
        lines([changed("insert", 1, item) for item in (row(1, "Rome", 1), row(2, "Oslo", 2), row(3, "Graz", 3))]),
        lines(
            [
                changed("update_postimage", 2, row(1, "Bern", 1.5)),
                changed("update_preimage", 2, row(1, "Rome", 1)),
                changed("delete", 2, row(2, "Oslo", 2)),
                changed("insert", 3, row(3, "Linz", 4)),
                changed("delete", 3, row(3, "Graz", 3)),
            ]
        ),
    ],
    "dlt": [
        lines([{**row(1, "Rome", 1), "_dlt_load_id": "1718364107.8675", "_dlt_id": "a"}]),
        lines(
            [
                {**row(1, "Bern", 1.5), "_dlt_load_id": "1718364208.12", "_dlt_id": "b"},
                {**row(3, "Linz", 4), "_dlt_load_id": "1718364208.12", "_dlt_id": "c"},
            ]
        ),
    ],
}

FEEDS = {
    **FEEDS,
    # the same envelope, ordered by another member
    "replication": FEEDS["debezium"],
    # as Kafka's converter writes it by default
    "debezium_payload": [
        lines([{"schema": {"type": "struct"}, "payload": json.loads(line)} for line in text.splitlines()])
        for text in FEEDS["debezium"]
    ],
}


def declared(envelope: str, **more: Any) -> dict[str, Any]:
    return {
        "name": envelope,
        "area": "tests",
        "envelope": envelope,
        "connection": {
            "type": "files",
            "path": f"{envelope}/*",
            "format": {"type": "csv"} if envelope == "dms" else JSON,
            "extract_time": {"pattern": "%Y-%m-%d"},
            "settle_seconds": 0,
        },
        "columns": COLUMNS,
        "refresh": {"type": "key", "key": ["id"]},
        **more,
    }


def test_each_preset_takes_a_feed_of_its_kind(tmp_path: Path) -> None:
    assert set(FEEDS) == set(PRESETS)
    landing = tmp_path / "landing"
    for name, files in FEEDS.items():
        (landing / name).mkdir(parents=True)
        for day, text in enumerate(files, 1):
            file = landing / name / f"2024-01-0{day}"
            file.write_text(text)
            os.utime(file, (1_704_100_000, 1_704_100_000))
    here = Deployment(tmp_path / "home", landing)
    tree = here.write({name: declared(name) for name in FEEDS})
    assert here.run(tree) == []
    for context in here.contexts(tree):
        name, quarantine, hub = context.source.name, context.quarantine.snapshot(), context.hub.snapshot()
        assert (quarantine.rows if quarantine else 0) == 0, name
        assert hub is not None
        with context.engine.session() as session:
            found = session.fetch(
                query("SELECT id, city, CAST(amount AS DOUBLE) AS amount FROM $t", t=session.scan(hub))
            )
        rows = sorted((item["id"], item["city"], item["amount"]) for item in found.to_pylist())
        assert rows == [(1, "Bern", 1.5), (3, "Linz", 4)], name


def test_a_truncate_event_is_rejected_until_it_is_declared(tmp_path: Path) -> None:
    events = [debezium("c", 1, None, row(1, "Rome", 1)), debezium("t", 2, None, None), debezium("c", 3, None, row(2))]
    landing = tmp_path / "landing"
    (landing / "debezium").mkdir(parents=True)
    (landing / "debezium" / "2024-01-01").write_text(lines(events))
    found = {}
    key = {"type": "key", "key": ["id"]}
    for name, refresh in {"plain": key, "declared": {**key, "group_deletes": [{"when": "cdc_op = 't'"}]}}.items():
        here = Deployment(tmp_path / name, landing)
        tree = here.write({"debezium": declared("debezium", refresh=refresh)})
        assert here.run(tree) == []
        rows = here.rows(tree)
        found[name] = [item["id"] for item in rows["hub/debezium"]], len(rows.get("lake/debezium_quarantine", ()))
    assert found == {"plain": ([1, 2], 1), "declared": ([2], 0)}


def expansion(envelope: str, **more: Any) -> Source:
    return Source.model_validate(declared(envelope, **more))


def test_a_preset_is_what_can_be_declared_by_hand() -> None:
    by_hand = declared("debezium") | {
        "columns": [
            {
                "name": "id",
                "type": "integer",
                "nullable": False,
                "expression": 'coalesce("cdc_after_id", "cdc_before_id")',
            },
            {"name": "city", "source_name": "after.city"},
            {"name": "amount", "type": "decimal(12,2)", "source_name": "after.amount"},
            {"name": "cdc_after_id", "type": "integer", "source_name": "after.id"},
            {"name": "cdc_before_id", "type": "integer", "source_name": "before.id"},
            {"name": "cdc_op", "source_name": "op"},
            {"name": "cdc_order", "type": "integer", "source_name": "source.ts_ms", "nullable": False},
        ],
        "keep_when": "cdc_op in ('c', 'r', 'u', 'd', 't')",
        "drift": {"missing_column": "ignore"},
        "refresh": {
            "type": "key",
            "key": ["id"],
            "order_by": "cdc_order",
            "delete_when": "cdc_op = 'd'",
            "ignore_changes_in": ["cdc_after_id", "cdc_before_id", "cdc_op", "cdc_order"],
        },
    }
    del by_hand["envelope"]
    found = expansion("debezium")
    assert found == Source.model_validate(by_hand)
    # what was recorded of it is the same declaration
    assert Source.model_validate(found.model_dump(mode="json", by_alias=True, exclude_defaults=True)) == found


def test_what_is_declared_stays_as_it_is() -> None:
    lsn = {"name": "lsn", "type": "integer", "source_name": "source.lsn", "nullable": False}
    found = expansion(
        "debezium",
        columns=[*COLUMNS, lsn],
        keep_when="cdc_op <> 'm'",
        drift={"new_column": "fail"},
        refresh={"type": "key", "key": ["id"], "order_by": "lsn", "group_deletes": [{"when": "cdc_op = 't'"}]},
    )
    assert found.refresh.order_by == "lsn"
    assert "cdc_order" not in found.column_names
    assert (found.keep_when, found.drift.new_column, found.drift.missing_column) == ("cdc_op <> 'm'", "fail", "ignore")
    assert expansion("delta_cdf", refresh={"type": "key", "key": ["id"], "delete_when": ""}).refresh.ties is None


@pytest.mark.parametrize(
    ("changes", "where", "why"),
    [
        ({"refresh": {"type": "full"}}, ("envelope",), "changes of single keys"),
        ({"envelope": "debezum"}, ("envelope",), "debezium"),
        ({"columns": [*COLUMNS, {"name": "x", "type": "int"}]}, ("columns", 3), "did you mean 'integer'"),
        # a key is read before and after a change, and declared once
        ({"columns": [{"name": "id", "type": "int"}, *COLUMNS[1:]]}, ("columns", 0), "did you mean 'integer'"),
    ],
)
def test_a_mistake_says_where_it_is_written(changes: dict[str, Any], where: tuple[Any, ...], why: str) -> None:
    with pytest.raises(ValidationError, match=why) as raised:
        Source.model_validate(declared("debezium") | changes)
    (error,) = raised.value.errors()
    assert error["loc"][: len(where)] == where


@pytest.mark.parametrize("name", PRESETS)
def test_the_page_lists_what_each_preset_expands_to(name: str) -> None:
    preset = PRESETS[name]  # type: ignore[index]
    (listed,) = re.findall(rf"^\| `{name}` \|.*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    told = [item["source_name"] for item in preset.columns]
    told += [preset.keep_when, preset.delete_when, f"{preset.row}id" if preset.row else "", preset.ties]
    assert [text for text in told if text not in listed] == []
