"""The commands for releases: make, list, show, drop, read; and roll back to one."""

from __future__ import annotations

import getpass
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from dataops_assets.errors import ConfigError
from dataops_assets.operations import project
from dataops_assets.operations.answer import Answer, Raw
from dataops_assets.operations.command import Commands
from dataops_assets.operations.commands.words import By
from dataops_assets.operations.completion import release_names

if TYPE_CHECKING:
    from dataops_assets.steps.source_context import SourceContext
    from dataops_assets.steps.upkeep.rollback import RolledBack

PANEL = "Releases"
whole = Commands(panel=PANEL)
app = Commands(help="List, show, read and drop releases.", no_args_is_help=True)

OneRelease: TypeAlias = Annotated[
    str, typer.Argument(metavar="RELEASE", help="Name of a release.", autocompletion=release_names)
]


@whole.command(example='dataops release v2026.11 --note "before the new prices"')
def release(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new release, such as v2026.11.")],
    note: Annotated[str, typer.Option(help="What others should know.")] = "",
    accept_missed: Annotated[
        bool, typer.Option("--accept-missed", help="Release even if objectives are missed; the note names them.")
    ] = False,
    by: By = "",
) -> Answer:
    """Record the present version of every table, and of the code that made them, under one name.

    Refused while a step runs, where something is failed or held, where the newest report found an objective missed, and
    for code that is not committed.
    """
    from dataops_assets.operations.releases import make
    from dataops_assets.operations.views import releases as view

    made = make(_contexts("release"), name, project.PROJECT, note, by, accept_missed=accept_missed)
    return Answer(view.made_as_data(made), [*view.made(made)])


@whole.command(
    example="dataops rollback v2026.10 --later-inputs replay",
    found="inputs arrived later and --later-inputs is missing: nothing was changed; or a table below could not be made",
)
def rollback(
    release: Annotated[
        str, typer.Argument(metavar="RELEASE", help="The release to return to.", autocompletion=release_names)
    ] = "",
    later_inputs: Annotated[
        str,
        typer.Option(
            metavar="leave-out|replay",
            help="What to do with inputs that arrived after the release: leave them out, or merge them again.",
        ),
    ] = "",
    area: Annotated[str, typer.Option(help="Only the sources of this subject area.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Continue a rollback that was interrupted.")] = False,
    wait_minutes: Annotated[float, typer.Option(min=0, help="Longest wait for steps and runs in progress.")] = 0,
    by: By = "",
) -> Answer:
    """Return the tables, inputs and metadata to a release, all or nothing; no history is deleted.

    One bad input alone is taken out by `dataops remove`.
    """
    from dataops_assets.operations import releases as work
    from dataops_assets.operations.views import releases as view

    if bool(release) == resume:
        raise ConfigError(
            "rollback", received="a release and --resume, or neither", next_step="give exactly one of the two"
        )
    project.use_instance("rollback")
    contexts = _contexts("rollback")
    if not resume:
        seen = work.preview(contexts, release, area)
        if seen.later and not later_inputs:
            say = "Nothing was changed. Say what becomes of them: --later-inputs leave-out, or --later-inputs replay"
            return Answer(view.preview_as_data(seen), [*view.preview(seen), say], found=True)
        later = work.later_inputs(later_inputs, seen)
    # the import of Dagster takes seconds
    from dataops_assets.components import rolling_back
    from dataops_assets.steps.upkeep.rollback import Wanted

    if resume:
        done = rolling_back.resume(contexts)
    else:
        wanted = Wanted(release, later, by or getpass.getuser(), area)
        done = rolling_back.roll_back_when_idle(contexts, wanted, wait_minutes * 60)
    if done is None:
        return Answer(None, ["no rollback is unfinished"])
    ended = done.rollback.rollback_id
    revoked = [item for item in contexts[0].metadata.tokens.tokens() if item.reason.startswith(f"rollback {ended} ")]
    made = _made_again(done)
    failed = {name: error for name, error in made.items() if error}
    tokens = [item.token for item in revoked]
    data = {**view.rolled_back_as_data(done), "revoked_tokens": tokens, "made_again": made}
    shown = [*view.rolled_back(done), *view.made_again(made), *view.revoked(revoked)]
    return Answer(data, shown, found=bool(failed))


