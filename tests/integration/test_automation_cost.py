"""An evaluation of automation reads the partition keys of each source once, however many tables there are below.

Annotations are not postponed here: Dagster reads those of an asset's function.
"""

from pathlib import Path

import dagster as dg
import pytest

from dataops_assets.components.assets import PLATFORM
from dataops_assets.components.automation import when_published
from dataops_assets.components.input_partitions import InputPartitions, partitions_name
from dataops_assets.components.local import LocalRunner
from dataops_assets.components.platform import Platform
from dataops_assets.config.environment import environment_from

SOURCES = ("customers", "orders")


def hub(source: str) -> dg.AssetsDefinition:
    @dg.asset(key=["hub", source], partitions_def=InputPartitions(name=partitions_name(source)))
    def publish() -> None: ...

    return publish


def model(name: str, done: list[str]) -> dg.AssetsDefinition:
    """A table that reads all hubs, and notes that it was made."""

    @dg.asset(
        key=["warehouse", name],
        deps=[dg.AssetDep(["hub", source], partition_mapping=dg.AllPartitionMapping()) for source in SOURCES],
        automation_condition=when_published(),
    )
    def make() -> None:
        done.append(name)

    return make


def published(instance: dg.DagsterInstance, source: str, *inputs: str) -> None:
    instance.add_dynamic_partitions(partitions_name(source), list(inputs))
    for key in inputs:
        instance.report_runless_asset_event(dg.AssetMaterialization(["hub", source], partition=key))


@pytest.mark.parametrize("models", [1, 5])
def test_partition_keys_are_read_once_a_source(models: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    names = [f"model_{number}" for number in range(models)]
    environment = environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(tmp_path)}, tmp_path)
    definitions = dg.Definitions(
        assets=[*(hub(item) for item in SOURCES), *(model(name, done) for name in names)],
        resources={PLATFORM: Platform(environment)},
    )
    with dg.DagsterInstance.ephemeral() as instance:
        for source in SOURCES:
            published(instance, source, "first", "second")
        runner = LocalRunner(definitions, instance, tmp_path / "cursor", lambda _: None)
        assert all(run.succeeded for run in runner.run_automation())
        assert sorted(done) == names

        read: list[str] = []
        original = dg.DagsterInstance.get_dynamic_partitions

        def counting(self: dg.DagsterInstance, partitions_def_name: str) -> object:
            read.append(partitions_def_name)
            return original(self, partitions_def_name)

        monkeypatch.setattr(dg.DagsterInstance, "get_dynamic_partitions", counting)
        assert not list(runner.run_automation())
        # Dagster's own store of one evaluation reads them, and the definition of the partitions reads them
        assert all(read.count(partitions_name(source)) <= 2 for source in SOURCES)

        # what is published later is seen, as keys are remembered for one evaluation only
        done.clear()
        published(instance, "orders", "third")
        assert all(run.succeeded for run in runner.run_automation())
        assert sorted(done) == names
