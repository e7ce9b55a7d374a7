"""The sensors that look for new inputs, one for each group of sources, and the schedules of sources that declare one.

Annotations are not postponed in this module: Dagster reads those of a sensor's function.
"""

from collections.abc import Mapping, Sequence

import dagster as dg

from dataops_assets.components.assets import PLATFORM, SourceAssets
from dataops_assets.components.dead_runs import end_dead_runs
from dataops_assets.components.input_partitions import partitions_name
from dataops_assets.components.local_runs import lock_of
from dataops_assets.components.look_and_tell import look_and_tell
from dataops_assets.components.look_groups import LookGroup, groups_of
from dataops_assets.components.platform import Platform
from dataops_assets.components.run_attempts import SOURCE_TAG, input_assets

LEFT_OUT = "nothing has changed since the last look"
"""What a tick says that left all looks out."""


def look_sensors(sources: Mapping[str, SourceAssets]) -> list[dg.SensorDefinition]:
    """Build the sensors of all sources that have no schedule; they start switched on."""
    looked_at = [assets.source for assets in sources.values() if not assets.source.discovery.schedule]
    groups = groups_of(looked_at)
    return [_sensor(name, [sources[each] for each in members], len(groups)) for name, members in groups.items()]


def _sensor(name: str, members: Sequence[SourceAssets], groups: int) -> dg.SensorDefinition:
    group = LookGroup(members, groups)
    some = ", ".join(each.source.name for each in members[:10])
    rest = f" and {len(members) - 10} more" if len(members) > 10 else ""

    @dg.sensor(
        name=f"looks_at_{name}",
        # as `target` they would make a job, and a job has one kind of partitions
        asset_selection=_target(members),
        # the daemon looks for due sensors every five seconds: one that is due a moment later would wait for the next
        minimum_interval_seconds=int(group.every_seconds) - 1,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={PLATFORM},
        description=f"Finds new inputs of {some}{rest}, and requests runs for all that are not in their hubs yet. "
        "To switch off one source: dataops pause SOURCE.",
    )
    def look_for_inputs(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        platform: Platform = getattr(context.resources, PLATFORM)
        # without a tick before, a person asks for the look
        is_asked = context.last_tick_completion_time is None
        found = group.tick(platform, context.instance, context.log, at_all=is_asked)
        if found.requests:
            return dg.SensorResult(run_requests=found.requests)
        # the others have told all that they found, so the whole tick may be red
        found.raise_failures()
        return dg.SensorResult(skip_reason=found.summary or LEFT_OUT)

    return look_for_inputs


def source_schedule(assets: SourceAssets) -> dg.ScheduleDefinition:
    """Build the schedule of a source that declares one; it starts switched on and looks like the sensor."""
    source = assets.source

    @dg.schedule(
        name=partitions_name(source.name),
        cron_schedule=source.discovery.schedule,
        execution_timezone=source.discovery.timezone,
        target=_target([assets]),
        default_status=dg.DefaultScheduleStatus.RUNNING,
        required_resource_keys={PLATFORM},
        description=f"Finds new inputs of {source.name} and requests runs for all that are not in its hub yet.",
        tags={SOURCE_TAG: source.name},
    )
    def look_for_inputs(context: dg.ScheduleEvaluationContext) -> Sequence[dg.RunRequest] | dg.SkipReason:
        platform: Platform = getattr(context.resources, PLATFORM)
        if paused := platform.metadata.looks.record(source.name).paused:
            return dg.SkipReason(paused)
        for run_id in end_dead_runs(context.instance, lock_of(platform.environment)):
            context.log.warning(f"run {run_id} is dead: its process was killed")
        seen = look_and_tell(assets, platform, context.instance, context.log)
        return list(seen.requests) or dg.SkipReason(seen.summary)

    return look_for_inputs


def _target(members: Sequence[SourceAssets]) -> dg.AssetSelection:
    return dg.AssetSelection.assets(*(key for each in members for key in input_assets(each.nodes)))