def _made_again(done: RolledBack) -> Mapping[str, str]:
    """Make the tables at once that follow the restored hubs, if the rollback did not restore them; return errors.

    They are models, where the warehouse was not put back, and recalculated hubs of other sources. If this process is
    killed, the sensors make them.
    """
    from dataops_assets.operations.commands import daily
    from dataops_assets.steps.upkeep.releases import WAREHOUSE

    if any(item.asset == WAREHOUSE for item in done.tables):
        return {}
    with daily.open_runner() as runner:
        below = runner.tables_below(done.rollback.sources)
        errors = runner.run_tables(below)
    return {name: errors.get(name, "") for name in below}


@whole.command(example="dataops reproduce v2026.10", found="a table differs, or could not be made again")
def reproduce(
    release: OneRelease,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the private environment, to look at it.")] = False,
) -> Answer:
    """Make the tables of a release again from raw in a private environment, and compare every row and column.

    It says what differs, and what can be the reason. dbt models are not built.
    """
    from dataops_assets.operations import reproduce as work
    from dataops_assets.operations.output import output
    from dataops_assets.operations.views import reproduce as view

    found = work.reproduce(_contexts("reproduce"), release, project.PROJECT, output().begin, keep=keep)
    return Answer(view.as_data(found), [*view.shown(found)], found=not found.is_equal)


@app.command("list", example="dataops releases list")
def list_() -> Answer:
    """List the releases, and for each the bytes that are kept only for it."""
    from dataops_assets.operations.releases import listed
    from dataops_assets.operations.views import releases as view

    found = listed(_contexts("releases list"))
    return Answer(view.listed_as_data(found), [view.listed(found)])


@app.command(example="dataops releases show v2026.11", found="a table of it can no longer be read")
def show(release: OneRelease) -> Answer:
    """Show one release: its code and the version of each table; and whether each can still be read."""
    from dataops_assets.operations.views import releases as view
    from dataops_assets.steps.upkeep.releases import problems_of, release_of

    context = _contexts("releases show")[0]
    found = release_of(context.metadata, release)
    problems = [problem for item in found.tables for problem in problems_of(context.environment, item)]
    data = {**view.made_as_data(found), "problems": problems}
    return Answer(data, [*view.made(found), *problems], found=bool(problems))


@app.command(example="dataops releases versions v2026.11")
def versions(release: OneRelease) -> Answer:
    """Print the version of each lake and hub table in a release: the value of dbt's option --vars."""
    from dataops_assets.operations.releases import table_versions

    found = {"table_versions": table_versions(_contexts("releases versions")[0].metadata, release)}
    return Answer(found, [Raw(json.dumps(found) + "\n")])


@app.command(example="dataops releases drop v2026.10")
def drop(release: OneRelease) -> Answer:
    """Drop a release. The next vacuum removes the files that only it needed."""
    from dataops_assets.steps.upkeep.releases import drop_release

    context = _contexts("releases drop")[0]
    freed = drop_release(context.environment, context.metadata, release)
    data = {"release": release, "bytes": freed}
    shown = f"dropped {release}; {freed / 1e6:,.1f} MB freed. dataops vacuum removes the files that only it needed"
    return Answer(data, [shown])


def _contexts(command: str) -> list[SourceContext]:
    """Return the contexts of all declared sources. Raises ConfigError if there is none."""
    found = project.contexts(command)
    if not found:
        raise ConfigError(f"dataops {command}", received="no declared source", next_step="declare one first")
    return found
