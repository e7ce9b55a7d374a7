"""The commands for private environments: make, list, use and drop them."""

from __future__ import annotations

import datetime as dt
import getpass
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from dataops_assets.errors import ConfigError
from dataops_assets.operations import project
from dataops_assets.operations.answer import Answer, Column, Raw, Table
from dataops_assets.operations.command import Commands
from dataops_assets.operations.commands.words import By
from dataops_assets.operations.completion import environment_names

PANEL = "Declarations"
app = Commands(help="Make, list, use and drop private environments.", no_args_is_help=True)

OneEnvironment: TypeAlias = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of the environment.", autocompletion=environment_names)
]


@app.command(example="dataops env create pr-42 --keep-days 7")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new environment, such as pr-42.")],
    keep_days: Annotated[
        float | None, typer.Option(min=0, help="Days after which the environment expires; default: never.")
    ] = None,
    by: By = "",
) -> Answer:
    """Make a private environment of this deployment as it is now, without copying tables.

    What it writes is its own. Refused while a step runs.
    """
    from dataops_assets.operations import environments as work

    contexts = project.contexts("env create")
    metadata = contexts[0].metadata if contexts else project.migrated_metadata()
    here = project.environment()
    keep = None if keep_days is None else dt.timedelta(days=keep_days)
    wanted = work.described(here, name, by or getpass.getuser(), keep)
    made = work.create(here, metadata, [context.source.name for context in contexts], wanted)
    data = {**_as_data(made.environment), "files": made.linked.files, "shared_bytes": made.linked.bytes}
    shared = f"{made.linked.files:,} files, {made.linked.bytes / 1e6:,.1f} MB shared"
    shown = f"made {name} in {made.environment.home}: {shared}"
    return Answer(data, [shown, f'next: eval "$(dataops env variables {name})"'])


@app.command("list", example="dataops env list", found="an environment is expired")
def list_() -> Answer:
    """List the private environments of this deployment, with the disk space that each uses alone."""
    from dataops_assets.operations.environments import environments
    from dataops_assets.storage.links import own_bytes

    now = dt.datetime.now(dt.UTC)
    found = [(item, own_bytes(Path(item.home))) for item in environments(project.environment())]
    columns = (
        Column("environment"),
        Column("made"),
        Column("by"),
        Column("expires"),
        Column("MB of its own", number=True),
    )
    rows = [
        [
            item.name,
            f"{item.created_at:%Y-%m-%d %H:%M} UTC",
            item.created_by,
            _end(item.expires_at, now),
            f"{size / 1e6:,.1f}",
        ]
        for item, size in found
    ]
    data = [{**_as_data(item), "own_bytes": size, "is_expired": item.is_expired(now)} for item, size in found]
    return Answer(data, [Table(columns, rows)], found=any(item.is_expired(now) for item, _ in found))


@app.command(example="dataops env variables pr-42")
def variables(name: OneEnvironment) -> Answer:
    """Print the variables with which commands, daemon and UI run in an environment, for a shell."""
    import shlex

    from dataops_assets.operations.environments import environment_named

    found = environment_named(project.environment(), name).variables
    lines = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in found.items())
    return Answer(found, [Raw(f"{lines}unset DAGSTER_HOME DATAOPS_STORAGE DATAOPS_METADATA_URL DATAOPS_WAREHOUSE\n")])


@app.command(example="dataops env drop pr-42")
def drop(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of an environment.", autocompletion=environment_names)
    ] = "",
    expired: Annotated[bool, typer.Option("--expired", help="Drop all that are expired.")] = False,
) -> Answer:
    """Remove private environments and the files that only they use. The parent keeps everything."""
    from dataops_assets.operations import environments as work

    if bool(name) == expired:
        raise ConfigError(
            "env drop", received="a name and --expired, or neither", next_step="give exactly one of the two"
        )
    here, now = project.environment(), dt.datetime.now(dt.UTC)
    chosen = (
        [item for item in work.environments(here) if item.is_expired(now)]
        if expired
        else [work.environment_named(here, name)]
    )
    freed = {item.name: work.drop(item) for item in chosen}
    shown = [f"dropped {one}; {size / 1e6:,.1f} MB freed" for one, size in freed.items()]
    return Answer(freed, shown or ["no environment is expired"])


def _as_data(item: Any) -> dict[str, Any]:
    found = asdict(item)
    found["created_at"] = item.created_at.isoformat()
    found["expires_at"] = item.expires_at.isoformat() if item.expires_at else None
    return {**found, "variables": item.variables}


def _end(time: dt.datetime | None, now: dt.datetime) -> str:
    if time is None:
        return "never"
    return "expired" if time <= now else f"{time:%Y-%m-%d %H:%M} UTC"
