"""The job examine_storage: it passes on sound storage, and fails with place, problem and next step on damage."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from code_location import CodeLocation, failures, loaded, standalone

from dataops_assets.components.storage_job import EXAMINE, storage_job, storage_schedule
from dataops_assets.config.source import Source


@pytest.mark.parametrize("deep", [True, False])
def test_damage_fails_the_run_with_what_to_do(deep: bool, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    with loaded(standalone()) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        here.land("orders", "orders_2024-01-01.csv", "id,customer,amount\n1,1,1.5\n")
        here.settle("orders")
    source = Source.model_validate(standalone())
    job = storage_job({source.name: source})

    def run() -> dg.ExecuteInProcessResult:
        return job.execute_in_process(
            run_config={"ops": {"examine": {"config": {"deep": deep}}}},
            instance=instance,
            resources={"platform": here.platform},
            raise_on_error=False,
        )

    assert run().success
    (data,) = Path(here.environment.storage, "lake", "orders").glob("*.parquet")
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    assert run().success is not deep, "only a deep examination reads the data"
    data.unlink()
    told = failures(run())[0]
    assert f"lake/orders/{data.name}: no such file" in told
    assert "next: restore the file from a backup" in told


def test_the_schedule_is_weekly_and_switched_off() -> None:
    source = Source.model_validate(standalone())
    schedule = storage_schedule(storage_job({source.name: source}))
    assert (schedule.job_name, schedule.cron_schedule) == (EXAMINE, "30 3 * * 0")
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
