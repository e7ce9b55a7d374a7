"""The job for decisions of a person about incidents: acknowledge, resolve, mute, as `dataops incidents` does.

Launched as the launchpad shows it, the job changes nothing: it lists the incidents, each with links to a launchpad that
is filled in.

Annotations are not postponed in this module: Dagster reads those of an op's function.
"""

import datetime as dt
from typing import Any

import dagster as dg

from dataops_assets.components.assets import PLATFORM
from dataops_assets.components.events import failure_of
from dataops_assets.components.incident_link import MUTE_HOURS, OP, filled, filled_launchpad
from dataops_assets.components.launchpad import as_yaml
from dataops_assets.components.platform import Platform
from dataops_assets.errors import DataOpsError
from dataops_assets.incidents.journal import EventKind
from dataops_assets.incidents.looking import Decision, record_decision
from dataops_assets.incidents.messages import JOB
from dataops_assets.metadata.incident_store import IncidentStore

_KINDS: dict[str, EventKind] = {"acknowledge": "acknowledged", "resolve": "resolved", "mute": "muted"}


def incident_job() -> dg.JobDefinition:
    """Return the job."""
    actions = dg.Enum("decision_about_incidents", [dg.EnumValue(name) for name in _KINDS])

    @dg.op(
        name=OP,
        description="Acknowledges, resolves or mutes incidents, like `dataops incidents`. Without incidents it lists "
        "those that are open, and changes nothing.",
        config_schema={
            "incidents": dg.Field([int], default_value=[], description="Numbers of incidents. Empty: list them."),
            "decision": dg.Field(actions, default_value="acknowledge", description="What to do with them."),
            "note": dg.Field(str, default_value="", description="What others should know."),
            "mute_hours": dg.Field(float, default_value=MUTE_HOURS, description="For how many hours a mute lasts."),
            "by": dg.Field(
                str, default_value="", description="Name of the person; it is recorded. Default: the run's id."
            ),
        },
        required_resource_keys={PLATFORM},
        out=dg.Out(dg.Nothing),
    )
    def decide(context: dg.OpExecutionContext) -> None:
        platform: Platform = getattr(context.resources, PLATFORM)
        try:
            platform.metadata.migrate()
            context.add_output_metadata(_decide(context, platform.incidents))
        except DataOpsError as error:
            raise failure_of(error) from error

    @dg.job(
        name=JOB,
        description="Acknowledges, resolves or mutes incidents, like `dataops incidents`.",
        config={"ops": {OP: {"config": filled([], "acknowledge")}}},
    )
    def job() -> None:
        decide()

    return job


def _decide(context: dg.OpExecutionContext, store: IncidentStore) -> dict[str, Any]:
    given = context.op_config
    if not given["incidents"]:
        lines = []
        for row in store.incidents():
            number = row["incident_id"]
            context.log.info(f"incident {number}: {row['summary']}\n{as_yaml(OP, filled([number], 'acknowledge'))}")
            links = ", ".join(f"[{name}]({filled_launchpad(context.run, number, name)})" for name in _KINDS)
            lines.append(f"* {number}, {row['state']}, {row['severity']}, {row['asset']} {row['kind']}: {links}")
        return {"to choose": dg.MetadataValue.md("\n".join(lines) or "There is nothing to choose.")}
    now = dt.datetime.now(dt.UTC)
    kind = _KINDS[given["decision"]]
    until = now + dt.timedelta(hours=given["mute_hours"]) if kind == "muted" else None
    decision = Decision(kind, given["by"] or f"run {context.run_id}", given["note"], until)
    record_decision(store, given["incidents"], decision, now)
    return {kind: given["incidents"]}
