"""The commands for inputs and whole hubs: run steps again, remove inputs, rebuild, clean up."""

from __future__ import annotations

from typing import Annotated

import typer

from dataops_assets.operations import project
from dataops_assets.operations.answer import Answer
from dataops_assets.operations.command import Commands
from dataops_assets.operations.commands.words import AnyInputs, AnySource, Inputs, OneSource, Step
from dataops_assets.operations.output import output

app = Commands(panel="Inputs and hubs")
_INPUT_FAILED = "an input failed a step"


@app.command(example="dataops reset orders parse 2024-01-01_6c1e1a", found=_INPUT_FAILED)
def reset(source: OneSource, step: Step, input: AnyInputs = None) -> Answer:  # noqa: A002
    """Run a step, and all steps after it, again for some inputs."""
    from dataops_assets.operations.rerun import reset
    from dataops_assets.operations.views import steps as view

    project.use_instance("reset")
    done = reset(project.context_of("reset", source), step, input or [], output().begin)
    return Answer(view.done_as_data(done), [*view.done(done)], found=bool(done.errors))


@app.command(example="dataops remove orders 2024-01-01_6c1e1a", found=_INPUT_FAILED)
def remove(source: OneSource, input: Inputs) -> Answer:  # noqa: A002
    """Remove inputs from a hub, as if they had never arrived."""
    project.use_instance("remove")
    context = project.context_of("remove", source)
    from dataops_assets.components.by_hand import remove
    from dataops_assets.operations.views import steps as view

    made = remove(context, input)
    return Answer(view.report_as_data(made), [*view.report(made)], found=bool(made.failures))


@app.command(example="dataops rebuild orders", found=_INPUT_FAILED)
def rebuild(source: OneSource) -> Answer:
    """Rebuild a hub from the lake, with the present declaration."""
    project.use_instance("rebuild")
    context = project.context_of("rebuild", source)
    from dataops_assets.components.by_hand import rebuild
    from dataops_assets.operations.views import steps as view

    made = rebuild(context)
    return Answer(view.report_as_data(made), [*view.report(made)], found=bool(made.failures))


@app.command(example="dataops vacuum orders --keep-days 7", found="the inputs of a source could not be settled")
def vacuum(
    source: AnySource = None,
    keep_days: Annotated[
        float | None, typer.Option(help="Days to keep old table versions; default: retention.versions.")
    ] = None,
) -> Answer:
    """Delete superseded inputs and the files of old table versions, as declared in `retention`."""
    from dataops_assets.operations.clean_up import clean_up, versions_kept
    from dataops_assets.operations.views import clean_up as view

    contexts = project.contexts("vacuum", [] if source is None else [source])
    keep = versions_kept(keep_days)
    done = [clean_up(context, keep) for context in contexts]
    notes = [f"dataops vacuum: {item.error}" for item in done if item.error]
    shown = [line for item in done for line in view.clean_up(item)]
    return Answer([view.clean_up_as_data(item) for item in done], shown, notes, found=bool(notes))
