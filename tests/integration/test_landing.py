"""What lies in a landing folder: what is taken, what is left out and told, what is refused, and no secret told.

Files are dropped in a landing folder; the sensor, the Dagster runs, the tables and the metadata are the real ones.
"""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from code_location import Answer, CodeLocation, failures, loaded, standalone
from dagster.components.core.component_tree import ComponentTreeException

from dataops_assets.components.run_attempts import PARTITION_TAG, RANGE_END_TAG, RANGE_START_TAG
from dataops_assets.config.connection import FileConnection
from dataops_assets.connections.files import Files
from dataops_assets.errors import StorageError

# Dagster itself uses them wherever a component is loaded
pytestmark = pytest.mark.filterwarnings(
    "ignore:Class `(LocalFile|)CodeReference(sMetadataValue|)` is currently in beta",
    "ignore:Parameter `owners` of initializer `SensorDefinition.__init__` is currently in beta",
    "ignore:Class `SparkDeclarativePipelineScaffolder` is currently in preview",
)

HEADER = "id,customer,amount\n"
DAY_1, DAY_2 = "orders_2024-01-01.csv", "orders_2024-01-02.csv"
PATTERN = {"pattern": "orders_%Y-%m-%d.csv*"}
OLD = 1_700_000_000
Make = Callable[..., CodeLocation]


@pytest.fixture(scope="module")
def definitions() -> Iterator[Callable[..., dg.Definitions]]:
    """The definitions of orders with these attributes and parts of the connection; loaded once."""
    made: dict[str, dg.Definitions] = {}
    with ExitStack() as stack:

        def of(attributes: dict[str, Any], connection: dict[str, Any]) -> dg.Definitions:
            declared = standalone() | attributes
            declared["connection"] = declared["connection"] | connection
            if str(declared) not in made:
                made[str(declared)] = stack.enter_context(loaded(declared))
            return made[str(declared)]

        yield of


@pytest.fixture
def make(definitions: Any, instance: dg.DagsterInstance, tmp_path: Path) -> Make:
    def place(attributes: dict[str, Any] | None = None, **connection: Any) -> CodeLocation:
        here = CodeLocation(definitions(attributes or {}, connection), instance, tmp_path / "home")
        (here.landing / "orders").mkdir(parents=True, exist_ok=True)
        return here

    return place


def told(answer: Answer) -> str:
    """What a person sees of a look: the tick's text and its events."""
    events = [str(event.description) for event in answer.asset_events]
    return "\n".join([str(answer.skip_message or ""), *events])


def observed(answer: Answer) -> dict[str, str]:
    """By file name, what the events of a look say."""
    said = [str(event.description).partition(": ") for event in answer.asset_events]
    return {os.path.basename(origin): text for origin, _, text in said}


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "name", "reason"),
    [
        ("orders/_*.csv", "_orders_2024-01-01.csv", "begins with '_'"),
        ("orders/*.csv", "ORDERS_2024-01-01.CSV", "letter case"),
        ("orders/*.csv", "orders_2024-01-01.csv.gz", "compression ending"),
        ("orders/*.csv", "orders_2024-01-01.csv.bak", "a backup"),
        ("orders/*.csv", ".orders_2024-01-01.csv.swp", "unfinished or temporary: its name ends with '.swp'"),
        ("orders/*", "orders_2024-01-01.csv.part", "unfinished"),
        ("orders/*", "orders_2024-01-01.csv.crdownload", "unfinished"),
        ("orders", "orders_2024-01-01.csv~", "a backup"),
        ("orders", "#orders_2024-01-01.csv#", "a backup"),
        ("orders", "~$orders.xlsx", "begins with '~'"),
    ],
)
def test_a_file_that_its_name_keeps_out_is_told_once(make: Make, path: str, name: str, reason: str) -> None:
    here = make(path=path)
    here.land("orders", name, HEADER + "1,1,5\n")
    first = here.tick("orders")
    assert not first.run_requests
    assert reason in observed(first)[name]
    assert "left out" in str(first.skip_message)
    (arrival,) = here.platform.metadata.arrivals("orders")
    assert (arrival.input_id, arrival.digest) == (None, "")
    # not at each look, nor by a new process, nor when it changes
    here.restart()
    for _ in range(2):
        again = here.tick("orders")
        assert (again.skip_message, again.asset_events) == ("no new input", [])
        here.land("orders", name, HEADER + "1,1,5\n2,1,5\n")


