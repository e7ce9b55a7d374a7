"""The command for declared connections, and for the places where sources read files."""

from __future__ import annotations

from typing import Annotated

import typer

from dataops_assets.operations import project
from dataops_assets.operations.answer import Answer
from dataops_assets.operations.command import Commands
from dataops_assets.operations.completion import examined_names

app = Commands(
    help="Examine the declared databases, APIs and Kafka clusters, and the files of sources.", no_args_is_help=True
)


@app.callback()
def group() -> None:
    """Make a group of the one command."""


@app.command("test", example="dataops connections test", found="a connection does not work")
def examined(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="One connection, or a source that reads files; default: all.",
            autocompletion=examined_names,
        ),
    ] = None,
) -> Answer:
    """Test the declared connections and file locations: show what works, what can be read, and what to correct."""
    from dataops_assets.operations.connections import chosen, examine
    from dataops_assets.operations.file_areas import examine_files
    from dataops_assets.operations.views import connections as view

    declared = project.declarations()
    databases, file_sources = chosen(name, declared.databases, declared.sources)
    metadata = project.metadata()
    metadata.migrate()
    found: list[view.Report] = [
        *examine(databases, declared.sources, metadata.positions, project.outputs()),
        *examine_files(file_sources, project.environment(), metadata),
    ]
    return Answer(view.as_data(found), [*view.reports(found)], found=not all(item.is_well for item in found))
