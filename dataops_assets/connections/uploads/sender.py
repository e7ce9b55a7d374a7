"""Sends files to a receiver in parts, and goes on where the receiver's stored bytes end.

The receiver is asked before the first part and after each fault, so nothing is remembered here. A file counts as sent
only with a receipt of the receiver, which proves that it knows the secret.
"""

from __future__ import annotations

import email.utils
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import BinaryIO
from urllib.parse import urlsplit

import requests

from dataops_assets.connections.uploads.signature import MOST_SKEW, is_receipt, signed
from dataops_assets.connections.uploads.upload import (
    COMPLETE,
    CONTENT_DIGEST,
    LIMIT,
    OFFSET,
    RECEIPT,
    YES,
    Upload,
    digest_field,
)
from dataops_assets.errors import ConfigError, DataOpsError, InputError, StorageError

_PART = 4 << 20
# to connect, and to wait for an answer: the receiver reads the whole file before it answers the last part
_TIMEOUT = (10.0, 600.0)
_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
_DIFFERS = 422
_TAKEN = (200, 201, 204, 409)
_MAY_PASS = (408, 425, 429, 500, 502, 503, 504)
_SHOWN = 200


class Sent(Enum):
    """The result of sending a file."""

    STORED = "stored"
    WAS_THERE = "was there"
    CHANGED = "changed"


@dataclass
class Sender:
    """Sends files to one source of a receiver: `url` is its address, such as https://data.example.com/uploads/orders.

    `secret` returns the shared secret. `part` is the number of bytes in a request. `pauses` are the seconds of waiting
    between tries that bring nothing.
    """

    url: str
    secret: Callable[[], str]
    part: int = _PART
    pauses: tuple[float, ...] = _PAUSES
    session: requests.Session = field(default_factory=requests.Session)
    sleep: Callable[[float], object] = time.sleep

    def send(self, upload: Upload, stream: BinaryIO) -> Sent:
        """Send the part of a file that the receiver lacks. The file is on the receiver's disk when this returns.

        Raises InputError if this file is not taken, ConfigError if none is, StorageError if the receiver does not
        answer or has no room: the next call goes on from there.
        """
        # unknown until the receiver says it
        offset: int | None = None
        furthest, failures, sent = -1, 0, Sent.WAS_THERE
        while True:
            try:
                answer = self._ask(upload) if offset is None else self._add(upload, stream, offset)
            except StorageError as error:
                offset, failures = None, self._paused(failures, error)
                continue
            if answer is None or answer.status_code == _DIFFERS:
                return Sent.CHANGED
            sent = sent if offset is None else Sent.STORED
            if self._is_stored(upload, answer):
                return sent
            if (reached := self._offset(upload, answer)) > furthest:
                furthest, failures = reached, 0
            elif offset is not None:
                removed = StorageError(
                    self._attempted(upload),
                    received="its parts are removed again and again",
                    next_step="look at the log of the receiver, and at its disk",
                )
                failures = self._paused(failures, removed)
            offset = reached

    def _paused(self, failures: int, error: StorageError) -> int:
        """Wait after a try that brought nothing; return the number of failures. After the last one raise `error`."""
        if failures == len(self.pauses):
            raise error
        self.sleep(self.pauses[failures])
        return failures + 1

    def _ask(self, upload: Upload) -> requests.Response:
        return self._answer("HEAD", upload, {}, None)

    def _add(self, upload: Upload, stream: BinaryIO, offset: int) -> requests.Response | None:
        """Send the next part; None if the file is shorter than it was."""
        stream.seek(offset)
        content = stream.read(min(self.part, upload.length - offset))
        if not content and offset < upload.length:
            return None
        digest = digest_field(hashlib.sha256(content).digest())
        headers = {OFFSET: str(offset), CONTENT_DIGEST: digest, "content-type": "application/partial-upload"}
        return self._answer("PATCH", upload, headers, content)

    def _answer(self, method: str, upload: Upload, more: Mapping[str, str], content: bytes | None) -> requests.Response:
        url = f"{self.url}/{upload.id}"
        headers = upload.headers() | dict(more)
        headers |= signed(self.secret(), method, urlsplit(url).path, headers, time.time())
        try:
            answer = self.session.request(
                method, url, data=content, headers=headers, timeout=_TIMEOUT, allow_redirects=False
            )
        except (requests.RequestException, OSError) as error:
            raise StorageError(
                self._attempted(upload),
                received=f"{type(error).__name__}, no answer",
                next_step="check that the receiver runs and can be reached; the next push goes on from here",
            ) from error
        if answer.status_code in (*_TAKEN, _DIFFERS):
            return answer
        raise self._refused(upload, answer)

    def _refused(self, upload: Upload, answer: requests.Response) -> DataOpsError:
        """Return the error for an answer that refuses a request."""
        attempted, status = self._attempted(upload), answer.status_code
        received = f"status {status}: {_problem(answer)}".removesuffix(": ")
        if status in _MAY_PASS:
            next_step = "look at the log of the receiver; the next push goes on from here"
            return StorageError(attempted, received=received, next_step=next_step)
        if status == 413:
            received = f"{upload.length:,} bytes, and the receiver takes {answer.headers.get(LIMIT, 'less')}"
            next_step = "raise connection.receive.uploads.most_bytes of the source, and limits of proxies before it"
            return InputError(attempted, received=received, next_step=next_step)
        if status == 400:
            next_step = "use the same version of `dataops` on both sides"
            return InputError(attempted, received=received, next_step=next_step)
        steps = {
            401: "give both sides the same secret; a proxy between them must not change the path",
            404: "correct the address: `dataops receive` tells it when it starts",
        }
        next_step = steps.get(status, f"correct the address: {self.url} is no receiver of files")
        if status == 401 and (skew := _skew(answer)) > MOST_SKEW:
            received, next_step = f"clocks that differ by {skew:.0f} s", "set the clock of this machine or the receiver"
        return ConfigError(attempted, received=received, next_step=next_step)

    def _is_stored(self, upload: Upload, answer: requests.Response) -> bool:
        if answer.headers.get(COMPLETE) != YES:
            return False
        if not is_receipt(self.secret(), upload.id, answer.headers.get(RECEIPT, "")):
            raise ConfigError(
                self._attempted(upload),
                received="an answer without the receiver's proof",
                next_step="correct the address: somebody else answers there",
            )
        return True

    def _offset(self, upload: Upload, answer: requests.Response) -> int:
        text = answer.headers.get(OFFSET, "")
        if not text.isdecimal() or int(text) > upload.length:
            raise ConfigError(
                self._attempted(upload),
                received=f"status {answer.status_code} without a valid {OFFSET}",
                next_step=f"correct the address: {self.url} is no receiver of files",
            )
        return int(text)

    def _attempted(self, upload: Upload) -> str:
        return f"sending {upload.name} to {self.url}"


def _problem(answer: requests.Response) -> str:
    """Return what an answer says; '' if it says nothing, as to HEAD."""
    try:
        return str(answer.json()["problem"])
    except (ValueError, TypeError, KeyError):
        # of a proxy
        return " ".join(answer.text[:_SHOWN].split())


def _skew(answer: requests.Response) -> float:
    """Return the seconds between the clock of the receiver and this one; 0 if it tells no time."""
    try:
        told = email.utils.parsedate_to_datetime(answer.headers.get("date", ""))
    except ValueError:
        return 0.0
    return abs(told.timestamp() - time.time())
