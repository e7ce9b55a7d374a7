"""What docs/refresh.md says of `valid_from`: versions of a full extract that begin at a time in their rows."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from declared import source
from pydantic import ValidationError
from refresh_scenarios import Scenario, day

from dataops_assets.components.personal import hidden_columns
from dataops_assets.rules.compiler import compile_rules

COLUMNS = {"k": "text", "city": "text", "at": "timestamptz"}
REFRESH = {"type": "full", "key": ["k"], "valid_from": "at", "history": True}
FREE = {"gates": {"deletes": {"max_share": 1}}}
HOURS = dt.timedelta(hours=1)


def history(hub: Scenario, key: str = "a") -> list[tuple[Any, ...]]:
    found = hub.rows("k", "city", "s_valid_from", "s_valid_to", "s_is_current", "s_is_deleted")
    rows = [row[1:] for row in found if row[0] == key]
    return sorted(rows, key=lambda row: row[1])


def test_versions_begin_at_the_time_in_their_rows_in_any_order(tmp_path: Path) -> None:
    early, moved = day(1) - 5 * HOURS, day(2) - 3 * HOURS
    rows = {
        1: [("a", "Rome", early), ("b", "Oslo", early)],
        2: [("a", "Bern", moved), ("b", "Oslo", early)],
        # b is missing, so it is deleted at the extract time
        3: [("a", "Bern", moved)],
    }
    for number, order in enumerate([(1, 2, 3), (3, 1, 2), (2, 3, 1)]):
        hub = Scenario(tmp_path / str(number), REFRESH, COLUMNS, **FREE)
        for extract in order:
            assert hub.arrives(extract, rows[extract]) == []
        assert history(hub) == [
            ("Rome", early, moved, False, False),
            ("Bern", moved, None, True, False),
        ]
        assert history(hub, "b") == [("Oslo", early, day(3), False, False), (None, day(3), None, False, True)]
    hub.removes(2)
    assert history(hub) == [("Rome", early, moved, False, False), ("Bern", moved, None, True, False)]


def test_the_newest_extract_says_what_was_valid_from_the_time_in_its_row_on(tmp_path: Path) -> None:
    hub = Scenario(tmp_path, REFRESH, COLUMNS, **FREE)
    hub.arrives(1, [("a", "Rome", day(1))])
    hub.arrives(2, [("a", "Bern", day(2))])
    # other values with the same time: a correction
    hub.arrives(3, [("a", "Basel", day(2))])
    assert history(hub) == [("Rome", day(1), day(2), False, False), ("Basel", day(2), None, True, False)]
    # a time that goes back
    hub.arrives(4, [("a", "Chur", day(1) + HOURS)])
    assert history(hub) == [("Rome", day(1), day(1) + HOURS, False, False), ("Chur", day(1) + HOURS, None, True, False)]
    # a time after the extract, and no row before it comes
    hub.arrives(5, [("a", "Genf", day(9))])
    assert history(hub)[-1] == ("Genf", day(9), None, True, False)
    hub.arrives(6, [])
    assert history(hub) == [
        ("Rome", day(1), day(1) + HOURS, False, False),
        ("Chur", day(1) + HOURS, day(6), False, False),
        (None, day(6), None, False, True),
    ]
    # the row that comes back was not changed since: it was never gone
    hub.arrives(7, [("a", "Chur", day(1) + HOURS)])
    assert [row[0] for row in history(hub)] == ["Rome", "Chur"]
    hub.removes(7)
    assert [row[0] for row in history(hub)] == ["Rome", "Chur", None]


def test_a_row_without_a_time_begins_at_the_extract_time(tmp_path: Path) -> None:
    hub = Scenario(tmp_path, REFRESH, COLUMNS, **FREE)
    hub.arrives(1, [("a", "Rome", None)])
    hub.arrives(2, [("a", "Bern", None)])
    assert history(hub) == [("Rome", day(1), day(2), False, False), ("Bern", day(2), None, True, False)]


def test_a_beginning_that_is_personal_is_not_shown() -> None:
    found = source("things", COLUMNS, refresh=REFRESH)
    tagged = [
        item.model_copy(update={"tags": {"pii": "time"}}) if item.name == "at" else item for item in found.columns
    ]
    hidden = found.model_copy(update={"columns": tuple(tagged)})
    assert hidden_columns(hidden, compile_rules(hidden, {})) == {"at", "s_valid_from", "s_valid_to"}
    assert hidden_columns(found, compile_rules(found, {})) == set()


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"history": False}, "without history no version has a beginning"),
        ({"key": []}, "versions are those of a key"),
        ({"valid_from": "city"}, "column 'city' is text; a version begins at a timestamptz"),
        ({"valid_from": "att"}, "refresh.valid_from names 'att', did you mean 'at'"),
        ({"key": ["k", "at"]}, "'at' is a column of the key"),
        ({"update_in_place": ["at"]}, "'at' is in update_in_place or merge, too"),
        ({"merge": {"at": "greatest"}}, "'at' is in update_in_place or merge, too"),
        ({"type": "key"}, "unknown field"),
    ],
)
def test_settings_that_make_no_sense_together_are_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        source("things", COLUMNS, refresh={**REFRESH, **settings})
