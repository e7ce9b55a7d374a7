"""Completes names on the command line: sources from the declarations, ids of inputs from the metadata.

Neither needs Dagster. A project that cannot be read completes nothing; the command says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from dataops_assets.errors import DataOpsError
from dataops_assets.operations import project

if TYPE_CHECKING:
    from dataops_assets.metadata.store import MetadataStore

_SQLITE = "sqlite:///"


def source_names(incomplete: str) -> list[str]:
    """Return the names of sources that begin so."""
    return _beginning(incomplete, project.declared)


def connection_names(incomplete: str) -> list[str]:
    """Return the names of declared connections that begin so."""
    return _beginning(incomplete, project.databases)


def examined_names(incomplete: str) -> list[str]:
    """Return the names of declared connections, and of sources that read files, that begin so."""

    def known() -> list[str]:
        declared = project.declarations()
        return [
            *declared.databases,
            *(name for name, source in declared.sources.items() if source.connection.type == "files"),
        ]

    return _beginning(incomplete, known)


def source_columns(incomplete: str) -> list[str]:
    """Return names of sources, and with a dot names of their columns, that begin so."""

    def known() -> Iterator[str]:
        for name, source in project.declared().items():
            yield name
            computed = [rule.name for rule in source.rules]
            yield from (f"{name}.{column}" for column in dict.fromkeys([*source.column_names, *computed]))

    return _beginning(incomplete, known)


def input_ids(context: typer.Context, incomplete: str) -> list[str]:
    """Return the ids of inputs of the given source that begin so, the newest first."""
    return _of_metadata(context, incomplete, lambda store, source: store.input_ids(source))


def held_ids(context: typer.Context, incomplete: str) -> list[str]:
    """Return the ids of inputs of the given source that are held."""
    return _of_metadata(context, incomplete, lambda store, source: store.decisions.held(source))


def incident_numbers(incomplete: str) -> list[str]:
    """Return the numbers of incidents that are not resolved and begin so."""
    return _beginning(incomplete, _open_incidents)


def release_names(incomplete: str) -> list[str]:
    """Return the names of releases that begin so, the newest first."""

    def known() -> list[str]:
        url = project.environment().metadata_url
        # to look into a database that is not there would make it
        if url.startswith(_SQLITE) and not Path(url.removeprefix(_SQLITE)).exists():
            return []
        return [item.release for item in project.metadata().releases.releases()]

    return _beginning(incomplete, known)


def environment_names(incomplete: str) -> list[str]:
    """Return the names of private environments that begin so."""

    def known() -> list[str]:
        from dataops_assets.operations.environments import environments

        return [item.name for item in environments(project.environment())]

    return _beginning(incomplete, known)


def compared_names(incomplete: str) -> list[str]:
    """Return the names of releases and of private environments that begin so."""
    return [*release_names(incomplete), *environment_names(incomplete)]


def plan_ids(incomplete: str) -> list[str]:
    """Return the ids of plans that begin so, the newest first."""

    def known() -> list[str]:
        url = project.environment().metadata_url
        # to look into a database that is not there would make it
        if url.startswith(_SQLITE) and not Path(url.removeprefix(_SQLITE)).exists():
            return []
        return project.metadata().plans.plan_ids()

    return _beginning(incomplete, known)


def publication_names(incomplete: str) -> list[str]:
    """Return the names of declared publications that begin so."""
    return _beginning(incomplete, lambda: project.declarations().publications)


def _open_incidents() -> list[str]:
    url = project.environment().metadata_url
    # to look into a database that is not there would make it
    if url.startswith(_SQLITE) and not Path(url.removeprefix(_SQLITE)).exists():
        return []
    return [str(number) for number in project.incident_store().numbers()]


def _of_metadata(
    context: typer.Context, incomplete: str, known: Callable[[MetadataStore, str], Iterable[str]]
) -> list[str]:
    # while the value of an option is completed, the arguments before it are not assigned yet
    source = context.params.get("source") or next(iter(context.args), "")

    def read() -> Iterable[str]:
        url = project.environment().metadata_url
        # to look into a database that is not there would make it
        if url.startswith(_SQLITE) and not Path(url.removeprefix(_SQLITE)).exists():
            return ()
        return sorted(known(project.metadata(), source), reverse=True)

    given = _words(context.params)
    return [one for one in _beginning(incomplete, read) if one not in given]


def _words(given: Mapping[str, object]) -> set[object]:
    """Return the ids that are on the command line already."""
    return {word for values in given.values() if isinstance(values, list | tuple) for word in values}


def _beginning(incomplete: str, read: Callable[[], Iterable[str]]) -> list[str]:
    try:
        return [name for name in read() if name.startswith(incomplete)]
    except DataOpsError:
        return []
