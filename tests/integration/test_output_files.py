"""Outputs to files: formats, names, manifests, older deliveries, increments, and kills at any moment."""

from __future__ import annotations

import csv
import datetime as dt
import decimal
import gzip
import hashlib
import io
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

import duckdb
import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from delivered_outputs import OutputPlace
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import load_workbook

from dataops_assets.errors import ConfigError, InputError, StorageError
from dataops_assets.outputs import file_target
from dataops_assets.outputs.deliver import deliver
from dataops_assets.outputs.delivery import Target
from dataops_assets.outputs.partition_folders import partition_folder
from dataops_assets.storage.links import PRIVATE

VALUES = {
    "id": pa.array([1, 2, 3], pa.int64()),
    "text": pa.array(["", 'a "b", \n;', None], pa.string()),
    "number": pa.array([0.1, 5e-324, None], pa.float64()),
    "sum": pa.array([decimal.Decimal("1234567890123456789.50"), None, decimal.Decimal("0.01")], pa.decimal128(38, 2)),
    "yes": pa.array([True, False, None], pa.bool_()),
    "day": pa.array([dt.date(2024, 5, 1), dt.date(1950, 1, 1), None], pa.date32()),
    "instant": pa.array([dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC), None, None], pa.timestamp("us", "UTC")),
}


@pytest.fixture
def place(tmp_path: Path) -> OutputPlace:
    return OutputPlace(tmp_path)


def to(**changes: Any) -> dict[str, Any]:
    return {"type": "files", "path": "crm", **changes}


def numbered(ids: range, note: str = "a") -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64()), "note": pa.array([note] * len(ids), pa.string())})


