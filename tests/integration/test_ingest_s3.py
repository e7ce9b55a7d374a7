"""Landing area and raw area in an object store, behind a real HTTP server."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import boto3
import pytest
from emulated_aws import emulated_aws
from s3fs import S3FileSystem

from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.connections import file_look
from dataops_assets.connections.discovery import discover
from dataops_assets.connections.look import FoundInputs
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.errors import ConfigError, InputError, StorageError
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.operations.file_areas import FilesReport, examine_files
from dataops_assets.steps.ingest import ingest
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage.objects import open_store


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with emulated_aws() as (host, port):
        yield f"http://{host}:{port}"


@pytest.fixture
def store(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty bucket named `lake`; all clients find the server through the environment."""
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    # clients are kept by URL for the process: none may point at another module's server
    S3FileSystem.clear_instance_cache()
    open_store.cache_clear()
    client = boto3.client("s3")
    client.create_bucket(Bucket="lake")
    yield client
    for item in client.list_objects_v2(Bucket="lake").get("Contents", []):
        client.delete_object(Bucket="lake", Key=item["Key"])
    S3FileSystem.clear_instance_cache()
    open_store.cache_clear()


def a_workspace(
    home: Path, path: str = "sales", landing: str = "s3://lake/landing", **connection: Any
) -> SourceContext:
    environment = environment_from(
        {
            "DATAOPS_ENV": "test",
            "DATAOPS_HOME": str(home),
            "DATAOPS_LANDING": landing,
            "DATAOPS_STORAGE": "s3://lake/storage",
        },
        home,
    )
    source = Source.model_validate(
        {
            "name": "sales",
            "area": "shop",
            "connection": {"type": "files", "path": path, **connection},
            "columns": [{"name": "a"}],
            "refresh": {"type": "append"},
        }
    )
    metadata = MetadataStore(environment.metadata_url)
    metadata.migrate()
    return SourceContext(environment, source, {"sales": source}, DuckDBEngine(environment), metadata)


def deliver(store: Any, name: str, content: bytes) -> None:
    store.put_object(Bucket="lake", Key=f"landing/{name}", Body=content)


def look(context: SourceContext, now: dt.datetime | None = None) -> FoundInputs:
    """Discover what has settled: a minute from now, or at `now`."""
    now = now or dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1)
    return discover(context.source, context.environment, context.metadata, now=now)


def keys(store: Any) -> list[str]:
    return [item["Key"] for item in store.list_objects_v2(Bucket="lake", Prefix="storage/").get("Contents", [])]


def test_a_prefix_is_read_and_kept_like_a_folder(store: Any, tmp_path: Path) -> None:
    deliver(store, "sales/2013/a.csv", b"a\n1\n")
    deliver(store, "sales/b c#1.csv", b"a\n2\n")
    deliver(store, "sales/copy.csv", b"a\n2\n")
    for unfinished in ("sales/_SUCCESS", "sales/c.csv.tmp", "sales/_temporary/d.csv", "sales/", "sales/2013/"):
        deliver(store, unfinished, b"")
    context = a_workspace(tmp_path)
    found = look(context)
    assert (found.problems, found.settling, found.left) == ([], [], [])
    left_out = {item.origin for item in found.noted if item.input_id is None}
    assert {origin.rsplit("/", 1)[-1] for origin in left_out} == {"_SUCCESS", "c.csv.tmp", "_temporary"}
    assert {item.origin for item in (*found.new, *found.noted)} - left_out == {
        "s3://lake/landing/sales/2013/a.csv",
        "s3://lake/landing/sales/b c#1.csv",
        "s3://lake/landing/sales/copy.csv",
    }
    # the copy is the same input where the store has it of the same second
    made = len(found.new)
    assert (len(found.noted) - len(left_out), made) in ((1, 2), (1, 3))
    report = ingest(context, found.new)
    assert (report.failures, report.notes["copied"]) == ((), made)
    for item in found.new:
        assert context.raw.local_path(item).read_bytes() in (b"a\n1\n", b"a\n2\n")
        with context.raw.open(item) as stream:
            assert len(stream.read()) == 4
    assert len(keys(store)) == 2 * made
    assert ingest(context, found.new).notes == {"copied": 0, "already there": made}

    context.raw.delete([found.new[0].input_id])
    assert context.raw.inputs() == sorted(item.input_id for item in found.new[1:])


