"""A repaired or replayed row takes its original place: the hub is the one in which the rows had never failed.

Rows of generated deliveries are damaged (a value of another type, a line that is no JSON, a value that a validation
keeps out) and repaired while other inputs arrive, late and in any grouping. A twin gets the good rows at once.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from declared import arrived
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from law import as_input, hub_rows, workspace_for
from law_cases import COLUMNS, KINDS, Delivery, Kind, actual_rows, deliveries, expected_rows, source_for
from reference import GivenInput, Row

from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.report import Input
from dataops_assets.steps.cdc import cdc
from dataops_assets.steps.enrich import enrich
from dataops_assets.steps.parse import parse
from dataops_assets.steps.refresh import refresh
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep.quarantine import inputs_with_rows_kept_out, repair, still_kept_out
from dataops_assets.storage.corrections import Values

# the simplest one, and one of 30 families of keys
EXAMPLES = 2
# an example takes seconds, and a failing one says which rows differ
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
BAD = "BAD"
SANE = {"name": "sane", "expression": f"v <> '{BAD}'", "severity": "quarantine"}
FILES = {"type": "files", "path": "things", "format": {"type": "jsonl"}}
NOW = dt.datetime(2024, 6, 1, tzinfo=dt.UTC)
# the marker of a group is the same row for a repair, whatever orders it; rows outside a declared period are rejected
_OTHERS = ("key_groups_in_order_of_rows", "timestamp_of_a_week", "timestamp_of_told_days")
# every kind once; half of them with history, in which all versions of a row are compared
REPAIRED = {
    f"{name}-{'history' if place % 2 else 'latest'}": (kind, place % 2 == 1)
    for place, (name, kind) in enumerate((name, kind) for name, kind in KINDS.items() if name not in _OTHERS)
}
REPAIRED["append"] = (Kind({"type": "append"}, None), False)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    home = tmp_path_factory.mktemp("engine")
    return DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))


@dataclass(frozen=True)
class Damaged:
    """An input as it is delivered, and what repairs it, by row."""

    good: GivenInput
    lines: tuple[str, ...]
    corrections: Mapping[int, Values]

    @property
    def item(self) -> Input:
        content, digest = self.content, hashlib.sha256(self.content).hexdigest()
        arrival = as_input(self.good).arrival
        return arrived(self.good.time, self.good.input_id, digest, "things.jsonl", len(content), arrival=arrival)

    @property
    def content(self) -> bytes:
        return "".join(f"{line}\n" for line in self.lines).encode()


def plain(row: Row) -> dict[str, Any]:
    """A row as JSON holds it: without infinity and the sign of zero."""
    told = {float("inf"): 2.5, 0.0: 0.0}
    return {name: told.get(row[name], row[name]) if name == "n" else row[name] for name in COLUMNS}


def text_of(value: Any) -> str | None:
    if value is None:
        return None
    return value.isoformat() if isinstance(value, dt.datetime) else str(value)


def line_of(row: Row, **changes: Any) -> str:
    told = {name: value if isinstance(value, (int, float)) else text_of(value) for name, value in row.items()}
    return json.dumps({**told, **changes})


def damaged(good: GivenInput, chosen: random.Random) -> Damaged:
    lines: list[str] = []
    corrections: dict[int, Values] = {}
    for position, row in enumerate(good.rows):
        harm = chosen.choice(("none", "none", "value", "record", "rule"))
        # a deletion is not validated
        harm = "value" if harm == "rule" and row["op"] == "D" else harm
        if harm == "value":
            lines.append(line_of(row, at="x"))
            corrections[position] = {"at": text_of(row["at"])}
        elif harm == "record":
            lines.append("no { JSON")
            corrections[position] = {name: text_of(row[name]) for name in COLUMNS}
        elif harm == "rule":
            lines.append(line_of(row, v=BAD))
            corrections[position] = {"v": row["v"]}
        else:
            lines.append(line_of(row))
    return Damaged(good, tuple(lines), corrections)


class Hub:
    """A source with real files, its steps, and a person who repairs."""

    def __init__(self, source: Source, home: Path, engine: DuckDBEngine) -> None:
        self.context: SourceContext = workspace_for(source, home, engine)
        self.context.metadata.migrate()
        self.context.metadata.contracts.register(source)

    def arrives(self, group: Sequence[Damaged]) -> None:
        for given_input in group:
            self.context.raw.add(given_input.item, [given_input.content], None)
        inputs = [given_input.item for given_input in group]
        self.context.metadata.register_inputs("things", inputs)
        self.runs(inputs)

    def runs(self, inputs: Sequence[Input]) -> None:
        for step in (parse, cdc, enrich, refresh):
            report = step(self.context, inputs)
            assert not report.failures, [str(item.error) for item in report.failures]

    def repairs(self, group: Sequence[Damaged]) -> None:
        """Repair what is kept out, and what is kept out then: of equal rows the first one stands for all."""
        known = {(item.good.input_id, row): values for item in group for row, values in item.corrections.items()}
        while places := still_kept_out(self.context, known):
            rows = {place: known[place] for place in places}
            self.runs(repair(self.context, rows, made_by="law", made_at=NOW))
            assert not set(still_kept_out(self.context, known)) & set(places)


def once(delivery: Delivery) -> list[list[GivenInput]]:
    """The groups in the order of arrival, each input once."""
    seen: set[str] = set()
    groups = []
    for group in delivery.groups:
        fresh = [
            dataclasses.replace(item, rows=tuple(map(plain, item.rows)))
            for item in group
            # an empty file cannot be taken
            if item.input_id not in seen and item.rows
        ]
        seen |= {item.input_id for item in fresh}
        groups += [fresh] if fresh else []
    return groups


@pytest.mark.parametrize(("kind", "history"), REPAIRED.values(), ids=REPAIRED)
@settings(max_examples=EXAMPLES, phases=PHASES)
@given(delivery=deliveries(families=30), seed=st.integers(0, 2**32))
def test_a_repaired_hub_is_one_whose_rows_had_never_failed(
    kind: Kind, history: bool, delivery: Delivery, seed: int, engine: DuckDBEngine
) -> None:
    refresh_settings = {**kind.refresh, "history": True} if history else kind.refresh
    source = source_for(refresh_settings, connection=FILES, validations=[SANE])
    chosen = random.Random(seed)
    with tempfile.TemporaryDirectory() as home:
        hub, twin = Hub(source, Path(home, "hub"), engine), Hub(source, Path(home, "twin"), engine)
        broken: list[Damaged] = []
        for group in once(delivery):
            arrived = [damaged(item, chosen) for item in group]
            hub.arrives(arrived)
            broken += arrived
            if chosen.random() < 0.4:
                mended = [item for item in broken if chosen.random() < 0.5]
                hub.repairs(mended)
                broken = [item for item in broken if item not in mended]
        hub.repairs(broken)
        good = [item for group in once(delivery) for item in group]
        twin.arrives([Damaged(item, tuple(map(line_of, item.rows)), {}) for item in good])
        assert_same(hub, twin)
        if kind.meaning is not None:
            expected = expected_rows(kind.meaning(good), kind.refresh.get("order_by"), history)
            assert actual_rows(hub_rows(hub.context), history) == expected


@pytest.mark.parametrize("kind", [KINDS["key_deletes"], KINDS["full"], KINDS["timestamp"]], ids=["key", "full", "time"])
@settings(max_examples=EXAMPLES, phases=PHASES)
@given(delivery=deliveries(families=30))
def test_a_replayed_hub_is_one_whose_rule_had_always_been_so(
    kind: Kind, delivery: Delivery, engine: DuckDBEngine
) -> None:
    refresh_settings = {**kind.refresh, "history": True}
    strict = {"name": "sane", "expression": "v <> 'x' and ignored <> '|'", "severity": "quarantine"}
    loose = {"name": "sane", "expression": "v <> 'X'", "severity": "quarantine"}
    before, after = (source_for(refresh_settings, connection=FILES, validations=[rule]) for rule in (strict, loose))
    with tempfile.TemporaryDirectory() as home:
        hub, twin = Hub(before, Path(home, "hub"), engine), Hub(after, Path(home, "twin"), engine)
        groups = [[Damaged(item, tuple(map(line_of, item.rows)), {}) for item in group] for group in once(delivery)]
        for group in groups:
            hub.arrives(group)
        hub.context = dataclasses.replace(hub.context, source=after, sources={after.name: after})
        everything = hub.context.metadata.inputs("things")
        hub.runs(inputs_with_rows_kept_out(hub.context))
        # what the new rule keeps out and the old one did not
        hub.runs(everything)
        twin.arrives([item for group in groups for item in group])
        assert_same(hub, twin)


def assert_same(hub: Hub, twin: Hub) -> None:
    """All columns of all rows, those of the system too."""
    here, there = rows_of(hub), rows_of(twin)
    assert not (here ^ there), "\n".join(sorted(map(str, here ^ there))[:4])
    assert len(hub_rows(hub.context)) == len(hub_rows(twin.context))


def rows_of(hub: Hub) -> set[tuple[str, ...]]:
    found = hub_rows(hub.context)
    return {tuple(f"{name}={row[name]!r}" for name in sorted(row)) for row in found}
