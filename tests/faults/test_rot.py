"""A bit that a disk turned is found by `dataops doctor --deep`, and no reader takes it for a row."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from command_line import dataops
from story import SALES, STEPS, TABLES, Story, Tables, big_day, prepare, rows_of, run, tables_of

from dataops_assets.errors import Damaged, DataOpsError, StorageError
from dataops_assets.operations.doctor import repair
from dataops_assets.report import Input
from dataops_assets.steps.parse import parse
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep.examination import diagnose
from dataops_assets.storage import delta

FLIPS_OF_A_KIND = 6
KINDS = {
    "data files": "*/*/*.parquet",
    "deletion vectors": "*/*/*.bin",
    "commits": "*/*/_delta_log/*.json",
    "checkpoints": "*/*/_delta_log/*.checkpoint.parquet",
    "checksums of checkpoints": "*/*/_delta_log/*.crc32",
    "the hint at the newest checkpoint": "*/*/_delta_log/_last_checkpoint",
    "raw bytes": "raw/sales/objects/*/*",
    "manifests": "raw/sales/inputs/*.json",
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Story, list[Input]]:
    story = prepare(tmp_path_factory.mktemp("rot") / "story", SALES)
    inputs = [big_day(story, day, 30) for day in (1, 2, 3, 4, 5)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(delta, "CHECKPOINT_EVERY", 2)
        for item in inputs:
            assert run(story, [item], STEPS) == []
    return story, inputs


def seen(source_context: SourceContext) -> Tables | str:
    """The rows of all tables, or what reading them came to."""
    try:
        return {key: rows_of(source_context, key) for key in TABLES}
    except DataOpsError as error:
        return "a typed error with a next step" if error.next_step else f"no next step: {error}"


def flipped(path: Path, bit: int) -> bytes:
    """Turn one bit of a file; the result is what it was."""
    content = path.read_bytes()
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)
    return content


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_turned_bit_is_found_and_never_read_as_other_rows(
    kind: str, stored: tuple[Story, list[Input]]
) -> None:
    story, _ = stored
    source_context = story.source_context()
    assert diagnose(source_context, deep=True) == []
    right = seen(source_context)
    files = sorted(Path(story.now / "storage").glob(KINDS[kind]))
    assert files, kind
    chosen = random.Random(kind)
    for _ in range(FLIPS_OF_A_KIND):
        path = chosen.choice(files)
        bit = chosen.randrange(path.stat().st_size * 8)
        where = f"bit {bit} of {path}"
        before = flipped(path, bit)
        try:
            found = diagnose(source_context, deep=True)
            assert found, f"not found: {where}"
            named = path.parent.name if kind == "checksums of checkpoints" else path.name
            assert any(named in item.place for item in found) or "checkpoint" in kind, (where, found)
            assert all(item.next_step for item in found)
            assert seen(source_context) in (right, "a typed error with a next step"), f"other rows: {where}"
        finally:
            path.write_bytes(before)
    assert diagnose(source_context, deep=True) == []


@pytest.mark.parametrize("content", [b"", b"\n", bytes(900)], ids=["empty", "blank", "zeros"])
def test_a_commit_that_a_power_failure_left_empty_is_never_read_as_other_rows(
    content: bytes, stored: tuple[Story, list[Input]]
) -> None:
    story, _ = stored
    log = story.now / "storage" / "lake" / "sales" / "_delta_log"
    kept = {path: path.read_bytes() for path in log.iterdir()}
    try:
        for path in kept:
            # without checkpoints, every commit is needed
            if path.suffix != ".json":
                path.unlink()
        for path in sorted(log.glob("*.json")):
            path.write_bytes(content)
            with pytest.raises(StorageError, match=f"{path.name}.*next: "):
                rows_of(story.source_context(), "lake/sales")
            places = [item.place for item in diagnose(story.source_context(), deep=True)]
            assert any(path.name in place for place in places), places
            path.write_bytes(kept[path])
    finally:
        for path, before in kept.items():
            path.write_bytes(before)


def test_raw_bytes_are_compared_with_their_digest_when_they_are_read_again(stored: tuple[Story, list[Input]]) -> None:
    story, inputs = stored
    source_context = story.source_context()
    right = tables_of(story)
    path = source_context.raw.local_path(inputs[1])
    before = flipped(path, 8 * (path.stat().st_size - 5))
    try:
        report = parse(source_context, inputs[:3])
        (failed,) = report.failures
        assert failed.input_id == inputs[1].input_id
        assert isinstance(failed.error, Damaged)
        text = str(failed.error)
        assert path.name in text
        assert inputs[1].digest in text
        assert f"dataops reset sales ingest {inputs[1].input_id}" in text
        assert tables_of(story) == right
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize("kind", ["data files", "commits", "checkpoints", "raw bytes"])
def test_what_can_be_made_again_is_made_again_on_request(kind: str, stored: tuple[Story, list[Input]]) -> None:
    story, _ = stored
    source_context = story.source_context()
    right = tables_of(story)
    chosen = random.Random(f"repair {kind}")
    files = sorted(Path(story.now / "storage").glob(KINDS[kind]))
    # what an earlier repair moved away is no table any more
    path = chosen.choice([path for path in files if ".damaged-" not in str(path)])
    flipped(path, chosen.randrange(path.stat().st_size * 8))
    assert diagnose(source_context, deep=True) != []
    said = repair(source_context, lambda _: None)
    assert diagnose(source_context, deep=True) == [], (path, said)
    made = tables_of(story)
    # what change sets say depends on what they were compared with, and that is another hub now
    for key in ("lake/sales", "lake/sales_quarantine", "hub/sales", "hub/sales_current"):
        assert made[key] == right[key], (key, path, said)


def damaged(path: Path, chosen: random.Random) -> None:
    """Turn a bit of a file, cut it off, or remove it."""
    how = chosen.choice(("turned", "cut off", "gone"))
    if how == "turned":
        flipped(path, chosen.randrange(path.stat().st_size * 8))
    elif how == "cut off":
        path.write_bytes(path.read_bytes()[:50])
    else:
        path.unlink()


@pytest.mark.parametrize("number", range(2))
def test_damages_of_one_source_at_once_are_repaired_together(number: int, stored: tuple[Story, list[Input]]) -> None:
    """Raw copies, the lake and the hub: each is made of the ones before, and later looks find nothing, either."""
    story, inputs = stored
    source_context, chosen = story.source_context(), random.Random(number)
    assert diagnose(source_context, deep=True) == []
    right, storage = tables_of(story), Path(story.now / "storage")
    gone, other = chosen.sample(inputs, 2)
    source_context.raw.local_path(gone).unlink()
    assert [found.place.rpartition("/")[2] for found in diagnose(source_context, deep=False)] == [
        Path(gone.origin).name
    ], "a shallow look lists the objects"
    damaged(source_context.raw.local_path(other), chosen)
    for pattern in ("lake/sales/*.parquet", "hub/sales/_delta_log/*.json"):
        damaged(chosen.choice(sorted(storage.glob(pattern))), chosen)
    said = repair(source_context, lambda _: None)
    for deep in (True, False):
        assert diagnose(source_context, deep=deep) == [], said
    made = tables_of(story)
    for key in ("lake/sales", "lake/sales_quarantine", "hub/sales", "hub/sales_current"):
        assert made[key] == right[key], (key, said)


def test_a_repair_that_cannot_go_on_says_what_it_did(stored: tuple[Story, list[Input]]) -> None:
    story, inputs = stored
    source_context = story.source_context()
    right = tables_of(story)
    path, origin = source_context.raw.local_path(inputs[2]), Path(inputs[2].origin)
    aside = origin.rename(origin.with_suffix(".away"))
    flipped(path, 80)
    status, said = doctor(source_context, "--repair")
    assert status == 1
    assert any(inputs[2].input_id in line and "the file is gone" in line for line in said), said
    aside.rename(origin)
    status, said = doctor(source_context, "--repair")
    assert (status, said[-1]) == (0, "no findings"), said
    assert tables_of(story)["hub/sales"] == right["hub/sales"]


def doctor(source_context: SourceContext, *words: str) -> tuple[int, list[str]]:
    """`dataops doctor <words>`: its exit code, and the lines that it printed."""
    ended = dataops([source_context], "doctor", *words)
    return ended.code, ended.lines


def test_the_command_says_what_is_damaged_for_people_and_machines_and_repairs_it(
    stored: tuple[Story, list[Input]],
) -> None:
    story, inputs = stored
    source_context = story.source_context()
    assert doctor(source_context, "--deep") == (0, ["no findings"])
    assert doctor(source_context, "--json") == (0, ["[]"])
    path = source_context.raw.local_path(inputs[0])
    flipped(path, 9)
    # without --deep no data is read
    assert doctor(source_context) == (0, ["no findings"])
    status, said = doctor(source_context, "--deep")
    assert status == 1
    assert path.name in said[0]
    assert said[1].startswith("  next: ")
    assert said[-1] == "1 findings"
    ended = dataops([source_context], "doctor", "--deep", "--json")
    assert ended.code == 1
    (found,) = ended.data
    assert path.name in found["place"]
    assert found.keys() == {"source", "place", "problem", "next_step"}
    assert found["source"] == "sales"
    status, said = doctor(source_context, "--repair")
    assert (status, said[-1]) == (0, "no findings"), said
