"""Lake, change sets and hub in an object store: the same rows as on a local disk, whatever comes in whatever order."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from objectstore import BUCKET, object_store
from story import Story, begin, outcome, prepare, rows_of, run

from dataops_assets.config.environment import environment_from
from dataops_assets.errors import ConfigError
from dataops_assets.report import Input
from dataops_assets.steps.refresh import remove
from dataops_assets.storage.vacuum import vacuum

COLUMNS = [{"name": "id", "type": "integer"}, {"name": "at", "type": "integer"}, {"name": "v", "type": "text"}]
KINDS: dict[str, dict[str, Any]] = {
    "key": {"type": "key", "key": ["id"], "order_by": "at", "delete_when": "v = 'gone'", "history": True},
    "timestamp": {"type": "timestamp", "range_by": "seen"},
}
TABLES = ("lake/things", "lake/things_quarantine", "lake/things_changes", "hub/things_enriched", "hub/things")
STEPS = ("ingest", "parse", "cdc", "enrich", "refresh")


@pytest.fixture(scope="module")
def store() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, object_store(patch, by_line=False):
        yield


def settings(kind: str) -> dict[str, Any]:
    return {
        "name": "things",
        "area": "tests",
        "connection": {"type": "files", "path": "things_*.csv"},
        "columns": [*COLUMNS, {"name": "seen", "type": "timestamptz"}],
        "refresh": KINDS[kind],
        "gates": {"deletes": {"max_share": 1}},
    }


def deliver(story: Story, day: int) -> Input:
    chosen = random.Random(day)
    start = dt.datetime(2024, 1, 1, tzinfo=dt.UTC) + dt.timedelta(days=day)
    lines = [
        f"{key},{chosen.randint(1, 9)},{chosen.choice(('é', 'b', 'gone'))},{start + dt.timedelta(hours=key)}"
        for key in sorted(chosen.sample(range(40), 20))
    ]
    return story.deliver(day, [*lines, f"x,{day},does not parse,"])


def take_all(story: Story, days: list[Input]) -> dict[str, Any]:
    """In order, two at once, one late, one repeated, one removed; in the store, what nobody needs goes, too."""
    first, third, late, gone = days
    for group in ([first, gone], [third], [late], [third]):
        assert run(story, group, STEPS) == []
    source_context = story.source_context()
    remove(source_context, [gone.input_id])
    if story.storage:
        removed = sum(vacuum(source_context.table(key), retention=NOTHING, young=NOTHING).removed for key in TABLES)
        assert removed > 0
    return {key: rows_of(source_context, key) for key in TABLES}


NOTHING = dt.timedelta(0)


@pytest.mark.slow
@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("kind", KINDS)
def test_an_object_store_holds_the_same_rows_as_a_disk(kind: str, tmp_path: Path) -> None:
    local = prepare(tmp_path, settings(kind))
    days = [deliver(local, day) for day in (1, 4, 2, 6)]
    remote = Story(tmp_path, local.settings, f"s3://{BUCKET}/{kind}", f"sqlite:///{tmp_path}/remote.db")
    answers = [tmp_path / "local", tmp_path / "remote"]
    children = [
        begin(take_all, story, days, answer=answer) for story, answer in zip((local, remote), answers, strict=True)
    ]
    on_disk, in_store = (outcome(child, answer) for child, answer in zip(children, answers, strict=True))
    assert on_disk["hub/things"]
    assert in_store == on_disk


@pytest.mark.slow
@pytest.mark.usefixtures("store")
def test_two_writers_at_once_in_an_object_store(tmp_path: Path) -> None:
    """A commit is a put that fails where the object exists; the loser compares again and commits after the winner."""
    local = prepare(tmp_path, settings("key"))
    days = [deliver(local, day) for day in range(1, 5)]
    remote = Story(tmp_path, local.settings, f"s3://{BUCKET}/two_writers", f"sqlite:///{tmp_path}/remote.db")
    children = [begin(take_each, remote, days[half::2], answer=tmp_path / f"half {half}") for half in (0, 1)]
    for half, child in enumerate(children):
        assert outcome(child, tmp_path / f"half {half}") == []
    assert run(local, days, STEPS) == []
    assert rows_of(remote.source_context(), "hub/things") == rows_of(local.source_context(), "hub/things")


def test_a_folder_that_the_engine_would_not_find_again_is_refused(tmp_path: Path) -> None:
    for odd in ("s3://lake/a b", "s3://lake/é", "s3://lake/a%20b", "s3://lake/a?b", "s3://la'ke"):
        with pytest.raises(ConfigError, match="reading DATAOPS_STORAGE"):
            environment_from({"DATAOPS_ENV": "test", "DATAOPS_STORAGE": odd}, tmp_path)


def take_each(story: Story, inputs: list[Input]) -> list[str]:
    return [error for item in inputs for error in run(story, [item], STEPS)]
