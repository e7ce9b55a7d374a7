"""A function of one's own after an output: called until it succeeded for the newest delivery, and then no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from delivered_outputs import OutputPlace

from dataops_assets.components.declarations import OutputDeclaration
from dataops_assets.components.output_checks import require_function
from dataops_assets.errors import ConfigError, InputError, StorageError
from dataops_assets.outputs.after_delivery import Delivery

CALLS: list[Delivery] = []
FAULTS: list[BaseException] = []
HERE = "test_after_delivery"


def tell(delivery: Delivery, word: str = "") -> dict[str, Any]:
    """The declared function."""
    CALLS.append(delivery)
    if FAULTS:
        raise FAULTS.pop(0)
    return {"told": f"{word} {delivery.rows}"}


def returns_a_list(_delivery: Delivery) -> list[int]:
    return [1]


@pytest.fixture(autouse=True)
def _nothing_before() -> None:
    CALLS.clear()
    FAULTS.clear()


def rows(*ids: int) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64())})


@pytest.mark.parametrize(
    "to", [{"type": "files", "path": "out", "name": "a_{delivery}"}, {"type": "table", "database": "db", "table": "t"}]
)
def test_a_function_is_called_until_it_succeeded_for_the_newest_delivery(tmp_path: Path, to: dict[str, Any]) -> None:
    place = OutputPlace(tmp_path, {"db": {"type": "sqlite", "path": str(tmp_path / "db.sqlite")}})
    to = to | ({"path": str(tmp_path / "out")} if to["type"] == "files" else {})
    after = {"function": f"{HERE}:tell", "arguments": {"word": "rows:"}}
    place.publish(rows(1, 2))
    report = place.deliver(to, after=after)
    assert (report.failures, report.notes["after: told"]) == ((), "rows: 2")
    (first,) = CALLS
    assert (first.output, first.source, first.number, first.since, first.rows) == ("things", "hub/things", 1, 0, 2)
    assert (dict(first.columns), first.written, bool(first.place)) == ({"id": "BIGINT"}, 2, to["type"] == "files")
    # nothing is new: no call
    assert not place.deliver(to, after=after).failures
    assert len(CALLS) == 1

    # it fails, and is called again although the target has the version; in between another delivery was made
    place.publish(rows(1, 2, 3))
    FAULTS.extend([KeyError("no such account"), StorageError("telling", received="no answer"), InputError("telling")])
    for kind, told in ((InputError, "KeyError: 'no such account'"), (StorageError, "no answer")):
        (failed,) = place.deliver(to, after=after).failures
        assert isinstance(failed.error, kind)
        assert told in str(failed.error)
    place.publish(rows(1, 2, 3, 4))
    report = place.deliver(to, after=after)
    assert [item.check for item in report.checks if item.passed] == [item.check for item in report.checks]
    assert str(report.failures[0].error).startswith("telling")
    assert place.deliver(to, after=after).notes["after: told"] == "rows: 4"
    assert [(call.number, call.since, call.rows) for call in CALLS[1:]] == [(2, 1, 3), (2, 1, 3), (3, 1, 4), (3, 1, 4)]
    assert CALLS[-1].written == 0


def test_what_is_no_function_or_no_answer_is_told(tmp_path: Path) -> None:
    place = OutputPlace(tmp_path)
    place.publish(rows(1))
    to = {"type": "files", "path": str(tmp_path / "out")}
    (failed,) = place.deliver(to, after={"function": f"{HERE}:returns_a_list"}).failures
    assert "it returned [1], and not None or a mapping" in str(failed.error)
    for function, told in ((f"{HERE}:tel", "did you mean 'tell'"), ("no_such:tell", "no module"), ("x", "module:")):
        item = OutputDeclaration(place.output(to, after={"function": function}), tmp_path / "defs.yaml", {(): 1})
        with pytest.raises(ConfigError, match=told):
            require_function(item)
