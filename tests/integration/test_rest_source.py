"""A REST API as a source: every kind of paging and of signing in, and an API that misbehaves in every way."""

from __future__ import annotations

import base64
import datetime as dt
import email.utils
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from rest_server import Reply, Request, RestServer, rest_server

from dataops_assets.components.platform import Platform
from dataops_assets.config.databases import Connections
from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.connections.discovery import discover
from dataops_assets.connections.rest import client as rest_client
from dataops_assets.errors import CommitConflict, ConfigError, DataOpsError, InputError, InputHeld, StorageError
from dataops_assets.metadata.position_store import PositionStore
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.operations.connections import examine
from dataops_assets.report import Input
from dataops_assets.sql import query
from dataops_assets.steps.cdc import cdc
from dataops_assets.steps.enrich import enrich
from dataops_assets.steps.ingest import ingest
from dataops_assets.steps.parse import parse
from dataops_assets.steps.refresh import refresh
from dataops_assets.storage.raw import RawArea

NOON = dt.datetime(2024, 6, 1, 12, tzinfo=dt.UTC)


class Place:
    """A deployment with one source of an API; time passes as told, and waiting takes none."""

    def __init__(self, home: Path, server: RestServer, waits: list[float]) -> None:
        self.environment = environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home)
        self.metadata = MetadataStore(self.environment.metadata_url)
        self.metadata.migrate()
        self.server = server
        self.waits = waits
        self.api: dict[str, Any] = {"type": "rest", "url": server.url, "tries": 3}
        self.connection: dict[str, Any] = {"type": "rest", "api": "shop", "path": "orders"}
        self.refresh: dict[str, Any] = {"type": "key", "key": ["id"]}
        self.missing = "ignore"
        self.now = NOON

    @property
    def source(self) -> Source:
        columns = [{"name": "id", "type": "integer"}, {"name": "at"}, {"name": "city", "source_name": "to.city"}]
        return Source.model_validate(
            {
                "name": "orders",
                "area": "shop",
                "connection": self.connection,
                "columns": columns,
                "drift": {"missing_column": self.missing},
                "refresh": self.refresh,
            }
        )

    def look(self) -> list[Input]:
        self.now += dt.timedelta(hours=1)
        connections = Connections.model_validate({"connections": {"shop": self.api}}).connections
        return discover(self.source, self.environment, self.metadata, now=self.now, databases=connections).new

    def rows(self, items: list[Input]) -> list[dict[str, Any]]:
        raw = RawArea.of(self.environment.storage, "orders")
        return [json.loads(line) for item in items for line in raw.sound_path(item).read_text().splitlines()]

    def ids(self) -> list[int]:
        """The ids of the records that a look takes."""
        return [row["id"] for row in self.rows(self.look())]

    def problem(self) -> DataOpsError:
        """The error of a look, after which nothing is recorded."""
        before = self.metadata.positions.last_look("orders")
        with pytest.raises(DataOpsError) as caught:
            self.look()
        assert self.metadata.positions.last_look("orders") == before
        return caught.value


@pytest.fixture
def server() -> Iterator[RestServer]:
    with rest_server() as found:
        yield found


@pytest.fixture
def place(tmp_path: Path, server: RestServer, monkeypatch: pytest.MonkeyPatch) -> Place:
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    monkeypatch.setenv("SHOP_SECRET", "s3cr&t/value")
    rest_client.forget_waits()
    return Place(tmp_path, server, waits)


def records(*ids: int) -> list[dict[str, Any]]:
    return [{"id": number} for number in ids]


# --- paging ----------------------------------------------------------------------------------------------------------


def by_page(request: Request) -> Reply:
    page = int(request.query["page"])
    return Reply({"items": records(*range(10))[3 * page - 3 : 3 * page], "pages": 4})


def by_offset(request: Request) -> Reply:
    # never gives more than two, whatever is asked for
    start, limit = int(request.query["offset"]), int(request.query["limit"])
    return Reply({"data": {"items": records(*range(10))[start : start + min(limit, 2)]}, "total": 10})


def by_cursor(request: Request) -> Reply:
    start = int(request.query.get("after", "0"))
    following = str(start + 4) if start + 4 < 10 else None
    # a page in the middle may be empty
    return Reply(
        {"items": [] if start == 4 else records(*range(start, min(start + 4, 10))), "next": {"after": following}}
    )


def by_link_in_body(request: Request) -> Reply:
    start = int(request.query.get("from", "0"))
    link = f"/v1/orders?from={start + 5}&state={request.query['state']}" if start + 5 < 10 else None
    return Reply({"items": records(*range(start, start + 5)), "links": [{"next": link}]})


