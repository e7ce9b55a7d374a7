"""Retention of inputs: what nothing needs is removed, killed anywhere it is run again, and the hub never changes."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from story import SALES, Story, prepare, rows_of, run

from dataops_assets.config.source import Source
from dataops_assets.errors import InputError
from dataops_assets.operations import cli, project
from dataops_assets.operations.rerun import reset
from dataops_assets.report import Input
from dataops_assets.steps.refresh import rebuild, remove
from dataops_assets.steps.stored_rows import lake_of
from dataops_assets.steps.upkeep.quarantine import repair
from dataops_assets.steps.upkeep.retention import pending, settle_inputs
from dataops_assets.storage import publish
from dataops_assets.storage.delta import Table
from dataops_assets.storage.objects import Folder

STEPS = ("ingest", "parse", "cdc", "enrich", "refresh")
KEYED = {
    **SALES,
    "refresh": {"type": "key", "key": ["id"], "delete_when": "op = 'D'"},
    "rules": [{"name": "is_big", "expression": "amount > 50"}],
    "retention": {"superseded_inputs": "20 days"},
}
# the first is restated by the second and third, and a row of each of these by none that is settled
DAYS = {
    10: ["1,0,a,10,U", "2,0,a,10,U"],
    20: ["1,0,a,20,U", "3,0,a,20,U"],
    30: ["1,0,a,30,U", "2,0,a,30,U", "4,0,a,much,U", "5,0,a,-5,U"],
    40: ["2,0,a,40,D", "7,0,a,40,U"],
    50: ["8,0,a,50,U"],
    60: ["9,0,a,60,U"],
}


def told(folder: Path, settings: Mapping[str, Any]) -> tuple[Story, dict[int, Input]]:
    """A source with one input on each of the days."""
    story = prepare(folder, settings)
    inputs = {day: story.deliver(day, lines) for day, lines in DAYS.items()}
    assert run(story, list(inputs.values()), STEPS) == []
    return story, inputs


def twin_of(story: Story, root: Path) -> Story:
    """The story again, going on from here by itself."""
    root.mkdir()
    shutil.copytree(story.now, root / "now", copy_function=shutil.copy2)
    return replace(story, root=root)


def deliver(story: Story, day: int, *lines: str) -> list[str]:
    """One more input; the result is all errors."""
    return run(story, [story.deliver(day, lines)], STEPS)


def state(story: Story) -> dict[str, Any]:
    source_context = story.source_context()
    tables = [table.uri.partition("storage/")[2] for table in source_context.tables]
    return {**{key: rows_of(source_context, key) for key in tables}, "raw": source_context.raw.inputs()}


class Killed(BaseException):
    """The end of a process, as far as the platform can tell."""


def die(monkeypatch: pytest.MonkeyPatch, at: int) -> list[str]:
    """Let the process end before its `at`-th commit or deletion; the result grows by those that came."""
    names: list[str] = []

    def cut(owner: type, name: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            names.append(f"{name} of {'/'.join(arguments[0].uri.split('/')[-2:])}")
            if len(names) == at:
                raise Killed
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, counted)

    # data files that are written before a commit are not there until it comes
    for owner, name in ((Table, "commit"), (Folder, "delete")):
        cut(owner, name)
    return names


def test_what_is_superseded_goes_and_the_hub_stays_whatever_follows(tmp_path: Path) -> None:
    story, inputs = told(tmp_path / "one", KEYED)
    twin = twin_of(story, tmp_path / "two")
    hub = rows_of(story.source_context(), "hub/sales")
    retained = settle_inputs(story.source_context())
    assert retained is not None
    assert (retained.before, retained.settled, retained.removed) == (inputs[40].extract_time, 3, 1)
    assert rows_of(story.source_context(), "hub/sales") == hub
    assert inputs[10].input_id not in story.source_context().raw.inputs()
    # 9 parsed rows, of which the first two, one of the second and the one that a validation kept out are superseded
    lake = rows_of(story.source_context(), "lake/sales")
    assert lake is not None
    assert len(lake) == len(rows_of(twin.source_context(), "lake/sales") or []) - 4
    again = state(story)
    assert settle_inputs(story.source_context()) == replace(retained, removed=0)
    assert state(story) == again
    # between the inputs that are left: a row that was there before, one that came back, one that never was
    for place in (story, twin):
        assert deliver(place, 45, "1,0,a,45,U", "2,0,a,45,U", "6,0,a,45,U") == []
        remove(place.source_context(), [inputs[40].input_id])
    assert rows_of(story.source_context(), "hub/sales") == rows_of(twin.source_context(), "hub/sales")
    rebuild(story.source_context())
    assert rows_of(story.source_context(), "hub/sales") == rows_of(twin.source_context(), "hub/sales")


def test_what_is_settled_cannot_be_changed_any_more(tmp_path: Path) -> None:
    story, inputs = told(tmp_path / "one", KEYED)
    settle_inputs(story.source_context())
    before = state(story)
    # whichever step is asked
    late, *others = deliver(story, 35, "1,0,a,35,U")
    assert others == [late, late]
    assert "2024-02-05 00:00:00 UTC" in late
    assert "from before 2024-02-10 00:00:00 (retention.superseded_inputs)" in late
    assert len(run(story, [inputs[20], inputs[30]], ["parse"])) == 2
    with pytest.raises(InputError, match="is settled"):
        remove(story.source_context(), [inputs[30].input_id])
    with pytest.raises(InputError, match="is settled"):
        reset(story.source_context(), "parse", [inputs[30].input_id], print)
    with pytest.raises(InputError, match="is settled"):
        repair(
            story.source_context(),
            {(inputs[30].input_id, 2): {"amount": "4"}},
            made_by="a test",
            made_at=dt.datetime.now(dt.UTC),
        )
    assert rows_of(story.source_context(), "lake/sales_quarantine") == []
    after = state(story)
    assert {**after, "raw": before["raw"]} == before
    # all that can be
    said: list[str] = []
    assert reset(story.source_context(), "enrich", [], said.append).errors == {}
    assert said[0] == "enrich of 3 inputs"
    assert rows_of(story.source_context(), "hub/sales") == before["hub/sales"]


def test_retention_killed_anywhere_is_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Meanwhile inputs are taken as if nothing had happened."""
    story, _ = told(tmp_path / "one", KEYED)
    late = ["1,0,a,45,U", "2,0,a,45,U", "6,0,a,45,U"]
    undisturbed = twin_of(story, tmp_path / "undisturbed")
    with monkeypatch.context() as patched:
        names = die(patched, 0)
        settle_inputs(undisturbed.source_context())
    hub = rows_of(undisturbed.source_context(), "hub/sales")
    assert deliver(undisturbed, 45, *late) == []
    expected = state(undisturbed)
    # a second commit makes files of one table anew, a second deletion goes on with the first
    cuts = [at for at, name in enumerate(names, 1) if names.index(name) == at - 1]
    assert [names[at - 1] for at in cuts] == [
        "commit of hub/sales",
        "commit of lake/sales",
        "commit of lake/sales_changes",
        "commit of hub/sales_enriched",
        "commit of lake/sales_quarantine",
        "delete of raw/sales",
    ]
    for at in cuts:
        killed = twin_of(story, tmp_path / f"killed {at}")
        with monkeypatch.context() as patched:
            die(patched, at)
            with pytest.raises(Killed):
                settle_inputs(killed.source_context())
        assert rows_of(killed.source_context(), "hub/sales") == hub
        assert deliver(killed, 45, *late) == []
        assert rows_of(killed.source_context(), "hub/sales") == expected["hub/sales"]
        settle_inputs(killed.source_context())
        assert state(killed) == expected


