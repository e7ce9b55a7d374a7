"""The commands that check and write declarations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dataops_assets.errors import ConfigError
from dataops_assets.operations import project
from dataops_assets.operations.answer import Answer
from dataops_assets.operations.command import Commands
from dataops_assets.operations.completion import connection_names
from dataops_assets.operations.output import output

app = Commands(panel="Declarations")


@app.command(example="dataops check", found="a declaration is wrong")
def check() -> Answer:
    """List all errors for which the code location would not load. Reads neither data nor the dbt projects.

    A file with a wrong field is listed alone. When all fields are right, every wrong source and output is listed.
    """
    from dataops_assets.components.load_checks import faults

    try:
        declared = project.declarations()
        found = faults(declared)
    except ConfigError as error:
        return Answer([str(error)], [str(error)], found=True)
    well = f"{len(declared.by_name)} sources and {len(declared.outputs)} outputs are well declared"
    return Answer(found, found or [well], found=bool(found))


@app.command(example="dataops init orders .dataops/landing/shop/orders --area shop")
def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new source.")],
    file: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE", help="Files of the feed, or folders of files.")
    ] = None,
    area: Annotated[str, typer.Option(help="Subject area; default: the name of the source.")] = "",
    database: Annotated[
        str, typer.Option(help="Instead of files: a declared database.", autocompletion=connection_names)
    ] = "",
    table: Annotated[str, typer.Option(help="Its table or view, as 'name' or 'schema.name'.")] = "",
    explode: Annotated[
        list[str] | None, typer.Option(help="Dotted name of a list in the records; each of its items becomes a row.")
    ] = None,
    record_type: Annotated[
        str, typer.Option(help="Type of the records that the source takes, where files have several.")
    ] = "",
) -> Answer:
    """Draft a source from files or from a table: write its defs.yaml, and list unhealthy values in the data.

    Never writes over a file.
    """
    from dataops_assets.connections.databases.opening import require_declared
    from dataops_assets.declaring.draft import DatabaseTable, Taken
    from dataops_assets.operations.declare import Place, init_source, init_table
    from dataops_assets.operations.views import declare as view

    if bool(file) == bool(table) or bool(database) != bool(table):
        raise ConfigError(
            f"drafting the source {name!r}",
            received="files and a table" if file else "a database or a table alone" if database or table else "nothing",
            next_step="give files, or --database with --table",
        )
    defs = Place(project.DEFS, ".".join(project.DEFS.relative_to(project.PROJECT).parts))
    environment, begin = project.environment(), output().begin
    if table:
        of = DatabaseTable(database, table), require_declared(database, project.databases())
        made = init_table(environment, defs, name, area or name, of, begin)
    else:
        taken = Taken(tuple(explode or ()), record_type)
        made = init_source(environment, defs, name, area or name, file or [], begin, taken)
    return Answer(view.drafted_as_data(made), [*view.drafted(made)])