def test_a_file_that_gets_its_name_at_last_is_taken(make: Make) -> None:
    here = make(path="orders/*.csv")
    here.land("orders", f"{DAY_1}.part", HEADER + "1,1,5\n")
    here.land("orders", "notes.txt", "of another source")
    assert list(observed(here.tick("orders"))) == [f"{DAY_1}.part"]
    (here.landing / "orders" / f"{DAY_1}.part").rename(here.landing / "orders" / DAY_1)
    assert all(result.success for result in here.settle("orders"))
    assert here.rows("hub/orders", "id", "amount") == [(1, 5.0)]


def test_a_hidden_folder_is_told_as_one(make: Make) -> None:
    here = make(path="orders")
    for name in ("_temporary/0/a.csv", "_temporary/b.csv"):
        (here.landing / "orders" / name).parent.mkdir(parents=True, exist_ok=True)
        here.land("orders", name, HEADER)
    assert list(observed(here.tick("orders"))) == ["_temporary"]


# --- links -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the landing area, with a file in it."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / DAY_1).write_text(HEADER + "1,1,5\n")
    return folder


def link(here: CodeLocation, outside: Path, kind: str) -> None:
    folder = here.landing / "orders"
    match kind:
        case "file":
            (folder / DAY_1).symlink_to(outside / DAY_1)
        case "folder":
            (folder / "more").symlink_to(outside)
        case "parent":
            folder.rmdir()
            folder.symlink_to(outside)
        case "dots":
            (folder / DAY_1).symlink_to(Path("..", "..", "..", "outside", DAY_1))
        case "by a link":
            (folder / "step").symlink_to(outside / DAY_1)
            (folder / DAY_1).symlink_to(folder / "step")


@pytest.mark.parametrize("kind", ["file", "folder", "parent", "dots", "by a link"])
def test_a_link_out_of_the_landing_folder_is_refused_unless_declared(make: Make, outside: Path, kind: str) -> None:
    here = make(path="orders")
    link(here, outside, kind)
    answer = here.tick("orders")
    assert not answer.run_requests
    assert "cannot be taken" in str(answer.skip_message)
    assert "follow_links" in str(answer.skip_message)
    assert here.platform.metadata.inputs("orders") == []
    declared = make(path="orders", follow_links=True)
    assert all(result.success for result in declared.settle("orders"))
    assert declared.rows("hub/orders", "id", "amount") == [(1, 5.0)]


def test_a_link_within_the_landing_folder_is_its_file(make: Make) -> None:
    here = make(path="orders")
    here.land("elsewhere", DAY_1, HEADER + "1,1,5\n")
    (here.landing / "orders" / DAY_1).symlink_to(here.landing / "elsewhere" / DAY_1)
    assert all(result.success for result in here.settle("orders"))
    assert here.rows("hub/orders", "id", "amount") == [(1, 5.0)]


@pytest.mark.parametrize("follow_links", [False, True])
def test_links_to_nowhere_and_in_circles_are_refused_and_stop_nothing(make: Make, follow_links: bool) -> None:
    here = make(path="orders", follow_links=follow_links)
    folder = here.landing / "orders"
    (folder / "nowhere.csv").symlink_to(folder / "gone.csv")
    (folder / "one.csv").symlink_to(folder / "two.csv")
    (folder / "two.csv").symlink_to(folder / "one.csv")
    (folder / "up").symlink_to(here.landing)
    here.land("orders", DAY_1, HEADER + "1,1,5\n")
    answer = here.tick("orders")
    assert len(answer.run_requests or ()) == 1
    declared = FileConnection(type="files", path="orders", follow_links=follow_links)
    refused = {os.path.basename(origin) for origin in Files(declared, str(here.landing), {}).list().refused}
    circle = "orders" if follow_links else "up"
    assert refused == {"nowhere.csv", "one.csv", "two.csv", circle}


def test_a_link_that_is_put_in_place_of_a_file_after_the_look_is_not_read(make: Make, outside: Path) -> None:
    here = make(path="orders")
    here.land("orders", DAY_1, HEADER + "1,1,5\n")
    (request,) = here.tick("orders").run_requests or ()
    (here.landing / "orders" / DAY_1).unlink()
    link(here, outside, "file")
    failed = here.run(request)
    assert not failed.success
    assert "follow_links" in failures(failed)[0]


