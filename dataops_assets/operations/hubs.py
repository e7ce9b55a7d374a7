"""What a person does to a hub as a whole: make it anew, or take inputs out of it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from dataops_assets.steps.source_context import SourceContext

COMMANDS = ("rebuild", "remove")


def add_hub_commands(commands: Any) -> None:
    """The commands of this module."""
    anew = commands.add_parser("rebuild", help="make a hub anew from the lake, under the settings now declared")
    anew.add_argument("source")
    without = commands.add_parser("remove", help="take inputs out of a hub, as if they had never come")
    without.add_argument("source")
    without.add_argument("input", nargs="+")


def run_hub_command(given: argparse.Namespace, context: SourceContext, say: Callable[[str], None]) -> None:
    """Run one of `COMMANDS`. Raises DataOpsError."""
    # Dagster, which is told of it, takes seconds to import
    from dataops_assets.components.by_hand import rebuild, remove

    report = rebuild(context) if given.command == "rebuild" else remove(context, given.input)
    for item in report.failures:
        say(f"input {item.input_id}: {item.error}")
    say(f"{report.asset}: {report.rows:,} rows in version {report.version}; {dict(report.notes)}")