def by_link_in_header(request: Request) -> Reply:
    start = int(request.query.get("from", "0"))
    link = {"Link": f'<?from={start + 5}>; rel="next", <?from=0>; rel="first"'} if start + 5 < 10 else {}
    return Reply(records(*range(start, start + 5)), headers=link)


@pytest.mark.parametrize(
    ("answer", "declared", "expected"),
    [
        (lambda _: Reply(records(*range(10))), {}, range(10)),
        (by_page, {"paging": {"type": "page"}, "records_at": "items"}, range(10)),
        (by_page, {"paging": {"type": "page", "pages_at": "pages"}, "records_at": "items"}, range(10)),
        (by_offset, {"paging": {"type": "offset", "limit": 3}, "records_at": "data.items"}, range(10)),
        (by_offset, {"paging": {"type": "offset"}, "records_at": "data.items", "total_at": "total"}, range(10)),
        (
            by_cursor,
            {"paging": {"type": "cursor", "param": "after", "cursor_at": "next.after"}, "records_at": "items"},
            [0, 1, 2, 3, 8, 9],
        ),
        (
            by_link_in_body,
            {"paging": {"type": "link", "link_at": "links.0.next"}, "records_at": "items", "params": {"state": "a&b"}},
            range(10),
        ),
        (by_link_in_header, {"paging": {"type": "link"}}, range(10)),
    ],
)
def test_all_pages_of_every_kind_are_read(place: Place, answer: Any, declared: dict[str, Any], expected: Any) -> None:
    place.server.answer = answer
    place.connection |= declared
    place.api["auth"] = {"type": "api_key", "name": "key", "place": "query", "key": {"env": "SHOP_SECRET"}}
    assert place.ids() == list(expected)
    # each request is signed in, also that of a link
    assert {request.query["key"] for request in place.server.asked} == {"s3cr&t/value"}
    # the same again is no input
    assert place.look() == []


def by_body(request: Request) -> Reply:
    """Answers a query in the body as GraphQL and search APIs do; anything else is refused."""
    if request.method != "POST" or request.query != {"tenant": "7"}:
        return Reply({"message": "POST a query"}, 405)
    asked = json.loads(request.body)
    start, size = asked["page"].get("after") or 0, asked["page"]["size"]
    assert (type(start), asked["query"]) == (int, "orders { id }")
    found = [row for row in records(*range(10)) if row["id"] >= asked.get("filter", {}).get("from", 0)]
    following = start + size if start + size < len(found) else None
    return Reply({"data": {"orders": found[start : start + size], "next": following}})


def test_queries_in_a_body_have_paging_and_increments_in_the_body(place: Place) -> None:
    place.server.answer = by_body
    place.refresh = {"type": "append"}
    place.connection |= {
        "params": {"tenant": 7},
        "body": {"query": "orders { id }", "page": {"size": 4, "after": None}},
        "records_at": "data.orders",
        "paging": {"type": "cursor", "param": "page.after", "cursor_at": "data.next"},
        "incremental": {"cursor": "id", "param": "filter.from", "overlap": 2},
    }
    assert place.ids() == list(range(10))
    assert len(place.server.asked) == 3
    # numbers stay numbers, and a fault in the middle takes nothing
    place.server.faults = [Reply({"data": {"orders": records(10), "next": 1}}), *[Reply(b"<html>", 503)] * 3]
    assert isinstance(place.problem(), StorageError)
    rest_client.forget_waits()
    assert place.look() == []
    assert json.loads(place.server.asked[-1].body)["filter"] == {"from": 7}

    # an answer that is no JSON is no page, though it was taken
    place.server.faults = [Reply(b"taken")] * 3
    assert "no JSON" in place.problem().received
    rest_client.forget_waits()
    place.server.answer = lambda request: Reply(
        {"data": {"orders": records(7)[: 2 - json.loads(request.body)["page"]]}}
    )
    place.connection |= {"paging": {"type": "page"}, "body": {"query": "orders"}}
    assert place.ids() == [7]
    place.connection |= {"paging": {"type": "offset", "limit_param": "query.size"}}
    with pytest.raises(ValidationError, match=r"body has no place for 'query\.size'"):
        place.look()


