"""The `dataops` command: do what is due, show what is unfinished, and maintain hubs by hand."""

from __future__ import annotations

import argparse
import datetime as dt
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.errors import ConfigError, DataOpsError, nearest
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.operations.doctor import add_doctor_command, run_doctor
from dataops_assets.operations.hubs import COMMANDS as HUB_COMMANDS
from dataops_assets.operations.hubs import add_hub_commands, run_hub_command
from dataops_assets.operations.quarantine import Quarantine, add_commands, say_to_person
from dataops_assets.operations.rerun import reset
from dataops_assets.operations.rules import COMMANDS, add_rule_commands, run_rule_command
from dataops_assets.operations.run import (
    INTERRUPTED,
    add_run_command,
    obeying_signals,
    outcome,
    run_due,
    tell_as_data,
    tell_outcome,
)
from dataops_assets.operations.status import add_status_commands, approve, run_status
from dataops_assets.report import PER_INPUT
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage.vacuum import vacuum

if TYPE_CHECKING:
    from dataops_assets.components.local import FinishedRun, LocalRunner

PROJECT = Path(__file__).resolve().parents[2]
INSTANCE = PROJECT / "deploy" / "local" / "dagster.yaml"
_MOST_DAYS = 36_500
# the changes of these commands are reported to Dagster
_TELLING = {"demo", "recalculate", "repair", "replay", "reset", "run", *HUB_COMMANDS}
# these begin from nothing
_MAKING = {"demo", "run"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Return the exit status: 0 if it succeeded, 1 after an error, which is printed.

    `run` and `status` return 1 if anything is held or failed, and 2 after an error. A command that a signal ends
    returns 130.
    """
    given = command_parser().parse_args(arguments)
    try:
        if {given.command, getattr(given, "act", "")} & _TELLING:
            _instance_for(given.command)
        if given.command in _OF_THE_DAY:
            return _OF_THE_DAY[given.command](given)
        if given.command == "quarantine":
            return Quarantine(_workspace("quarantine", given.source), say_to_person, _say).run(given)
        if given.command == "doctor":
            return run_doctor(given, _workspaces("doctor", given.source), _say)
        if given.command == "reset":
            return reset(_workspace("reset", given.source), given.step, given.input, _say)
        if given.command in COMMANDS:
            name, _, column = given.source.partition(".")
            run_rule_command(given, _workspace(given.command, name), column, _say)
            return 0
        if given.command == "vacuum":
            return _vacuum(given.source, given.keep_days)
        run_hub_command(given, _workspace(given.command, given.source), _say)
    except DataOpsError as error:
        print(f"dataops {given.command}: {error}", file=sys.stderr)
        return _COULD_NOT.get(given.command, 1)
    except KeyboardInterrupt:
        print(f"dataops {given.command}: interrupted; the next one goes on from here", file=sys.stderr)
        return INTERRUPTED
    return 0


def command_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(prog="dataops", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("demo", help="run two subject areas from raw data to the warehouse")
    add_run_command(commands)
    add_status_commands(commands)
    add_hub_commands(commands)
    again = commands.add_parser("reset", help="run a step and all later steps of inputs again")
    again.add_argument("source")
    again.add_argument("step", choices=PER_INPUT)
    again.add_argument("input", nargs="*", help="ids of inputs; default: all inputs of the source")
    clean = commands.add_parser(
        "vacuum", help="delete superseded inputs and the files of old table versions, as declared in `retention`"
    )
    clean.add_argument("source", nargs="?", help="one source; default: all sources")
    clean.add_argument("--keep-days", type=float, help="days to keep old table versions; default: retention.versions")
    add_commands(commands)
    add_rule_commands(commands)
    add_doctor_command(commands)
    return parser


def _demo(_given: argparse.Namespace) -> int:
    from dataops_assets.operations.demo import run_demo

    with obeying_signals() as stop_if_told, _runner(_say, stop_if_told) as runner:
        run_demo(environment_from(os.environ, PROJECT), runner, _workspaces("demo", None), _say)
    _say(f"\nOpen it: make dev, then http://127.0.0.1:{os.environ.get('PORT') or '3000'}")
    return 0


def _run(given: argparse.Namespace) -> int:
    sources = _sources()
    for name in given.source:
        _require("run", name, sources)
    contexts = [item for item in _workspaces("run", None) if not given.source or item.source.name in given.source]
    metadata = MetadataStore(environment_from(os.environ, PROJECT).metadata_url)
    say = say_to_person if given.json else _say
    done: list[FinishedRun] = []
    # dbt writes its log to the standard output
    aside = redirect_stdout(sys.stderr) if given.json else nullcontext()
    with aside, obeying_signals() as stop_if_told, _runner(say, stop_if_told) as runner:
        run_due(runner, metadata, given.source, say, done)
        result = outcome(runner, contexts)
    if given.json:
        tell_as_data(result, done, _say)
    else:
        if not done:
            say("nothing was due")
        tell_outcome(result, say)
    return 0 if result.is_well else 1


@contextmanager
def _runner(say: Callable[[str], None], stop_if_told: Callable[[], None]) -> Iterator[LocalRunner]:
    """Open the runner of this process on the code location. `stop_if_told` is called before each run."""

    def begin(what: str) -> None:
        stop_if_told()
        say(f"  {what} ...")

    say("Loading the code location ...")
    # Dagster takes seconds to import; most commands do without its runs
    from dataops_assets.components.local import local_runner
    from dataops_assets.definitions import defs

    environment = environment_from(os.environ, PROJECT)
    environment.home.mkdir(parents=True, exist_ok=True)
    with local_runner(defs, environment.home / "local" / "automation.json", begin) as made:
        yield made


def _status(given: argparse.Namespace) -> int:
    return run_status(given, _workspaces("status", given.source), _say)


def _approve(given: argparse.Namespace) -> int:
    return approve(_workspace("approve", given.source), given.input, given.by, _say)


_OF_THE_DAY: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "approve": _approve,
    "demo": _demo,
    "run": _run,
    "status": _status,
}
# 1 says that something is held or failed
_COULD_NOT = {"run": 2, "status": 2}


def _instance_for(command: str) -> None:
    """Set DAGSTER_HOME if it is not set: the command reports to that instance, so that the warehouse follows.

    The default is the folder `dagster` below DATAOPS_HOME, which `make` uses. A command that begins from nothing makes
    it on a machine of a developer. Raises ConfigError if there is none.
    """
    if os.environ.get("DAGSTER_HOME"):
        return
    environment = environment_from(os.environ, PROJECT)
    home = environment.home / "dagster"
    if command in _MAKING and environment.name in ("local", "test") and INSTANCE.is_file():
        _make_instance(home)
    if not (home / "dagster.yaml").is_file():
        raise ConfigError(
            f"reporting the changes of {command} to Dagster, so that the warehouse follows",
            received=f"no DAGSTER_HOME, and no dagster.yaml in {home}; nothing was changed",
            next_step="set DAGSTER_HOME to the folder of the instance's dagster.yaml",
        )
    os.environ["DAGSTER_HOME"] = str(home)


def _make_instance(home: Path) -> None:
    """Copy the settings of an instance, as `make setup` does, unless they are there."""
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        shutil.copyfile(INSTANCE, home / "dagster.yaml")


def _workspace(command: str, name: str) -> SourceContext:
    from dataops_assets.components.platform import Platform

    sources = _sources()
    _require(command, name, sources)
    return Platform(environment_from(os.environ, PROJECT)).source_context(sources[name], sources)


def _workspaces(command: str, name: str | None) -> list[SourceContext]:
    """Return the context of one source, or of all sources if no name is given."""
    from dataops_assets.components.platform import Platform

    sources = _sources()
    if name is not None:
        _require(command, name, sources)
    platform = Platform(environment_from(os.environ, PROJECT))
    return [platform.source_context(source, sources) for key, source in sources.items() if name in (None, key)]


def _vacuum(name: str | None, keep_days: float | None) -> int:
    from dataops_assets.components.platform import Platform
    from dataops_assets.steps.upkeep.retention import pending, settle_inputs

    sources = _sources()
    if name is not None:
        _require("vacuum", name, sources)
    if keep_days is not None and not 0 <= keep_days <= _MOST_DAYS:
        raise ConfigError("vacuum", received=f"--keep-days {keep_days:g}", known=[f"0 to {_MOST_DAYS:,}"])
    platform = Platform(environment_from(os.environ, PROJECT))
    status = 0
    for source in sources.values() if name is None else [sources[name]]:
        context = platform.source_context(source, sources)
        try:
            retained = (
                settle_inputs(context, pending(context)) if source.retention.superseded_inputs is not None else None
            )
        except ConfigError as error:
            # a hub that needs a rebuild does not stop the clean-up of other sources
            say_to_person(f"dataops vacuum: {error}")
            retained, status = None, 1
        if retained is not None:
            _say(
                f"{source.name}: {retained.settled:,} inputs from before {retained.before:%Y-%m-%d %H:%M:%S} UTC are "
                f"settled, {retained.removed:,} of them superseded and removed"
            )
        keep = source.retention.versions if keep_days is None else dt.timedelta(days=keep_days)
        done = [vacuum(table, retention=keep) for table in context.tables]
        removed = sum(item.removed for item in done) + context.raw.vacuum()
        size = sum(item.bytes for item in done) / 1e6
        _say(f"{source.name}: {removed:,} files removed ({size:,.1f} MB), {sum(item.kept for item in done):,} kept")
    return status


def _require(command: str, name: str, sources: Mapping[str, Source]) -> None:
    if name not in sources:
        raise ConfigError(f"{command} of {name!r}", known=list(sources), next_step=nearest(name, list(sources)))


def _sources() -> dict[str, Source]:
    from dataops_assets.components.declarations import declared_sources

    return dict(declared_sources(PROJECT / "dataops_assets" / "defs").sources)


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