def test_an_object_that_was_just_written_settles_first(store: Any, tmp_path: Path) -> None:
    deliver(store, "sales/a.csv", b"a")
    context = a_workspace(tmp_path)
    written = store.head_object(Bucket="lake", Key="landing/sales/a.csv")["LastModified"]
    assert len(look(context, now=written).settling) == 1
    assert len(look(context, now=written + dt.timedelta(seconds=10)).new) == 1


def test_a_glob_over_a_prefix(store: Any, tmp_path: Path) -> None:
    for name in ("sales/a.csv", "sales/deep/b.csv", "sales/c.txt"):
        deliver(store, name, name.encode())
    context = a_workspace(tmp_path, path="s3://lake/landing/sales/*.csv")
    assert [item.origin for item in look(context).new] == ["s3://lake/landing/sales/a.csv"]
    # the listing is not remembered: a later look in the same process sees what is new
    deliver(store, "sales/d.csv", b"d")
    assert [item.origin for item in look(context).new] == ["s3://lake/landing/sales/d.csv"]


def test_an_object_that_changed_or_went_is_that_inputs_error(store: Any, tmp_path: Path) -> None:
    for name in ("sales/a.csv", "sales/b.csv", "sales/c.csv"):
        deliver(store, name, name.encode() * 3)
    context = a_workspace(tmp_path)
    inputs = look(context).new
    deliver(store, "sales/a.csv", b"!")
    store.delete_object(Bucket="lake", Key="landing/sales/b.csv")
    report = ingest(context, inputs)
    assert sorted(str(item.error).split("received: ")[1][:16] for item in report.failures) == [
        "1 bytes, sha256 ",
        "the file is gone",
    ]
    assert all(isinstance(item.error, InputError) for item in report.failures)
    assert len(keys(store)) == 2


