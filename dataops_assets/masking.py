"""Secrets are masked in every text that leaves the platform: errors, logs, metadata, Dagster's events.

A secret is known by its place in a text (user and password of a URL, a signature or token in its query, a key in a
connection string), or because it was given as a secret option, see `remember`. Errors mask themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

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

_remembered: dict[str, re.Pattern[str]] = {}


def is_secret_name(name: str) -> bool:
    """Return whether an option of this name holds a secret, such as `key`, `account_key` or `sas_token`."""
    return _SECRET_NAME.search(name) is not None


def remember(values: Iterable[str]) -> None:
    """Mask these values from now on, wherever they occur. Values of less than four characters are not masked."""
    for value in values:
        if len(value) < _SHORTEST or value.lower() in ("true", "false", "none"):
            continue
        for form in {value, quote(value, safe=""), quote_plus(value)}:
            # a short one must stand alone, so that no word is cut
            edges = (r"(?<![A-Za-z0-9])", r"(?![A-Za-z0-9])") if len(form) < 2 * _SHORTEST else ("", "")
            _remembered.setdefault(form, re.compile(f"{edges[0]}{re.escape(form)}{edges[1]}"))


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
