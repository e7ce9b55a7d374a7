"""`dataops push` and its receiver as processes, killed in the middle; hostile names and requests; what a look finds."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from code_location import CodeLocation, loaded, standalone
from command_line import dataops
from pydantic import ValidationError
from receivers import SECRET, Receiver, a_source, environment_of
from web_application import asked

from dataops_assets.config.connection import FileConnection
from dataops_assets.connections.receiving import uploads
from dataops_assets.connections.uploads.sender import Sender, Sent
from dataops_assets.connections.uploads.signature import signed
from dataops_assets.connections.uploads.upload import CONTENT_DIGEST, OFFSET, Upload, digest_field, why_refused
from dataops_assets.errors import StorageError
from dataops_assets.operations.pushing import Agent
from dataops_assets.operations.receiving import application

# Dagster itself uses them wherever a component is loaded
pytestmark = pytest.mark.filterwarnings(
    "ignore:Class `(LocalFile|)CodeReference(sMetadataValue|)` is currently in beta",
    "ignore:Parameter `owners` of initializer `SensorDefinition.__init__` is currently in beta",
    "ignore:Class `SparkDeclarativePipelineScaffolder` is currently in preview",
)

_PUSH = """
import sys
from dataops_assets.operations.cli import main
code = main(["push", *sys.argv[1:]])
assert not {"dagster", "pyarrow", "deltalake", "duckdb", "sqlalchemy"} & set(sys.modules)
sys.exit(code)
"""
WORDS = ("--secret", "env:HOOK_SECRET", "--settle", "0")


def agent(url: str, *words: str) -> subprocess.Popen[str]:
    """A process that pushes."""
    search = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HOOK_SECRET": SECRET}
    command = [sys.executable, "-c", _PUSH, url, *words, *WORDS]
    return subprocess.Popen(command, env=search, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def files(folder: Path) -> dict[str, bytes]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def write(path: Path, content: str | bytes, modified: int = 1_700_000_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    os.utime(path, (modified, modified))
    return path


def until(found: Callable[[], Any]) -> Any:
    """What is found, as soon as there is something."""
    end = time.monotonic() + 120
    while not (value := found()):
        assert time.monotonic() < end
        time.sleep(0.002)
    return value


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    found = Receiver(tmp_path / "home", ["orders", "scans"])
    found.start()
    yield found
    found.kill()


def test_pushes_go_on_after_kills_of_both_sides_and_become_inputs(
    receiver: Receiver, tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    exports, landing = tmp_path / "exports", receiver.home / "landing"
    content = os.urandom(1 << 20) * 32
    write(exports / "2024/scan.json", content)
    parts = landing / ".uploads/scans/parts"

    def part() -> os.stat_result | None:
        """The part of the file, when it has bytes."""
        with contextlib.suppress(FileNotFoundError):
            return next((status for path in parts.iterdir() if (status := path.stat()).st_size), None)
        return None

    pushing = agent(f"{receiver.url}/uploads/scans", str(exports), "--every", "1")
    first = until(part)
    receiver.kill()
    there = part()
    assert there is not None
    assert 0 < there.st_size < len(content)
    # the agent tries again by itself
    receiver.start()
    until(lambda: (now := part()) is not None and now.st_size > there.st_size)
    pushing.kill()
    pushing.wait()
    there = part()
    assert there is not None
    assert there.st_size < len(content)
    assert not (landing / "hooks").exists(), "no part is seen"

    pushing = agent(f"{receiver.url}/uploads/scans", str(exports), "--every", "1", "--delete")
    assert pushing.stdout is not None
    assert [next(pushing.stdout) for _ in range(2)] == ["stored  2024/scan.json (33,554,432 bytes)\n", "  deleted\n"]
    pushing.send_signal(signal.SIGTERM)
    assert (pushing.wait(), files(exports)) == (130, {})
    landed = landing / "hooks/scans/2024/scan.json"
    assert landed.read_bytes() == content
    assert landed.stat().st_ino == first.st_ino, "the bytes of all processes are one file"
    assert (landed.stat().st_mtime, list(parts.iterdir())) == (1_700_000_000, [])

    monkeypatch.setenv("HOOK_SECRET", SECRET)
    # a corrected file replaces no version that a look has not seen yet
    declared = standalone() | {
        "connection": {
            **standalone()["connection"],
            "path": "hooks/orders",
            "extract_time": {"pattern": "orders_%Y-%m-%d.csv"},
            "receive": {"signature": {"secret": {"env": "HOOK_SECRET"}}, "uploads": {}},
        }
    }
    for amount, modified in ((2.5, 1_700_000_000), (3.5, 1_700_000_100)):
        file = write(tmp_path / "shop/orders_2024-01-01.csv", f"id,customer,amount\n1,7,{amount}\n", modified)
        done = dataops([], "push", f"{receiver.url}/uploads/orders", str(file), *WORDS)
        assert (done.code, done.lines) == (0, [f"stored  {file.name} ({file.stat().st_size} bytes)", "1 stored"])
    with loaded(declared) as definitions:
        location = CodeLocation(definitions, instance, receiver.home)
        location.settle("orders")
        assert location.rows("hub/orders", "id", "customer", "amount") == [(1, 7, 3.5)]
        assert len(location.partitions("orders")) == 2, "both versions are inputs"


SECRETS = {"HOOK_SECRET": SECRET}


def server_in(home: Path, **settings: Any) -> Any:
    return application({}, uploads({"orders": a_source(uploads=settings)}, environment_of(home)), SECRETS)


def announced(content: bytes, name: str = "orders.json") -> Upload:
    return Upload(name, len(content), 1_700_000_000_000_000, hashlib.sha256(content).hexdigest())


class Client:
    """Makes signed requests, and alters them."""

    def __init__(self, server: Any) -> None:
        self.server = server

    def ask(
        self, method: str, upload: Upload, body: bytes = b"", /, **altered: Any
    ) -> tuple[int, dict[str, str], bytes]:
        """The answer. What is `altered`: `method`, `path`, `sent` (the body), `now`, `secret`, headers."""
        path = f"/uploads/orders/{upload.id}"
        headers = upload.headers()
        if method == "PATCH":
            headers |= {OFFSET: "0", CONTENT_DIGEST: digest_field(hashlib.sha256(body).digest())}
        headers |= signed(altered.pop("secret", SECRET), method, path, headers, altered.pop("now", time.time()))
        method, path = altered.pop("method", method), altered.pop("path", path)
        sent = altered.pop("sent", body)
        headers |= {name.replace("_", "-"): value for name, value in altered.items()}
        return asked(self.server, method, path, {name: value for name, value in headers.items() if value}, sent)


def test_altered_and_repeated_requests_change_nothing(tmp_path: Path) -> None:
    client, body = Client(server_in(tmp_path, most_bytes=100)), b"0123456789"
    upload, other = announced(body), announced(b"9876543210")
    old = time.time() - 301
    altered: list[tuple[int, dict[str, Any]]] = [
        (401, {"secret": "other"}),
        (401, {"secret": ""}),
        (401, {"now": old}),
        (401, {"now": old, "signature_input": f"dataops=();created={int(time.time())}"}),
        (401, {"signature": ""}),
        (401, {"signature": "dataops=:zz:"}),
        (401, {"signature_input": ""}),
        (401, {"path": f"/uploads/orders/{other.id}"}),
        *((401, {name: value}) for name, value in other.headers().items() if value != upload.headers()[name]),
        (401, {"upload_name": "other.json"}),
        (401, {"upload_length": "11"}),
        (401, {"upload_modified": "1"}),
        (401, {"upload_offset": "1"}),
        (401, {"content_digest": digest_field(hashlib.sha256(b"9876543210").digest())}),
        (400, {"sent": b"0123456780"}),
        (413, {"sent": b"x" * ((8 << 20) + 1)}),
        (404, {"path": f"/uploads/others/{upload.id}"}),
        (405, {"method": "PUT"}),
    ]
    for status, how in altered:
        assert client.ask("PATCH", upload, body, **how)[0] == status, how
    # a signature for one method is none for another
    assert client.ask("HEAD", upload, body, method="PATCH", upload_offset="0")[0] == 401
    assert files(tmp_path) == {}

    status, told, _ = client.ask("HEAD", upload)
    assert (status, told["upload-offset"], told["upload-complete"]) == (204, "0", "?0")
    assert client.ask("PATCH", announced(b"x" * 101), b"x")[0] == 413
    assert client.ask("PATCH", announced(b"9"), b"98")[0] == 400
    status, told, _ = client.ask("PATCH", upload, body)
    receipt = hmac.new(SECRET.encode(), f"stored {upload.id}".encode(), hashlib.sha256).hexdigest()
    assert (status, told["upload-complete"], told["upload-receipt"]) == (201, "?1", receipt)
    before = files(tmp_path)
    assert sum(name.startswith("landing/hooks") for name in before) == 1
    assert client.ask("PATCH", upload, body)[0] == 200
    assert files(tmp_path) == before
    # what was stored once is known, also when the folder was cleaned
    (tmp_path / "landing/hooks/orders/orders.json").unlink()
    assert client.ask("PATCH", upload, body)[0] == 200
    assert not files(tmp_path / "landing/hooks")
    # a disk that fails promises nothing
    (tmp_path / "landing/hooks/orders").rmdir()
    (tmp_path / "landing/hooks/orders").write_text("no folder")
    status, told, text = client.ask("PATCH", other, b"9876543210")
    assert (status, "upload-receipt" in told, b"landing" in text) == (503, False, False)
    assert client.ask("HEAD", other)[1]["upload-offset"] == "10"
    (tmp_path / "landing/hooks/orders").unlink()
    assert client.ask("PATCH", other, b"", upload_offset="10")[0] == 401
    assert files(tmp_path / "landing/hooks") == {}


HOSTILE = [
    "",
    "/etc/passwd",
    "../orders.json",
    "a/../../orders.json",
    "a//b.json",
    "./a.json",
    "a/",
    "..\\orders.json",
    "C:\\orders.json",
    "a\x00.json",
    "a\nb.json",
    "a\u2028b.json",
    "con",
    "NUL.json",
    "com1.tar.json",
    "a/LPT9.json",
    "a:stream.json",
    "a?.json",
    " a.json",
    "a.json.",
    ".hidden.json",
    "a/.uploads/b.json",
    "orders.json.tmp",
    "x" * 241,
    "/".join(["x" * 200] * 6),
    "\udcff.json",
]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names_are_refused_on_both_sides(tmp_path: Path, name: str) -> None:
    assert why_refused(name)
    if name.isprintable():
        status, _, text = Client(server_in(tmp_path)).ask("PATCH", announced(b"1", name), b"1")
        assert (status, b"problem" in text) == (400, True)
    assert not files(tmp_path)


@pytest.mark.parametrize("name", ["orders.json", "a b/ü ∑ 100%.json", "con-1.json", "x" * 240, "%2e%2e.json", "a" * 9])
def test_other_names_stay_as_they_are(tmp_path: Path, name: str) -> None:
    assert Client(server_in(tmp_path)).ask("PATCH", announced(b"1", name), b"1")[0] == 201
    assert files(tmp_path / "landing/hooks/orders") == {name: b"1"}


@pytest.fixture
def pushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., dict[str, tuple[str, str]]]]:
    """Push files of a folder by the command to a receiver in this process; by name, what became of each."""
    import uvicorn

    monkeypatch.setenv("HOOK_SECRET", SECRET)
    config = uvicorn.Config(server_in(tmp_path, most_bytes=100), "127.0.0.1", 0, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    serving = threading.Thread(target=server.run)
    serving.start()
    until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]

    def push(*words: str, code: int = 0) -> dict[str, tuple[str, str]]:
        ended = dataops([], "push", f"http://127.0.0.1:{port}/uploads/orders", *words, *WORDS[:2], "--json")
        assert ended.code == code, ended.err
        return {item["name"]: (item["became"], item["why"]) for item in ended.data["files"]}

    yield push
    server.should_exit = True
    serving.join()


def test_only_finished_files_are_sent_and_taken_away_after_they_are_stored(
    tmp_path: Path, pushed: Callable[..., dict[str, tuple[str, str]]]
) -> None:
    exports, landed = tmp_path / "exports", tmp_path / "landing/hooks/orders"
    write(exports / "a.json", "[1]")
    write(exports / "sub/b.json", "[2]")
    write(exports / "large.json", "x" * 101)
    write(exports / "new.json", "[3]", int(time.time()))
    write(exports / "later.json", "[4]", int(time.time()) + 1000)
    write(exports / "c.json.part", "[5]")
    write(exports / "c:d.json", "[6]")
    (exports / "link.json").symlink_to(exports / "a.json")
    became = pushed(str(exports), code=1)
    assert {name: word for name, (word, _) in became.items()} == {
        "a.json": "stored",
        "sub/b.json": "stored",
        "large.json": "refused",
        "new.json": "waiting",
        "later.json": "waiting",
        "c.json.part": "left out",
        "c:d.json": "refused",
        "link.json": "refused",
    }
    assert "most_bytes" in became["large.json"][1]
    assert "in the future" in became["later.json"][1]
    assert files(landed) == {"a.json": b"[1]", "sub/b.json": b"[2]"}

    # again: nothing is stored, and what the receiver confirmed is moved
    became = pushed(f"{exports}/*.json", "--settle", "0", "--move-to", "../done", code=1)
    assert became["a.json"] == ("was there", f"moved to {tmp_path}/done/a.json")
    assert became["new.json"] == ("stored", f"moved to {tmp_path}/done/new.json")
    assert "sub/b.json" not in became
    assert sorted(files(landed)) == ["a.json", "later.json", "new.json", "sub/b.json"]
    assert sorted(files(tmp_path / "done")) == ["a.json", "later.json", "new.json"]
    # another version under the name of one that was moved
    write(exports / "a.json", "[7]", 1_700_000_001)
    assert pushed(str(exports / "a.json"), "--delete")["a.json"] == ("stored", "deleted")
    (version,) = (landed / "versions").iterdir()
    assert re.fullmatch(r"20231114T221321\.000000_[0-9a-f]{16}", version.name)
    assert (files(version), (landed / "a.json").read_bytes()) == ({"a.json": b"[7]"}, b"[1]")


class Refusing(Sender):
    """A receiver that has no room for some files."""

    def send(self, upload: Upload, stream: Any) -> Sent:
        assert stream.readable()
        if upload.name.startswith("bad"):
            raise StorageError("sending")
        return Sent.STORED


def test_one_file_that_fails_stops_no_other_and_three_in_a_row_do(tmp_path: Path) -> None:
    for number, name in enumerate(["a", "bad1", "b", "bad2", "bad3", "c", "bad4", "bad5", "bad6", "d", ".e"]):
        write(tmp_path / name, name, 1_700_000_000 + number)
    told: list[str] = []
    found = Agent(Refusing("", lambda: SECRET), [str(tmp_path)], 0).round(lambda item: told.append(item.became))
    assert told == ["stored", "failed", "stored", "failed", "failed", "stored", "failed", "failed", "failed"]
    assert [item.became for item in found] == [*told, "waiting"]


class Impostor(BaseHTTPRequestHandler):
    """Says that everything is stored."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Upload-Complete", "?1")
        self.send_header("Upload-Receipt", "00" * 32)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_nothing_is_deleted_without_the_proof_of_the_receiver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    file = write(tmp_path / "a.json", "[1]")
    with HTTPServer(("127.0.0.1", 0), Impostor) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/uploads/orders"
        ended = dataops([], "push", url, str(file), *WORDS, "--delete")
        server.shutdown()
    assert (ended.code, file.exists()) == (2, True)
    assert "somebody else answers there" in ended.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["https://example.com/orders", "FOLDER", "--secret", "env:HOOK_SECRET"], "uploads/orders"),
        (["https://h/uploads/orders", "FOLDER", "--secret", SECRET], "and not the secret"),
        (["https://h/uploads/orders", "FOLDER", "--secret", "env:NOT_THERE"], "NOT_THERE"),
        (["https://h/uploads/orders", "FOLDER", "--secret", "env:HOOK_SECRET", "--delete", "--move-to", "x"], "one of"),
        (
            ["https://h/uploads/orders", "FOLDER", "--secret", "env:HOOK_SECRET", "--move-to", "done", *WORDS[2:]],
            "done",
        ),
        (["https://h/uploads/orders", "FOLDER/no", "--secret", "env:HOOK_SECRET"], "correct the path"),
        (["https://h/uploads/orders", "FOLDER", "--secret", "env:HOOK_SECRET", "--settle", "soon"], "'soon'"),
    ],
)
def test_wrong_words_say_what_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    write(tmp_path / "a.json", "[1]")
    ended = dataops([], "push", *(word.replace("FOLDER", str(tmp_path)) for word in words))
    assert ended.code == 2
    assert told in ended.err
    assert SECRET not in ended.err


def test_pushed_files_have_no_manifests() -> None:
    receive = {"signature": {"secret": {"env": "HOOK_SECRET"}}, "uploads": {}}
    declared = {"type": "files", "path": "hooks/orders", "format": {"type": "excel"}, "receive": receive}
    assert FileConnection.model_validate(declared).receive is not None
    with pytest.raises(ValidationError, match=r"leave out receive\.uploads or manifest"):
        FileConnection.model_validate(declared | {"manifest": {"name": "{name}.json"}})
