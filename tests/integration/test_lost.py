"""What the metadata says is done is there, or the sensor notices: it is done again, or stopped with what to do."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from code_location import CodeLocation, loaded, standalone

from dataops_assets.components.by_hand import remove
from dataops_assets.components.stale_tables import LEFT_UNDONE_TAG, left_undone, present_in
from dataops_assets.config.source import Source
from dataops_assets.errors import StorageError
from dataops_assets.report import Input
from dataops_assets.steps.cdc import cdc
from dataops_assets.steps.enrich import enrich
from dataops_assets.steps.ingest import ingest
from dataops_assets.steps.parse import parse
from dataops_assets.steps.refresh import rebuild, refresh
from dataops_assets.steps.source_context import SourceContext

TABLES = ("lake/orders", "lake/orders_changes", "hub/orders_enriched", "hub/orders")


@pytest.fixture(scope="module")
def definitions() -> Iterator[dg.Definitions]:
    with loaded(standalone()) as found:
        yield found


@pytest.fixture(scope="module")
def three_days(definitions: dg.Definitions, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A deployment with three inputs in its hub, and a copy of it to go back to."""
    root = tmp_path_factory.mktemp("lost")
    home, copy = root / "home", root / "copy"
    home.mkdir()
    with dg.DagsterInstance.ephemeral() as instance:
        here = CodeLocation(definitions, instance, home)
        for day in (1, 2, 3):
            lines = [f"{day * 10 + n},{n},{n + 0.5}" for n in range(4)]
            here.land("orders", f"orders_2024-01-0{day}.csv", "\n".join(["id,customer,amount", *lines]) + "\n")
            here.settle("orders")
        assert len(hub(here)) == 12
    shutil.copytree(home, copy)
    return home, copy


@pytest.fixture
def location(definitions: dg.Definitions, three_days: tuple[Path, Path]) -> Iterator[CodeLocation]:
    home, copy = three_days
    shutil.rmtree(home)
    shutil.copytree(copy, home)
    with dg.DagsterInstance.ephemeral() as instance:
        here = CodeLocation(definitions, instance, home)
        assert not here.tick("orders").run_requests
        yield here


def hub(location: CodeLocation) -> list[tuple[object, ...]]:
    return location.rows("hub/orders", "id", "amount", "s_input_id")


def context(location: CodeLocation) -> SourceContext:
    source = Source.model_validate(standalone())
    return location.platform.source_context(source, {source.name: source})


def newest(location: CodeLocation, table: str) -> Path:
    return max(Path(location.environment.storage, table, "_delta_log").glob("*.json"))


@pytest.mark.parametrize("table", TABLES)
def test_a_lost_newest_commit_is_made_again(table: str, location: CodeLocation) -> None:
    right = hub(location)
    assert len(right) == 12
    newest(location, table).unlink()
    answer = location.tick("orders")
    assert answer.run_requests
    location.settle("orders")
    assert hub(location) == right
    assert not location.tick("orders").run_requests


@pytest.mark.parametrize("table", TABLES)
def test_a_lost_commit_whose_number_another_one_took_is_noticed(table: str, location: CodeLocation) -> None:
    right = hub(location)
    newest(location, table).unlink()
    # before the sensor looks, a run of another input commits under the number of the lost one
    location.land("orders", "orders_2024-01-04.csv", "id,customer,amount\n99,1,1.5\n")
    location.settle("orders")
    assert [row for row in hub(location) if row[0] != 99] == right
    assert len(hub(location)) == 13


def test_a_lost_raw_copy_is_copied_again(location: CodeLocation) -> None:
    right = hub(location)
    shutil.rmtree(Path(location.environment.storage, "raw", "orders"))
    location.settle("orders")
    assert hub(location) == right
    assert len(context(location).raw.inputs()) == 3


def _all_steps(here: SourceContext, inputs: list[Input]) -> None:
    for step in (ingest, parse, cdc, enrich, refresh):
        step(here, inputs)


