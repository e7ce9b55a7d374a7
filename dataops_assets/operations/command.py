"""The frame of every command: `--json`, signals, errors and exit codes are the same for all.

To add a command: write a function that returns an `Answer`, in a module of `commands`, and decorate it.

    app = Commands()

    @app.command(example="dataops greet orders", found="nobody answers")
    def greet(source: OneSource) -> Answer:
        \"\"\"Greet a source.\"\"\"
        from dataops_assets.operations.greeting import greeting

        made = greeting(project.context_of("greet", source))
        return Answer(asdict(made), [f"{made.text}"], found=not made.is_answered)

`cli.py` joins the modules. The work is in a module of its own that returns values; it is imported in the function,
because `--help` and completion shall not wait for it. `output().begin()` and `.say()` tell what is being done. Then run
`python tests/unit/command_reference.py`, which writes the new section of docs/command-line.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from functools import cache
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand

from dataops_assets.errors import DataOpsError
from dataops_assets.operations.answer import Answer
from dataops_assets.operations.output import standard
from dataops_assets.operations.signals import obeying_signals

WELL, FOUND, COULD_NOT, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: all is well; something is held, failed or found; the command could not run; a signal ended it."""

_AS_DATA = "dataops.as_data"
_Function = TypeVar("_Function", bound=Callable[..., Answer])


def _take(context: typer.Context, value: bool) -> None:
    context.meta[_AS_DATA] = value


@cache
def _json_option() -> Any:
    """Return the option `--json` as Typer makes it. Commands share it: it has no state."""
    asked = typer.Typer(add_completion=False)

    @asked.command()
    def ask(
        as_data: Annotated[
            bool, typer.Option("--json", callback=_take, expose_value=False, help="Print one JSON document.")
        ] = False,
    ) -> None:
        pass

    return typer.main.get_command(asked).params[0]


class AnswerCommand(TyperCommand):
    """A command whose function returns an `Answer`. It writes the answer, and ends with the exit code."""

    def __init__(self, *given: Any, params: list[Any], **settings: Any) -> None:
        super().__init__(*given, params=[*params, _json_option()], **settings)

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Raises typer.Exit."""
        raise typer.Exit(_run(ctx.command_path, lambda: super(AnswerCommand, self).invoke(ctx), ctx.meta[_AS_DATA]))


def _run(command: str, work: Callable[[], Answer], as_data: bool) -> int:
    try:
        with obeying_signals() as stop_if_told, standard(as_data=as_data, stop_if_told=stop_if_told).current() as out:
            try:
                # what libraries print is not part of the document
                with redirect_stdout(sys.stderr) if as_data else nullcontext():
                    answer = work()
                out.answer(answer)
            except DataOpsError as error:
                out.note(f"{command}: {error}")
                return COULD_NOT
            return FOUND if answer.found else WELL
    except KeyboardInterrupt:
        sys.stderr.write(f"{command}: interrupted; the next one goes on from here\n")
        return INTERRUPTED


class Commands(typer.Typer):
    """A group of commands that return an `Answer`; `panel` is its title in the help."""

    def __init__(self, *, panel: str = "", **settings: Any) -> None:
        super().__init__(**settings)
        self._panel = panel

    def command(
        self, name: str | None = None, *, example: str = "", found: str = "", **settings: Any
    ) -> Callable[[_Function], _Function]:
        """Decorate the function of a command.

        `example` is a command that works, and `found` says what exit code 1 means; without it the command never ends
        with 1. `--help` and docs/command-line.md show both.
        """
        codes = ["0 all is well", *([f"1 {found}"] if found else []), "2 it could not run", "130 a signal ended it"]
        epilog = f"Exit codes: {'; '.join(codes)}.\n\nExample: {example}"
        if self._panel:
            settings.setdefault("rich_help_panel", self._panel)
        made: Callable[[_Function], _Function] = super().command(name, cls=AnswerCommand, epilog=epilog, **settings)
        return made
