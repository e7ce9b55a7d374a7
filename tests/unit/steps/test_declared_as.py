"""Each setting of a declaration either counts among what decides the parsed rows, or cannot change them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from dataops_assets.config.connection import Discovery, FileConnection
from dataops_assets.config.contract import Column, Drift
from dataops_assets.config.refresh import Refresh
from dataops_assets.config.source import Source
from dataops_assets.steps.parsing.declared_as import parsed_as

# the values that are tried need not be valid
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer")

# why a setting cannot change the rows that an input gives, once its bytes are there
NOT_DECISIVE: Mapping[tuple[str, str], str] = {
    **dict.fromkeys(
        [("Source", name) for name in ("name", "area", "description", "owners")], "words that no row depends on"
    ),
    **dict.fromkeys(
        [("Source", name) for name in ("relations", "compatible", "rules", "validations", "waits_for")],
        "read by enrich and later steps",
    ),
    ("Source", "fed_by"): "lineage, and no row",
    ("Source", "envelope"): "expands into other settings when it is loaded",
    ("Source", "gates"): "decides whether an input is published, and no row of it",
    ("Source", "checks"): "decides whether an input is published, and no row of it",
    ("Source", "retention"): "read by vacuum",
    ("Source", "engine"): "each engine gives the same rows",
    **dict.fromkeys(
        [("FileConnection", name) for name in ("type", "path", "members", "extract_time", "settle_seconds")],
        "decides which inputs there are, and their extract times, which are recorded with them",
    ),
    **dict.fromkeys(
        [
            ("FileConnection", name)
            for name in ("storage_options", "follow_links", "receive", "after_pickup", "sorted_names", "notifications")
        ],
        "decides how bytes are fetched",
    ),
    **dict.fromkeys(
        [("FileConnection", name) for name in ("limits", "encryption", "manifest")],
        "decides whether an input can be read, and no row of it",
    ),
    **dict.fromkeys(
        [("Discovery", name) for name in ("every_seconds", "inputs_per_run", "schedule")],
        "decides when inputs are found",
    ),
    **dict.fromkeys([("Column", name) for name in ("description", "tags")], "words that no row depends on"),
    **dict.fromkeys(
        [
            (model.__name__, name)
            for model in get_args(get_args(Refresh)[0])
            for name in ("history", "unreadable_rows", "ignore_changes_in", "update_in_place", "merge")
        ],
        "read by cdc and refresh",
    ),
    ("FullRefresh", "valid_from"): "read by cdc and refresh",
    ("KeyRefresh", "ties"): "read by cdc and refresh",
    ("CustomRefresh", "delete_where"): "read by cdc and refresh",
    ("CustomRefresh", "type"): "its rows have no place of their own",
    ("AppendRefresh", "type"): "its rows have no place of their own",
}

_COLUMNS = [
    {"name": "id", "type": "integer"},
    {"name": "part", "type": "integer"},
    {"name": "at", "type": "timestamp"},
    {"name": "op", "date_format": "%Y", "null_words": ["x"], "default": "'a'"},
    {"name": "day", "type": "date", "expression": "cast(s_extract_time as date)"},
    {"name": "given", "type": "boolean", "presence_of": "op"},
]
REFRESHES: Mapping[str, Mapping[str, Any]] = {
    "FullRefresh": {"type": "full", "key": ["id"]},
    "KeyRefresh": {
        "type": "key",
        "key": ["id", "part"],
        "order_by": "at",
        "delete_when": "op = 'd'",
        "group_deletes": [{"when": "op = 't'", "by": ["part"]}],
    },
    "TimestampRefresh": {"type": "timestamp", "range_by": "at", "period": "day"},
    "SequenceRefresh": {"type": "sequence", "range_by": "id"},
    "AppendRefresh": {"type": "append"},
    "CustomRefresh": {"type": "custom", "delete_where": "id = input.id"},
}


def source_with(refresh: Mapping[str, Any]) -> Source:
    return Source.model_validate(
        {
            "name": "things",
            "area": "tests",
            "connection": {"type": "files", "path": "things_*.csv"},
            "columns": _COLUMNS,
            "refresh": refresh,
        }
    )


def other_values(model: BaseModel, name: str) -> Iterator[Any]:
    """Values that the field does not have now; they need not be valid."""
    now = getattr(model, name)
    if isinstance(now, bool):
        yield not now
    elif isinstance(now, tuple) and all(isinstance(item, str) for item in now):
        yield (*now, "part")
        yield now[:-1]
    elif name == "null_words":
        yield ("y",)
    elif isinstance(now, str) or now is None:
        yield "s_extract_time = '1'"
    elif isinstance(now, BaseModel):
        for field in type(now).model_fields:
            for value in other_values(now, field):
                yield now.model_copy(update={field: value})
    elif isinstance(now, tuple):
        yield now[:-1]
        yield from ((value, *now[1:]) for value in _with_another_field(now[0]) if now)
    elif isinstance(now, float | int):
        yield now + 1
    else:
        yield {"id": "x"}


def _with_another_field(model: BaseModel) -> Iterator[BaseModel]:
    for field in type(model).model_fields:
        for value in other_values(model, field):
            yield model.model_copy(update={field: value})


def _changed(source: Source) -> Iterator[tuple[type[BaseModel], str, Source]]:
    """The source with another value of each setting: the model and name of the setting, and the source."""
    for part in ("connection", "drift", "discovery", "refresh"):
        model: BaseModel = getattr(source, part)
        for name in type(model).model_fields:
            for value in other_values(model, name):
                yield type(model), name, source.model_copy(update={part: model.model_copy(update={name: value})})
    for index, item in enumerate(source.columns):
        for name in Column.model_fields:
            for value in other_values(item, name):
                changed = (*source.columns[:index], item.model_copy(update={name: value}), *source.columns[index + 1 :])
                yield Column, name, source.model_copy(update={"columns": changed})
    for name in set(Source.model_fields) - {"connection", "drift", "discovery", "refresh", "columns"}:
        for value in other_values(source, name):
            yield Source, name, source.model_copy(update={name: value})


@pytest.mark.parametrize("refresh", REFRESHES.values(), ids=REFRESHES)
def test_each_setting_decides_the_parsed_rows_or_cannot_change_them(refresh: Mapping[str, Any]) -> None:
    source = source_with(refresh)
    now = parsed_as(source)
    decisive, seen = set[tuple[str, str]](), set[tuple[str, str]]()
    for model, name, changed in _changed(source):
        seen.add((model.__name__, name))
        if parsed_as(changed) != now:
            decisive.add((model.__name__, name))
    fields = {(model, name) for model, name in _settings(type(source.refresh))}
    assert fields - seen == set()
    assert seen - decisive - set(NOT_DECISIVE) == set()
    # what is said to change nothing counts as no change
    assert decisive & set(NOT_DECISIVE) == set()


def _settings(refresh: type[BaseModel]) -> Iterator[tuple[str, str]]:
    for model in (Source, FileConnection, Drift, Discovery, Column, refresh):
        for name in model.model_fields:
            if (model, name) not in {
                (Source, part) for part in ("connection", "drift", "discovery", "refresh", "columns")
            }:
                yield model.__name__, name


def test_each_refresh_type_is_tried() -> None:
    assert {model.__name__ for model in get_args(get_args(Refresh)[0])} == set(REFRESHES)


def test_what_marks_a_row_decides_the_parsed_rows_without_markers_of_keys_too() -> None:
    marked = {"type": "key", "key": ["id", "part"], "group_deletes": [{"when": "op = 't'", "by": ["part"]}]}
    other = {**marked, "group_deletes": [{"when": "op = 't'"}]}
    plain = {"type": "key", "key": ["id", "part"]}
    assert len({parsed_as(source_with(item)) for item in (marked, other, plain)}) == 3


def test_the_time_zone_decides_only_what_is_computed_from_the_extract_time() -> None:
    in_periods = source_with(REFRESHES["TimestampRefresh"])
    without = in_periods.model_copy(update={"columns": in_periods.columns[:4]})
    elsewhere = without.model_copy(update={"discovery": Discovery(timezone="Europe/Berlin")})
    assert parsed_as(without) != parsed_as(elsewhere)
    plain = source_with({"type": "append"})
    plain = plain.model_copy(update={"columns": plain.columns[:4]})
    assert parsed_as(plain) == parsed_as(plain.model_copy(update={"discovery": Discovery(timezone="Europe/Berlin")}))
