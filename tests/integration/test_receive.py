"""The receiver as a process: what it acknowledged is there once, after kills, repetitions and wrong signatures."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from pydantic import ValidationError
from receivers import SECRET, Receiver, a_source, environment_of
from web_application import asked

from dataops_assets.config.connection import FileConnection
from dataops_assets.connections.discovery import discover
from dataops_assets.connections.receiving import inboxes
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.operations.receiving import application


def signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    return {"X-Hub-Signature-256": f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"}


def event(number: int) -> bytes:
    return json.dumps([{"id": number, "customer": 1, "amount": number}]).encode()


def send(receiver: Receiver, body: bytes) -> int:
    """The status of an answer; 0 if there was none."""
    try:
        url = f"{receiver.url}/receive/orders"
        return requests.post(url, body, headers=signed(body), timeout=60).status_code
    except requests.RequestException:
        return 0


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    found = Receiver(tmp_path)
    yield found
    found.kill()


def test_what_was_acknowledged_is_an_input_once_also_after_kills(receiver: Receiver, tmp_path: Path) -> None:
    bodies = [event(number) for number in range(60)]
    folder = tmp_path / "landing" / "hooks" / "orders"
    receiver.start()
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(send, receiver, body) for body in bodies]
        while not any(answer.done() for answer in answers[10:]):
            time.sleep(0.001)
        receiver.kill()
        first = [answer.result() for answer in answers]
    assert {201, 0} == set(first)
    there = {path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}
    assert {body for body, status in zip(bodies, first, strict=True) if status == 201} <= there <= set(bodies)

    # senders try again, all of them and at once
    receiver.start()
    with ThreadPoolExecutor(4) as pool:
        again = list(pool.map(partial(send, receiver), bodies * 2))
    assert set(again) == {200, 201}
    assert again.count(201) == len(bodies) - len(there)

    environment = environment_of(tmp_path)
    metadata = MetadataStore(environment.metadata_url)
    metadata.migrate()
    found = discover(a_source(), environment, metadata, now=dt.datetime.now(dt.UTC) + dt.timedelta(hours=1))
    assert sorted(Path(item.origin).read_bytes() for item in found.new) == sorted(bodies)


class Client:
    """Asks a server without a wire."""

    def __init__(self, server: Any) -> None:
        self.server = server

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        """The status and the body of the answer."""
        status, _, content = asked(self.server, "POST", path, headers, body)
        return status, content


def test_only_proved_requests_are_stored_and_no_answer_tells_why(tmp_path: Path) -> None:
    environment = environment_of(tmp_path)
    variables = {"HOOK_SECRET": SECRET}
    client = Client(application(inboxes({"orders": a_source()}, environment), {}, variables))
    body = event(1)
    no_hex = {"X-Hub-Signature-256": "sha256=zz"}
    for headers in ({}, no_hex, signed(body, "other"), signed(event(2)), signed(body, "")):
        assert client.post("/receive/orders", body, headers)[0] == 401
    for status, path, content in ((404, "other", body), (413, "orders", b"x" * 1001), (400, "orders", b"")):
        assert client.post(f"/receive/{path}", content, signed(content))[0] == status
    assert not (tmp_path / "landing" / "hooks").exists()
    assert json.loads(client.post("/receive/orders", body, signed(body))[1])["new"]

    # a rotated secret needs no restart; one that is gone is the platform's fault
    variables["HOOK_SECRET"] = "another-secret"
    assert client.post("/receive/orders", event(2), signed(event(2)))[0] == 401
    assert client.post("/receive/orders", event(2), signed(event(2), "another-secret"))[0] == 201
    variables["HOOK_SECRET"] = ""
    assert client.post("/receive/orders", event(3), signed(event(3), ""))[0] == 401
    del variables["HOOK_SECRET"]
    status, told = client.post("/receive/orders", event(3), signed(event(3)))
    assert (status, b"HOOK_SECRET" in told) == (503, False)

    # the other way of writing it
    source = a_source(header="X-Shop-Hmac", prefix="", encoding="base64")
    client = Client(application(inboxes({"orders": source}, environment), {}, {"HOOK_SECRET": SECRET}))
    sent = base64.b64encode(hmac.new(SECRET.encode(), event(4), hashlib.sha256).digest()).decode()
    assert client.post("/receive/orders", event(4), {"x-shop-hmac": sent})[0] == 201
    # a disk that fails promises nothing
    (tmp_path / "landing" / "hooks" / "orders").rename(tmp_path / "moved")
    (tmp_path / "landing" / "hooks" / "orders").write_text("no folder")
    assert client.post("/receive/orders", event(4), {"x-shop-hmac": sent})[0] == 503


@pytest.mark.parametrize("path", ["s3://bucket/hooks", "/hooks", "hooks/*.json", "../hooks"])
def test_bodies_are_received_into_a_folder_of_the_landing_area(path: str) -> None:
    receive = {"signature": {"secret": {"env": "HOOK_SECRET"}}}
    with pytest.raises(ValidationError, match="below the landing area"):
        FileConnection.model_validate({"type": "files", "path": path, "format": {"type": "json"}, "receive": receive})
