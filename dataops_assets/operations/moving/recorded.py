"""Reads what a deployment or one of its private environments runs, as its metadata have it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dataops_assets.config.environment import Environment, environment_from
from dataops_assets.errors import InputError
from dataops_assets.metadata.declaration_store import Declaration
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.operations.environments import environment_named


def in_force_of(deployment: Environment, name: str) -> Sequence[Declaration]:
    """Return the declarations in force of the deployment, or of its private environment `name`.

    Raises InputError for an unknown environment, and if nothing was ever recorded.
    """
    where = deployment
    if name:
        item = environment_named(deployment, name)
        where = environment_from(item.variables, Path(item.home))
    store = MetadataStore(where.metadata_url)
    store.migrate()
    load = store.declarations.in_force()
    if load is None:
        raise InputError(
            "reading the declarations in force",
            received="none was ever recorded",
            next_step="dataops run records them, and the sensors do",
        )
    return load.declarations
