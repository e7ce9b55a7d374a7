"""Finds settings and secrets that this environment lacks, before a look, a delivery or a message needs them.

A wrong or missing setting of the platform itself stops every command already, see `config.environment`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from dataops_assets.components.declarations import Declarations
from dataops_assets.config.connection import FileConnection
from dataops_assets.config.environment import VARIABLES, Environment
from dataops_assets.config.outputs import FilesTarget
from dataops_assets.config.secrets import Secret
from dataops_assets.connections.secrets import VARIABLE, secret_of, secrets_in
from dataops_assets.errors import DataOpsError, nearest
from dataops_assets.steps.upkeep.examination import Finding

_PREFIX = "DATAOPS_"
_SNOWFLAKE = ("ACCOUNT", "USER", "PASSWORD", "ROLE", "WAREHOUSE", "DATABASE")
_WHERE = "in the environment of the code location, of the daemon and of this command"


def settings_findings(declared: Declarations, environment: Environment, variables: Mapping[str, str]) -> list[Finding]:
    """Return the findings about missing settings, and about variables whose names are probably misspelt."""
    return [
        *_misspelt(variables),
        *_of_connections(declared, variables),
        *_of_files(declared, variables),
        *_of_channels(declared, variables),
        *_of_warehouse(environment, variables),
        *_of_outputs(declared, environment, variables),
    ]


def _misspelt(variables: Mapping[str, str]) -> Iterator[Finding]:
    known = [name.removeprefix(_PREFIX) for name in VARIABLES]
    for name in sorted(variables):
        word = name.removeprefix(_PREFIX)
        if name.startswith(_PREFIX) and word not in known and nearest(word, known):
            hint = nearest(word, known)
            yield Finding("", f"setting {name}", f"no setting has this name; {hint}", "correct the name, or unset it")


def _of_connections(declared: Declarations, variables: Mapping[str, str]) -> Iterator[Finding]:
    for name, connection in declared.databases.items():
        for field, reference in secrets_in(connection):
            yield from _of_secret(f"connection {name}, {field}", reference, variables)


def _of_secret(place: str, reference: Secret, variables: Mapping[str, str]) -> Iterator[Finding]:
    try:
        found = secret_of(reference, variables)
    except DataOpsError as error:
        yield Finding("", place, f"{error.attempted}: {error.received}", error.next_step)
        return
    if not found:
        yield Finding("", place, f"{reference.place} is empty", "put the secret there")


def _of_files(declared: Declarations, variables: Mapping[str, str]) -> Iterator[Finding]:
    for item in declared.by_name.values():
        connection = item.source.connection
        for field, reference in secrets_in(connection):
            yield from _of_secret(item.place("connection", *field.split(".")), reference, variables)
        if not isinstance(connection, FileConnection):
            continue
        for option, name in _variables(connection.storage_options):
            yield from _unset(item.source.name, item.place("connection", "storage_options", option), name, variables)


def _variables(options: Mapping[str, str | Secret]) -> Iterator[tuple[str, str]]:
    """Yield the options of a store with a variable, and the variable."""
    for option, value in options.items():
        yield from ((option, name) for name in (VARIABLE.findall(value) if isinstance(value, str) else ()))


def _of_channels(declared: Declarations, variables: Mapping[str, str]) -> Iterator[Finding]:
    for name, channel in declared.incidents.channels.items():
        yield from _unset("", f"channel {name} of incidents", channel.variable, variables)


def _of_warehouse(environment: Environment, variables: Mapping[str, str]) -> Iterator[Finding]:
    if environment.dbt_target == "snowflake":
        for word in _SNOWFLAKE:
            yield from _unset("", "dbt target snowflake", f"SNOWFLAKE_{word}", variables)


def _of_outputs(declared: Declarations, environment: Environment, variables: Mapping[str, str]) -> Iterator[Finding]:
    for name, item in declared.outputs.items():
        target = item.output.to
        for field, reference in secrets_in(target):
            yield from _of_secret(f"output {name}, to.{field}", reference, variables)
        if isinstance(target, FilesTarget):
            for option, variable in _variables(target.storage_options):
                yield from _unset("", f"output {name}, to.storage_options.{option}", variable, variables)
        if environment.outputs or not isinstance(target, FilesTarget):
            continue
        if "://" not in target.path and not Path(target.path).is_absolute():
            problem = f"the path {target.path} is relative, and DATAOPS_OUTPUTS is not set"
            yield Finding("", f"output {name}", problem, f"set DATAOPS_OUTPUTS {_WHERE}, or write an absolute path")


def _unset(source: str, place: str, name: str, variables: Mapping[str, str]) -> Iterator[Finding]:
    if not variables.get(name):
        yield Finding(source, place, f"the environment variable {name} is not set", f"set {name} {_WHERE}")
