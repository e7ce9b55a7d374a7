"""The command that pushes files to a receiver. It loads neither Dagster nor the declarations, so it starts at once."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from dataops_assets.operations.answer import Answer
from dataops_assets.operations.command import Commands
from dataops_assets.operations.commands.words import duration
from dataops_assets.operations.output import output

app = Commands(panel="Every day")


@app.command(
    "push",
    example='dataops push https://data.example.com/uploads/orders "/exports/orders/*.csv" --secret env:PUSH_SECRET',
    found="a file was refused, or the receiver did not answer",
)
def push(
    url: Annotated[str, typer.Argument(metavar="URL", help="The address of a source, as `dataops receive` prints it.")],
    files: Annotated[
        list[str], typer.Argument(metavar="FILES", help="Folders (with all below), patterns in quotes, or files.")
    ],
    secret: Annotated[
        str, typer.Option(help="Where the secret is: env:NAME, file:PATH, aws:NAME or vault:PATH.", show_default=False)
    ],
    settle: Annotated[str, typer.Option(help="Time without a change before a file is sent.")] = "1 minute",
    every: Annotated[str, typer.Option(help="Time between two pushes, such as '1 minute'; default: push once.")] = "",
    move_to: Annotated[str, typer.Option(help="Move each file to this folder after it was stored.")] = "",
    delete: Annotated[bool, typer.Option("--delete", help="Delete each file after it was stored.")] = False,
) -> Answer:
    """Push files to a receiver, in parts. An interrupted push continues after the bytes that are stored."""
    from dataops_assets.operations.pushing import Agent, after_of, sender_of
    from dataops_assets.operations.views import pushing as view

    settle_seconds, after = duration(settle).total_seconds(), after_of(move_to, delete=delete)
    agent = Agent(sender_of(url, secret, os.environ), files, settle_seconds, after)
    if every:
        agent.rounds(duration(every).total_seconds(), lambda item: output().say(view.shown(item)))
    found = agent.round(lambda item: output().say(view.shown(item)))
    return Answer(view.as_data(found), [view.told(found)], found=view.is_bad(found))