# --- stores ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["smb://host/in", "webdav://host/in/*.csv", "s4://b/in"])
def test_a_scheme_that_is_no_store_is_refused_at_load_and_the_known_ones_are_told(url: str) -> None:
    source = standalone()
    source["connection"] = source["connection"] | {"path": url}
    with pytest.raises(ComponentTreeException) as told_at_load, loaded(source):
        pass
    told_cause = str(told_at_load.value.__cause__)
    assert "connection.path" in told_cause
    assert "defs.yaml" in told_cause
    assert "known: file://, local://, memory://, s3://" in told_cause


def test_an_option_that_a_server_does_not_have_is_refused_at_load() -> None:
    source = standalone()
    source["connection"] = source["connection"] | {"path": "sftp://host/in", "storage_options": {"user": "me"}}
    with pytest.raises(ComponentTreeException) as told_at_load, loaded(source):
        pass
    told_cause = str(told_at_load.value.__cause__)
    assert "'user' in connection.storage_options" in told_cause
    assert "did you mean 'username'" in told_cause


@pytest.fixture
def nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("nobody_listens")
@pytest.mark.parametrize("path", ["s3://bucket/orders", "s3://bucket/orders/*.csv", "s3://bucket/*/a/*.csv"])
def test_a_host_that_cannot_be_reached_fails_the_look(make: Make, path: str) -> None:
    here = make(path=path)
    with pytest.raises(StorageError, match=r"check that the place is reachable"):
        here.tick("orders")


def test_a_landing_folder_that_is_not_there_yet_is_told_and_no_error(make: Make) -> None:
    here = make()
    (here.landing / "orders").rmdir()
    answer = here.tick("orders")
    assert "does not exist" in str(answer.skip_message)
    here.land("orders", DAY_1, HEADER + "1,1,5\n")
    assert all(result.success for result in here.settle("orders"))


# --- secrets ---------------------------------------------------------------------------------------------------------

SECRETS = {
    "s3://AKIAEXAMPLE:pl4nted/s3cr+t@bucket/in": ("pl4nted/s3cr+t", "AKIAEXAMPLE"),
    "s3://bucket/in?X-Amz-Signature=pl4ntedsignature&X-Amz-Security-Token=pl4ntedtoken": ("pl4nted",),
    "https://account.blob.example.com/in?sv=2024&sig=pl4ntedsas%3D": ("pl4nted",),
    "https://pl4ntedtoken@host/in": ("pl4nted",),
    "ftp://user:pl4nted@host/in": ("pl4nted",),
}


@pytest.mark.parametrize("url", SECRETS)
def test_a_secret_in_a_url_is_refused_at_load_and_masked(url: str) -> None:
    source = standalone()
    source["connection"] = source["connection"] | {"path": url}
    with pytest.raises(ComponentTreeException) as refused, loaded(source):
        pass
    causes: list[BaseException | None] = [refused.value]
    while (last := causes[-1]) is not None:
        assert not any(secret in f"{last} {last!r}" for secret in SECRETS[url])
        causes.append(last.__cause__)
    assert "***" in str(causes[1])


