"""The commands for a whole hub: rebuild it, or remove inputs from it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from dataops_assets.steps.source_context import SourceContext

COMMANDS = ("rebuild", "remove")


def add_hub_commands(commands: Any) -> None:
    """Add the commands to the parser."""
    anew = commands.add_parser("rebuild", help="rebuild a hub from the lake, with the present declaration")
    anew.add_argument("source")
    without = commands.add_parser("remove", help="remove inputs from a hub, as if they had never arrived")
    without.add_argument("source")
    without.add_argument("input", nargs="+")


def run_hub_command(given: argparse.Namespace, context: SourceContext, say: Callable[[str], None]) -> None:
    """Run one of `COMMANDS`. Raises DataOpsError."""
    # the import of Dagster, which gets the report, takes seconds
    from dataops_assets.components.by_hand import rebuild, remove

    report = rebuild(context) if given.command == "rebuild" else remove(context, given.input)
    for item in report.failures:
        say(f"input {item.input_id}: {item.error}")
    say(f"{report.asset}: {report.rows:,} rows in version {report.version}; {dict(report.notes)}")
