"""What is not declared costs nothing, and what is declared is carried under its own names."""

from __future__ import annotations

from typing import Any

import pytest
from declared import source

from dataops_assets.config.source import Source
from dataops_assets.sql import DIALECT, Relation, query
from dataops_assets.steps.merging import merged_values
from dataops_assets.steps.merging.change import observed_columns
from dataops_assets.steps.merging.manifest import settings_of
from dataops_assets.steps.merging.observations import observations

KINDS = {"k": "text", "at": "integer", "op": "text", "v": "integer", "w": "text"}


def declared(**settings: Any) -> Source:
    refresh = {"type": "key", "key": ["k"], "order_by": "at", "delete_when": "op = 'd'", **settings}
    return source("things", KINDS, refresh=refresh)


def text_of(found: Source) -> str:
    made = observations(found, query("SELECT * FROM lake"), Relation("inputs", {}))
    return made.sql(dialect=DIALECT)


def test_without_the_settings_nothing_is_carried() -> None:
    plain = declared()
    assert merged_values.valued(plain) == merged_values.carried_names(plain) == ()
    assert not any(name.startswith(("s_value_", "s_given_")) for name in observed_columns(plain))
    assert "s_value_" not in text_of(plain)
    # a hub that was merged before the settings existed needs no rebuild
    assert settings_of(plain) == settings_of(declared(merge={}, update_in_place=[]))


@pytest.mark.parametrize(
    ("settings", "carried"),
    [
        ({"update_in_place": ["w"]}, ("s_value_w",)),
        ({"merge": {"*": "last"}}, ("s_value_v", "s_value_w")),
        ({"merge": {"*": "last", "op": "first"}}, ("s_value_op", "s_value_v", "s_value_w")),
        ({"merge": {"v": {"take": "last", "when": "op = 'u'"}}}, ("s_value_v", "s_given_v")),
        ({"merge": {"v": {"take": "sum", "when": "op = 'u'"}}}, ("s_value_v",)),
    ],
)
def test_only_what_is_declared_is_carried(settings: dict[str, Any], carried: tuple[str, ...]) -> None:
    found = declared(**settings)
    assert merged_values.carried_names(found) == carried
    assert [name for name in observed_columns(found) if name in carried] == list(carried)
    assert settings_of(found) != settings_of(declared())
