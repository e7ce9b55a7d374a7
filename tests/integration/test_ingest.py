"""Discovery and ingest together, on real folders with a real metadata structure."""

from __future__ import annotations

import datetime as dt
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.connections.discovery import discover
from dataops_assets.connections.look import FoundInputs
from dataops_assets.connections.python import Extract
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.errors import InputError, StorageError
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.steps.ingest import ingest
from dataops_assets.steps.source_context import SourceContext

NOW = dt.datetime(2013, 6, 1, 12, tzinfo=dt.UTC)


def yesterday(previous: dt.datetime | None) -> list[Extract]:
    """The hook of a source in these tests."""
    del previous
    return [Extract(NOW - dt.timedelta(days=1), [{"a": 1}])]


def a_workspace(home: Path, **connection: Any) -> SourceContext:
    environment = environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home)
    source = Source.model_validate(
        {
            "name": "sales",
            "area": "shop",
            "connection": connection or {"type": "files", "path": "sales"},
            "columns": [{"name": "a"}],
            "refresh": {"type": "full"},
        }
    )
    Path(environment.landing, "sales").mkdir(parents=True)
    metadata = MetadataStore(environment.metadata_url)
    metadata.migrate()
    return SourceContext(environment, source, {"sales": source}, DuckDBEngine(environment), metadata)


@pytest.fixture
def context(tmp_path: Path) -> SourceContext:
    return a_workspace(tmp_path)


def deliver(context: SourceContext, name: str, content: bytes, age: float = 60.0) -> Path:
    path = Path(context.environment.landing, "sales", name)
    path.write_bytes(content)
    changed = NOW.timestamp() - age
    os.utime(path, (changed, changed))
    return path


def look(context: SourceContext) -> FoundInputs:
    return discover(context.source, context.environment, context.metadata, now=NOW)


def test_what_is_delivered_is_kept_as_received(context: SourceContext) -> None:
    first = deliver(context, "a.csv", b"a\r\n1\r\n", age=60)
    deliver(context, "b.csv.gz", b"\x1f\x8bnot really", age=30)
    inputs = look(context).new
    report = ingest(context, inputs)
    assert (report.step, report.asset, report.failures) == ("ingest", "raw/sales", ())
    assert [item.counts for item in report.inputs] == [{"bytes": 6, "files": 1}, {"bytes": 12, "files": 1}]
    assert report.notes == {"copied": 2, "already there": 0}
    assert context.raw.local_path(inputs[0]).read_bytes() == b"a\r\n1\r\n"
    assert context.raw.local_path(inputs[1]).name == "b.csv.gz"
    manifest = context.raw.manifest(inputs[0].input_id)
    assert manifest is not None
    assert (manifest.origin, manifest.modified) == (str(first), NOW - dt.timedelta(seconds=60))
    # the report is one that the metadata structure takes
    context.metadata.start("sales", "ingest", [item.input_id for item in inputs], "run")
    context.metadata.finish("sales", report, "run")
    assert set(context.metadata.step_status("sales", "ingest").values()) == {"done"}


def test_ingesting_again_copies_nothing_even_when_the_origin_is_gone(context: SourceContext) -> None:
    path = deliver(context, "a.csv", b"1")
    inputs = look(context).new
    ingest(context, inputs)
    path.unlink()
    report = ingest(context, inputs)
    assert (report.failures, report.notes) == ((), {"copied": 0, "already there": 1})
    assert report.inputs[0].counts == {"bytes": 1, "files": 1}


def test_an_input_that_fails_fails_alone(context: SourceContext) -> None:
    gone = deliver(context, "gone.csv", b"1", age=60)
    changed = deliver(context, "changed.csv", b"2", age=50)
    deliver(context, "good.csv", b"3", age=40)
    vanished, rewritten, good = look(context).new
    gone.unlink()
    changed.write_bytes(b"!")
    report = ingest(context, [vanished, rewritten, good])
    errors = {item.input_id: item.error for item in report.failures}
    assert set(errors) == {vanished.input_id, rewritten.input_id}
    assert all(isinstance(error, InputError) and error.permanent for error in errors.values())
    assert "the file is gone" in str(errors[vanished.input_id])
    assert "the origin changed since" in str(errors[rewritten.input_id])
    assert context.raw.inputs() == [good.input_id]
    # what the file is now is another input, and it goes through
    deliver(context, "changed.csv", b"!", age=30)
    assert ingest(context, look(context).new).failures == ()


def test_a_store_that_cannot_be_written_is_worth_another_try(context: SourceContext) -> None:
    deliver(context, "a.csv", b"1")
    inputs = look(context).new
    storage = Path(context.environment.storage)
    storage.write_text("in the way")
    (failure,) = ingest(context, inputs).failures
    assert isinstance(failure.error, StorageError)
    assert not failure.error.permanent
    storage.unlink()
    assert ingest(context, inputs).failures == ()


def test_the_bytes_are_compared_with_what_is_declared_and_with_the_inputs_before(context: SourceContext) -> None:
    for number in range(4):
        deliver(context, f"{number}.csv", f"a\n{number}\n".encode() * 100, age=600 - number)
    before = ingest(context, look(context).new)
    assert [check.check for check in before.outcomes] == ["volume", "schema", "distribution"] * 4
    assert all(check.passed and check.asset == "raw/sales" for check in before.outcomes)
    deliver(context, "5.csv", b"a\n1\n", age=60)
    deliver(context, "6.csv", b"PAR1" + b"\0" * 500 + b"PAR1", age=50)
    inputs = look(context).new
    report = ingest(context, inputs)
    assert report.failures == ()
    failed = {(check.input_id, check.check): check.explanation for check in report.outcomes if not check.passed}
    assert failed[inputs[0].input_id, "volume"].startswith("bytes 4, expected between")
    assert failed[inputs[1].input_id, "schema"].startswith("parquet, declared as csv")
    # the same when it is done again, long after what came later
    assert ingest(context, inputs).outcomes == report.outcomes


def test_no_inputs_is_no_work(context: SourceContext) -> None:
    report = ingest(context, [])
    assert (report.inputs, report.notes) == ((), {"copied": 0, "already there": 0})


def test_an_extract_of_a_hook_is_ingested_from_what_discovery_kept(tmp_path: Path) -> None:
    context = a_workspace(tmp_path, type="python", function=f"{__name__}:yesterday")
    inputs = look(context).new
    assert context.raw.inputs() == []
    assert ingest(context, inputs).failures == ()
    assert context.raw.inputs() == [inputs[0].input_id]
    # lost before it was ingested, there is nowhere to get it from
    shutil.rmtree(context.raw.uri)
    (failure,) = ingest(context, inputs).failures
    assert "not in the raw area" in str(failure.error)


def test_a_history_of_a_year_is_found_and_kept_in_one_run(context: SourceContext) -> None:
    """How long it takes is measured by `make benchmark-scale`."""
    for day in range(400):
        deliver(context, f"{day}.csv", f"a\n{day}\n".encode(), age=1000 - day)
    inputs = look(context).new
    report = ingest(context, inputs)
    assert (len(inputs), report.failures) == (400, ())
    assert report.notes["copied"] == 400
