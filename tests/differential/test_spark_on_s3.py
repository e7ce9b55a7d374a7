"""Tables in an object store, where Spark and the embedded engine take turns; raw files that Spark stages there."""

from __future__ import annotations

from pathlib import Path

import pytest
from both_engines import assert_same
from objectstore import BUCKET, object_store
from story import in_child
from test_areas_on_spark import Area, assert_area_same

from dataops_assets.components.platform import spark_session
from dataops_assets.config.environment import Environment
from dataops_assets.config.source import Source
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.engines.spark import SparkEngine
from dataops_assets.steps.refresh import remove
from dataops_assets.storage.objects import Folder

HEADER = "id,at,v\n"
DELIVERIES = [
    {
        "monday.csv": HEADER + "1,1,one\n2,1,two\n3,1,thr\u00e9e +%\nx,1,four\n",
        "late.csv": HEADER + "2,0,older\n5,3,five\n",
    },
    {"tuesday.csv": HEADER + "1,2,uno\n3,2,gone\n4,2,four\n5,2,less\n"},
]


def things() -> Source:
    return Source.model_validate(
        {
            "name": "things",
            "area": "tests",
            "connection": {"type": "files", "path": "things/*"},
            "columns": [{"name": "id", "type": "integer"}, {"name": "at", "type": "integer"}, {"name": "v"}],
            "refresh": {
                "type": "key", "key": ["id"], "order_by": "at", "delete_when": "v = 'gone'", "history": True
            },
            "gates": {"deletes": {"max_share": 1}},
        }
    )  # fmt: skip


def take_turns(environment: Environment, folder: Path) -> bool:
    """In a process of its own, because a Spark application knows one store; the result says that all was compared."""
    embedded, spark = DuckDBEngine(environment), SparkEngine(environment, spark_session)
    local = Area(folder, [things()], embedded)
    stored = Area(folder, [things()], spark, embedded, environment=environment)
    for area in (local, stored):
        for turn, files in enumerate(DELIVERIES):
            area.take("things", {name: text.encode() for name, text in files.items()}, turn)
    assert_area_same(embedded, local, stored, ["things"])
    late = stored.source_context("things").metadata.inputs("things")[1].input_id
    for area in (local, stored):
        remove(area.source_context("things"), [late])
    assert_same(embedded, local.source_context("things"), stored.source_context("things"))
    assert Folder(f"{environment.storage}/staged").objects() == [], "what was staged is gone"
    return stored.source_context("things").hub.uri.startswith("s3://")


@pytest.mark.usefixtures("has_spark")
def test_both_engines_change_one_hub_in_an_object_store(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    changed = {"storage": f"s3://{BUCKET}/both-engines_1", "metadata_url": f"sqlite:///{tmp_path}/remote.db"}
    with object_store(monkeypatch, by_line=False):
        remote = environment.model_copy(update=changed)
        assert in_child(take_turns, remote, tmp_path / "local", answer=tmp_path / "answer")
