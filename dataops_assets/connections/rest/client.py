"""Asks a REST API: signs in, waits for rate limits, tries again what may pass, and never sends a secret elsewhere.

An answer is taken only if it is complete and JSON. Redirects and links to another host are refused, because the
request has credentials.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, TypeAlias
from urllib.parse import urljoin, urlsplit

import requests

from dataops_assets.config.rest import RestApi
from dataops_assets.connections.formats.json_text import json_text
from dataops_assets.connections.rest.signing import Signing
from dataops_assets.errors import ConfigError, DataOpsError, InputError, StorageError

_MAY_PASS = (408, 425, 429, 500, 502, 503, 504)
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5
_FIRST_PAUSE = 0.5
_CHUNK = 1 << 16
# after the last try, no look asks for so long
_REST_SECONDS = 30.0
_SHOWN = 200

Account: TypeAlias = tuple[str, str]
"""The address of an API and the declared way to sign in: others who sign in there have limits of their own."""


class NotFound(ConfigError):
    """The API has nothing at this address (status 404)."""


@dataclass(frozen=True)
class Answer:
    """The body of an answer; decimals keep their digits. `url` is where it came from, `link` the next address."""

    body: Any
    url: str
    link: str = ""
    server: str = ""


@dataclass(frozen=True)
class Content:
    """The method, the JSON body and the headers of a request. `is_query`: it changes nothing in the API."""

    method: Literal["POST", "PUT"]
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    is_query: bool = False


@dataclass
class Patience:
    """Waits between tries, but not longer than a look may wait. What outlives a look is by account."""

    longest: float
    sleep: Callable[[float], None] = field(default_factory=lambda: time.sleep)
    clock: Callable[[], float] = time.monotonic
    waited: float = 0.0

    def wait(self, seconds: float, api: Account, attempted: str, why: str) -> None:
        """Wait, or raise StorageError if that is too long; then no request is made to the API until it is over."""
        if self.waited + seconds > self.longest:
            _NOT_BEFORE[api] = self.clock() + seconds
            raise StorageError(
                attempted,
                received=f"{why}; the next try would be in {seconds:.0f} s",
                next_step="nothing: the next look tries again. If it never succeeds, declare a longer longest_wait",
            )
        self.waited += seconds
        self.sleep(seconds)

    def require_over(self, api: Account, attempted: str) -> None:
        """Raise StorageError while the API asked not to be asked."""
        left = _NOT_BEFORE.get(api, 0.0) - self.clock()
        if left > 0:
            raise StorageError(
                attempted,
                received=f"the API asked to wait; {left:.0f} s are left",
                next_step="nothing: a later look tries again",
            )


# state of the process: looks come every few seconds, and an API that asked to wait must not be asked by each of them
_NOT_BEFORE: dict[Account, float] = {}


def forget_waits() -> None:
    """Let the next look ask, also if an API asked to wait."""
    _NOT_BEFORE.clear()


@dataclass
class RestClient:
    """Makes the requests of one look at an API."""

    api: RestApi
    signing: Signing
    patience: Patience
    most_bytes: int
    session: requests.Session = field(default_factory=requests.Session)
    draw: Callable[[float, float], float] = random.uniform

    @property
    def _account(self) -> Account:
        return self.api.url, repr(self.api.auth)

    def get(self, url: str, params: Mapping[str, str], body: Mapping[str, Any] | None = None) -> Answer:
        """Return the answer to a request; with a body, it is a POST.

        Raises StorageError if it may pass, ConfigError if the API refuses the request, InputError for an answer that is
        too large.
        """
        query = Content("POST", json_text(body).encode(), is_query=True) if body is not None else None
        return self._answered(url, params, query)

    def send(self, url: str, content: Content) -> Answer:
        """Send a body, and again if that failed in a way that may pass. The answer may be of any kind.

        Raises StorageError if it may pass, ConfigError if the API refuses it.
        """
        return self._answered(url, {}, content)

    def _answered(self, url: str, params: Mapping[str, str], content: Content | None) -> Answer:
        is_query = content is None or content.is_query
        attempted = f"{'asking' if is_query else 'sending to'} {_place(url)}"
        self.patience.require_over(self._account, attempted)
        refreshed = False
        problem, number = "", 0
        while number < self.api.tries:
            try:
                response, body = self._sent(url, params, attempted, content)
            except (requests.RequestException, OSError) as error:
                # the texts of errors have the address with its query
                problem, wait = f"{type(error).__name__}, no complete answer", None
            else:
                if response.status_code in (401, 403) and self.signing.can_renew and not refreshed:
                    # not a try: the API works, and the token is of no use any more
                    refreshed = True
                    self.signing.renew()
                    continue
                if response.ok and response.status_code not in _REDIRECTS:
                    found = _parsed(response, body)
                    if found is None and not is_query:
                        # it was taken, whatever the API says of it
                        found = Answer(None, response.url)
                    if found is not None:
                        return found
                    problem, wait = "a body that is no JSON", None
                elif response.status_code not in _MAY_PASS:
                    raise _refused(attempted, response, body)
                else:
                    problem, wait = f"status {response.status_code}", _retry_after(response)
            number += 1
            if number < self.api.tries:
                pause = wait if wait is not None else _FIRST_PAUSE * 2 ** (number - 1) * self.draw(0.5, 1.5)
                self.patience.wait(pause, self._account, attempted, problem)
            else:
                _NOT_BEFORE[self._account] = self.patience.clock() + max(wait or 0.0, _REST_SECONDS)
        raise StorageError(
            attempted,
            received=f"{self.api.tries} tries failed; the last: {problem}",
            next_step="check that the API works; the next look tries again",
        )

    def _sent(
        self, url: str, params: Mapping[str, str], attempted: str, content: Content | None
    ) -> tuple[requests.Response, bytes]:
        """Send a request, follow redirects on the same host, and return the answer with its complete body."""
        for _ in range(_MOST_REDIRECTS):
            headers, signed = self.signing.of_request()
            of_content = {"Content-Type": "application/json", **content.headers} if content is not None else {}
            response = self.session.request(
                content.method if content is not None else "GET",
                url,
                params={**params, **signed},
                data=content.body if content is not None else None,
                headers={"Accept": "application/json", **self.api.headers, **of_content, **headers},
                timeout=self.api.timeout_seconds,
                allow_redirects=False,
                stream=True,
            )
            body = self._body(response, attempted)
            # a body is sent where it was declared to go, and nowhere else
            if response.status_code not in _REDIRECTS or content is not None:
                return response, body
            url, params = self.same_host(url, response.headers.get("Location", "")), {}
        raise ConfigError(attempted, received=f"more than {_MOST_REDIRECTS} redirects", next_step="correct url or path")

    def _body(self, response: requests.Response, attempted: str) -> bytes:
        parts, size = [], 0
        with response:
            for chunk in response.iter_content(_CHUNK):
                parts.append(chunk)
                size += len(chunk)
                if size > self.most_bytes:
                    raise InputError(
                        attempted,
                        received=f"a page of more than {self.most_bytes:,} bytes",
                        next_step="ask for smaller pages, or raise limits.document_bytes",
                    )
        return b"".join(parts)

    def same_host(self, url: str, link: str) -> str:
        """Return the address of a link on a page. Raises ConfigError if it leads to another host."""
        found = urljoin(url, link)
        there, here = urlsplit(found), urlsplit(self.api.url)
        if (there.scheme, there.hostname, _port(there)) != (here.scheme, here.hostname, _port(here)):
            raise ConfigError(
                f"following a link of {_place(url)}",
                received=f"a link to {there.scheme}://{there.netloc.rpartition('@')[2]}",
                known=[f"{here.scheme}://{here.netloc}"],
                next_step="declare the address to which links lead as url; credentials are sent to no other host",
            )
        return found


def _port(parts: Any) -> int:
    return int(parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0))


def _place(url: str) -> str:
    """Return an address without its query, which may have secrets."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _parsed(response: requests.Response, body: bytes) -> Answer | None:
    """Return a complete JSON answer; None if it is none."""
    link = response.links.get("next", {}).get("url", "")
    server = response.headers.get("Server", "")
    if response.status_code == 204:
        return Answer(None, response.url, link, server)
    try:
        # NaN and Infinity are no JSON
        found = json.loads(body, parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    return Answer(found, response.url, link, server)


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _refused(attempted: str, response: requests.Response, body: bytes) -> DataOpsError:
    text = " ".join(body[:_SHOWN].decode("utf-8", "replace").split())
    steps = {
        401: "check auth, and the secret that it refers to",
        403: "let the API's owner give this account the right to read",
        404: "correct url or path",
    }
    kind = NotFound if response.status_code == 404 else ConfigError
    return kind(
        attempted,
        received=f"status {response.status_code}: {text}",
        next_step=steps.get(response.status_code, "correct path and params"),
    )


def _retry_after(response: requests.Response) -> float | None:
    """Return the seconds that the API asks to wait, given as seconds or as a date."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    if not text:
        return None
    try:
        until = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    aware = until if until.tzinfo is not None else until.replace(tzinfo=dt.UTC)
    return max((aware - dt.datetime.now(dt.UTC)).total_seconds(), 0.0)