def test_pages_that_change_while_they_are_read_are_read_again(place: Place) -> None:
    table = list(range(6))
    turns = iter([lambda: table.insert(0, 99), lambda: table.remove(5)])

    def answer(request: Request) -> Reply:
        start = int(request.query["offset"])
        reply = Reply({"items": records(*table[start : start + 2]), "total": len(table)})
        if start == 2:
            next(turns, lambda: None)()
        return reply

    place.server.answer = answer
    place.connection |= {"paging": {"type": "offset", "limit": 2}, "records_at": "items", "total_at": "total"}
    assert place.ids() == [99, 0, 1, 2, 3, 4]
    # it never rests: nothing is taken
    place.server.answer = lambda _: Reply({"items": records(1), "total": len(place.server.asked)})
    error = place.problem()
    assert isinstance(error, StorageError)
    assert "records were added or removed while the pages were read" in str(error)


def test_a_record_that_moves_to_the_next_page_is_taken_once(place: Place) -> None:
    pages = {"1": records(1, 2), "2": records(2, 3), "3": []}
    place.server.answer = lambda request: Reply(pages[request.query["page"]])
    place.connection["paging"] = {"type": "page"}
    assert place.ids() == [1, 2, 3]


@pytest.mark.parametrize(
    ("answer", "declared", "told"),
    [
        (
            lambda _: Reply({"items": [], "next": "x"}),
            {"paging": {"type": "cursor", "cursor_at": "next"}, "records_at": "items"},
            "names an earlier page",
        ),
        (
            lambda r: Reply(records(len(r.query["page"]))),
            {"paging": {"type": "page"}, "most_pages": 5},
            "more than 5 pages",
        ),
        (lambda _: Reply({"error": "none"}), {"records_at": "items"}, "no array at 'items'; known: error"),
        (lambda _: Reply([{"id": 1}, 2]), {}, "record 1 is a int and no object"),
        (
            lambda _: Reply([], headers={"Link": '<http://elsewhere/x>; rel="next"'}),
            {"paging": {"type": "link"}},
            "a link to http://elsewhere",
        ),
        (lambda _: Reply(b'[{"a":' + b"[" * 600 + b"]" * 600 + b"}]"), {}, "a record with too many levels"),
        (lambda _: Reply([], status=302, headers={"Location": "http://elsewhere/x"}), {}, "a link to http://elsewhere"),
        (lambda _: Reply({"message": "no such thing"}, status=404), {}, 'status 404: {"message": "no such thing"}'),
    ],
)
def test_a_wrong_answer_takes_nothing_and_says_what_to_do(
    place: Place, answer: Any, declared: dict[str, Any], told: str
) -> None:
    place.server.answer = answer
    place.connection |= declared
    error = place.problem()
    assert isinstance(error, InputError | ConfigError)
    assert told in str(error)
    assert error.next_step


# --- faults that pass ------------------------------------------------------------------------------------------------


def test_a_request_is_tried_again_until_a_complete_answer_comes(place: Place) -> None:
    place.server.answer = lambda _: Reply(records(1))
    place.api["tries"] = 6
    place.server.faults = [
        Reply(b"busy", status=503),
        Reply([{"id": 1}], cut=3),
        Reply(b"<html>sorry</html>"),
        Reply(b'[{"id": NaN}]'),
        Reply(b"[" * 100_000),
    ]
    assert place.ids() == [1]
    # longer each time
    assert len(place.waits) == 5
    assert all(0.25 * 2**n <= wait <= 0.75 * 2**n for n, wait in enumerate(place.waits))


def test_a_rate_limit_is_waited_for_as_the_api_says(place: Place) -> None:
    place.server.answer = lambda _: Reply(records(1))
    until = email.utils.format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=20), usegmt=True)
    place.server.faults = [
        Reply(status=429, headers={"Retry-After": "7"}),
        Reply(status=503, headers={"Retry-After": until}),
    ]
    assert place.ids() == [1]
    assert place.waits[0] == 7
    assert 15 < place.waits[1] <= 20


def test_a_long_limit_ends_the_look_and_no_look_asks_before_it_is_over(place: Place) -> None:
    place.server.faults = [Reply(status=429, headers={"Retry-After": "900"})]
    assert "the next try would be in 900 s" in str(place.problem())
    error = place.problem()
    assert isinstance(error, StorageError)
    assert "the API asked to wait" in str(error)
    assert len(place.server.asked) == 1
    # another account has a limit of its own
    place.api["auth"] = {"type": "bearer", "token": {"env": "SHOP_SECRET"}}
    place.server.answer = lambda _: Reply(records(1))
    assert place.ids() == [1]


def test_a_wait_that_is_no_number_is_not_obeyed(place: Place) -> None:
    place.server.answer = lambda _: Reply(records(1))
    place.server.faults = [Reply(status=503, headers={"Retry-After": "²"})]
    assert place.ids() == [1]


