"""The commands for publications: move them, tell what they wait for, read them."""

from __future__ import annotations

import json
from typing import Annotated, TypeAlias

import typer

from dataops_assets.operations import project
from dataops_assets.operations.answer import Answer, Raw
from dataops_assets.operations.command import Commands
from dataops_assets.operations.completion import publication_names

app = Commands(help="Publish tables together; read all of them at one moment.", no_args_is_help=True)

OnePublication: TypeAlias = Annotated[
    str, typer.Argument(metavar="PUBLICATION", help="Name of a publication.", autocompletion=publication_names)
]
AnyPublications: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(metavar="PUBLICATION", help="Names; default: all publications.", autocompletion=publication_names),
]


@app.command(example="dataops publications publish shop", found="a publication waits")
def publish(publication: AnyPublications = None) -> Answer:
    """Move publications to a newer moment if their tables agree, as the sensor does; say what the others wait for."""
    from dataops_assets.operations import publications as work
    from dataops_assets.operations.views import publications as view
    from dataops_assets.steps.upkeep.publishing import PublishingContext

    declared = project.declarations()
    context = PublishingContext(project.environment(), project.migrated_metadata(), declared.sources)
    found = work.publish(context, declared.publications, publication or [])
    shown = [*view.states(found)] or ["no publication is declared"]
    return Answer([view.as_data(state) for state in found], shown, found=any(state.reasons for state in found))


@app.command(example="dataops publications show shop")
def show(publication: OnePublication) -> Answer:
    """Show the moment in force: the version of each table."""
    from dataops_assets.operations.views import publications as view
    from dataops_assets.steps.upkeep.publishing import copy_of, moment_of

    environment = project.environment()
    found = moment_of(environment, publication)
    return Answer(view.moment_as_data(found), [*view.moment(found, copy_of(environment, found))])


@app.command(example="dataops publications versions shop")
def versions(publication: OnePublication) -> Answer:
    """Print the version of each lake and hub table at the moment in force: the value of dbt's option --vars."""
    from dataops_assets.operations.publications import table_versions

    found = {"table_versions": table_versions(project.environment(), publication)}
    return Answer(found, [Raw(json.dumps(found) + "\n")])


@app.command(example="dataops publications sql shop")
def sql(publication: OnePublication) -> Answer:
    """Print the SQL statements with which a DuckDB client reads the published moment."""
    from dataops_assets.operations.publications import script

    found = script(project.environment(), publication)
    return Answer(found, [Raw("".join(f"{statement};\n" for statement in found))])


@app.command(example="dataops publications drop shop")
def drop(publication: OnePublication) -> Answer:
    """Remove the moments of a publication that is not declared any more. This frees their disk space."""
    from dataops_assets.operations.publications import drop as work

    number = work(project.environment(), project.declarations().publications, publication)
    return Answer({"publication": publication, "moments": number}, [f"dropped {number} moments of {publication}"])
