"""The command for declared connections."""

from __future__ import annotations

from typing import Annotated

import typer

from dataops_assets.operations import project
from dataops_assets.operations.answer import Answer
from dataops_assets.operations.command import Commands
from dataops_assets.operations.completion import connection_names

app = Commands(help="Examine the declared databases, APIs and Kafka clusters.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Make a group of the one command."""


@app.command("test", example="dataops connections test", found="a connection does not work")
def examined(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="One connection; default: all.", autocompletion=connection_names),
    ] = None,
) -> Answer:
    """Open the declared connections: say what works, what may be read, the last looks, and what to do."""
    from dataops_assets.connections.databases.opening import require_connection
    from dataops_assets.operations.connections import examine
    from dataops_assets.operations.views import connections as view

    databases = project.databases()
    if name is not None:
        databases = {name: require_connection(name, databases)}
    metadata = project.metadata()
    metadata.migrate()
    found = list(examine(databases, project.declared(), metadata.positions, project.outputs()))
    return Answer(view.as_data(found), [*view.reports(found)], found=not all(item.is_well for item in found))