def test_large_objects_go_through_in_parts(store: Any, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096 * 24
    deliver(store, "sales/large.csv", content)
    context = a_workspace(tmp_path)
    (item,) = look(context).new
    assert ingest(context, [item]).failures == ()
    assert context.raw.local_path(item).read_bytes() == content


def test_a_bucket_that_is_not_there_is_told(store: Any, tmp_path: Path) -> None:
    for path in ("sales", "sales/*.csv", "*/sales/*.csv"):
        with pytest.raises(StorageError, match="there is no bucket 'nosuch'"):
            look(a_workspace(tmp_path, path, landing="s3://nosuch/landing"))


def test_an_empty_prefix_is_no_problem(store: Any, tmp_path: Path) -> None:
    assert look(a_workspace(tmp_path)) == FoundInputs()


def test_a_store_that_does_not_answer_is_told(store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    context = a_workspace(tmp_path)
    with pytest.raises(StorageError, match="listing lake/landing/sales"):
        look(context)


def test_a_manifest_in_a_bucket_is_waited_for_and_is_a_part_of_the_input(store: Any, tmp_path: Path) -> None:
    context = a_workspace(tmp_path)
    declared = {"type": "files", "path": "sales/*", "manifest": {"name": "{name}.meta"}}
    source = Source.model_validate(context.source.model_dump(by_alias=True) | {"connection": declared})
    context = replace(context, source=source)
    deliver(store, "sales/a'b.c.csv", b"id\n1\n")
    found = look(context)
    assert (found.new, found.alone) == ([], ["s3://lake/landing/sales/a'b.c.csv"])
    deliver(store, "sales/a'b.c.csv.meta", b'{"rows": 1}')
    (first,) = look(context).new
    assert (first.manifest, first.size, first.origin) == ('{"rows": 1}', 5, "s3://lake/landing/sales/a'b.c.csv")
    assert not look(context).new
    # another manifest is another input of the same bytes
    deliver(store, "sales/a'b.c.csv.meta", b'{"rows":  1}')
    (second,) = look(context).new
    assert (second.digest, second.input_id != first.input_id) == (first.digest, True)
    # one that was taken needs its manifest no longer
    store.delete_object(Bucket="lake", Key="landing/sales/a'b.c.csv.meta")
    found = look(context)
    assert (found.new, found.alone, found.problems) == ([], [], [])
    assert ingest(context, [first, second]).failures == ()


def test_what_may_be_read_in_a_bucket_is_told(store: Any, tmp_path: Path) -> None:
    deliver(store, "sales/a.csv", b"a\n1\n")
    deliver(store, "sales/b.txt", b"a\n1\n")

    def told(path: str, landing: str = "s3://lake/landing") -> FilesReport:
        context = a_workspace(tmp_path, path, landing)
        (report,) = examine_files({"sales": context.source}, context.environment, context.metadata)
        return report

    well = told("sales/*.csv")
    assert (well.files, well.waiting, well.error, well.next_step) == (1, 1, "", "dataops run sales")
    assert "none matches x*.csv: a.csv, b.txt" in told("sales/x*.csv").error
    misplaced = told("salez/*.csv")
    assert ("/salez; " in misplaced.error, "'sales'" in misplaced.next_step) == (True, True), misplaced
    assert "no bucket 'lakes'" in told("sales/*.csv", "s3://lakes/landing").error


def test_names_that_sort_by_time_are_listed_from_the_last_ones_on(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look finds what sorts after the mark, in whatever order it comes; a whole listing finds the rest."""
    overlap, whole_every = 3, dt.timedelta(days=1)
    declared = {"path": "sales/*.csv", "sorted_names": {"overlap": overlap, "whole_every": whole_every}}
    context = a_workspace(tmp_path, **declared)
    seen: list[str] = []
    real = S3FileSystem.call_s3

    def counted(self: S3FileSystem, method: str, *given: Any, **named: Any) -> Any:
        # pages of four names
        answer = real(self, method, *given, **named, **({"MaxKeys": 4} if method == "list_objects_v2" else {}))
        seen.extend(item["Key"].rpartition("/")[2] for item in answer.get("Contents", ()))
        return answer

    monkeypatch.setattr(S3FileSystem, "call_s3", counted)
    random, there, written = Random(20), dict[str, bytes](), 0
    mark, whole_at, now = "", None, dt.datetime.now(dt.UTC)
    marks = []
    for day in range(12):
        # most names come in order, some late or replaced in place
        names = [f"{day * 10 + random.randrange(10):03}.csv" for _ in range(random.randrange(5))]
        names += [f"{random.randrange(day * 10 + 1):03}.csv" for _ in range(random.randrange(2))]
        for name in names:
            written += 1
            there[name] = b"a\n" + b"1\n" * written
            deliver(store, f"sales/{name}", there[name])
        now += dt.timedelta(hours=5)
        if whole_at is None or now - whole_at >= whole_every:
            mark, whole_at = "", now
        seen.clear()
        found = look(context, now)
        assert (found.problems, found.settling, found.left) == ([], [], [])
        listed = sorted(name for name in there if name > mark)
        assert seen == listed, "nothing else is listed"
        taken = {(item.origin.rpartition("/")[2], item.size) for item in context.metadata.arrivals("sales")}
        assert {(name, len(there[name])) for name in listed} <= taken, "and all of it is taken"
        mark = max([mark, *listed[:-overlap][-1:]])
        marks.append(mark)
    assert len(there) > len(seen) > overlap
    assert len(set(marks)) > 4

    # an object that is still being written is not passed, nor one that could not be read
    deliver(store, "sales/2.csv", b"a\nslow\n")
    later = [f"3{number}.csv" for number in range(overlap + 2)]
    for name in later:
        deliver(store, f"sales/{name}", b"a\n1\n")
    at_once = dt.datetime.now(dt.UTC)
    with monkeypatch.context() as patched:
        patched.setattr(file_look, "_is_settled", lambda version, *_: not version.origin.endswith("/2.csv"))
        assert look(context, max(now, at_once)).settling == ["s3://lake/landing/sales/2.csv"]
    assert [item.origin for item in look(context, max(now, at_once)).new] == ["s3://lake/landing/sales/2.csv"]
    seen.clear()
    assert look(context, max(now, at_once)).new == []
    assert seen == later[-overlap:]
    with pytest.raises(ConfigError, match="listed as a whole"):
        look(a_workspace(tmp_path, landing=str(tmp_path), **declared))
