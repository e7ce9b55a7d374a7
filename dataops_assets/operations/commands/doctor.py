"""The command that examines the stored data."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from dataops_assets.operations import project
from dataops_assets.operations.answer import Answer
from dataops_assets.operations.command import Commands
from dataops_assets.operations.commands.words import AnySource
from dataops_assets.operations.output import output

app = Commands(panel="Inputs and hubs")


@app.command(example="dataops doctor orders --deep", found="there are findings")
def doctor(
    source: AnySource = None,
    deep: Annotated[bool, typer.Option("--deep", help="Read all data, and compare them with their checksums.")] = False,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Restore lost and damaged data, where possible; implies --deep."),
    ] = False,
    events: Annotated[
        bool, typer.Option("--events", help="Also compare the metadata with the events of the Dagster instance.")
    ] = False,
) -> Answer:
    """Compare the metadata with the stored data, look for missing settings and secrets, and say what to do."""
    from dataops_assets.operations import doctor as work
    from dataops_assets.operations.settings import settings_findings
    from dataops_assets.operations.views import doctor as view
    from dataops_assets.steps.upkeep.examination import examine_sources

    out = output()
    contexts = project.contexts("doctor", [] if source is None else [source])
    if repair:
        for context in contexts:
            out.say(*view.repairs(work.repair(context, out.begin)))
    unset = [] if source else settings_findings(project.declarations(), project.environment(), os.environ)
    found = [*unset, *examine_sources(contexts, deep=deep or repair, with_warehouse=source is None)]
    if events:
        # the import of Dagster takes seconds
        from dataops_assets.components.event_differences import findings_of_instance

        project.use_instance("doctor --events")
        found += findings_of_instance(contexts)
    return Answer(view.findings_as_data(found), [*view.findings(found)], found=bool(found))
