"""The `dataops` command: it joins the groups of commands. See `operations.command` for how to add one."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from functools import cache
from types import TracebackType
from typing import Any

import typer

from dataops_assets.masking import mask, mask_logs, remember_variables
from dataops_assets.operations.commands import (
    connections,
    daily,
    declarations,
    declare,
    doctor,
    environments,
    incidents,
    inputs,
    plan,
    publications,
    push,
    quarantine,
    receive,
    releases,
    rules,
    tokens,
    warehouse,
)

app = typer.Typer(
    name="dataops",
    help="Do what is due, show what is unfinished, and maintain hubs by hand.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for group in (
    daily.app,
    declare.app,
    plan.app,
    inputs.app,
    releases.whole,
    rules.app,
    doctor.app,
    receive.app,
    push.app,
):
    app.add_typer(group)
app.add_typer(releases.app, name="releases", rich_help_panel=releases.PANEL)
app.add_typer(publications.app, name="publications", rich_help_panel=releases.PANEL)
app.add_typer(tokens.app, name="tokens", rich_help_panel=releases.PANEL)
app.add_typer(environments.app, name="env", rich_help_panel=environments.PANEL)
app.add_typer(declarations.app, name="declarations", rich_help_panel="Declarations")
app.add_typer(warehouse.app, name="warehouse", rich_help_panel="Declarations")
app.add_typer(connections.app, name="connections", rich_help_panel="Declarations")
app.add_typer(incidents.app, name="incidents", rich_help_panel="Every day")
app.add_typer(quarantine.app, name="quarantine", rich_help_panel="Every day")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0: all is well. 1: something is held, failed or found. 2: it could not run. 130: a signal ended it.
    """
    try:
        _built(is_terminal=sys.stdout.isatty()).main(arguments, prog_name="dataops")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0


@cache
def _built(*, is_terminal: bool) -> Any:
    # frames and colours are for a terminal; elsewhere the help is plain text
    app.rich_markup_mode = "rich" if is_terminal else None
    return typer.main.get_command(app)


def program() -> None:
    """Run one command and end this process. An error that nobody expected ends it with 2, after its traceback."""
    sys.excepthook = _unexpected
    mask_logs()
    remember_variables(os.environ)
    sys.exit(main())


def _unexpected(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(mask("".join(traceback.format_exception(kind, error, trace))))
    # 1, which is Python's own code, would say that something is held or failed
    sys.exit(2)


if __name__ == "__main__":
    program()
