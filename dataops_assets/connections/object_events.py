"""Reads which objects a message names: events of S3, sent to a queue directly, by SNS or by EventBridge."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

_TEST = "s3:TestEvent"


@dataclass(frozen=True)
class ObjectEvents:
    """The content of a message: `keys` of objects that changed, and its `fault` ('' if it has none).

    An event of any kind is a reason to look at its object, also of a removal: an older version can be there then.
    """

    keys: frozenset[str] = frozenset()
    fault: str = ""


def events_in(body: str, bucket: str) -> ObjectEvents:
    """Return what a message says about the objects of `bucket`."""
    try:
        named = list(_named(_parsed(body)))
    except (ValueError, RecursionError) as error:
        return ObjectEvents(fault=str(error) if isinstance(error, _NoEvent) else "it is no JSON")
    others = sorted({name for name, _ in named} - {bucket})
    fault = f"it names objects of {', '.join(map(repr, others))}, not of {bucket!r}" if others else ""
    return ObjectEvents(frozenset(key for name, key in named if name == bucket), fault)


class _NoEvent(ValueError):
    """A message is no event of an object; its text says what it is."""


def _parsed(body: str) -> Mapping[str, Any]:
    """Return the event in a message; SNS has it as a text in a message of its own."""
    document = json.loads(body)
    if isinstance(document, dict) and document.get("Type") == "Notification":
        message = document.get("Message")
        document = json.loads(message) if isinstance(message, str) else None
    if not isinstance(document, dict):
        raise _NoEvent("it is no JSON object")
    return document


def _named(event: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield bucket and key of each object. Raises _NoEvent."""
    if event.get("Event") == _TEST:
        raise _NoEvent(f"it is {_TEST}, with which S3 tests the queue")
    records, detail = event.get("Records"), event.get("detail")
    try:
        if isinstance(records, list):
            for record in records:
                # as in a form: a blank is +
                yield _place(record["s3"], lambda key: unquote_plus(key, errors="strict"))
        elif isinstance(detail, dict):
            yield _place(detail, str)
            # its events are not encoded; if one is, its object is found, too
            yield _place(detail, lambda key: unquote_plus(key, errors="strict"))
        else:
            raise _NoEvent("it is no event of S3")
    except (KeyError, TypeError, AttributeError, UnicodeError) as error:
        raise _NoEvent("it is no event of S3 with bucket and key") from error


def _place(about: Mapping[str, Any], decoded: Any) -> tuple[str, str]:
    bucket, key = about["bucket"]["name"], about["object"]["key"]
    if not isinstance(bucket, str) or not isinstance(key, str) or not key:
        raise TypeError
    found = decoded(key)
    # what is no UTF-8 names nothing
    found.encode()
    return bucket, found
