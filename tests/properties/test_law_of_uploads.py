"""The law of uploads: the landing folder has exactly the announced files, whatever is asked, killed or sent twice.

A reference keeps of each upload the bytes that the receiver has, in plain Python. Requests come in any order, with any
offset and any bytes; the process is killed, or the disk fails, at any call that touches the disk.
"""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from requests.adapters import BaseAdapter
from web_application import asked

from dataops_assets.config.receiving import Receive
from dataops_assets.connections.uploads.sender import Sender, Sent
from dataops_assets.connections.uploads.upload import Upload
from dataops_assets.connections.uploads.uploads import Progress, State, Uploads
from dataops_assets.errors import InputError, StorageError
from dataops_assets.operations.receiving import application

SECRET = "pl4nted-push-secret"
RECEIVE = {"signature": {"secret": {"env": "PUSH_SECRET"}}, "uploads": {}}
NAMES = ("a.csv", "a.csv/b.csv", "c/a.csv", "versions/a.csv")
CONTENTS = (b"", b"0123456789ab", b"0123456789xy", b"9876543210")
Stored = tuple[str, bytes, int]


def receiver_in(landing: Path) -> Uploads:
    receive = Receive.model_validate(RECEIVE)
    assert receive.uploads is not None
    return Uploads.of("orders", landing, landing / "in/orders", receive, receive.uploads)


def announced(name: str, content: bytes, modified: int) -> Upload:
    return Upload(name, len(content), modified, hashlib.sha256(content).hexdigest())