def test_no_secret_is_in_an_error_the_metadata_or_the_event_log(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its store tells the secrets that it was opened with in whatever fails."""
    monkeypatch.setenv("STORE_KEY", "pl4ntedkey")
    options = {"token": "pl4nted/token==", "account_key": "${STORE_KEY}"}

    def fails(*_: Any, **__: Any) -> Any:
        raise OSError("403 for https://u:pl4nted@host/in?sig=pl4ntedsig with pl4nted/token== and pl4ntedkey")

    here = make(storage_options=options)
    here.land("orders", DAY_1, HEADER + "1,1,5\n")
    (request,) = here.tick("orders").run_requests or ()
    with monkeypatch.context() as broken:
        broken.setattr("fsspec.implementations.local.LocalFileSystem.open", fails)
        failed = here.run(request)
    assert not failed.success
    assert "403 for https://***@host/in?sig=*** with *** and ***" in failures(failed)[0]
    with monkeypatch.context() as broken:
        broken.setattr("dataops_assets.connections.files.local_tree", fails)
        with pytest.raises(StorageError, match=r"403 for") as told_at_look:
            here.tick("orders")
    assert "pl4nted" not in f"{told_at_look.value} {told_at_look.value.__cause__}"
    log = [
        entry.to_json() if hasattr(entry, "to_json") else str(entry) for entry in here.instance.all_logs(failed.run_id)
    ]
    assert log
    assert "pl4nted" not in "\n".join(log)
    metadata = b"".join(path.read_bytes() for path in sorted(here.environment.home.glob("metadata.db*")))
    assert b"403 for" in metadata
    assert b"pl4nted" not in metadata


# --- one content, packed and arriving in many ways ------------------------------------------------------------------


@pytest.mark.parametrize("in_one_look", [True, False])
def test_a_file_and_its_packed_copy_are_one_input_of_append(make: Make, in_one_look: bool) -> None:
    here = make({"refresh": {"type": "append"}})
    content = (HEADER + "1,1,5\n2,1,6\n").encode()
    copies = {
        DAY_1: content,
        f"{DAY_1}.gz": gzip.compress(content),
        f"{DAY_1}.2.gz": gzip.compress(content, 1, mtime=7),
    }
    said = ""
    for name, packed in copies.items():
        here.land("orders", name, packed)
        if not in_one_look:
            said += told(here.tick("orders"))
            here.settle("orders")
    said += told(here.tick("orders"))
    here.settle("orders")
    assert len(here.platform.metadata.inputs("orders")) == 1
    assert here.rows("hub/orders", "id", "amount") == [(1, 5.0), (2, 6.0)]
    assert said.count("already known as") >= 2
    assert len(here.platform.metadata.arrivals("orders")) == 3


def test_damaged_archives_stop_no_other_file(make: Make) -> None:
    """Discovery unpacks files to know their content; libraries raise many exceptions for damaged ones."""
    here = make({"refresh": {"type": "append"}})
    here.land("orders", DAY_1, HEADER + "1,1,5\n")
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            archive.writestr("orders.csv", HEADER * 20)
        content = buffer.getvalue()
        member, end = content.rfind(b"PK\x01\x02"), content.rfind(b"PK\x05\x06")
        places = {"cut": 60, "data": 53, "version": member + 6, "start": end + 18}
        for name, place in places.items():
            damaged = content[:place] if name == "cut" else content[:place] + b"\xff\xff" + content[place + 2 :]
            here.land("orders", f"orders_2024-01-02.csv_{method}_{name}.zip", damaged)
    here.settle("orders")
    assert here.rows("hub/orders", "id", "amount") == [(1, 5.0)]
    statuses = here.platform.metadata.step_status("orders", "parse").values()
    assert sorted(statuses) == ["done", *["failed"] * 16]


def test_bytes_that_were_gone_at_ingest_are_taken_when_they_arrive_again(make: Make) -> None:
    here = make({"refresh": {"type": "append"}})
    content = (HEADER + "1,1,5\n").encode()
    here.land("orders", DAY_1, content)
    (request,) = here.tick("orders").run_requests or ()
    (here.landing / "orders" / DAY_1).unlink()
    assert "the file is gone" in failures(here.run(request))[0]
    assert not here.tick("orders").run_requests
    here.land("orders", f"{DAY_1}.gz", gzip.compress(content))
    here.land("orders", DAY_1, content)
    os.utime(here.landing / "orders" / DAY_1, (OLD, OLD))
    assert all(result.success for result in here.settle("orders"))
    assert here.rows("hub/orders", "id", "amount") == [(1, 5.0)]
    assert len(here.partitions("orders")) == 1


# --- history ---------------------------------------------------------------------------------------------------------


def test_versions_of_one_file_in_one_run_are_one_input_of_the_baseline(make: Make) -> None:
    here = make()
    for version in (1, 2):
        here.land("orders", DAY_2, HEADER + "1,1,5\n" * 1000 * version)
        os.utime(here.landing / "orders" / DAY_2, (OLD + version, OLD + version))
        here.tick("orders")
        assert here.materialize(["raw/orders"], {PARTITION_TAG: here.partitions("orders")[-1]}).success
    for day in (1, 3, 4, 5, 6, 7):
        here.land("orders", f"orders_2024-01-{day:02}.csv", HEADER + "1,1,5\n" * 10)
    here.tick("orders")
    ids = here.partitions("orders")
    assert here.materialize(["raw/orders"], {RANGE_START_TAG: ids[2], RANGE_END_TAG: ids[-1]}).success
    assert here.materialize(["lake/orders"], {RANGE_START_TAG: ids[0], RANGE_END_TAG: ids[-1]}).success
    results = here.platform.metadata.check_results("orders", "lake/orders")
    volumes = [item.outcome for item in results if item.outcome.check == "volume"]
    assert len(volumes) == 8
    last = max(volumes, key=lambda outcome: outcome.input_id or "")
    assert (last.numbers["earlier inputs"], last.numbers["median"]) == (6, 10)
