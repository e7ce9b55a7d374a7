"""Looks at an API take each content of each record once, whatever pages, faults, changes and crashes there are."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rest_server import Reply, Request, RestServer, rest_server

from dataops_assets.config.rest import RestApi, RestConnection
from dataops_assets.connections.databases.position import Position
from dataops_assets.connections.rest.client import Patience, RestClient, forget_waits
from dataops_assets.connections.rest.extract import RestRequest, extract_api
from dataops_assets.connections.rest.signing import Fixed
from dataops_assets.errors import StorageError

NOON = dt.datetime(2024, 6, 1, 12, tzinfo=dt.UTC)
PAGING: list[dict[str, Any]] = [
    {"type": "page"},
    {"type": "offset", "limit": 3},
    {"type": "cursor", "cursor_at": "next"},
    {"type": "link", "link_at": "link"},
]
FAULTS = [
    Reply(b"", status=500),
    Reply([1, 2, 3], cut=4),
    Reply(b"sorry"),
    Reply(status=429, headers={"Retry-After": "1"}),
]


@pytest.fixture(scope="module")
def server() -> Iterator[RestServer]:
    with rest_server() as found:
        yield found


class Api:
    """A table of records by id with the number of their last change, answered in pages of two."""

    def __init__(self) -> None:
        self.records: dict[int, int] = {}
        self.clock = itertools.count(1)

    def change(self, ids: list[int]) -> None:
        for number in ids:
            self.records[number] = next(self.clock)

    def __call__(self, request: Request) -> Reply:
        asked = request.query
        changed = sorted((change, number) for number, change in self.records.items() if change >= int(asked["since"]))
        first = int(asked.get("offset") or asked.get("cursor") or 0)
        first = 2 * int(asked["page"]) - 2 if "page" in asked else first
        items = [{"id": number, "change": change} for change, number in changed[first : first + 2]]
        more = first + 2 < len(changed)
        link = f"?since={asked['since']}&cursor={first + 2}"
        return Reply(
            {"items": items, "all": len(changed), "next": first + 2 if more else None, "link": link if more else None}
        )


@settings(max_examples=25)
@given(
    paging=st.sampled_from(PAGING),
    has_total=st.booleans(),
    turns=st.lists(
        st.tuples(
            st.lists(st.integers(0, 6), max_size=7),
            st.lists(st.sampled_from(FAULTS), max_size=2),
            st.booleans(),
        ),
        min_size=1,
        max_size=5,
    ),
)
def test_what_looks_take_is_each_change_once(
    server: RestServer, paging: dict[str, Any], has_total: bool, turns: list[tuple[list[int], list[Reply], bool]]
) -> None:
    api = Api()
    server.answer = api
    declared = RestApi.model_validate({"type": "rest", "url": server.url, "tries": 2})
    connection = RestConnection.model_validate(
        {
            "type": "rest",
            "api": "shop",
            "path": "records",
            "records_at": "items",
            "total_at": "all" if has_total else "",
            "paging": paging,
            "incremental": {"cursor": "change", "param": "since", "start": "0", "overlap": 3},
        }
    )
    position = Position()
    taken: list[tuple[int, int]] = []
    expected: set[tuple[int, int]] = set()
    with tempfile.TemporaryDirectory() as folder:
        for ids, faults, is_recorded in [*turns, ([], [], True)]:
            api.change(ids)
            server.faults = list(faults)
            forget_waits()
            client = RestClient(declared, Fixed(), Patience(60, sleep=lambda _: None), 1 << 20)
            request = RestRequest(connection, position, NOON, has_key=True)
            try:
                found = extract_api(request, client, Path(folder))
            except StorageError:
                # two faults in a row are more than the tries: nothing was taken
                assert len(faults) == 2
                continue
            if not is_recorded:
                # killed before it was recorded
                continue
            expected |= set(api.records.items())
            position = Position.from_json(json.loads(json.dumps(found.position.as_json())))
            if found.path is not None:
                rows = [json.loads(line) for line in found.path.read_text().splitlines()]
                assert len(rows) == found.rows > 0
                taken += [(row["id"], row["change"]) for row in rows]
    assert sorted(taken) == sorted(expected)