def landed(folder: Path) -> dict[str, Stored]:
    """By path, the name, the bytes and the time of each file in the folder of the source."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and "#" not in path.name:
            where = path.relative_to(folder).as_posix()
            # a version of its own has its time and digest above its name
            parts = where.split("/")
            name = "/".join(parts[2:]) if parts[0] == "versions" and "_" in parts[1] else where
            found[where] = (name, path.read_bytes(), path.stat().st_mtime_ns // 1000)
    return found


class Killed(BaseException):
    """The process ends here."""


@contextmanager
def failing(at: int, error: BaseException) -> Iterator[None]:
    """The disk call with this number (from 0) does half of its work if it writes, none otherwise, and fails."""
    calls = iter(range(1_000_000))
    with pytest.MonkeyPatch.context() as patched:
        for name in ("pwrite", "fsync", "link", "utime", "unlink"):
            real: Callable[..., Any] = getattr(os, name)

            def call(*given: Any, real: Callable[..., Any] = real, name: str = name, **named: Any) -> Any:
                if next(calls) == at:
                    if name == "pwrite":
                        real(given[0], bytes(given[1])[: len(given[1]) // 2], given[2])
                    raise error
                return real(*given, **named)

            patched.setattr(os, name, call)
        yield


@dataclass(frozen=True)
class Asked:
    """Bytes for an upload at an offset; `fails` is the disk call that does not come back, if any."""

    upload: int
    offset: int
    length: int
    is_altered: bool
    fails: int | None
    is_kill: bool


REQUESTS = st.builds(
    Asked,
    upload=st.integers(0, 3),
    offset=st.sampled_from([0, 0, 0, 4, 4, 8, 10, 12, 13]),
    length=st.sampled_from([0, 4, 4, 8, 12, 12]),
    is_altered=st.sampled_from([False] * 7 + [True]),
    fails=st.none() | st.integers(0, 14),
    is_kill=st.booleans(),
)
FILES = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(CONTENTS), st.sampled_from([1, 2_000_000])),
    min_size=4,
    max_size=4,
)


class Reference:
    """What the receiver has of one upload."""

    def __init__(self, upload: Upload, content: bytes) -> None:
        self.upload, self.content = upload, content
        self.there, self.is_stored = b"", False

    def add(self, offset: int, content: bytes) -> Progress:
        if self.is_stored:
            return Progress(State.STORED, self.upload.length)
        if offset != len(self.there):
            return Progress(State.WRONG_OFFSET, len(self.there))
        self.there += content
        if len(self.there) < self.upload.length:
            return Progress(State.GOES_ON, len(self.there))
        if self.there != self.content:
            self.there = b""
            return Progress(State.DIFFERS, 0)
        self.is_stored = True
        return Progress(State.STORED, self.upload.length, is_new=True)

    def resume(self, offset: int, content: bytes, found: Progress) -> None:
        """Take what was done by a request that did not end: some of its bytes, or all of its work."""
        if found.state is State.STORED:
            assert self.is_stored or self.add(offset, content).state is State.STORED
        elif found.offset or not self.there:
            whole = self.there + content if offset == len(self.there) else self.there
            assert not self.is_stored
            assert len(self.there) <= found.offset <= len(whole)
            self.there = whole[: found.offset]
        else:
            assert self.add(offset, content).state is State.DIFFERS


@settings(max_examples=60)
@given(files=FILES, wanted=st.lists(REQUESTS, max_size=25))
def test_the_folder_has_exactly_the_announced_files(
    files: Sequence[tuple[str, bytes, int]], wanted: Sequence[Asked]
) -> None:
    with TemporaryDirectory() as home:
        receiver = receiver_in(Path(home))
        known: dict[str, Reference] = {}
        known = {
            upload.id: known.setdefault(upload.id, Reference(upload, file[1]))
            for file in files
            for upload in [announced(*file)]
        }
        seen: dict[str, Stored] = {}
        for one in wanted:
            reference = known[announced(*files[one.upload]).id]
            request(receiver, reference, one)
            there = landed(receiver.folder)
            # nothing that appeared is replaced or removed
            assert seen.items() <= there.items()
            seen = there
            # a file may appear before its record; nobody was told so
            assert set(there.values()) >= {stored(item) for item in known.values() if item.is_stored}
            assert set(there.values()) <= {stored(item) for item in known.values()}
        for reference in known.values():
            if (progress := receiver.progress(reference.upload)).state is State.GOES_ON:
                progress = receiver.add(reference.upload, progress.offset, reference.content[progress.offset :])
            if progress.state is State.DIFFERS:
                # wrong bytes were added before
                progress = receiver.add(reference.upload, 0, reference.content)
            assert progress.state is State.STORED
        # parts whose removal failed go by age
        receiver.clean(time.time() + 8 * 86_400)
        assert not list((receiver.area / "parts").iterdir())
        assert Counter(landed(receiver.folder).values()) == Counter(map(stored, known.values()))


def stored(reference: Reference) -> Stored:
    return reference.upload.name, reference.content, reference.upload.modified


def request(receiver: Uploads, reference: Reference, one: Asked) -> None:
    """Make a request, and compare what it answers, or what it left if it did not end."""
    upload, content = reference.upload, reference.content[one.offset : one.offset + one.length]
    content = content.swapcase() if one.is_altered and content.swapcase() != content else content
    content = content[:-1] + b"!" if one.is_altered and content else content
    if one.offset + len(content) > upload.length:
        with pytest.raises(InputError, match="announced"):
            receiver.add(upload, one.offset, content)
        return
    if one.fails is None:
        assert receiver.add(upload, one.offset, content) == reference.add(one.offset, content)
        assert receiver.progress(upload).offset == (upload.length if reference.is_stored else len(reference.there))
        return
    try:
        with failing(one.fails, Killed() if one.is_kill else OSError(28, "No space left on device")):
            found = receiver.add(upload, one.offset, content)
        assert found == reference.add(one.offset, content)
    except (Killed, OSError):
        reference.resume(one.offset, content, receiver.progress(upload))


def test_two_writers_of_one_upload_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver, content = receiver_in(tmp_path), b"0123456789"
    upload = announced("a.csv", content, 1)
    real, is_writing, may_write = os.pwrite, threading.Event(), threading.Event()

    def slow(*given: Any) -> int:
        is_writing.set()
        assert may_write.wait(60)
        return real(*given)

    monkeypatch.setattr(os, "pwrite", slow)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(receiver.add, upload, 0, content)
        assert is_writing.wait(60)
        monkeypatch.setattr(os, "pwrite", real)
        second = pool.submit(receiver.add, upload, 0, b"9876543210")
        with pytest.raises(TimeoutError):
            second.result(0.2)
        may_write.set()
        assert first.result(60) == Progress(State.STORED, 10, is_new=True)
        assert second.result(60) == Progress(State.STORED, 10)
    assert list(landed(receiver.folder).values()) == [("a.csv", content, 1)]


class Wire(BaseAdapter):
    """A connection to a receiver in this process that loses requests and answers, and repeats requests."""

    def __init__(self, server: Any, chance: random.Random) -> None:
        super().__init__()
        self.server, self.chance = server, chance
        self.earlier: list[requests.PreparedRequest] = []

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:  # type: ignore[override]
        if self.chance.random() < 0.15:
            raise requests.ConnectionError("the request is lost")
        if self.earlier and self.chance.random() < 0.15:
            self._answer(self.chance.choice(self.earlier))
        self.earlier.append(request)
        answer = self._answer(request)
        if self.chance.random() < 0.2:
            raise requests.ConnectionError("the answer is lost")
        return answer

    def _answer(self, request: requests.PreparedRequest) -> requests.Response:
        body = request.body or b""
        assert isinstance(body, bytes)
        status, headers, content = asked(
            self.server, str(request.method), request.path_url, dict(request.headers), body
        )
        answer = requests.Response()
        answer.status_code, answer._content = status, content
        answer.headers.update(headers)
        return answer

    def close(self) -> None:
        pass


@settings(max_examples=8)
@given(files=FILES, seed=st.integers(0, 1 << 32))
def test_senders_that_lose_answers_and_push_at_once_store_each_file_once(
    files: Sequence[tuple[str, bytes, int]], seed: int
) -> None:
    with TemporaryDirectory() as home:
        receiver = receiver_in(Path(home))

        def push(number: int) -> list[Sent]:
            # a server of its own, as if it had been started anew
            server = application({}, {"orders": receiver}, {"PUSH_SECRET": SECRET})
            chance = random.Random(seed + number)
            session = requests.Session()
            session.mount("http://", Wire(server, chance))
            sender = Sender("http://test/uploads/orders", lambda: SECRET, 5, (0.0,) * 50, session, time.sleep)
            order = chance.sample(files, len(files))
            return [sender.send(announced(*file), BytesIO(file[1])) for file in order]

        with ThreadPoolExecutor(3) as pool:
            sent = [became for done in pool.map(push, range(3)) for became in done]
        assert Sent.CHANGED not in sent
        assert Counter(landed(receiver.folder).values()) == Counter(set(files))
        assert not list((receiver.area / "parts").iterdir())


def test_a_sender_gives_up_when_nothing_comes_back() -> None:
    session, waited = requests.Session(), list[float]()
    session.mount("http://", Wire(None, random.Random(1)))
    sender = Sender("http://127.0.0.1:9/uploads/orders", lambda: SECRET, 5, (1.0, 2.0), session, waited.append)
    session.get_adapter("http://").chance.random = lambda: 0.0  # type: ignore[attr-defined]
    with pytest.raises(StorageError, match="the next push goes on from here"):
        sender.send(announced("a.csv", b"x", 1), BytesIO(b"x"))
    assert waited == [1.0, 2.0]
