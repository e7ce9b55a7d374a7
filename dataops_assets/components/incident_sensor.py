"""The sensor of incidents: one for all tables of a code location. It records incidents and sends the messages.

Grain: one look at everything. A look at which nothing is new and nothing is due costs two queries. The cursor only
saves work: a look without it, or one that is repeated, records nothing twice.

Annotations are not postponed in this module: Dagster reads those of a sensor's function.
"""

import datetime as dt
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from dataops_assets.components.assets import PLATFORM
from dataops_assets.components.events import asset_key
from dataops_assets.components.incident_link import filled_launchpad
from dataops_assets.components.platform import Platform
from dataops_assets.components.secrets_removed import SecretsRemoved
from dataops_assets.components.told_once import ToldOnce
from dataops_assets.components.warehouse_problems import newest_ended_run, warehouse_problems
from dataops_assets.config.incidents import Incidents
from dataops_assets.config.source import Source
from dataops_assets.incidents.apprise_channel import AppriseChannel
from dataops_assets.incidents.decisions import Seen
from dataops_assets.incidents.delivery import deliver
from dataops_assets.incidents.grouping import Lineage
from dataops_assets.incidents.journal import Change, Incident
from dataops_assets.incidents.late_inputs import next_late
from dataops_assets.incidents.looking import look
from dataops_assets.incidents.reading import Watched, read_problems
from dataops_assets.storage.links import is_private

SENSOR = "incidents"

_EVERY_SECONDS = 30
_AT_LEAST_EVERY = dt.timedelta(hours=1)


@dataclass(frozen=True)
class Tick:
    """The result of one look. `changes` are those of incidents; `refused` are messages about channels."""

    changes: Sequence[tuple[Incident, Change]] = ()
    refused: Sequence[str] = field(default=())
    cursor: str = ""
    is_skipped: bool = False


def tick(
    repository: dg.RepositoryDefinition,
    platform: Platform,
    instance: dg.DagsterInstance,
    declared: tuple[Mapping[str, Source], Incidents],
    cursor: str,
    now: dt.datetime,
) -> Tick:
    """Look for incidents, if something is new or due, and send the messages that are due. `now` is aware."""
    sources, settings = declared
    # the first use makes or upgrades the tables
    platform.metadata.migrate()
    store = platform.incidents
    before = json.loads(cursor or "{}")
    seen_before = f"{store.fingerprint()}|{newest_ended_run(instance)}"
    if before.get("seen") == seen_before and now < dt.datetime.fromisoformat(before["next"]):
        return Tick(cursor=cursor, is_skipped=True)
    graph = repository.asset_graph
    lineage = lineage_of(graph)
    watched = Watched(sources, lineage)
    last = dt.datetime.fromisoformat(before["at"]) if "at" in before else None

    def read() -> Seen:
        found = read_problems(store, watched, now, last)
        below = warehouse_problems(graph, instance, lineage)
        return Seen([*found.problems, *below.problems], {**found.passed, **below.passed}, found.brief)

    looked = look(store, read, lineage, settings, now, last)
    channels = {name: AppriseChannel(item.variable, os.environ) for name, item in settings.channels.items()}
    is_told = not is_private(platform.environment.home)
    refused = deliver(store, channels, settings, now) if is_told else []
    once = ToldOnce(before.get("told", ""))
    fresh = once.fresh(refused)
    times = (looked.next_time, next_late(store, sources, now), store.next_message(), now + _AT_LEAST_EVERY)
    after = {
        "seen": seen_before,
        "at": now.isoformat(),
        "next": min(time for time in times if time is not None).isoformat(),
        "told": once.token,
    }
    return Tick(looked.changes, fresh, json.dumps(after))


def lineage_of(graph: Any) -> Lineage:
    """Return the lineage of a Dagster repository's asset graph."""
    return Lineage(
        {
            key.to_user_string(): sorted(parent.to_user_string() for parent in graph.get(key).parent_keys)
            for key in graph.get_all_asset_keys()
        }
    )


def incident_sensor(sources: Mapping[str, Source], settings: Incidents) -> dg.SensorDefinition:
    """Build the sensor; it starts switched on."""

    @dg.sensor(
        name=SENSOR,
        minimum_interval_seconds=_EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={PLATFORM},
        description="Opens one incident for each cause of failed checks, inputs and runs, and tells people of it.",
    )
    def look_for_incidents(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        platform: Platform = getattr(context.resources, PLATFORM)
        if context.repository_def is None:
            return dg.SensorResult(skip_reason="no code location")
        with SecretsRemoved("looking for incidents"):
            found = tick(
                context.repository_def,
                platform,
                context.instance,
                (sources, settings),
                context.cursor or "",
                dt.datetime.now(dt.UTC),
            )
        for message in found.refused:
            context.log.error(message)
        told = [_told(incident, change) for incident, change in found.changes]
        for message in told:
            context.log.info(message)
        reason = "nothing is new" if found.is_skipped else "; ".join(told) or "no incident changed"
        return dg.SensorResult(skip_reason=reason, cursor=found.cursor, asset_events=list(_observations(found.changes)))

    return look_for_incidents


def _told(incident: Incident, change: Change) -> str:
    cause = incident.of_cause
    return f"incident {incident.incident_id} {change.kind}: {cause.summary}"


def _observations(changes: Sequence[tuple[Incident, Change]]) -> Iterator[dg.AssetObservation]:
    """Return the changes as events of the table of the cause, each with a link to the launchpad of the job."""
    for incident, change in changes:
        link = filled_launchpad(None, incident.incident_id, "acknowledge")
        yield dg.AssetObservation(
            asset_key=asset_key(incident.of_cause.asset),
            description=_told(incident, change),
            metadata={
                "incident": incident.incident_id,
                "state": change.kind,
                "severity": incident.severity,
                "next": incident.of_cause.next_step,
                "acknowledge": dg.MetadataValue.md(f"[fill in the launchpad]({link})"),
            },
        )
