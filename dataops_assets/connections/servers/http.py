"""Files of an HTTP server that lists its folders as pages of links, such as nginx, Apache and Python's http.server.

A version is known by Content-Length and Last-Modified, so each look asks for the head of each file. A file whose server
does not tell them is refused.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from dataops_assets.connections.servers.server_files import CHUNK, TIMEOUT_SECONDS, Connections, ServerFiles

if TYPE_CHECKING:
    import requests

_THREADS = 4
_GONE = (404, 410)
_REFUSED = (401, 403)
_MOST_BYTES_OF_A_PAGE = 64 << 20
# the bytes as they are on the server: a .gz is not unpacked on the way
_HEADERS = {"Accept-Encoding": "identity"}


class HttpFiles(ServerFiles):
    """Files of an HTTP server."""

    protocol = ("http", "https")
    OPTIONS = ("username", "password", "token")
    CAN_WRITE = False

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        """See `ServerFiles`; with `token`, requests have it as a Bearer token."""
        super().__init__(url, options)
        given = dict(options)
        self._sessions = Connections(lambda: _session(given), lambda session: session.close())

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """See `ServerFiles`. If the headers of a file lack size or time, its size is None: `info` says why."""
        path = self._strip_protocol(path)
        links = self._links(path)
        if links is None:
            return [self.info(path)] if detail else [path]
        if not detail:
            return [name.rstrip("/") for name in links]
        with ThreadPoolExecutor(_THREADS) as pool:
            return [item for item in pool.map(self._entry, links) if item is not None]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """See `ServerFiles`. Raises OSError if the server does not tell size and time."""
        path = self._strip_protocol(path)
        with self._sessions.one() as session, self._asked(session, "HEAD", path) as answer:
            size, modified = answer.headers.get("Content-Length", ""), answer.headers.get("Last-Modified", "")
        time = _time(modified)
        if not size.isdecimal() or time is None:
            missing = "Last-Modified" if size.isdecimal() else "Content-Length"
            raise OSError(f"the server tells no {missing} of it, so a new version could not be told from an old one")
        return {"name": path, "type": "file", "size": int(size), "mtime": time}

    def received(self, path: str) -> Iterator[bytes]:
        """See `ServerFiles`."""
        with self._sessions.one() as session, self._asked(session, "GET", path) as answer:
            answer.raw.headers.discard("Content-Encoding")
            yield from answer.iter_content(CHUNK)

    def _links(self, path: str) -> list[str] | None:
        """Return the paths to which the page of a folder links, of folders with / at their end; None for a file."""
        with self._sessions.one() as session, self._asked(session, "GET", path) as answer:
            is_page = answer.headers.get("Content-Type", "").startswith("text/html")
            if not is_page or not urlsplit(answer.url).path.endswith("/"):
                return None
            page = bytearray()
            for chunk in answer.iter_content(CHUNK):
                page += chunk
                if len(page) > _MOST_BYTES_OF_A_PAGE:
                    raise OSError(f"{self.place}{path} is a page of more than {_MOST_BYTES_OF_A_PAGE:,} bytes")
            links = _Links()
            links.feed(page.decode(answer.encoding or "utf-8", "replace"))
            links.close()
            return sorted({name for link in links.found if (name := _below(answer.url, link))})

    def _entry(self, name: str) -> dict[str, Any] | None:
        path = name.rstrip("/")
        if name.endswith("/"):
            return {"name": path, "type": "directory", "size": None}
        try:
            return self.info(path)
        except FileNotFoundError:
            # a link that leads nowhere, or a file that went
            return None
        except OSError:
            return {"name": path, "type": "file", "size": None}

    def _asked(self, session: requests.Session, method: str, path: str) -> requests.Response:
        url = f"{self.place}{quote(path)}"
        answer = session.request(method, url, timeout=TIMEOUT_SECONDS, stream=True, allow_redirects=True)
        if answer.ok:
            return answer
        answer.close()
        told = f"{method} {url}: status {answer.status_code} {answer.reason}"
        if answer.status_code in _GONE:
            raise FileNotFoundError(told)
        if answer.status_code in _REFUSED:
            raise PermissionError(told)
        raise ConnectionError(told)


class _Links(HTMLParser):
    """The addresses in the links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found += [value for name, value in attrs if name == "href" and value]


def _below(page: str, link: str) -> str:
    """Return the path of a link if it is an entry of the folder that the page shows; else nothing."""
    here, there = urlsplit(page), urlsplit(urljoin(page, link))
    if there.query or there.netloc != here.netloc or not there.path.startswith(here.path):
        return ""
    entry = there.path[len(here.path) :]
    name = unquote(entry.removesuffix("/"))
    if "/" in name or name in ("", ".", ".."):
        return ""
    return f"{unquote(here.path)}{name}{'/' if entry.endswith('/') else ''}"


def _session(options: Mapping[str, Any]) -> requests.Session:
    # few deployments need it
    import requests

    found = requests.Session()
    found.headers.update(_HEADERS)
    if "token" in options:
        found.headers["Authorization"] = f"Bearer {options['token']}"
    elif "username" in options:
        found.auth = (str(options["username"]), str(options.get("password", "")))
    return found


def _time(text: str) -> dt.datetime | None:
    try:
        return parsedate_to_datetime(text).astimezone(dt.UTC) if text else None
    except ValueError:
        return None
