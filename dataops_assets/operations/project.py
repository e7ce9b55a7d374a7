"""The project that a command works on: its environment, its declared sources, its Dagster instance.

Imports are made where they are used: a command that only prints its help or completes a word waits for none of them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from dataops_assets.errors import ConfigError, nearest

if TYPE_CHECKING:
    from dataops_assets.components.declarations import Declarations
    from dataops_assets.config.databases import AnyConnection
    from dataops_assets.config.environment import Environment
    from dataops_assets.config.outputs import Output
    from dataops_assets.config.source import Source
    from dataops_assets.metadata.incident_store import IncidentStore
    from dataops_assets.metadata.store import MetadataStore
    from dataops_assets.operations.planning.plan import Tree
    from dataops_assets.steps.source_context import SourceContext

PROJECT = Path(__file__).resolve().parents[2]
DEFS = PROJECT / "dataops_assets" / "defs"
"""Where the declarations are."""
INSTANCE = PROJECT / "deploy" / "local" / "dagster.yaml"


def environment() -> Environment:
    """Return the environment that the variables describe. Raises ConfigError."""
    from dataops_assets.config.environment import environment_from

    return environment_from(os.environ, PROJECT)


def metadata() -> MetadataStore:
    """Return the metadata store. Its tables are not made or upgraded."""
    from dataops_assets.metadata.store import MetadataStore

    return MetadataStore(environment().metadata_url)


def incident_store() -> IncidentStore:
    """Return the records of incidents; their tables are made or upgraded."""
    from dataops_assets.metadata.incident_store import IncidentStore

    metadata().migrate()
    return IncidentStore(environment().metadata_url)


def declared() -> dict[str, Source]:
    """Return the declared sources by name. Raises ConfigError for a wrong declaration."""
    return dict(declarations().sources)


def declarations() -> Declarations:
    """Return all that is declared. Raises ConfigError for a wrong declaration."""
    from dataops_assets.components.declarations import declared_sources

    return declared_sources(DEFS)


def tree() -> Tree:
    """Return the declarations of this folder with its dbt projects. Raises ConfigError for a wrong one."""
    from dataops_assets.operations.planning.plan import Tree

    return Tree.of(declarations(), PROJECT, environment())


def migrated_metadata() -> MetadataStore:
    """Return the metadata store; its tables are made or upgraded."""
    store = metadata()
    store.migrate()
    return store


def databases() -> dict[str, AnyConnection]:
    """Return the declared databases by name. Raises ConfigError for a wrong declaration."""
    return dict(declarations().databases)


def outputs() -> dict[str, Output]:
    """Return the declared outputs by name. Raises ConfigError for a wrong declaration."""
    return {name: item.output for name, item in declarations().outputs.items()}


def context_of(command: str, name: str) -> SourceContext:
    """Return the context of one source. Raises ConfigError for an unknown name, which `command` was given."""
    return contexts(command, [name])[0]


def contexts(command: str, names: Collection[str] = ()) -> list[SourceContext]:
    """Return the contexts of these sources (default: all), in the order of the declarations.

    Raises ConfigError for an unknown name, which `command` was given.
    """
    from dataops_assets.components.platform import Platform

    sources = declared()
    for name in names:
        if name not in sources:
            raise ConfigError(f"{command} of {name!r}", known=list(sources), next_step=nearest(name, list(sources)))
    platform = Platform(environment())
    return [platform.source_context(source, sources) for key, source in sources.items() if not names or key in names]


def use_instance(command: str, *, make: bool = False) -> None:
    """Set DAGSTER_HOME if it is not set: the command reports to that instance, so that the warehouse follows.

    The default is the folder `dagster` below DATAOPS_HOME, which `make` uses. A command that begins from nothing
    (`make`) makes it on a machine of a developer. Raises ConfigError if there is none, also if DAGSTER_HOME names none.
    """
    if choose_instance(command):
        return
    here = environment()
    home = here.home / "dagster"
    if make and here.name in ("local", "test") and INSTANCE.is_file():
        home.mkdir(parents=True, exist_ok=True)
        # the same settings as `make setup` copies
        if not (home / "dagster.yaml").exists():
            shutil.copyfile(INSTANCE, home / "dagster.yaml")
    if not choose_instance(command):
        raise ConfigError(
            f"reporting the changes of {command} to Dagster, so that the warehouse follows",
            received=f"no DAGSTER_HOME, and no dagster.yaml in {home}; nothing was changed",
            next_step="set DAGSTER_HOME to the folder of the instance's dagster.yaml",
        )


def choose_instance(command: str) -> bool:
    """Set DAGSTER_HOME to its default if it is not set and there is an instance; return whether it is set then.

    Raises ConfigError if DAGSTER_HOME names no folder.
    """
    given = os.environ.get("DAGSTER_HOME")
    if given and not Path(given).is_dir():
        raise ConfigError(
            f"finding the Dagster instance for {command}",
            received=f"DAGSTER_HOME={given}, which is no folder; nothing was done",
            next_step="make that folder, or unset DAGSTER_HOME: the default is in DATAOPS_HOME",
        )
    home = environment().home / "dagster"
    if not given and (home / "dagster.yaml").is_file():
        os.environ["DAGSTER_HOME"] = str(home)
    return bool(os.environ.get("DAGSTER_HOME"))
