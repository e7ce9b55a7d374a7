"""Secrets are masked in every text that leaves the platform: errors, logs, metadata, Dagster's events.

A secret is known by its place in a text (user and password of a URL, a signature or token in its query, a key in a
connection string), or because it was given as a secret, see `remember`. A process remembers the secrets of its
environment when it begins, see `remember_variables`. Errors mask themselves, and so do the records of all loggers
after `mask_logs`.
"""

from __future__ import annotations

import json
import logging
import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

MASK = "***"
_SHORTEST = 4
_NAME = r"[^=&;?\s'\"]*(?:sig|token|secret|passw|pwd|credential|key|auth)[^=&;?\s'\"]*"
# what follows the colon may hold '/' and '@', as keys of AWS do; a port is no password
_USER = re.compile(r"(?<=://)(?!\*\*\*@)[^\s'\"@/:?]*:(?!\d{1,5}(?:[/?'\"\s,;]|$))[^\s'\"]*(?=@)")
# of abfs://container@account the part before the '@' is no secret
_TOKEN = re.compile(r"\b(?!abfss?:|wasbs?:|az:)([A-Za-z][\w+.-]*://)[^\s'\"@/:?*]+(?=@)")
_QUERY = re.compile(rf"([?&;]{_NAME})=([^&\s'\"#;,]+)", re.IGNORECASE)
_PAIR = re.compile(
    r"\b((?:account|shared\w*|aws_\w*|access_?|api_?|client_)(?:key|secret|signature|token)\w*|password|pwd)=([^;&\s'\",]+)",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}")
_SECRET_NAME = re.compile(
    r"sig|token|secret|passw|pwd|credential|auth|connection_string|(?:^|_)key(?:$|_(?!id$))|^key", re.IGNORECASE
)

# of a variable of the environment; the whole last word, because PATHs and switches have such words in their names, too
_SECRET_VARIABLE = re.compile(
    r"(?:token|secret|passw(?:or)?d|passphrase|(?<!^)(?<!^old)pwd|(?:api|access|account|private|secret|shared|signing)_?key)$",
    re.IGNORECASE,
)
# a shorter value of a variable that only its name makes a secret is a usual word
_SHORTEST_VARIABLE = 8

_remembered: dict[str, re.Pattern[str]] = {}


def is_secret_name(name: str) -> bool:
    """Return whether an option of this name holds a secret, such as `key`, `account_key` or `sas_token`."""
    return _SECRET_NAME.search(name) is not None


def remember(values: Iterable[str]) -> None:
    """Mask these values from now on, wherever they occur; of a value of several lines, each line, too.

    Values of less than four characters are not masked, and neither are lines that are comments.
    """
    for value in (part for text in values for part in _parts(text)):
        if len(value) < _SHORTEST or value.lower() in ("true", "false", "none"):
            continue
        for form in {value, quote(value, safe=""), quote_plus(value)}:
            # a short one must stand alone, so that no word is cut
            edges = (r"(?<![A-Za-z0-9])", r"(?![A-Za-z0-9])") if len(form) < 2 * _SHORTEST else ("", "")
            _remembered.setdefault(form, re.compile(f"{edges[0]}{re.escape(form)}{edges[1]}"))


def remember_variables(variables: Mapping[str, str], secret: Iterable[str] = ()) -> None:
    """Mask the secrets in the variables of an environment from now on.

    These are the variables named in `secret`, those whose name says it (such as `AWS_SECRET_ACCESS_KEY`), the
    passwords of URLs, and the settings in JSON objects whose name says it.
    """
    named = {name for name in secret if name in variables}
    for name, value in variables.items():
        if name in named or (_SECRET_VARIABLE.search(name) and len(value) >= _SHORTEST_VARIABLE):
            remember([value])
        if "://" in value:
            remember(_secrets_of_url(value))
        elif value.startswith("{"):
            remember(_secrets_of_json(value))


def mask_logs() -> None:
    """Mask the messages and the tracebacks of all loggers of this process from now on."""
    make = logging.getLogRecordFactory()
    if not isinstance(make, _MaskedRecords):
        logging.setLogRecordFactory(_MaskedRecords(make))


def mask(text: str) -> str:
    """Return the text with *** in place of its secrets."""
    for form in sorted(_remembered, key=len, reverse=True):
        if form in text:
            text = _remembered[form].sub(MASK, text)
    if "=" in text:
        text = _PAIR.sub(rf"\1={MASK}", _QUERY.sub(rf"\1={MASK}", text))
    if "://" in text and "@" in text:
        text = _TOKEN.sub(rf"\1{MASK}", _USER.sub(MASK, text))
    return _BEARER.sub(rf"\1 {MASK}", text)


def has_secret(text: str) -> bool:
    """Whether masking changes the text."""
    return mask(text) != text


def cut_secrets(error: BaseException | None) -> None:
    """End the chain of causes before the first one whose text has a secret: Dagster shows the texts of all causes."""
    if error is None:
        return
    seen = {id(error)}
    while (cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__)) is not None:
        if id(cause) in seen or has_secret(str(cause)) or has_secret(repr(cause)):
            error.__cause__ = None
            error.__suppress_context__ = True
            return
        seen.add(id(cause))
        error = cause


def _parts(secret: str) -> Iterator[str]:
    """Yield a secret, and its lines if it has several."""
    yield secret
    if "\n" in secret:
        yield from (line for line in secret.splitlines() if not line.startswith("#"))


class _MaskedRecords:
    """Makes the records of loggers, without secrets."""

    def __init__(self, make: Callable[..., logging.LogRecord]) -> None:
        self._make = make

    def __call__(self, *given: Any, **settings: Any) -> logging.LogRecord:
        record = self._make(*given, **settings)
        try:
            told = record.getMessage()
        except (TypeError, ValueError):
            # arguments that do not fit their message: the handler tells of it
            return record
        if has_secret(told):
            record.msg, record.args = mask(told), None
        if record.exc_info and record.exc_info[1] is not None:
            # a formatter takes this text, and does not make its own
            record.exc_text = mask("".join(traceback.format_exception(*record.exc_info)).rstrip())
        return record


def _secrets_of_url(text: str) -> Iterator[str]:
    try:
        parts = urlsplit(text)
        password = parts.password
    except ValueError:
        return
    if password:
        yield unquote(password)
    for name, value in parse_qsl(parts.query):
        if _SECRET_VARIABLE.search(name) or name in ("pass", "sig", "signature"):
            yield value


def _secrets_of_json(text: str) -> Iterator[str]:
    try:
        found = json.loads(text)
    except ValueError:
        return
    if isinstance(found, dict):
        for name, value in found.items():
            # settings of Spark have dots between their words
            is_secret = _SECRET_NAME.search(name.replace(".", "_")) is not None
            if is_secret and isinstance(value, str) and len(value) >= _SHORTEST_VARIABLE:
                yield value
