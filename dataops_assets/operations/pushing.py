"""Pushes the files of a folder to a receiver: those that nobody writes any more, the oldest first.

One round looks at all files. A file is read to its end, announced by its SHA-256, sent from where the receiver's bytes
end, and moved or deleted if that is wanted, after the receiver confirmed it. A round that is killed at any moment loses
nothing: the next one asks the receiver.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NoReturn
from urllib.parse import urlsplit

from pydantic import ValidationError

from dataops_assets.config.after_pickup import AfterPickup
from dataops_assets.config.secrets import Secret
from dataops_assets.connections.secrets import secret_of
from dataops_assets.connections.uploads.chosen_files import (
    FileState,
    chosen_files,
    move_away,
    target_of,
    upload_of_file,
)
from dataops_assets.connections.uploads.sender import Sender, Sent
from dataops_assets.connections.uploads.upload import Upload
from dataops_assets.errors import ConfigError, InputError, StorageError

Became = Literal["stored", "was there", "waiting", "left out", "refused", "failed"]
BAD = ("refused", "failed")
_USUAL = ("was there", "waiting")
_IN_A_ROW = 3
_State = tuple[str, int, int]


@dataclass(frozen=True)
class Pushed:
    """The result of one file in one word; `why` explains it if a person needs that."""

    name: str
    became: Became
    size: int = 0
    why: str = ""


@dataclass
class Agent:
    """Pushes files in rounds. Between rounds it remembers digests, so that a file is read once, and nothing else.

    `settle_seconds`: a file that was changed later than that is not sent, because a program may still write it.
    """

    sender: Sender
    chosen: Sequence[str]
    settle_seconds: float
    after: AfterPickup | None = None
    clock: Callable[[], float] = time.time
    _digests: dict[_State, Upload] = field(default_factory=dict)
    _seen: dict[_State, float] = field(default_factory=dict)

    def round(self, tell: Callable[[Pushed], object]) -> list[Pushed]:
        """Push what is there, tell what becomes of each file, and return it.

        Raises ConfigError if no file can be sent, and StorageError if a folder cannot be listed. A file that the
        receiver does not store is `failed`; after three in a row the others wait for the next round.
        """
        # a file is pushed under the first name that it is chosen by
        named: dict[str, FileState] = {}
        for state in (state for chosen in self.chosen for state in chosen_files(chosen)):
            named.setdefault(state.path, state)
        states = list(named.values())
        self._forget_all_but(states)
        found: list[Pushed] = []
        for number, state in enumerate(states):
            found.append(self._pushed(state))
            tell(found[-1])
            # one file may be at fault; after several, the receiver is
            if [item.became for item in found[-_IN_A_ROW:]] == ["failed"] * _IN_A_ROW:
                left = [item for item in states[number + 1 :] if not item.refused]
                found.extend(Pushed(item.name, "waiting", item.size, "for the receiver") for item in left)
                break
        return found

    def rounds(
        self, every_seconds: float, tell: Callable[[Pushed], object], wait: Callable[[float], object] = time.sleep
    ) -> NoReturn:
        """Push in rounds until a signal ends this process. Tell each file once, until something else becomes of it.

        Raises ConfigError as `round` does.
        """
        told: dict[str, Pushed] = {}

        def tell_news(item: Pushed) -> None:
            if item.became not in _USUAL and told.get(item.name) != item:
                tell(item)

        while True:
            try:
                found = self.round(tell_news)
            except StorageError as error:
                found = [Pushed(", ".join(self.chosen), "failed", why=str(error))]
                tell_news(found[0])
            told = {item.name: item for item in found}
            wait(every_seconds)

    def _pushed(self, state: FileState) -> Pushed:
        if state.refused:
            return Pushed(state.name, "left out" if state.is_unfinished else "refused", state.size, state.refused)
        if why := self._unsettled(state):
            return Pushed(state.name, "waiting", state.size, why)
        if self.after is not None:
            # before anything is sent
            target_of(state, self.after)
        try:
            sent = self._sent(state)
        except FileNotFoundError:
            return Pushed(state.name, "waiting", state.size, "it is gone")
        except (InputError, OSError) as error:
            return Pushed(state.name, "refused", state.size, str(error))
        except StorageError as error:
            return Pushed(state.name, "failed", state.size, str(error))
        if sent is Sent.CHANGED:
            return Pushed(state.name, "waiting", state.size, "it changed while it was read")
        try:
            done = move_away(state, self.after) if self.after is not None else ""
        except StorageError as error:
            return Pushed(state.name, "refused", state.size, str(error))
        return Pushed(state.name, "stored" if sent is Sent.STORED else "was there", state.size, done)

    def _sent(self, state: FileState) -> Sent:
        with open(state.path, "rb") as stream:
            key = _key(state)
            upload = self._digests.get(key) or upload_of_file(state, stream)
            if upload is None:
                return Sent.CHANGED
            self._digests[key] = upload
            sent = self.sender.send(upload, stream)
            if sent is Sent.CHANGED:
                del self._digests[key]
            return sent

    def _unsettled(self, state: FileState) -> str:
        """Return why a file is not sent yet; empty if its last change, or our first look at it, is long enough ago."""
        now = self.clock()
        age = now - state.modified / 1e9
        seen = self._seen.setdefault(_key(state), now)
        if age >= self.settle_seconds or (age < 0 and now - seen >= self.settle_seconds):
            return ""
        if age < 0:
            return "its time of modification is in the future: correct it, or push with --every"
        return f"it was changed {age:.0f} s ago"

    def _forget_all_but(self, states: Sequence[FileState]) -> None:
        keys = {_key(state) for state in states}
        self._digests = {key: upload for key, upload in self._digests.items() if key in keys}
        self._seen = {key: seen for key, seen in self._seen.items() if key in keys}


def _key(state: FileState) -> _State:
    return state.path, state.size, state.modified


def sender_of(url: str, secret: str, variables: Mapping[str, str]) -> Sender:
    """Return the sender to an address, with a reference to a secret such as 'env:NAME'. Raises ConfigError."""
    parts = urlsplit(url.rstrip("/"))
    if parts.scheme not in ("http", "https") or not parts.hostname or "/uploads/" not in parts.path or parts.query:
        raise ConfigError(
            "reading the address of a receiver",
            received=url,
            known=["https://data.example.com/uploads/orders"],
            next_step="use the address that `dataops receive` prints when it starts",
        )
    place, _colon, name = secret.partition(":")
    try:
        reference = Secret.model_validate({place: name})
    except ValidationError:
        # the text is not shown: it may be the secret itself
        raise ConfigError(
            "reading the reference to the secret",
            known=["env:NAME", "file:PATH", "aws:NAME", "vault:PATH"],
            next_step="name the place of the secret, and not the secret",
        ) from None
    # read for each request, so it can be rotated
    sender = Sender(parts.geturl(), lambda: secret_of(reference, variables) or "")
    if not sender.secret():
        raise ConfigError(
            "reading the secret", received=f"nothing in {reference.place}", next_step="put the secret there"
        )
    return sender


def after_of(move_to: str, *, delete: bool) -> AfterPickup | None:
    """Return the action on a file after it was stored; None if the file stays. Raises ConfigError."""
    if not move_to and not delete:
        return None
    try:
        return AfterPickup(move_to=move_to, delete=delete)
    except ValidationError as error:
        raise ConfigError(
            "reading what is done after the push",
            received=error.errors()[0]["msg"],
            next_step="give one of --move-to FOLDER and --delete, or neither",
        ) from None
