"""Outputs to object stores (emulators) and to an SFTP server (OpenSSH): whole, also after any fault."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pytest
from bucket_senders import AzureKeys, GcsKeys, Keys
from delivered_outputs import OutputPlace
from emulated_aws import emulated_aws
from emulated_azure import connection_string
from file_servers import SECRET, FileServer
from s3fs import S3FileSystem

from dataops_assets.config.outputs import FilesTarget
from dataops_assets.connections.stores import open_store, options_of
from dataops_assets.errors import StorageError
from dataops_assets.outputs.store_place import StorePlace

Files = dict[str, bytes]
Store = tuple[dict[str, Any], Callable[[], Files], Callable[[str], None]]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with emulated_aws() as (host, port):
        yield f"http://{host}:{port}"


@pytest.fixture
def s3(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    for name, value in {"ID": "key", "KEY": SECRET}.items():
        monkeypatch.setenv(f"STORE_{name}", value)
    given = {"aws_access_key_id": "key", "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=endpoint, **given)
    client.create_bucket(Bucket="partner")
    options = {"key": "${STORE_ID}", "secret": {"env": "STORE_KEY"}, "endpoint_url": endpoint}

    def found() -> Files:
        items = client.list_objects_v2(Bucket="partner", Prefix="crm/").get("Contents", [])
        keys = [item["Key"] for item in items]
        return {key.removeprefix("crm/"): client.get_object(Bucket="partner", Key=key)["Body"].read() for key in keys}

    yield (
        {"type": "files", "path": "s3://partner/crm", "storage_options": options},
        found,
        lambda name: client.delete_object(Bucket="partner", Key=f"crm/{name}"),
    )
    for name in found():
        client.delete_object(Bucket="partner", Key=f"crm/{name}")
    S3FileSystem.clear_instance_cache()


@pytest.fixture
def sftp(empty_sftp_server: FileServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    server = empty_sftp_server
    for name, value in server.secrets.items():
        monkeypatch.setenv(name, value)
    folder = server.folder / tmp_path.name

    def found() -> Files:
        paths = [path for path in folder.rglob("*") if path.is_file()]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}

    declared = {"type": "files", "path": f"{server.url}/{tmp_path.name}", "storage_options": server.options}
    return declared, found, lambda name: (folder / name).unlink()


@pytest.fixture
def azure(azure_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    monkeypatch.setenv("STORE_ACCOUNT", connection_string(azure_endpoint))
    return of_bucket(
        AzureKeys(azure_endpoint, f"p{zlib.crc32(tmp_path.name.encode())}"),
        {"connection_string": {"env": "STORE_ACCOUNT"}},
    )


@pytest.fixture
def gcs(gcs_endpoint: str, tmp_path: Path) -> Store:
    keys = GcsKeys(gcs_endpoint, f"p{zlib.crc32(tmp_path.name.encode())}")
    return of_bucket(keys, keys.options)


def of_bucket(keys: Keys, options: dict[str, Any]) -> Store:
    def found() -> Files:
        return {name.removeprefix("crm/"): content for name, content in keys.below("crm/").items()}

    declared = {"type": "files", "path": f"{keys.scheme}://{keys.bucket}/crm", "storage_options": options}
    return declared, found, lambda name: keys.remove(f"crm/{name}")


@pytest.fixture(params=["s3", "sftp", "gcs", "azure"])
def store(request: pytest.FixtureRequest) -> Store:
    found: Store = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def place(tmp_path: Path) -> OutputPlace:
    return OutputPlace(tmp_path / "home")


def visible(files: Files) -> list[str]:
    return sorted(name for name in files if not name.startswith("."))


def manifests(files: Files) -> dict[int, dict[str, Any]]:
    """The visible manifests by number; the files that they name are there, with their bytes."""
    found = {}
    for name, content in files.items():
        if name.endswith("manifest.json"):
            told = json.loads(content)
            folder = name.rpartition("/")[0]
            for item in told["files"]:
                there = files[f"{folder}/{item['path']}" if folder else item["path"]]
                assert hashlib.sha256(there).hexdigest() == item["sha256"]
            found[told["position"]["delivery"]] = told
    return found


def numbered(ids: range, note: str = "a") -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64()), "note": pa.array([note] * len(ids), pa.string())})


def test_a_file_in_a_store_is_replaced_archived_and_made_again_where_it_is_gone(
    store: Store, place: OutputPlace
) -> None:
    declared, found, remove = store
    to = {**declared, "keep": 1, "archive": "old"}
    given = options_of(FilesTarget.model_validate(to).storage_options, os.environ)
    store_of_others, folder = open_store(to["path"], given, "to.path")
    store_of_others.makedirs(f"{folder}/web", exist_ok=True)
    # of another program, which is nothing to the output
    of_others = place.home / "manifest.json"
    of_others.write_text('{"name": "shop", "icons": []}')
    store_of_others.put_file(str(of_others), f"{folder}/web/manifest.json")
    for note in "abc":
        place.publish(numbered(range(2), note))
        assert [item.passed for item in place.deliver(to).outcomes] == [True, True]
    assert found()["things.csv"] == b"id,note\n0,c\n1,c\n"
    assert found()["old/things_2.csv"] == b"id,note\n0,b\n1,b\n"
    names = [
        f"{name}{ending}"
        for name in ("old/things_1.csv", "old/things_2.csv", "things.csv")
        for ending in ("", ".manifest.json")
    ]
    assert visible(found()) == [*names, "web/manifest.json"]
    remove("web/manifest.json")
    assert sorted(manifests(found())) == [1, 2, 3]
    # nor is it delivered again for another way to sign in
    changed = {**to["storage_options"], "password": "${HOME}"} if "sftp" in to["path"] else to["storage_options"]
    assert place.deliver({**to, "storage_options": changed}).notes["skipped"]
    remove("things.csv")
    assert place.deliver(to).notes["delivery"] == 4
    assert not (place.home / "outputs" / "things.staging").exists()


def test_a_delivery_that_fails_at_any_moment_shows_nothing_half(
    store: Store, place: OutputPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared, found, remove = store
    to = {**declared, "name": "{output}_{delivery}", "partition_by": ["part"]}
    more = {
        "mode": "incremental",
        "deletes": "soft",
        "columns": [{"name": "id"}, {"name": "note"}, {"name": "part", "expression": "id % 2"}],
    }
    send, left = StorePlace._send, [0]

    def failing(self: StorePlace, file: Path, path: str, size: int) -> None:
        if not left[0]:
            raise ConnectionResetError("the wire was cut")
        left[0] -= 1
        send(self, file, path, size)

    monkeypatch.setattr(StorePlace, "_send", failing)
    # two files, their manifest, the state
    for turn in range(4):
        place.publish(numbered(range(4), str(turn)))
        left[0] = turn
        with pytest.raises(StorageError, match="the wire was cut"):
            place.deliver(to, **more)
        assert len(manifests(found())) == (turn == 3)
    left[0] = 100
    assert place.deliver(to, **more).notes["skipped"]
    # readers take deliveries away
    for name in visible(found()):
        remove(name)
    place.publish(numbered(range(3), "3"))
    place.deliver(to, **more)
    (told,) = manifests(found()).values()
    assert (told["position"]["delivery"], told["mode"], told["rows"]) == (2, "incremental", 1)
    assert found()["things_2/part=__null__/rows.csv"].splitlines()[1:] == [b"3,,true"]
