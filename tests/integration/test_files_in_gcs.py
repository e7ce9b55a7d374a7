"""Files of Google Cloud Storage are read as those of other stores, on an emulator (gcp-storage-emulator)."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from code_location import standalone
from emulated_gcs import emulated_gcs
from gcp_storage_emulator import server
from pydantic import ValidationError
from reading_process import Reader

from dataops_assets.config.connection import FileConnection
from dataops_assets.connections.stores import open_store
from dataops_assets.errors import StorageError

CONTENT = b"id,customer,amount\n%d,1,2.5\n"


@pytest.fixture
def options() -> Iterator[dict[str, str]]:
    """How to reach a store of this test."""
    with emulated_gcs("lake") as url:
        yield {"endpoint_url": url, "token": "anon"}


def test_files_of_gcs_are_found_once_and_copied(options: dict[str, str], tmp_path: Path) -> None:
    store: Any = open_store("gs://lake/in", options, "a test")[0]
    names = ["in/orders_2024-01-01.csv", "in/a b+c/orders_2024-01-02.csv"]
    for number, name in enumerate(names, start=1):
        store.pipe_file(f"lake/{name}", CONTENT % number)
    store.pipe_file("lake/in/orders_2024-01-03.txt", b"no")

    def reader(path: str) -> Reader:
        dated = {"extract_time": {"pattern": "orders_%Y-%m-%d.csv"}, "storage_options": options}
        return Reader(tmp_path, standalone() | {"connection": {"type": "files", "path": path} | dated})

    here = reader("gs://lake/in/**/*.csv")
    found = here.look(60)
    assert ([item.origin for item in found.new], found.problems) == ([f"gs://lake/{name}" for name in names], [])
    here.ingest()
    assert here.orders() == [(CONTENT % number).decode() for number in (1, 2)]
    assert here.look(60).new == []
    # replaced in place
    store.pipe_file(f"lake/{names[0]}", CONTENT % 33)
    assert [item.size for item in here.look(60).new] == [len(CONTENT % 33)]
    here.ingest()
    assert len(here.orders()) == 3
    with pytest.raises(StorageError, match="no bucket 'nosuch'"):
        reader("gs://nosuch/in/*.csv").look(60)


def test_refused_keys_are_told(options: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(request: Any, response: Any, storage: Any) -> None:
        response.status = HTTPStatus.UNAUTHORIZED
        response.json({"error": {"code": 401, "message": "Invalid account"}})

    for _path, methods in server.HANDLERS:
        monkeypatch.setitem(methods, "GET", refused)
    declared = {"type": "files", "path": "gs://lake/in/*.csv", "storage_options": options}
    with pytest.raises(StorageError, match="Invalid account"):
        Reader(tmp_path, standalone() | {"connection": declared}).look(60)


def test_notifications_are_for_s3_alone() -> None:
    declared = {"type": "files", "path": "gs://lake/in/*.csv"}
    with pytest.raises(ValidationError, match=r"known: s3://, s3a://"):
        FileConnection.model_validate(declared | {"notifications": {"queue": "https://sqs.example.com/1/a"}})