def test_of_full_extracts_the_newest_settled_one_is_enough(tmp_path: Path) -> None:
    settings = {**KEYED, "refresh": {"type": "full", "key": ["id"]}}
    story, inputs = told(tmp_path / "one", settings)
    hub = rows_of(story.source_context(), "hub/sales")
    retained = settle_inputs(story.source_context())
    assert retained is not None
    # rows of the third were rejected, so it does not say what else it contained
    assert retained.removed == 1
    assert inputs[10].input_id not in story.source_context().raw.inputs()
    assert rows_of(story.source_context(), "hub/sales") == hub


def test_what_was_parsed_again_waits_for_its_refresh(tmp_path: Path) -> None:
    story, inputs = told(tmp_path / "one", KEYED)
    # as under another contract
    lake = story.source_context().lake
    with story.source_context().engine.session() as session:
        there = publish.rows_of(session.scan(lake_of(story.source_context())), [inputs[20].input_id])
        publish.replace_inputs(session, lake, there.where("r.s_row_id = 0"), [inputs[20].input_id])
    retained = settle_inputs(story.source_context())
    assert retained is not None
    assert (retained.before, retained.settled) == (inputs[20].extract_time, 1)
    assert run(story, [inputs[20]], STEPS[1:]) == []
    retained = settle_inputs(story.source_context())
    assert retained is not None
    assert (retained.before, retained.settled) == (inputs[40].extract_time, 3)


def test_what_is_on_its_way_is_not_settled_past(tmp_path: Path) -> None:
    story, inputs = told(tmp_path / "one", KEYED)
    late = story.deliver(25, ["1,0,a,25,U"])
    story.source_context().metadata.register_inputs("sales", [late])
    assert pending(story.source_context()) == [late]
    retained = settle_inputs(story.source_context(), pending(story.source_context()))
    assert retained is not None
    assert (retained.before, retained.settled) == (late.extract_time, 2)
    assert run(story, [late], STEPS) == []
    assert pending(story.source_context()) == []
    retained = settle_inputs(story.source_context())
    assert retained is not None
    assert (retained.before, retained.settled) == (inputs[40].extract_time, 4)