def test_after_the_last_try_nothing_is_taken(place: Place) -> None:
    place.server.answer = lambda request: Reply(records(1)) if request.query["page"] == "1" else Reply(status=500)
    place.connection["paging"] = {"type": "page"}
    assert "3 tries failed; the last: status 500" in str(place.problem())
    rest_client.forget_waits()
    place.server.answer = lambda request: Reply(records(1, 2) if request.query["page"] == "1" else [])
    assert place.ids() == [1, 2]


# --- signing in ------------------------------------------------------------------------------------------------------


def test_every_way_of_signing_in(place: Place) -> None:
    basic = base64.b64encode(b"me:s3cr&t/value").decode()
    reference = {"env": "SHOP_SECRET"}
    ways: list[tuple[dict[str, Any], str, str]] = [
        ({"type": "api_key", "key": reference}, "X-API-Key", "s3cr&t/value"),
        ({"type": "basic", "user": "me", "password": reference}, "Authorization", f"Basic {basic}"),
        ({"type": "bearer", "token": reference}, "Authorization", "Bearer s3cr&t/value"),
    ]
    for number, (auth, header, value) in enumerate(ways):
        place.api["auth"] = auth
        place.server.answer = lambda _, number=number: Reply(records(number))
        assert place.ids() == [number]
        assert place.server.asked[-1].headers[header] == value


def test_tokens_are_asked_for_when_they_are_needed_and_again_when_they_are_refused(place: Place) -> None:
    given: list[str] = []
    cut: list[bool] = []
    # a token that is refused is no try
    place.api["tries"] = 2

    def answer(request: Request) -> Reply:
        if request.path == "/v1/token":
            user = base64.b64encode(b"me:s3cr%26t%2Fvalue").decode()
            assert request.headers["Authorization"] == f"Basic {user}"
            assert request.form == {"grant_type": "client_credentials", "scope": "read"}
            given.append(f"token-{len(given)}")
            return Reply({"access_token": given[-1], "expires_in": 3600})
        if request.headers["Authorization"] != f"Bearer {given[-1]}" or (
            request.query["page"] == "2" and len(given) < 2
        ):
            return Reply({"error": "expired"}, status=401)
        if request.query["page"] == "2" and not cut:
            # the request with the new token fails as any other one can
            cut.append(True)
            return Reply(records(2), cut=4)
        return Reply(records(int(request.query["page"])) if request.query["page"] < "4" else [])

    place.server.answer = answer
    place.connection["paging"] = {"type": "page"}
    auth = {"type": "oauth2", "token_url": f"{place.server.url}/token", "client_id": "me", "scope": "read"}
    place.api["auth"] = auth | {"client_secret": {"env": "SHOP_SECRET"}}
    assert place.ids() == [1, 2, 3]
    assert given == ["token-0", "token-1"]


@pytest.mark.parametrize("kind", ["api_key", "basic", "bearer", "oauth2"])
def test_no_error_shows_a_secret(place: Place, kind: str) -> None:
    reference = {"env": "SHOP_SECRET"}
    place.api["auth"] = {
        "api_key": {"type": "api_key", "place": "query", "name": "key", "key": reference},
        "basic": {"type": "basic", "user": "me", "password": reference},
        "bearer": {"type": "bearer", "token": reference},
        "oauth2": {
            "type": "oauth2",
            "token_url": f"{place.server.url}/t",
            "client_id": "me",
            "client_secret": reference,
        },
    }[kind]
    place.server.answer = lambda r: Reply({"you sent": [r.query, dict(r.headers)]}, status=401)
    error = place.problem()
    place.server.answer = lambda _: Reply(b"", cut=-1)
    assert "s3cr" not in f"{error!r} {error.received} {error.next_step}"
    assert base64.b64encode(b"me:s3cr&t/value").decode() not in str(error)


# --- increments ------------------------------------------------------------------------------------------------------


def test_an_increment_asks_from_the_last_position_and_takes_each_record_once(place: Place) -> None:
    table = [{"id": 1, "at": "2024-05-01T10:00:00Z"}, {"id": 2, "at": "2024-05-01T11:30:00Z"}]

    def answer(request: Request) -> Reply:
        since = request.query["since"]
        return Reply([row for row in table if row["at"] >= since])

    place.server.answer = answer
    place.connection["incremental"] = {"cursor": "at", "param": "since", "start": "2000-01-01T00:00:00Z"}
    assert place.ids() == [1, 2]
    # one appears late, and one has the highest value that there was
    table += [{"id": 3, "at": "2024-05-01T11:00:00Z"}, {"id": 4, "at": "2024-05-01T11:30:00Z"}]
    assert place.ids() == [3, 4]
    assert place.server.asked[-1].query["since"] == "2024-05-01T10:30:00Z"
    assert place.look() == []
    # the same record with another content is a change
    table[1]["to"] = {"city": "Köln"}
    assert place.ids() == [2]
    table.append({"id": 5, "at": 7})
    place.server.answer = lambda _: Reply(table)
    assert "7 among values of kind time" in str(place.problem())