def manifest(path: Path) -> dict[str, Any]:
    """A manifest whose control totals are those of the files."""
    found: dict[str, Any] = json.loads(path.read_text())
    for item in found["files"]:
        content = (path.parent / item["path"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (item["bytes"], item["sha256"])
    assert found["bytes"] == sum(item["bytes"] for item in found["files"])
    assert found["rows"] == sum(item["rows"] for item in found["files"])
    return found


def names(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and ".dataops" not in path.parts
    )


@pytest.mark.parametrize(
    ("format_", "compression", "ending"),
    [
        ("csv", "none", "csv"),
        ("csv", "gzip", "csv.gz"),
        ("jsonl", "zstd", "jsonl.zst"),
        ("parquet", "zstd", "parquet"),
        ("avro", "gzip", "avro"),
        ("excel", "none", "xlsx"),
    ],
)
def test_every_format_is_read_as_it_was_written(
    format_: str, compression: str, ending: str, place: OutputPlace
) -> None:
    table = pa.table(VALUES)
    if format_ == "excel":
        # a cell cannot tell an empty text from no text
        table = table.set_column(1, "text", pa.array(["=1+1", 'b "c"', None], pa.string()))
    place.publish(table)
    report = place.deliver(to(format=format_, compression=compression))
    # the comparison reads every value back
    assert [item.passed for item in report.outcomes] == [True, True], report.outcomes
    folder = place.home / "outputs" / "crm"
    assert names(folder) == [f"things.{ending}", f"things.{ending}.manifest.json"]
    assert manifest(folder / f"things.{ending}.manifest.json")["rows"] == 3
    if ending == "csv.gz":
        text = gzip.decompress((folder / "things.csv.gz").read_bytes()).decode()
        assert next(csv.reader(text.splitlines())) == list(VALUES)
    if format_ == "avro":
        with (folder / "things.avro").open("rb") as stream:
            assert [row["sum"] for row in fastavro.reader(stream)] == VALUES["sum"].to_pylist()
    if format_ == "parquet":
        assert pq.read_table(folder / "things.parquet").column("sum").to_pylist() == VALUES["sum"].to_pylist()
    if format_ == "excel":
        assert load_workbook(folder / "things.xlsx").worksheets[0]["C2"].value == 0.1


def test_files_by_partition_appear_as_one_folder(place: OutputPlace) -> None:
    rows = pa.table({"id": [1, 2, 3, 4], "country": ["DE", "A/T", None, ""], "note": ["a", "b", "c", "d"]})
    place.publish(rows)
    place.deliver(to(name="{output}_{delivery}", partition_by=["country"], keep=1, archive="old"))
    folder = place.home / "outputs" / "crm"
    assert names(folder) == [
        "things_1/country=A%2FT/rows.csv",
        "things_1/country=DE/rows.csv",
        "things_1/country=__empty__/rows.csv",
        "things_1/country=__null__/rows.csv",
        "things_1/manifest.json",
    ]
    assert (folder / "things_1/country=DE/rows.csv").read_text() == "id,note\n1,a\n"
    manifest(folder / "things_1" / "manifest.json")
    place.publish(rows.slice(1))
    place.deliver(to(name="{output}_{delivery}", partition_by=["country"], keep=1, archive="old"))
    assert {name.split("/")[0] for name in names(folder)} == {"things_2", "old"}
    assert manifest(folder / "old" / "things_1" / "manifest.json")["rows"] == 4


def read_value(folder: str) -> str | None:
    """The value of a partition, as docs/outputs.md tells to read it."""
    markers = {"__null__": None, "__empty__": ""}
    text = folder.partition("=")[2]
    return markers[text] if text in markers else unquote(text)


MARKS = ["", "__null__", "__empty__", "%5F_null__", ".", "..", "a/b", "a=b"]


@given(st.none() | st.sampled_from(MARKS) | st.text(st.characters(exclude_categories=["Cs"])))
def test_the_folder_of_a_value_tells_the_value(value: str | None) -> None:
    folder = partition_folder(["a=b", "c/d"], {"a=b": value, "c/d": None})
    assert len(folder.parts) == 2
    assert folder.parts[0].startswith("a%3Db=")
    assert (read_value(folder.parts[0]), read_value(folder.parts[1])) == (value, None)


def test_each_row_is_in_the_folder_of_its_value(place: OutputPlace) -> None:
    rows = list(enumerate([None, *MARKS]))
    place.publish(pa.table({"id": [number for number, _ in rows], "c": [value for _, value in rows]}))
    report = place.deliver(to(name="{output}_{delivery}", partition_by=["c"]))
    assert report.inputs[0].counts["rows written"] == len(rows)
    found = {
        int(row["id"]): read_value(path.parent.name)
        for path in (place.home / "outputs/crm/things_1").rglob("rows.csv")
        for row in csv.DictReader(path.open())
    }
    assert found == dict(rows)


def test_two_values_that_a_disk_holds_for_one_are_refused(place: OutputPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of a share that ignores case, which a machine for tests does not have."""
    monkeypatch.setattr(
        file_target, "partition_folder", lambda *given_: PurePosixPath(str(partition_folder(*given_)).lower())
    )
    place.publish(pa.table({"id": [1, 2], "country": ["DE", "de"]}))
    with pytest.raises(InputError, match="the folder country=de is that of two partitions"):
        place.deliver(to(name="{output}_{delivery}", partition_by=["country"]))
    assert names(place.home / "outputs" / "crm") == []


def test_a_name_that_is_too_long_is_told(place: OutputPlace) -> None:
    place.publish(pa.table({"id": [1], "country": ["ä" * 50]}))
    with pytest.raises(InputError, match=r"a name of 308 characters.*country=%C3%A4.*with shorter values") as caught:
        place.deliver(to(name="{output}_{delivery}", partition_by=["country"]))
    assert "room" not in str(caught.value)
    with pytest.raises(InputError, match=r"a name of 304 characters.*nnn\.\.\.; .*shorten to\.name"):
        place.deliver(to(name="n" * 300))


def test_a_file_that_keeps_its_name_is_replaced_and_archived(place: OutputPlace) -> None:
    folder = place.home / "outputs" / "crm"
    for note in "abc":
        place.publish(numbered(range(2), note))
        place.deliver(to(keep=1, archive="old"))
    assert (folder / "things.csv").read_text() == "id,note\n0,c\n1,c\n"
    assert names(folder) == [
        "old/things_1.csv",
        "old/things_1.csv.manifest.json",
        "old/things_2.csv",
        "old/things_2.csv.manifest.json",
        "things.csv",
        "things.csv.manifest.json",
    ]
    manifest(folder / "old" / "things_2.csv.manifest.json")
    assert manifest(folder / "things.csv.manifest.json")["position"]["delivery"] == 3
    # the same version again is no delivery, unless the file is gone
    assert place.deliver(to(keep=1, archive="old")).notes["skipped"]
    (folder / "things.csv").unlink()
    assert place.deliver(to(keep=1, archive="old")).notes["delivery"] == 4


def test_a_file_that_was_cut_is_delivered_again(place: OutputPlace) -> None:
    place.publish(numbered(range(3)))
    place.deliver(to())
    file = place.home / "outputs" / "crm" / "things.csv"
    whole = file.read_bytes()
    file.write_bytes(whole[:-4])
    assert place.deliver(to()).notes["delivery"] == 2
    assert file.read_bytes() == whole


OF_OTHERS = {
    "of a web page": json.dumps({"name": "shop", "icons": []}).encode(),
    "of the same output in another form": json.dumps({"output": "things", "position": 7, "files": [{}]}).encode(),
    "no object": b"[]",
    "deep": b"[" * 100_000,
    "no JSON": b"{}x",
    "no text": b"\xff\xfe\x00",
    "empty": b"",
}


@pytest.mark.parametrize("content", OF_OTHERS.values(), ids=OF_OTHERS)
def test_manifests_of_others_stop_no_delivery(content: bytes, place: OutputPlace) -> None:
    folder = place.home / "outputs" / "crm"
    for name in ("web/manifest.json", "things_9.csv.manifest.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "archived.manifest.json").mkdir()
    (folder / "other" / "manifest.json").mkdir(parents=True)
    for number, note in enumerate("ab", 1):
        place.publish(numbered(range(2), note))
        assert place.deliver(to(name="{output}_{delivery}", keep=1)).notes["delivery"] == number
    assert (folder / "web" / "manifest.json").read_bytes() == content
    # what the output itself keeps must be read: without it the number of the delivery would not be known
    (folder / ".dataops" / "things.json").write_bytes(content)
    with pytest.raises(StorageError, match=r"things\.json.*restore the file, or remove it for a full delivery"):
        place.deliver(to(name="{output}_{delivery}"))


def test_increments_have_only_changed_keys_also_if_readers_take_them_away(place: OutputPlace) -> None:
    target, folder = to(name="{output}_{delivery}"), place.home / "outputs" / "crm"
    declared = {"mode": "incremental", "deletes": "soft"}
    place.publish(numbered(range(4)))
    place.deliver(target, **declared)
    for path in folder.glob("things_1*"):
        path.unlink()
    place.publish(pa.table({"id": [0, 1, 9], "note": ["a", "b", "new"]}))
    place.deliver(target, **declared)
    assert (folder / "things_2.csv").read_text() == "id,note,is_deleted\n1,b,false\n2,,true\n3,,true\n9,new,false\n"
    assert place.deliver(target, **declared).notes["skipped"]
    # another declaration is delivered in full
    place.deliver(target, **declared, keep_when="id > 0")
    assert (folder / "things_3.csv").read_text() == "id,note,is_deleted\n1,b,false\n9,new,false\n"
    # and the manifest tells the reader, who would keep a row that left otherwise
    modes = [manifest(folder / f"things_{number}.csv.manifest.json")["mode"] for number in (2, 3)]
    assert modes == ["incremental", "full"]
    # how many deliveries stay changes no row
    assert place.deliver(target | {"keep": 9}, **declared, keep_when="id > 0").notes["skipped"]


def test_a_delivery_without_rows_is_a_file_with_a_header(place: OutputPlace) -> None:
    place.publish(numbered(range(2)))
    volume = {"checks": {"volume": {"min_rows": 0}}}
    place.deliver(to(), keep_when="id > 5", **volume)
    assert (place.home / "outputs" / "crm" / "things.csv").read_text() == "id,note\n"
    # declared as needed, so nothing is delivered
    report = place.deliver(to(path="other"), keep_when="id > 5", checks={"volume": {"severity": "fail"}})
    assert "rows 0, expected at least 1" in str(report.inputs[0].error)
    assert names(place.home / "outputs" / "other") == []


@pytest.mark.parametrize("layer", ["hub", "warehouse"])
def test_the_rows_that_a_volume_allows_are_those_that_are_delivered(
    layer: str, place: OutputPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version of the table that appears after the count is of the next delivery, which it stops."""

    def publish(rows: int) -> None:
        if layer == "hub":
            place.publish(numbered(range(rows)))
            return
        with duckdb.connect(place.environment.warehouse) as warehouse:
            warehouse.execute(
                "CREATE OR REPLACE TABLE things AS SELECT range AS id, 'a' AS note FROM range(?::INT)", [rows]
            )

    declared = {"from": f"{layer}/things", "checks": {"volume": {"min_rows": 3, "severity": "fail"}}}
    file = place.home / "outputs" / "crm" / "things.csv"
    count = Target.count

    def then_published(self: Target, *given_: Any) -> int:
        found = count(self, *given_)
        publish(1)
        return found

    publish(3)
    with monkeypatch.context() as during:
        during.setattr(Target, "count", then_published)
        report = place.deliver(to(), **declared)
    assert [item.passed for item in report.checks] == [True, True]
    assert file.read_text() == "id,note\n0,a\n1,a\n2,a\n"
    report = place.deliver(to(), **declared)
    assert "rows 1, expected at least 3" in str(report.inputs[0].error)
    assert "the target is as it was" in str(report.inputs[0].error)
    assert [(item.check, item.passed) for item in report.checks] == [("volume", False)]
    assert file.read_text() == "id,note\n0,a\n1,a\n2,a\n"


def test_no_row_leaves_a_private_environment(place: OutputPlace) -> None:
    place.publish(numbered(range(2)))
    (place.home / PRIVATE).write_text("{}")
    assert "private environment" in str(place.deliver(to()).notes["skipped"])
    assert not (place.home / "outputs").exists()


def test_a_model_of_the_warehouse_is_delivered_by_comparing(tmp_path: Path) -> None:
    target = tmp_path / "target.duckdb"
    place = OutputPlace(tmp_path, {"office": {"type": "duckdb", "path": str(target)}})
    declared: dict[str, Any] = {"from": "warehouse/weekly", "key": ["week"], "mode": "incremental"}
    table = {"type": "table", "database": "office", "table": "weekly"}
    with pytest.raises(InputError, match="materialize warehouse/weekly first"):
        place.deliver(table, **declared)
    with duckdb.connect(place.environment.warehouse) as warehouse:
        warehouse.execute(
            "CREATE SCHEMA marts; CREATE TABLE marts.weekly AS SELECT range::INT AS week, 1.5 AS sum FROM range(5)"
        )
    assert place.deliver(table, **declared).inputs[0].counts["inserted"] == 5
    with duckdb.connect(place.environment.warehouse) as warehouse:
        warehouse.execute("UPDATE marts.weekly SET sum = 2 WHERE week = 3; DELETE FROM marts.weekly WHERE week = 0")
    report = place.deliver(table, **declared)
    assert report.inputs[0].counts == {"rows": 4, "inserted": 0, "updated": 1, "deleted": 1}
    # a model tells no version, so nothing is claimed of what was read
    assert report.read == {}


@pytest.mark.parametrize("schema", ["aa_marts", "marts", "zz_marts"])
def test_a_model_is_the_table_of_its_schema(place: OutputPlace, schema: str) -> None:
    """Other schemas keep tables of the same name, such as those of an earlier layout of the project."""
    with duckdb.connect(place.environment.warehouse) as warehouse:
        for name in ("zz_marts", "marts", "aa_marts"):
            warehouse.execute(f"CREATE SCHEMA {name}; CREATE TABLE {name}.weekly AS SELECT 1 AS id, '{name}' AS note")
    context = place.context(place.output(to(), **{"from": "warehouse/weekly"}))
    with pytest.raises(ConfigError, match="several schemas: aa_marts, marts, zz_marts"):
        deliver(context)
    deliver(replace(context, relation=f'"warehouse"."{schema}"."weekly"'))
    assert (place.home / "outputs" / "crm" / "things.csv").read_text() == f"id,note\n1,{schema}\n"
    with pytest.raises(InputError, match="materialize warehouse/weekly first"):
        deliver(replace(context, relation='"warehouse"."other"."weekly"'))


def test_a_hub_that_was_made_again_is_compared_in_full(tmp_path: Path) -> None:
    target = tmp_path / "target.sqlite"
    place = OutputPlace(tmp_path, {"office": {"type": "sqlite", "path": str(target)}})
    table = {"type": "table", "database": "office", "table": "things"}
    place.publish(numbered(range(3)))
    place.deliver(table, mode="incremental")
    # another commit has the number of the version that the target knows
    shutil.rmtree(tmp_path / "storage" / "hub" / "things")
    place.publish(numbered(range(1, 4), "b"))
    report = place.deliver(table, mode="incremental")
    assert report.inputs[0].counts == {"rows": 3, "inserted": 1, "updated": 2, "deleted": 1}
    with closing(sqlite3.connect(target)) as connection:
        assert connection.execute("SELECT * FROM things ORDER BY id").fetchall() == [(1, "b"), (2, "b"), (3, "b")]


def test_a_history_is_delivered_with_all_its_versions(tmp_path: Path) -> None:
    target = tmp_path / "target.sqlite"
    place = OutputPlace(tmp_path, {"office": {"type": "sqlite", "path": str(target)}})
    days = [dt.datetime(2024, 1, day, tzinfo=dt.UTC) for day in (1, 2, 3)]

    def versions(*rows: tuple[int, int, int | None, bool]) -> pa.Table:
        made = [
            {
                "id": i,
                "s_valid_from": days[a],
                "s_valid_to": None if b is None else days[b],
                "s_is_current": b is None and not gone,
                "s_is_deleted": gone,
            }
            for i, a, b, gone in rows
        ]
        kinds = [pa.int64(), pa.timestamp("us", "UTC"), pa.timestamp("us", "UTC"), pa.bool_(), pa.bool_()]
        names_ = ["id", "s_valid_from", "s_valid_to", "s_is_current", "s_is_deleted"]
        return pa.Table.from_pylist(made, pa.schema(list(zip(names_, kinds, strict=True))))

    columns = [{"name": "id"}, {"name": "since", "of": "s_valid_from"}, {"name": "until", "of": "s_valid_to"}]
    table = {"type": "table", "database": "office", "table": "things"}
    declared = {"versions": "all", "columns": columns, "mode": "incremental"}
    place.publish(versions((1, 0, None, False), (2, 0, None, False)))
    place.deliver(table, **declared)
    place.publish(versions((1, 0, 2, False), (1, 2, None, True), (2, 0, None, False)))
    assert place.deliver(table, **declared).inputs[0].counts == {"rows": 3, "inserted": 1, "updated": 1, "deleted": 0}
    with closing(sqlite3.connect(target)) as connection:
        found = connection.execute(
            "SELECT id, substr(since, 1, 10), substr(until, 1, 10) FROM things ORDER BY id, since"
        )
        assert found.fetchall() == [(1, "2024-01-01", "2024-01-03"), (1, "2024-01-03", None), (2, "2024-01-01", None)]
    # without the versions, a deleted key has no row
    place.deliver({**table, "table": "now"}, columns=columns)
    with closing(sqlite3.connect(target)) as connection:
        assert connection.execute("SELECT id FROM now").fetchall() == [(2,)]


def test_what_a_format_cannot_hold_is_refused(place: OutputPlace) -> None:
    place.publish(pa.table({"id": [1], "n": [float("inf")]}))
    with pytest.raises(InputError, match="1 values that are infinite"):
        place.deliver(to(format="jsonl"))
    with pytest.raises(InputError, match="'the sum' as Avro"):
        place.deliver(to(format="avro"), columns=[{"name": "id"}, {"name": "the sum", "of": "n"}])
    for url, told in (("https://host/folder", "only read by https://"), ("smb://host/folder", "the scheme smb://")):
        with pytest.raises(ConfigError, match=told):
            place.deliver(to(path=url))
    assert names(place.home / "outputs" / "crm") == []


_CHILD = """
import json, sys
from pathlib import Path
from delivered_outputs import OutputPlace
from hypothesis import given
from hypothesis import strategies as st
place = OutputPlace(Path(sys.argv[1]))
to, declared = json.loads(sys.argv[2])
print("begins", flush=True)
place.deliver(to, **declared)
print("ended", flush=True)
"""


def test_a_delivery_that_is_killed_at_any_moment_shows_nothing_half(place: OutputPlace) -> None:
    """Whatever has a manifest is whole, and all that changed is delivered."""
    target, folder = to(name="{output}_{delivery}", partition_by=["part"]), place.home / "outputs" / "crm"
    declared = {
        "mode": "incremental",
        "deletes": "ignore",
        "columns": [{"name": "id"}, {"name": "v"}, {"name": "part", "expression": "id % 5"}],
    }
    chosen = random.Random(20)
    latest: dict[int, int] = {}
    command = [sys.executable, "-c", _CHILD, str(place.home), json.dumps([target, declared])]
    search = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for turn in range(4):
        latest |= dict.fromkeys(chosen.sample(range(100_000), 40_000), turn)
        place.publish(pa.table({"id": list(latest), "v": list(latest.values())}))
        child = subprocess.Popen(command, env=search, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(chosen.uniform(0.0, 0.6))
        child.send_signal(signal.SIGKILL)
        child.wait()
        for path in folder.glob("things_*/manifest.json"):
            manifest(path)
        assert all((path / "manifest.json").exists() for path in folder.glob("things_*"))
    place.deliver(target, **declared)
    got: dict[int, int] = {}
    deliveries = sorted(folder.glob("things_*"), key=lambda path: int(path.name.partition("_")[2]))
    assert [path.name for path in deliveries] == [f"things_{number}" for number in range(1, len(deliveries) + 1)]
    for delivery in deliveries:
        for file in delivery.rglob("rows.csv"):
            got |= {int(row["id"]): int(row["v"]) for row in csv.DictReader(file.open())}
    assert got == latest


ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;"}


@pytest.mark.parametrize("packed", ["none", "gzip", "zstd"])
def test_rows_are_written_as_text_by_a_template(place: OutputPlace, packed: str) -> None:
    texts = ["", "Zoë <&>\"'", "a\n\tb", None, "{x}"] * 5_000
    place.publish(pa.table({"id": pa.array(range(len(texts)), pa.int64()), "text": pa.array(texts, pa.string())}))
    template = {
        "header": "{{{output}}} {delivery}",
        "row": "<r no='{id:0>9}' id='{id:*<6}'>{text}</r>",
        "footer": "{rows} rows",
        "escape": "xml",
        "null_text": "~",
        "encoding": "utf-16",
        "line_end": "\r\n",
        "ending": "xml",
    }
    report = place.deliver(to(format="text", template=template, compression=packed))
    assert all(check.passed for check in report.checks)
    file = place.home / f"outputs/crm/things.xml{ {'none': '', 'gzip': '.gz', 'zstd': '.zst'}[packed] }"
    assert manifest(file.with_name(f"{file.name}.manifest.json"))["rows"] == len(texts)
    stored = file.read_bytes()
    if packed != "none":
        stored = (
            gzip.decompress(stored) if packed == "gzip" else pa.CompressedInputStream(io.BytesIO(stored), "zstd").read()
        )
    told = ["~" if text is None else "".join(ENTITIES.get(sign, sign) for sign in text) for text in texts]
    rows = [f"<r no='{n:09}' id='{str(n).ljust(6, '*')}'>{text}</r>" for n, text in enumerate(told)]
    assert stored.decode("utf-16") == "".join(f"{line}\r\n" for line in ["{things} 1", *rows, f"{len(texts)} rows"])


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ({"row": "{text}"}, r"'\\n', which a reader can take for the end of the row"),
        ({"row": "{id:0>1}"}, "'10' of 2 characters, where the template has room for 1"),
        ({"row": "{text}", "escape": "json", "encoding": "latin-1"}, "'€', which latin-1 does not have"),
        ({"row": "{txt}"}, "did you mean 'text'"),
    ],
)
def test_what_a_template_cannot_hold_stops_the_delivery(
    place: OutputPlace, template: dict[str, str], reason: str
) -> None:
    place.publish(pa.table({"id": pa.array([9, 10], pa.int64()), "text": pa.array(["\n", "€"], pa.string())}))
    with pytest.raises((InputError, ConfigError), match=reason):
        place.deliver(to(format="text", template=template))
    assert list((place.home / "outputs/crm").glob("[!.]*")) == []


@pytest.mark.parametrize("row", ["{id", "{id!r}", "{id:^9}", "{id:5d}", "{}"])
def test_a_template_that_cannot_be_read_is_refused_at_load(place: OutputPlace, row: str) -> None:
    with pytest.raises(ValueError, match="template"):
        place.output(to(format="text", template={"row": row}))


def test_a_text_that_is_not_stored_as_it_was_made_is_seen(place: OutputPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataops_assets.outputs.text_file import TemplatedText

    place.publish(numbered(range(3)))
    real = TemplatedText.write

    def cut(self: TemplatedText, path: Path, packed: str) -> None:
        real(self, path, packed)
        path.write_bytes(path.read_bytes()[:-1])

    monkeypatch.setattr(TemplatedText, "write", cut)
    checks = place.deliver(to(format="text", template={"row": "{id} {note}"})).checks
    (check,) = [check for check in checks if check.check == "delivery"]
    assert (check.passed, "not read as they were written" in check.explanation) == (False, True)
