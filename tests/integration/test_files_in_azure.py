"""Files of Azure Blob Storage are read as those of other stores, on an emulator (Azurite)."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas
from bucket_senders import AzureKeys
from code_location import standalone
from emulated_azure import ACCOUNT, KEY, connection_string, emulated_azure
from file_servers import certificate_in
from reading_process import Reader

from dataops_assets.errors import StorageError

CONTENT = b"id,customer,amount\n%d,1,2.5\n"
LATER = 60


def signature() -> str:
    """A shared access signature that may read and list alone."""
    until = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    rights = AccountSasPermissions(read=True, list=True)
    return generate_account_sas(ACCOUNT, KEY, ResourceTypes(container=True, object=True), rights, until)


def feed(bucket: str, options: dict[str, Any], path: str = "in/**/*.csv") -> dict[str, Any]:
    dated = {"extract_time": {"pattern": "orders_%Y-%m-%d*.csv"}, "storage_options": options}
    return standalone() | {"connection": {"type": "files", "path": f"az://{bucket}/{path}"} | dated}


def test_files_of_azure_are_found_once_and_copied(
    azure_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = AzureKeys(azure_endpoint, "lake")
    names = [f"in/{name}.csv" for name in ("a b+c/orders_2024-01-01", "orders_2024-01-02 ä%25", "orders_2024-01-03#?")]
    for number, name in enumerate(names, start=1):
        keys.put(name, CONTENT % number)
    keys.put("in/orders_2024-01-03.txt", b"no")
    # the connection string of the account, by reference
    monkeypatch.setenv("SHOP_STORE", connection_string(azure_endpoint))
    here = Reader(tmp_path, feed("lake", {"connection_string": {"env": "SHOP_STORE"}}))
    found = here.look(LATER)
    assert ([item.origin for item in found.new], found.problems) == ([f"abfs://lake/{name}" for name in names], [])
    here.ingest()
    assert here.orders() == [(CONTENT % number).decode() for number in (1, 2, 3)]
    assert here.look(LATER).new == []
    # replaced in place
    keys.put(names[0], CONTENT % 44)
    assert [item.size for item in here.look(LATER).new] == [len(CONTENT % 44)]
    here.ingest()
    assert len(here.orders()) == 4


def test_signatures_and_keys_open_the_store_and_are_never_told(
    azure_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    AzureKeys(azure_endpoint, "signed").put("in/orders_2024-01-01.csv", CONTENT % 1)
    signed = connection_string(azure_endpoint, f"SharedAccessSignature={signature()}")
    monkeypatch.setenv("SHOP_SIGNED", signed)
    monkeypatch.setenv(
        "SHOP_WRONG", wrong := connection_string(azure_endpoint, f"AccountName={ACCOUNT};AccountKey=d3Jvbmc=")
    )
    options = {"connection_string": {"env": "SHOP_SIGNED"}}
    reader = Reader(tmp_path / "signed", feed("signed", options))
    assert len(reader.look(LATER).new) == 1
    reader.ingest()
    assert reader.orders() == [(CONTENT % 1).decode()]
    # it may not delete
    moved = feed("signed", options)
    moved["connection"]["after_pickup"] = {"move_to": "../done"}
    (problem,) = Reader(tmp_path / "signed", moved).look(LATER).problems
    assert isinstance(problem.error, StorageError)
    assert "AuthorizationPermissionMismatch" in problem.error.received
    for bucket, variable, told in (("nosuch", "SHOP_SIGNED", "no bucket 'nosuch'"), ("signed", "SHOP_WRONG", "Auth")):
        declared = feed(bucket, {"connection_string": {"env": variable}})
        with pytest.raises(StorageError, match=told) as raised:
            Reader(tmp_path / variable, declared).look(LATER)
        assert not {signed, wrong, "d3Jvbmc=", signature()} & set(str(raised.value).split())


def test_options_of_the_account_open_the_store(tmp_path: Path) -> None:
    """adlfs speaks to accounts by TLS alone; a process reads whom it trusts when it begins."""
    certificate = certificate_in(tmp_path)
    with emulated_azure(certificate) as endpoint:
        place = {"account_name": ACCOUNT, "account_host": endpoint.partition("://")[2]}
        secrets = {"SHOP_KEY": KEY, "SHOP_SIGNATURE": f"?{signature()}"}
        given = [{"account_key": {"env": "SHOP_KEY"}}, {"sas_token": "${SHOP_SIGNATURE}"}]
        declared = [{"type": "files", "path": "az://lake/in/*.csv", "storage_options": place | item} for item in given]
        code = (
            "import os\n"
            "from azure.storage.blob import ContainerClient\n"
            "from dataops_assets.config.connection import FileConnection\n"
            "from dataops_assets.connections.files import Files\n"
            f"client = ContainerClient('{endpoint}', 'lake', credential='{KEY}', connection_verify='{certificate}')\n"
            "client.create_container(); client.upload_blob('in/a.csv', b'a')\n"
            f"for declared in {declared}:\n"
            "    files = Files(FileConnection.model_validate(declared), '', os.environ)\n"
            "    (found,) = files.list().versions; print(*files.chunks(found.origin))\n"
        )
        trusting = {"SSL_CERT_FILE": str(certificate)}
        ran = subprocess.run(
            [sys.executable, "-c", code], env=trusting | secrets, capture_output=True, text=True, timeout=600
        )
    assert (ran.stdout, ran.returncode) == ("b'a'\nb'a'\n", 0), ran.stderr[-3000:]