def test_numbers_keep_their_digits_and_positions_go_back_by_the_overlap(place: Place) -> None:
    body = b'[{"id": 1, "seq": 12345678901234567890, "sum": 1.10, "far": 1e400, "to": {"city": "\\ud83d"}}]'
    place.server.answer = lambda _: Reply(body)
    place.connection["incremental"] = {"cursor": "seq", "param": "after", "overlap": 90}
    raw = RawArea.of(place.environment.storage, "orders")
    (item,) = place.look()
    text = raw.sound_path(item).read_text()
    assert text == '{"id":1,"seq":12345678901234567890,"sum":1.10,"far":1E+400,"to":{"city":"\\ud83d"}}\n'
    assert place.look() == []
    assert place.server.asked[-1].query == {"after": "12345678901234567800"}


def test_a_look_that_dies_before_it_is_recorded_is_made_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.server.answer = lambda _: Reply(records(1, 2))

    def dies(_self: PositionStore, _done: object) -> None:
        raise MemoryError

    with monkeypatch.context() as during:
        during.setattr(PositionStore, "record", dies)
        with pytest.raises(MemoryError):
            place.look()
    assert place.metadata.inputs("orders") == []
    assert place.ids() == [1, 2]
    assert place.look() == []
    assert len(place.metadata.inputs("orders")) == 1


def test_two_looks_at_once_take_the_records_once(place: Place) -> None:
    def answer(_: Request) -> Reply:
        if len(place.server.asked) == 1:
            # another daemon looks at the same time, and is done first
            assert place.ids() == [1]
        return Reply(records(1))

    place.server.answer = answer
    with pytest.raises(CommitConflict, match="another look was recorded meanwhile"):
        place.look()
    assert len(place.metadata.inputs("orders")) == 1


# --- what follows ----------------------------------------------------------------------------------------------------


def test_nested_records_become_rows_of_the_hub(place: Place) -> None:
    place.server.answer = lambda _: Reply([{"id": 1, "to": {"city": "Köln"}}, {"id": 2, "at": "x"}, {"id": "no"}])
    items = place.look()
    context = Platform(place.environment).source_context(place.source, {"orders": place.source})
    for step in (ingest, parse, cdc, enrich, refresh):
        assert not step(context, items).failures
    with context.engine.session() as session:
        snapshot = context.hub.snapshot()
        assert snapshot is not None
        rows = session.fetch(query("SELECT id, at, city FROM $hub AS h ORDER BY id", hub=session.scan(snapshot)))
    assert rows.to_pylist() == [{"id": 1, "at": None, "city": "Köln"}, {"id": 2, "at": "x", "city": None}]


def test_an_empty_collection_deletes_nothing_until_it_is_told_to(place: Place) -> None:
    place.refresh, place.missing = {"type": "full", "key": ["id"]}, "fail"
    place.server.answer = lambda _: Reply([{"id": n, "at": "x", "to": {"city": "y"}} for n in range(200)])
    steps = (ingest, parse, cdc, enrich, refresh)
    context = Platform(place.environment).source_context(place.source, {"orders": place.source})
    items = place.look()
    for step in steps:
        assert not step(context, items).failures
    place.server.answer = lambda _: Reply([])
    items = place.look()
    assert place.rows(items) == [[]]
    assert not ingest(context, items).failures
    assert not parse(context, items).failures
    assert isinstance(cdc(context, items).failures[0].error, InputHeld)
    # the same answer again is no further input
    assert place.look() == []


def test_a_connection_is_examined(place: Place) -> None:
    place.server.answer = lambda _: Reply([], headers={"Server": "shop"})
    connections = Connections.model_validate({"connections": {"shop": place.api}}).connections

    def examined() -> Any:
        (found,) = examine(connections, {"orders": place.source}, place.metadata.positions, {})
        return found

    found = examined()
    assert (found.is_well, found.next_step, found.sources[0].reads) == (True, "dataops run orders", "orders")
    assert place.server.asked[-1].path == "/v1/orders"
    place.server.answer = lambda _: Reply({"error": "who?"}, status=401)
    found = examined()
    assert (found.is_well, found.error) == (False, 'status 401: {"error": "who?"}')
    assert found.next_step.startswith("check auth")
