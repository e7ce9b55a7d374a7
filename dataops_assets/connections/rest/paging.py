"""Reads the pages of a collection, one at a time, in all the ways in which APIs name the next page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from dataops_assets.config.rest import Cursor, NextLink, Offset, OnePage, PageNumber, RestConnection
from dataops_assets.connections.rest.client import Answer, RestClient
from dataops_assets.errors import InputError


@dataclass(frozen=True)
class Page:
    """The records of one page, and the number of all records, if the API tells it."""

    records: list[dict[str, Any]]
    total: int | None


def pages(client: RestClient, connection: RestConnection, since: Mapping[str, Any]) -> Iterator[Page]:
    """Yield the pages of a collection. `since` is the parameter that asks for what is new.

    A page may have fewer records than were asked for, or none; that alone ends only pages with numbers. Raises
    InputError for an answer of another shape, for pages that lead in a circle, and for too many pages.
    """
    attempted = f"reading the pages of {connection.path} of the API {connection.api!r}"
    url = f"{client.api.url.rstrip('/')}/{connection.path.lstrip('/')}".rstrip("/")
    fixed = {name: _text(value) for name, value in connection.params.items()}
    asked, seen = _first(connection), set[str]()
    body = connection.body
    offset = 0
    for _ in range(connection.most_pages):
        if body is None:
            answer = client.get(url, {**fixed, **{name: _text(value) for name, value in {**since, **asked}.items()}})
        else:
            answer = client.get(url, fixed, with_values(body, {**since, **asked}))
        page = _page(answer, connection, attempted)
        offset += len(page.records)
        yield page
        following = _next(connection, answer, page, asked, offset)
        if following is None:
            return
        if isinstance(connection.paging, NextLink):
            url, fixed, following = client.same_host(answer.url, following[""]), {}, {}
            since = since if body is not None else {}
            mark = url
        else:
            mark = repr(following)
        if mark in seen:
            raise InputError(
                attempted,
                received="a page that names an earlier page as the next one",
                next_step="correct connection.paging, or tell the API's owner; nothing of this look was taken",
            )
        seen.add(mark)
        asked = following
    raise InputError(
        attempted,
        received=f"more than {connection.most_pages:,} pages",
        next_step="raise connection.most_pages, or correct connection.paging; nothing of this look was taken",
    )


def _text(value: Any) -> str:
    if isinstance(value, Decimal):
        # without an exponent
        return f"{value:f}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def with_values(body: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body with values at dotted paths; objects on the way are made where they are missing."""
    found = dict(body)
    for path, value in values.items():
        name, _, rest = path.partition(".")
        found[name] = with_values(found.get(name) or {}, {rest: value}) if rest else value
    return found


def _first(connection: RestConnection) -> dict[str, Any]:
    match connection.paging:
        case PageNumber():
            return {connection.paging.param: connection.paging.first}
        case Offset():
            return {connection.paging.limit_param: connection.paging.limit, connection.paging.param: 0}
    return {}


def _next(
    connection: RestConnection, answer: Answer, page: Page, asked: Mapping[str, Any], offset: int
) -> dict[str, Any] | None:
    """Return the parameters of the next page, a link under the name ''; None after the last page."""
    paging = connection.paging
    match paging:
        case OnePage():
            return None
        case PageNumber():
            number = asked[paging.param]
            count = _count(answer.body, paging.pages_at)
            is_last = number - paging.first + 1 >= count if count is not None else not page.records
            return None if is_last else {paging.param: number + 1}
        case Offset():
            # an API may give fewer records than it was asked for, so the next page begins after those that came
            is_last = not page.records or (page.total is not None and offset >= page.total)
            return None if is_last else {**asked, paging.param: offset}
        case Cursor():
            value = value_at(answer.body, paging.cursor_at)
            return {paging.param: value} if value not in (None, "", False) else None
        case NextLink():
            link = value_at(answer.body, paging.link_at) if paging.link_at else answer.link
            return {"": str(link)} if link else None


def _page(answer: Answer, connection: RestConnection, attempted: str) -> Page:
    found = value_at(answer.body, connection.records_at)
    if answer.body is None:
        found = []
    if not isinstance(found, list):
        keys = sorted(answer.body) if isinstance(answer.body, Mapping) else [type(answer.body).__name__]
        raise InputError(
            attempted,
            received=f"no array at {connection.records_at or 'the top'!r}",
            known=keys,
            next_step="correct connection.records_at; nothing of this look was taken",
        )
    for number, item in enumerate(found):
        if not isinstance(item, dict):
            raise InputError(
                attempted,
                received=f"record {number} is a {type(item).__name__} and no object",
                next_step="correct connection.records_at; nothing of this look was taken",
            )
    return Page(found, _count(answer.body, connection.total_at))


def _count(body: Any, path: str) -> int | None:
    value = value_at(body, path) if path else None
    return int(value) if isinstance(value, int | str) and str(value).isdecimal() else None


def value_at(value: Any, path: str) -> Any:
    """Return the value at a dotted path; None if there is none. An empty path is the value itself."""
    for name in path.split(".") if path else ():
        if isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        elif isinstance(value, Mapping):
            value = value.get(name)
        else:
            return None
    return value
