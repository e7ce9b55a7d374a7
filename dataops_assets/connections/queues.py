"""Reads and deletes messages of a queue of SQS."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from dataops_assets.connections.aws import new_session
from dataops_assets.errors import StorageError

MOST_MESSAGES = 5_000
"""Number of messages that are received at a time; the others wait."""
_AT_ONCE = 10
# long enough for a look; after a killed one the messages are there again
_HIDDEN_SECONDS = 300
# a queue has many servers; only who waits asks all of them
_WAIT_SECONDS = 1
_TIMEOUT_SECONDS = 10
_TRIES = 3
_REGION = re.compile(r"(?:^|\.)sqs\.([a-z0-9-]+)\.")
_MISSING = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist", "InvalidAddress")


@dataclass(frozen=True)
class Message:
    """A message: its id, text, when it was sent (aware, UTC), and with which handle it is deleted."""

    id: str
    body: str
    sent_at: dt.datetime
    handle: str


@dataclass(frozen=True)
class Waiting:
    """How many messages are in a queue, about: those that wait, and those that somebody received just now."""

    messages: int
    received: int


class Queue:
    """A queue of SQS. Its methods raise StorageError if it cannot be reached, is not there or may not be used."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        """`options` are those of the bucket: `key`, `secret` and `token` count, or else the role of the process."""
        self.url = url
        self._options = options
        self._opened: Any = None

    def receive(self, until: float, clock: Callable[[], float]) -> list[Message]:
        """Return messages until none comes, MOST_MESSAGES are there, or the clock shows `until`."""
        found: dict[str, Message] = {}
        with self._asking("receiving messages of"):
            while len(found) < MOST_MESSAGES:
                answer = self._client.receive_message(
                    QueueUrl=self.url,
                    MaxNumberOfMessages=_AT_ONCE,
                    VisibilityTimeout=_HIDDEN_SECONDS,
                    WaitTimeSeconds=0 if found else _WAIT_SECONDS,
                    MessageSystemAttributeNames=["SentTimestamp"],
                )
                messages = answer.get("Messages", ())
                found |= {item["MessageId"]: _message(item) for item in messages}
                if not messages or clock() >= until:
                    break
        return list(found.values())

    def delete(self, messages: Sequence[Message]) -> None:
        """Delete messages. One that is not deleted comes again."""
        with self._asking("deleting messages of"):
            for begin in range(0, len(messages), _AT_ONCE):
                some = messages[begin : begin + _AT_ONCE]
                entries = [{"Id": str(number), "ReceiptHandle": item.handle} for number, item in enumerate(some)]
                self._client.delete_message_batch(QueueUrl=self.url, Entries=entries)

    def waiting(self) -> Waiting:
        """Return how many messages there are, and try to receive one, which stays visible to others."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        with self._asking("examining"):
            told = self._client.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"]
            self._client.receive_message(QueueUrl=self.url, MaxNumberOfMessages=1, VisibilityTimeout=0)
        return Waiting(*(int(told[name]) for name in names))

    @property
    def _client(self) -> Any:
        if self._opened is None:
            # takes long to import, and few sources need it
            from botocore.config import Config

            parts = urlsplit(self.url)
            region = _REGION.search(parts.netloc)
            limits = {"connect_timeout": _TIMEOUT_SECONDS, "read_timeout": _TIMEOUT_SECONDS}
            self._opened = new_session().create_client(
                "sqs",
                region_name=region[1] if region else None,
                # the host of the queue, also where it is no host of AWS
                endpoint_url=f"{parts.scheme}://{parts.netloc}",
                aws_access_key_id=self._options.get("key"),
                aws_secret_access_key=self._options.get("secret"),
                aws_session_token=self._options.get("token"),
                config=Config(retries={"total_max_attempts": _TRIES}, **limits),
            )
        return self._opened

    @contextlib.contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "an error without a code"))
            rights = "sqs:ReceiveMessage, sqs:DeleteMessage and sqs:GetQueueAttributes"
            next_step = f"correct the keys, or give this role the rights {rights} of the queue"
            if code in _MISSING:
                next_step = "create the queue, or correct connection.notifications.queue"
            raise StorageError(f"{what} the queue {self.url}", received=code, next_step=next_step) from error
        except BotoCoreError as error:
            raise StorageError(
                f"{what} the queue {self.url}",
                received=f"{type(error).__name__}: {error}",
                next_step="check that it can be reached, and that key and region are set; the next look tries again",
            ) from error


def _message(item: Mapping[str, Any]) -> Message:
    sent = dt.datetime.fromtimestamp(int(item["Attributes"]["SentTimestamp"]) / 1000, dt.UTC)
    return Message(item["MessageId"], item["Body"], sent, item["ReceiptHandle"])
