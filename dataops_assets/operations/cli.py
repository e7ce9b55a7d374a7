"""The `dataops` command: the demonstration, and what a person does to a hub by hand."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.errors import ConfigError, DataOpsError, nearest

PROJECT = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0 when it succeeded and 1 after an error, which is printed."""
    parser = argparse.ArgumentParser(prog="dataops", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("demo", help="run two subject areas from raw data to the warehouse")
    rebuild = commands.add_parser("rebuild", help="make a hub anew from the lake, under the settings now declared")
    rebuild.add_argument("source")
    remove = commands.add_parser("remove", help="take inputs out of a hub, as if they had never come")
    remove.add_argument("source")
    remove.add_argument("input", nargs="+")
    given = parser.parse_args(arguments)
    try:
        if given.command == "demo":
            _demo()
        else:
            _change_hub(given.command, given.source, getattr(given, "input", ()))
    except DataOpsError as error:
        print(f"dataops {given.command}: {error}", file=sys.stderr)
        return 1
    return 0


def _demo() -> None:
    # Dagster takes seconds to import; the other commands do without it
    from dataops_assets.components.local import local_runner
    from dataops_assets.definitions import defs
    from dataops_assets.operations.demo import run_demo

    environment = environment_from(os.environ, PROJECT)
    environment.home.mkdir(parents=True, exist_ok=True)
    _say("Loading the code location ...")
    cursor = environment.home / "demo" / "automation.json"
    with local_runner(defs, cursor, lambda what: _say(f"  {what} ...")) as runner:
        run_demo(environment, runner, list(_sources()), _say)
    _say("\nOpen it: make dev, then http://127.0.0.1:3000")


def _change_hub(command: str, name: str, input_ids: Sequence[str]) -> None:
    from dataops_assets.components.platform import Platform
    from dataops_assets.steps.refresh import rebuild, remove

    sources = _sources()
    if name not in sources:
        raise ConfigError(f"{command} of {name!r}", known=list(sources), next_step=nearest(name, list(sources)))
    workspace = Platform(environment_from(os.environ, PROJECT)).workspace(sources[name], sources)
    report = rebuild(workspace) if command == "rebuild" else remove(workspace, input_ids)
    _say(f"{report.asset}: {report.rows:,} rows in version {report.version}; {dict(report.notes)}")


def _sources() -> dict[str, Source]:
    from dataops_assets.components.declarations import declared_sources

    return dict(declared_sources(PROJECT / "dataops_assets" / "defs").sources)


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