@pytest.mark.parametrize("table", TABLES)
def test_a_table_that_is_gone_is_not_started_anew(table: str, location: CodeLocation) -> None:
    right = hub(location)
    folder, away = Path(location.environment.storage, table), Path(location.environment.storage, "unmounted")
    folder.rename(away)
    location.land("orders", "orders_2024-01-04.csv", "id,customer,amount\n99,1,1.5\n")
    with pytest.raises(
        StorageError, match=f"{table}; received: no table, although .* is done for 3 inputs.*mount the vol"
    ):
        location.tick("orders")
    # nor by a run that somebody starts
    here = context(location)
    fourth = here.metadata.inputs("orders")[-1:]
    with pytest.raises(StorageError, match=table):
        _all_steps(here, fourth)
    assert not folder.exists()
    away.rename(folder)
    location.settle("orders")
    assert [row for row in hub(location) if row[0] != 99] == right


def test_a_hub_that_is_gone_for_good_is_made_anew_when_a_person_says_so(location: CodeLocation) -> None:
    right = hub(location)
    shutil.rmtree(Path(location.environment.storage, "hub", "orders"))
    rebuild(context(location))
    assert hub(location) == right
    location.settle("orders")
    assert hub(location) == right


def test_an_input_that_was_removed_is_not_taken_for_lost(location: CodeLocation) -> None:
    here = context(location)
    first = here.metadata.inputs("orders")[0].input_id
    remove(here, [first])
    assert len(hub(location)) == 8
    assert not location.tick("orders").run_requests
    rebuild(here)
    assert not location.tick("orders").run_requests
    assert len(hub(location)) == 8


def test_a_removed_input_does_not_come_back_with_a_hub_that_is_made_anew(location: CodeLocation) -> None:
    here = context(location)
    first, *others = [item.input_id for item in here.metadata.inputs("orders")]
    remove(here, [first])
    shutil.rmtree(Path(location.environment.storage, "hub", "orders"))
    rebuild(here)
    assert {row[2] for row in hub(location)} == set(others)
    # merged again because a person asks for it, it is removed no longer
    location.materialize(["hub/orders"], {"dagster/partition": first})
    assert len(hub(location)) == 12
    assert here.metadata.decisions.removed("orders") == frozenset()
    assert not location.tick("orders").run_requests


def test_a_lost_commit_that_removed_an_input_is_noticed(location: CodeLocation) -> None:
    here = context(location)
    first = here.metadata.inputs("orders")[0].input_id
    remove(here, [first])
    newest(location, "hub/orders").unlink()
    with pytest.raises(
        StorageError, match=f"removed are in the hub again: {first}; next: .*dataops remove orders {first}"
    ):
        location.tick("orders")
    remove(here, [first])
    assert not location.tick("orders").run_requests
    assert len(hub(location)) == 8


@pytest.mark.filterwarnings("ignore:Parameter `include_sources` of function `AssetSelection.all`")
@pytest.mark.parametrize("gone", ["the newest commit", "the folder"])
def test_a_lost_version_of_the_recalculated_table_is_made_again(
    gone: str, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    total = {"name": "total", "expression": "sum(amount) over ()", "mode": "keep_current"}
    with loaded(standalone() | {"rules": [total]}) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        current = dg.AssetKey(["hub", "orders_current"])

        def due() -> list[dg.AssetKey]:
            present, later = present_in(here.environment.storage), dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
            return list(left_undone(here.repository.asset_graph, instance, present, later).due)

        for day in (1, 2):
            here.land("orders", f"orders_2024-01-0{day}.csv", f"id,customer,amount\n{day},1,{day}.5\n")
            here.settle("orders")
            here.materialize(["hub/orders_current"], {})
        right = here.rows("hub/orders_current", "id", "total")
        assert right == [(1, 4.0), (2, 4.0)]
        assert due() == []
        if gone == "the folder":
            shutil.rmtree(Path(here.environment.storage, "hub", "orders_current"))
        else:
            newest(here, "hub/orders_current").unlink()
        assert due() == [current]
        assert here.materialize(["hub/orders_current"], {LEFT_UNDONE_TAG: "true"}).success
        assert here.rows("hub/orders_current", "id", "total") == right
        assert due() == []
