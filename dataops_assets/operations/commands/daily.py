"""The commands of every day: run what is due, see what is wrong, approve, demonstrate."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from dataops_assets.components.forking import import_without_threads
from dataops_assets.operations import project
from dataops_assets.operations.answer import Answer
from dataops_assets.operations.command import Commands
from dataops_assets.operations.commands.words import AnySource, By, HeldInputs, OneSource, Sources
from dataops_assets.operations.output import output

if TYPE_CHECKING:
    from dataops_assets.components.local import FinishedRun, LocalRunner

app = Commands(panel="Every day")
_ATTENTION = "something is held or failed"


@app.command(example="dataops run orders", found=_ATTENTION)
def run(source: Sources = None) -> Answer:
    """Process everything that is due now, in this process and without a daemon, and show the result.

    A rollback that was interrupted is resumed first.
    """
    import_without_threads()
    from dataops_assets.components.local import FinishedRun
    from dataops_assets.components.rolling_back import resume_alone as resume_interrupted
    from dataops_assets.operations.run import outcome, run_due
    from dataops_assets.operations.views import releases
    from dataops_assets.operations.views import run as view

    project.use_instance("run", make=True)
    out, names = output(), source or []
    contexts = project.contexts("run", names)
    done: list[FinishedRun] = []
    with open_runner() as runner:
        resumed = resume_interrupted(project.contexts("run"), runner.instance)
        if resumed is not None:
            out.say(*releases.rolled_back(resumed))
        for event in run_due(runner, project.metadata(), names):
            out.say(*view.event(event))
            if isinstance(event, FinishedRun):
                done.append(event)
        result = outcome(runner, contexts)
    if not done:
        out.say("nothing was due")
    return Answer(view.outcome_as_data(result, done), [*view.outcome(result)], found=not result.is_well)


@app.command(example="dataops status orders", found=_ATTENTION)
def status(source: AnySource = None) -> Answer:
    """Show for each source what is held, failed or to do, and the next step."""
    from dataops_assets.components.status import source_status
    from dataops_assets.operations.views import status as view

    in_depth = source is not None
    contexts = project.contexts("status", [] if source is None else [source])
    found = [source_status(context, in_depth=in_depth or output().as_data) for context in contexts]
    shown = [view.status_table(found), *(view.details(found) if in_depth else ())]
    return Answer([view.as_data(one) for one in found], shown, found=any(one.needs_attention for one in found))


@app.command(example="dataops approve orders 2024-01-02_3f779a")
def approve(source: OneSource, input: HeldInputs, by: By = "") -> Answer:  # noqa: A002
    """Approve inputs that are held for their deletions or for an anomaly."""
    from dataops_assets.operations.approval import approve

    done = approve(project.context_of("approve", source), input, by)
    shown = [f"approved by {done.by}: input {one} of {source}" for one in done.inputs]
    shown.append(f"The next look at {source} takes it; without a daemon: dataops run {source}")
    return Answer(asdict(done), shown)


@app.command(example='dataops pause orders --reason "the shop sends wrong files"')
def pause(
    source: OneSource, reason: Annotated[str, typer.Option(help="Why; `dataops status` shows it.")] = "", by: By = ""
) -> Answer:
    """Look for no new inputs of a source until it is resumed. Runs that were requested before continue."""
    from dataops_assets.operations.pausing import pause

    done = pause(project.context_of("pause", source), reason, by)
    shown = [f"{source} is paused by {done.by}", f"next: dataops resume {source}"]
    return Answer({**asdict(done), "since": done.since.isoformat()}, shown)


@app.command(example="dataops resume orders")
def resume(source: OneSource) -> Answer:
    """Look for new inputs of a paused source again."""
    from dataops_assets.operations.pausing import resume

    done = resume(project.context_of("resume", source))
    shown = [f"{source} is looked at again; it was paused by {done.by} since {done.since:%Y-%m-%d %H:%M} UTC"]
    return Answer({**asdict(done), "since": done.since.isoformat()}, shown)


@app.command(example="dataops demo")
def demo() -> Answer:
    """Run two subject areas from raw data to the warehouse. Some files are bad on purpose: the exit code is still 0."""
    import_without_threads()
    from dataops_assets.components.local import FinishedRun
    from dataops_assets.operations.demo import run_demo
    from dataops_assets.operations.run import outcome
    from dataops_assets.operations.views import demo as view

    project.use_instance("demo", make=True)
    out, contexts = output(), project.contexts("demo")
    done: list[FinishedRun] = []
    with open_runner() as runner:
        events = run_demo(project.environment(), runner, [context.source.name for context in contexts])
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                summary = end.value
                break
            out.say(*view.event(event))
            if isinstance(event, FinishedRun):
                done.append(event)
        result = outcome(runner, contexts)
    address = f"http://127.0.0.1:{os.environ.get('PORT') or '3000'}"
    return Answer(view.summary_as_data(summary, result, done), [*view.summary(summary, result, address)])


@contextmanager
def open_runner() -> Iterator[LocalRunner]:
    """Open the runner of this process on the code location."""
    out = output()
    out.say("Loading the code location ...")
    # Dagster takes seconds to import; most commands do without its runs
    from dataops_assets.components.local import local_runner
    from dataops_assets.components.local_runs import cursor_of
    from dataops_assets.definitions import defs

    environment = project.environment()
    environment.home.mkdir(parents=True, exist_ok=True)
    with local_runner(defs, cursor_of(environment), out.begin) as made:
        yield made
