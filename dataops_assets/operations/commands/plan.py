"""The commands for changes of declarations: say what they would change, and carry it out."""

from __future__ import annotations

import datetime as dt
import getpass
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dataops_assets.errors import ConfigError
from dataops_assets.operations import project
from dataops_assets.operations.answer import Answer, Raw, Shown
from dataops_assets.operations.command import Commands
from dataops_assets.operations.commands.words import By, duration
from dataops_assets.operations.completion import compared_names, plan_ids
from dataops_assets.operations.output import output, plain_text

if TYPE_CHECKING:
    from dataops_assets.operations.planning.plan import Plan, Tree
    from dataops_assets.steps.source_context import SourceContext

app = Commands(panel="Declarations")


@app.command(example="dataops plan --markdown", found="something differs, or is to do")
def plan(
    against: Annotated[
        str,
        typer.Option(
            metavar="RELEASE|ENVIRONMENT",
            help="A release or a private environment to compare with; default: what the deployment runs now.",
            autocompletion=compared_names,
        ),
    ] = "",
    data: Annotated[
        bool,
        typer.Option("--data", help="Do the work in a private environment, and show how the rows differ afterwards."),
    ] = False,
    sample: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="With --data: take only the newest N inputs of each source."),
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown, for example for a pull request.")
    ] = False,
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the text to this file, for example for a comment.")
    ] = None,
    accept_changes: Annotated[
        bool,
        typer.Option("--accept-changes", help="Exit with 1 only if something that --data tried would fail."),
    ] = False,
    by: By = "",
) -> Answer:
    """Show what the declarations of this folder would change in the deployment. Changes nothing.

    Lists the declarations that differ, the work for stored rows, the tables and columns downstream, and their owners.
    """
    from dataops_assets.operations.views import plan as view

    contexts = project.contexts("plan")
    tree = project.tree()
    made = _saved_plan(tree, contexts, against, by)
    fails = False
    shown: list[Shown] = [Raw(view.markdown(made))] if markdown else [*view.plan(made)]
    answer = made.as_data()
    if sample is not None and not data:
        raise ConfigError("plan", received="--sample without --data", next_step="dataops plan --data --sample 3")
    if data and contexts:
        from dataops_assets.operations.planning.trial import try_plan
        from dataops_assets.operations.views import plan_data

        if against:
            received = "--against and --data: only what is in force has data"
            raise ConfigError("plan", received=received, next_step="give exactly one of the two")
        tried = try_plan(made, tree, contexts, project.PROJECT, output().begin, sample)
        answer["data"], fails = plan_data.as_data(tried), bool(tried.errors)
        shown += [Raw(plan_data.markdown(tried))] if markdown else [*plan_data.trial(tried)]
    if to is not None:
        to.write_text(plain_text(shown))
    return Answer(answer, shown, found=fails if accept_changes else not made.is_empty)


def _saved_plan(tree: Tree, contexts: Sequence[SourceContext], against: str, by: str) -> Plan:
    """Make a plan, and record it."""
    from dataops_assets.components.other_locations import other_tables
    from dataops_assets.metadata.plan_store import StoredPlan
    from dataops_assets.operations.planning.elsewhere import contexts_in
    from dataops_assets.operations.planning.plan import make_plan, no_others, plan_elsewhere

    metadata = contexts[0].metadata if contexts else project.migrated_metadata()
    there = contexts_in(against, contexts, project.PROJECT) if against and contexts else None
    if there is not None:
        made = plan_elsewhere(against, tree, there)
    else:
        others = other_tables if project.choose_instance("plan") else no_others
        made = make_plan(tree, contexts, metadata, against, others)
    who, now = by or getpass.getuser(), dt.datetime.now(dt.UTC)
    metadata.plans.save(StoredPlan(made.plan_id, now, who, against, made.load_id, made.declared, made.as_data()))
    return made


@app.command(example="dataops apply 3f9a1c0b7e2d", found="a piece of work failed, or something is held or failed")
def apply(
    plan: Annotated[
        str, typer.Argument(metavar="PLAN", help="Id of the plan, as dataops plan shows it.", autocompletion=plan_ids)
    ] = "",
    now: Annotated[
        bool, typer.Option("--now", help="Make the plan now and apply it, for example after a reviewed merge.")
    ] = False,
    by: By = "",
) -> Answer:
    """Do exactly the work of a plan, then everything that is due, and compare the result with the estimates.

    Refused if the declarations or the tables changed since the plan. If an apply was killed or failed, it continues.
    """
    from dataops_assets.components.local import FinishedRun
    from dataops_assets.operations.commands import daily
    from dataops_assets.operations.planning import apply as work
    from dataops_assets.operations.run import outcome, run_due
    from dataops_assets.operations.views import plan as view
    from dataops_assets.operations.views import run as run_view

    if bool(plan) == now:
        raise ConfigError("apply", received="a plan and --now, or neither", next_step="give exactly one of the two")
    project.use_instance("apply", make=True)
    out, contexts = output(), project.contexts("apply")
    metadata = contexts[0].metadata if contexts else project.migrated_metadata()
    with daily.open_runner() as runner:
        tree = project.tree()
        plan = plan or _saved_plan(tree, contexts, "", by).plan_id
        applying = work.begin(plan, tree, contexts, metadata, by or getpass.getuser())
        done = list(work.carry_out(applying, contexts, metadata, runner.run_tables, out.begin))
        runs = []
        if not any(item.error for item in done):
            for event in run_due(runner, metadata, ()):
                out.say(*run_view.event(event))
                runs += [event] if isinstance(event, FinishedRun) else []
        work.end(applying, metadata, done)
        result = outcome(runner, contexts)
    found = [item.as_data() for item in done]
    data = {"plan_id": plan, "work": found, **run_view.outcome_as_data(result, runs)}
    shown = [*view.applied(plan, found), *run_view.outcome(result)]
    return Answer(data, shown, found=not result.is_well or any(item.error for item in done))


@app.command(example='dataops watch --within "30 minutes"', found="something failed")
def watch(
    within: Annotated[str, typer.Option(help="How long, such as '30 minutes' or '2 hours'.")] = "30 minutes",
    every: Annotated[
        str, typer.Option(help="Time between two looks, such as '1 minute', or a number of seconds.")
    ] = "20",
) -> Answer:
    """Watch the deployment after a change; end with 1 as soon as a gate, a check of severity fail or a step fails."""
    from dataops_assets.operations import watching
    from dataops_assets.operations.views import watching as view

    found = watching.watch(project.contexts("watch"), duration(within), duration(every))
    return Answer(
        {"failed": list(found.failed), "seconds": found.seconds}, [*view.shown(found)], found=bool(found.failed)
    )