@pytest.mark.parametrize("first", [45, 70], ids=["late", "in order"])
def test_a_changed_validation_is_asked_of_settled_rows(tmp_path: Path, first: int) -> None:
    story, _ = told(tmp_path / "one", KEYED)
    twin = twin_of(story, tmp_path / "two")
    settle_inputs(story.source_context())
    # of a row that is settled and in no other input
    other = {"name": "other", "expression": "amount <> 20", "severity": "quarantine"}
    strict = {**KEYED, "validations": [*KEYED["validations"], other]}
    found = []
    for day, settings in ((first, strict), (first + 1, KEYED)):
        for place in (story, twin):
            assert deliver(replace(place, settings=settings), day, f"6,0,a,{day},U") == []
        rows = rows_of(story.source_context(), "hub/sales") or []
        assert rows == rows_of(twin.source_context(), "hub/sales")
        found.append(len(rows))
    assert found[0] == found[1] - 1


def test_an_extract_time_in_the_future_settles_nothing(tmp_path: Path) -> None:
    story = prepare(tmp_path / "one", {**KEYED, "retention": {"superseded_inputs": "9000 days"}})
    assert run(story, [story.deliver(day, [f"1,0,a,{day},U"]) for day in (1, 20_000)], STEPS) == []
    assert settle_inputs(story.source_context()) is None


def test_a_rebuild_under_another_key_takes_what_is_left(tmp_path: Path) -> None:
    story, _ = told(tmp_path / "one", KEYED)
    settle_inputs(story.source_context())
    changed = replace(story, settings={**KEYED, "refresh": {**KEYED["refresh"], "key": ["id", "shop"]}})
    twin = twin_of(changed, tmp_path / "two")
    rebuild(changed.source_context())
    rows = rows_of(changed.source_context(), "hub/sales") or []
    assert len(rows) == len(rows_of(story.source_context(), "hub/sales") or [])
    # settled anew under the new key
    assert settle_inputs(changed.source_context()) is not None
    assert rows_of(changed.source_context(), "hub/sales") == rows
    rebuild(twin.source_context())
    for place in (changed, twin):
        assert deliver(place, 45, "1,0,b,45,U", "2,0,a,45,U") == []
    assert rows_of(changed.source_context(), "hub/sales") == rows_of(twin.source_context(), "hub/sales")


def test_the_command_settles_and_then_vacuums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    story, _ = told(tmp_path / "one", KEYED)
    environment = {"HOME": "engine", "LANDING": "landing", "STORAGE": "now/storage"}
    for name, folder in environment.items():
        monkeypatch.setenv(f"DATAOPS_{name}", str(story.root / folder))
    monkeypatch.setenv("DATAOPS_ENV", "test")
    monkeypatch.setenv("DATAOPS_METADATA_URL", f"sqlite:///{story.now}/metadata.db")
    monkeypatch.setattr(project, "declared", lambda: {"sales": Source.model_validate(KEYED)})
    assert cli.main(["vacuum", "sales"]) == 0
    out = capsys.readouterr().out
    assert "sales: 3 inputs from before 2024-02-10 00:00:00 UTC are settled, 1 of them superseded and removed" in out
    assert "files removed" in out
    changed = Source.model_validate({**KEYED, "refresh": {"type": "key", "key": ["id", "shop"]}})
    monkeypatch.setattr(project, "declared", lambda: {"sales": changed})
    assert cli.main(["vacuum"]) == 1
    said = capsys.readouterr()
    assert "dataops rebuild sales" in said.err
    assert "files removed" in said.out


@pytest.mark.parametrize(
    ("refresh", "why"),
    [
        ({"type": "append"}, "all rows of all inputs"),
        ({"type": "full", "history": True}, "with history every version stays"),
        ({"type": "key", "key": ["id"], "order_by": "at"}, "a row of any age may still come"),
    ],
)
def test_a_type_that_needs_all_its_inputs_says_so(refresh: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Source.model_validate({**KEYED, "refresh": refresh})
    assert Source.model_validate({**KEYED, "refresh": refresh, "retention": {"versions": "30 days"}})


@pytest.mark.parametrize(
    ("span", "why"),
    [
        (90, "superseded_inputs is 90; known: '1 day'"),
        ("soon", "superseded_inputs is 'soon'"),
        ("99999999999999999999 days", "superseded_inputs is '9"),
        ("99999999 weeks", "less than or equal to"),
        ("-1 days", "greater than or equal to"),
    ],
)
def test_what_is_no_length_of_time_is_refused(span: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Source.model_validate({**KEYED, "retention": {"superseded_inputs": span}})
