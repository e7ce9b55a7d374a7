"""`python tests/unit/command_reference.py` writes the list of commands in docs/command-line.md from the app."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from dataops_assets.operations.cli import app

PAGE = Path(__file__).resolve().parents[2] / "docs" / "command-line.md"
BEGIN = "<!-- commands: written by tests/unit/command_reference.py -->\n"
END = "<!-- end of commands -->\n"


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with its words, such as 'dataops quarantine list'."""

    def below(path: str, group: Any) -> Iterator[tuple[str, Any]]:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from below(f"{path} {name}", command)
            else:
                yield f"{path} {name}", command

    yield from below("dataops", typer.main.get_command(app))


def own_words(command: Any) -> tuple[list[Any], list[Any]]:
    """The arguments and the options of a command, without `--json`, which all have."""
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    options = [param for param in command.params if param.param_type_name == "option" and "--json" not in param.opts]
    return arguments, options


def parts(command: Any) -> tuple[str, str]:
    """The exit codes and the example of a command."""
    codes, example = command.epilog.split("\n\n")
    return codes.removeprefix("Exit codes: "), example.removeprefix("Example: ")


def section(path: str, command: Any) -> str:
    """The text about one command."""
    arguments, options = own_words(command)
    words = [path, *map(argument_word, arguments), *(["[options]"] if options else [])]
    codes, example = parts(command)
    text = f"### `{' '.join(words)}`\n\n{command.help}\n\n"
    if arguments or options:
        text += "| argument | meaning |\n|---|---|\n"
        text += "".join(f"| `{param.metavar}` | {meaning(param)} |\n" for param in arguments)
        text += "".join(f"| `{option_word(param)}` | {meaning(param)} |\n" for param in options)
        text += "\n"
    return f"{text}Exit codes: {codes}\n\n```sh\n{example}\n```\n"


def argument_word(param: Any) -> str:
    # what a source and a column are called is one word that has its own brackets
    word = param.metavar if param.required else f"[{param.metavar}]"
    return f"{word} ..." if param.nargs == -1 else word


def option_word(param: Any) -> str:
    name = param.opts[0]
    return name if param.is_flag else f"{name} {param.metavar or name.lstrip('-').upper().replace('-', '_')}"


def meaning(param: Any) -> str:
    choices = param.type_descriptor.choices if param.type_descriptor.is_choice else None
    one_of = f" One of: {', '.join(f'`{choice}`' for choice in choices)}." if choices else ""
    return f"{param.help}{one_of}".replace("|", "\\|")


def reference() -> str:
    return "\n".join(section(path, command) for path, command in commands())


def page() -> str:
    """The page with the reference as it has to be."""
    text = PAGE.read_text(encoding="utf-8")
    return re.sub(
        f"(?<={re.escape(BEGIN)}).*(?={re.escape(END)})", lambda _: f"\n{reference()}\n", text, flags=re.DOTALL
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
