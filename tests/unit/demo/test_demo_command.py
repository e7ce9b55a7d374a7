"""`dataops demo` on a runner that a test plays: what is told, and what a program gets."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from dataops_assets.components.local import FailedRun, FinishedRun
from dataops_assets.components.platform import NotTaken
from dataops_assets.demo.landing import STAGES
from dataops_assets.operations import demo
from dataops_assets.operations.cli import main
from dataops_assets.operations.commands import daily


class Played:
    """A runner with one run in the first stage, and nothing to do afterwards."""

    def __init__(self) -> None:
        self.notes = ["a.csv: replaces b"]
        self.not_taken: Mapping[str, NotTaken] = {"sales": NotTaken(["still being written: c.csv"], ["d.csv: no date"])}
        self._due = [FinishedRun("stores: x", False, ("it failed\nin detail",), 1.5, "stores", ("x",))]

    def inherit(self) -> bool:
        """This environment has no parent."""
        return False

    def run_new_inputs(self, _sources: Collection[str]) -> Iterator[FinishedRun]:
        while self._due:
            yield self._due.pop()

    def run_automation(self) -> Iterator[FinishedRun]:
        yield from ()

    def publish(self) -> None:
        """No publication is declared."""

    def look_for_incidents(self) -> None:
        pass

    def failed_runs(self) -> list[FailedRun]:
        return [FailedRun("1", ("warehouse/a",), ("no column b",))]


@pytest.fixture(autouse=True)
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"DATAOPS_HOME": tmp_path, "DATAOPS_ENV": "test", "PORT": 4321}.items():
        monkeypatch.setenv(name, str(value))
    # what a command sets is gone after the test
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setattr(demo, "deliver", lambda _landing, _stage: SimpleNamespace(written=["a.csv", "b.csv"]))

    @contextmanager
    def opened() -> Iterator[Played]:
        yield Played()

    monkeypatch.setattr(daily, "open_runner", opened)


def test_the_demo_tells_each_stage_and_ends_well_although_files_fail(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo"]) == 0
    told = capsys.readouterr().out
    assert "A history arrives (2 new files)\n  stopped in 1.5 s  stores: x\n      it failed\n  noted: a.csv: " in told
    assert "in detail" not in told, "the list at the end has the details"
    assert told.count("  nothing to do\n") == len(STAGES), "all stages but the first, and what follows"
    assert "What follows the hubs\n" in told
    assert "failed  warehouse/a, in run 1\n  no column b\n  next: fix the cause" in told
    assert "\nsales: d.csv: no date\n\nstill being written: c.csv\n" in told
    assert told.endswith("Open it: make dev, then http://127.0.0.1:4321\n")


def test_a_program_gets_the_runs_the_numbers_and_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [run["what"] for run in found["runs"]] == ["stores: x"]
    totals = {item["source"]: item for item in found["summary"]["sources"]}
    assert totals["sales"]["rows"] == {"lake": None, "changes": None, "hub": None, "current": None}
    assert (found["refused"], found["not_taken"]) == (["sales: d.csv: no date"], ["still being written: c.csv"])
    assert not found["is_well"]
