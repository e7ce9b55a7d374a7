"""A rejected row whose key can be read is present in its input; one whose key cannot be read suspends deletes."""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
from pathlib import Path
from typing import Any

import pytest
from declared import arrived, unchecked_source

from dataops_assets.config.environment import environment_from
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.report import CheckOutcome, Input, StepReport
from dataops_assets.sql import query
from dataops_assets.steps.cdc import cdc
from dataops_assets.steps.enrich import enrich
from dataops_assets.steps.parse import parse
from dataops_assets.steps.refresh import refresh
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep.quarantine import repair

START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
NOW = dt.datetime(2024, 6, 1, tzinfo=dt.UTC)
FULL = {"type": "full", "key": ["id"]}


class Feed:
    """A source of csv files, one a day."""

    def __init__(self, home: Path, settings: dict[str, Any], **columns: str) -> None:
        environment = environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home)
        home.mkdir(parents=True, exist_ok=True)
        files = {"type": "files", "path": "things", "format": {"type": "csv"}}
        self._columns = columns or {"id": "integer", "v": "integer"}
        source = unchecked_source(
            "things", self._columns, connection=files, refresh=settings, gates={"deletes": {"max_share": 1}}
        )
        metadata = MetadataStore(environment.metadata_url)
        metadata.migrate()
        metadata.contracts.register(source)
        self.context = SourceContext(environment, source, {"things": source}, DuckDBEngine(environment), metadata)

    def arrives(self, day: int, *lines: str) -> CheckOutcome | None:
        """The check of suspended deletes after the file of a day was taken."""
        content = "\n".join([",".join(self._columns), *lines, ""]).encode()
        digest = hashlib.sha256(content).hexdigest()
        item = arrived(START + dt.timedelta(days=day), f"day-{day}", digest, f"things_{day}.csv", len(content))
        self.context.raw.add(item, [content], None)
        self.context.metadata.register_inputs("things", [item])
        return self.runs([item])

    def runs(self, inputs: list[Input]) -> CheckOutcome | None:
        report: StepReport | None = None
        for step in (parse, cdc, enrich, refresh):
            report = step(self.context, inputs)
            assert not report.failures, [str(item.error) for item in report.failures]
        assert report is not None
        return next((item for item in report.checks if item.check == "suspended_deletes"), None)

    def repairs(self, day: int, row: int, **values: str) -> CheckOutcome | None:
        return self.runs(repair(self.context, {(f"day-{day}", row): values}, made_by="test", made_at=NOW))

    def rows(self, *columns: str) -> list[tuple[Any, ...]]:
        snapshot = self.context.hub.snapshot()
        assert snapshot is not None
        with self.context.engine.session() as session:
            found = session.fetch(query("SELECT * FROM $rows AS r", rows=session.scan(snapshot))).to_pylist()
        return sorted((tuple(row[name] for name in columns) for row in found), key=repr)


@pytest.mark.parametrize("history", [False, True], ids=["latest", "history"])
def test_a_rejected_row_is_present_and_the_absence_of_others_deletes(tmp_path: Path, history: bool) -> None:
    files = {1: ("1,1", "2,1", "3,1"), 2: ("1,1", "2,many"), 3: ("1,2", "2,many")}
    found = set()
    for order in ((1, 2, 3), (3, 2, 1), (2, 3, 1)):
        feed = Feed(tmp_path / str(order), {**FULL, "history": history})
        for day in order:
            check = feed.arrives(day, *files[day])
            assert check is not None
            assert check.passed
        columns = ("id", "v", "s_input_id", *(("s_is_current", "s_is_deleted") if history else ()))
        found.add(tuple(feed.rows(*columns)))
    (rows,) = found
    standing = [row[:3] for row in rows if not history or row[3]]
    assert standing == [(1, 2, "day-3"), (2, 1, "day-1")]
    assert not history or (3, None, "day-2", False, True) in rows


def test_a_key_that_is_rejected_and_then_missing_is_deleted(tmp_path: Path) -> None:
    feed = Feed(tmp_path, {**FULL, "history": True})
    feed.arrives(1, "1,1", "2,1")
    feed.arrives(2, "1,1", "2,many")
    feed.arrives(3, "1,1")
    assert (2, None, "day-3", True) in feed.rows("id", "v", "s_input_id", "s_is_deleted")


def test_deletes_that_are_suspended_are_told_with_since_when_and_how_many(tmp_path: Path) -> None:
    feed = Feed(tmp_path, FULL)
    feed.arrives(1, "1,1", "2,1", "3,1")
    feed.arrives(2, "1,1", "2,1", "x,1")
    check = feed.arrives(3, "1,1", "x,1")
    assert check is not None
    assert not check.passed
    assert check.numbers == {"inputs": 2, "stale": 2, "since": "2024-01-03 00:00:00 UTC"}
    assert feed.rows("id") == [(1,), (2,), (3,)]
    check = feed.repairs(3, 1, id="9")
    assert check is not None
    assert check.passed
    assert feed.rows("id") == [(1,), (9,)]


def test_a_setting_says_that_unreadable_rows_do_not_matter(tmp_path: Path) -> None:
    feed = Feed(tmp_path, {**FULL, "unreadable_rows": "ignore"})
    feed.arrives(1, "1,1", "2,1", "3,1")
    check = feed.arrives(2, "1,1", "2,1", "x,1")
    assert check is not None
    assert check.passed
    assert feed.rows("id") == [(1,), (2,)]


@pytest.mark.parametrize("order", list(itertools.permutations((1, 2))), ids=str)
def test_in_a_range_only_what_a_rejected_row_may_be_stays(tmp_path: Path, order: tuple[int, ...]) -> None:
    files = {1: ("1,1", "2,1", "3,1", "4,1"), 2: ("1,1", "3,many", "4,1")}
    feed = Feed(tmp_path, {"type": "sequence", "range_by": "id"})
    for day in order:
        check = feed.arrives(day, *files[day])
        assert check is not None
        assert check.passed
    assert feed.rows("id") == [(1,), (3,), (4,)]


def test_in_a_range_stale_rows_are_those_that_the_newest_covers(tmp_path: Path) -> None:
    feed = Feed(tmp_path, {"type": "sequence", "range_by": "id"})
    feed.arrives(1, "1,1", "2,1", "3,1", "9,1")
    check = feed.arrives(2, "1,1", "x,1", "3,1")
    assert check is not None
    assert check.numbers["stale"] == 1
    assert feed.rows("id") == [(1,), (2,), (3,), (9,)]
