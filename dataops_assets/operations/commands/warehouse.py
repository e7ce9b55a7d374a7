"""The commands for the dbt project."""

from __future__ import annotations

from typing import Annotated

import typer

from dataops_assets.operations import project
from dataops_assets.operations.answer import Answer
from dataops_assets.operations.command import Commands
from dataops_assets.operations.commands.words import OneSource

app = Commands(help="Work on the models of the warehouse.", no_args_is_help=True)


@app.command(example="dataops warehouse scaffold sales --model fct_all_sales")
def scaffold(
    source: OneSource,
    model: Annotated[str, typer.Option(help="Name of the model; default: dim_ or fct_ and the source's name.")] = "",
) -> Answer:
    """Write a first model of a source: an entry in models/sources.yml, SQL and YAML. Never writes over a file."""
    from dataops_assets.operations.warehouse_scaffold import scaffold_model

    context = project.context_of("warehouse scaffold", source)
    made = scaffold_model(project.PROJECT / "dbt_project", context.source, context.sources, model)
    data = {"model": made.model, "table": made.table, "written": [str(path) for path in made.written]}
    shown = [f"wrote    {path}" for path in made.written]
    told = f"next: name columns and say what a row is, then in dbt_project: dbt build --select {made.model}"
    return Answer(data, [*shown, f"reads    {made.table}", "", told])


@app.command(example="dataops warehouse prepare")
def prepare() -> Answer:
    """Parse the dbt projects, so that the next load of the code location does not wait for dbt."""
    from dataops_assets.components.dbt_catalogue import prepare

    environment = project.environment()
    folders = sorted({item.project for item in project.declarations().warehouses})
    models = {folder: len(prepare(project.PROJECT / folder, environment)[1].models) for folder in folders}
    return Answer(models, [f"{folder}: {number} models" for folder, number in models.items()])
