"""The commands for rows that are kept out of a hub: list them, repair them, replay their inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dataops_assets.operations import project
from dataops_assets.operations.answer import Answer, Raw, Shown
from dataops_assets.operations.command import Commands
from dataops_assets.operations.commands.words import By, OneSource
from dataops_assets.operations.completion import input_ids
from dataops_assets.operations.output import as_json, output

app = Commands(help="Rows that are kept out of a hub.", no_args_is_help=True)
_LIMIT = 20


@app.command("list", example="dataops quarantine list orders --rule sane --limit 0")
def list_rows(
    source: OneSource,
    input: Annotated[  # noqa: A002
        list[str] | None, typer.Option(help="Only this input; can be repeated.", autocompletion=input_ids)
    ] = None,
    rule: Annotated[str, typer.Option(help="Only rows that this rule keeps out of the hub.")] = "",
    limit: Annotated[int, typer.Option(help="Maximum number of rows of a step; 0: all.")] = _LIMIT,
    format: Annotated[  # noqa: A002
        Literal["text", "csv", "json"], typer.Option(help="Output format; csv and json are input for repair --from.")
    ] = "text",
) -> Answer:
    """Show rows that are kept out, with the rule and the place in the input."""
    from dataops_assets.operations.views import quarantine as view
    from dataops_assets.steps.upkeep.quarantine import kept_out

    context = project.context_of("quarantine", source)
    found = kept_out(context, input_ids=input or [], rule=rule, limit=limit if limit > 0 else None)
    data = view.cells(found.rows)
    shown: list[Shown] = [view.rows(found)] if found.rows else []
    if format != "text":
        shown = [Raw(view.as_csv(found.rows) if format == "csv" else as_json(data))]
    return Answer(data, shown, [*view.totals(found, source)])


@app.command(
    example="dataops quarantine repair orders --input 2024-01-01_6c1e1a --row 2 --set amount=99",
    found="an input failed a step, or a row is still kept out",
)
def repair(
    source: OneSource,
    input: Annotated[str | None, typer.Option(help="The input's id.", autocompletion=input_ids)] = None,  # noqa: A002
    row: Annotated[int | None, typer.Option(help="Position of the row in the input, from 0.")] = None,
    set: Annotated[  # noqa: A002
        list[str] | None,
        typer.Option(metavar="COLUMN=VALUE", help="New value of a column; nothing after = is null. Can be repeated."),
    ] = None,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Withdraw the earlier corrections of the row.")] = False,
    file: Annotated[
        Path | None,
        typer.Option("--from", help="A .csv or .json file with input, row, column and value of each correction."),
    ] = None,
    by: By = "",
) -> Answer:
    """Correct rows, and run the steps of their inputs again."""
    from dataops_assets.operations.quarantine import Correction, repair
    from dataops_assets.operations.views import quarantine as view

    project.use_instance("repair")
    given = Correction(input, row, set or [], withdraw, file)
    done = repair(project.context_of("quarantine", source), given, by, output().begin)
    failed = done.replayed.done is not None and bool(done.replayed.done.errors)
    return Answer(view.repaired_as_data(done), [*view.repaired(done, source)], found=failed or bool(done.left))


@app.command(example="dataops quarantine replay orders", found="an input failed a step")
def replay(
    source: OneSource,
    input: Annotated[  # noqa: A002
        list[str] | None,
        typer.Option(help="This input; default: all inputs with such rows. Can be repeated.", autocompletion=input_ids),
    ] = None,
) -> Answer:
    """Run the steps again for inputs with rows that are kept out."""
    from dataops_assets.operations.quarantine import replay
    from dataops_assets.operations.views import quarantine as view

    project.use_instance("replay")
    done = replay(project.context_of("quarantine", source), input or [], output().begin)
    found = done.done is not None and bool(done.done.errors)
    return Answer(view.replayed_as_data(done), [*view.replayed(done, source)], found=found)
