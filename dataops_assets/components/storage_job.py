"""The job that examines the stored data, as `dataops doctor` does, and its weekly schedule.

A run fails if there are findings, so whatever watches failed runs tells of them. The schedule starts switched off,
because a deep examination reads every stored byte.

Annotations are not postponed in this module: Dagster reads those of an op's function.
"""

from collections.abc import Mapping

import dagster as dg

from dataops_assets.components.assets import PLATFORM
from dataops_assets.components.events import failure_of
from dataops_assets.components.platform import Platform
from dataops_assets.config.source import Source
from dataops_assets.errors import DataOpsError
from dataops_assets.masking import mask
from dataops_assets.steps.upkeep.examination import Finding, examine_sources

EXAMINE = "examine_storage"
"""The name of the job."""

_OP = "examine"
_WEEKLY = "30 3 * * 0"
_SHOWN = 20


def storage_job(sources: Mapping[str, Source]) -> dg.JobDefinition:
    """Return the job that examines the tables and raw data of these sources, and the embedded warehouse."""

    @dg.op(
        name=_OP,
        description="Compares the metadata with the stored data. Changes nothing.",
        config_schema={
            "deep": dg.Field(
                bool, default_value=True, description="Read all data, and compare them with their checksums."
            )
        },
        required_resource_keys={PLATFORM},
        out=dg.Out(dg.Nothing),
    )
    def examine(context: dg.OpExecutionContext) -> None:
        platform: Platform = getattr(context.resources, PLATFORM)
        try:
            contexts = [platform.source_context(source, sources) for _, source in sorted(sources.items())]
            found = examine_sources(contexts, deep=context.op_config["deep"], with_warehouse=True)
        except DataOpsError as error:
            raise failure_of(error) from error
        if found:
            raise dg.Failure(description=_told(found), metadata={"findings": _table(found)}, allow_retries=False)
        context.log.info("no findings")

    @dg.job(
        name=EXAMINE,
        description="Compares the metadata with the stored data, like `dataops doctor --deep`. With findings it fails.",
        config={"ops": {_OP: {"config": {"deep": True}}}},
    )
    def job() -> None:
        examine()

    return job


def storage_schedule(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Return the schedule that examines the storage once a week; it starts switched off."""
    return dg.ScheduleDefinition(
        name=f"{EXAMINE}_weekly",
        job=job,
        cron_schedule=_WEEKLY,
        execution_timezone="UTC",
        description="Reads every stored byte once a week, on Sunday night.",
    )


def _told(found: list[Finding]) -> str:
    lines = [f"{item.place}: {item.problem}; next: {item.next_step}" for item in found[:_SHOWN]]
    rest = len(found) - len(lines)
    return mask("\n".join([f"{len(found):,} findings", *lines, *([f"and {rest:,} more"] if rest else [])]))


def _table(found: list[Finding]) -> dg.TableMetadataValue:
    return dg.MetadataValue.table(
        [
            dg.TableRecord({"place": item.place, "problem": mask(item.problem), "next": mask(item.next_step)})
            for item in found
        ]
    )
