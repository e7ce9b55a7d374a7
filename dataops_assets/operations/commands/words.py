"""The arguments and options that several commands have."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal, TypeAlias

import typer

from dataops_assets.errors import ConfigError
from dataops_assets.operations.completion import held_ids, input_ids, source_names

OneSource: TypeAlias = Annotated[str, typer.Argument(metavar="SOURCE", help="The source.", autocompletion=source_names)]
AnySource: TypeAlias = Annotated[
    str | None,
    typer.Argument(metavar="SOURCE", help="One source; default: all sources.", autocompletion=source_names),
]
Sources: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SOURCE", help="Take inputs of these sources; default: all sources.", autocompletion=source_names
    ),
]
Inputs: TypeAlias = Annotated[
    list[str], typer.Argument(metavar="INPUT", help="Ids of inputs.", autocompletion=input_ids)
]
AnyInputs: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(metavar="INPUT", help="Ids of inputs; default: all inputs of the source.", autocompletion=input_ids),
]
HeldInputs: TypeAlias = Annotated[
    list[str],
    typer.Argument(metavar="INPUT", help="Ids of inputs, as `dataops status` shows them.", autocompletion=held_ids),
]
Step: TypeAlias = Annotated[
    Literal["ingest", "parse", "cdc", "enrich", "refresh"],
    typer.Argument(metavar="STEP", help="The first step to run again."),
]
By: TypeAlias = Annotated[str, typer.Option(help="Name of the person; default: the user of the operating system.")]


def duration(text: str) -> dt.timedelta:
    """Return a duration such as '30 minutes', or a number of seconds. Raises ConfigError for another text."""
    if text.strip().isdecimal():
        return dt.timedelta(seconds=int(text))
    # completion does not wait for these imports
    from pydantic import TypeAdapter, ValidationError

    from dataops_assets.config.declared import Duration

    try:
        found: dt.timedelta = TypeAdapter(Duration).validate_python(text)
        return found
    except ValidationError as error:
        raise ConfigError(
            "reading a duration", received=repr(text), known=["'30 minutes'", "'2 hours'", "'1 day'", "20 (seconds)"]
        ) from error
