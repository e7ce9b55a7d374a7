"""Checks within a write that the source and the inputs of its rows are registered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from dataops_assets.errors import ConfigError, InputError, nearest
from dataops_assets.metadata import tables
from dataops_assets.metadata.statements import portions


def newest_contract(connection: sa.Connection, source: str) -> tuple[int, Any]:
    """Return version and definition of a source's newest contract; (0, None) if there is none."""
    table = tables.contracts
    statement = sa.select(table.c.version, table.c.definition).where(table.c.source == source)
    row = connection.execute(statement.order_by(table.c.version.desc()).limit(1)).one_or_none()
    return (0, None) if row is None else (row.version, row.definition)


def contract_version(connection: sa.Connection, source: str) -> int:
    """Return the version of a source's newest contract. Raises ConfigError if the source is not registered."""
    version, _ = newest_contract(connection, source)
    if not version:
        known = list(connection.execute(sa.select(tables.sources.c.source)).scalars())
        raise ConfigError(
            "finding a registered source",
            received=repr(source),
            known=known,
            next_step=nearest(source, known) or "register the source first",
        )
    return version


def require_inputs(connection: sa.Connection, source: str, ids: Iterable[str | None]) -> None:
    """Raise InputError if one of these inputs is not registered; None and '' (the whole table) are left out."""
    wanted = sorted({input_id for input_id in ids if input_id})
    known = tables.inputs.c
    found = [
        input_id
        for some in portions(wanted)
        for input_id in connection.execute(
            sa.select(known.input_id).where(known.source == source, known.input_id.in_(some))
        ).scalars()
    ]
    require(source, wanted, found)


def require(source: str, wanted: Sequence[str], found: Sequence[str]) -> None:
    """Raise InputError if a wanted input was not found."""
    unknown = sorted(set(wanted) - set(found))
    if unknown:
        examples = ", ".join(unknown[:3])
        raise InputError(
            f"finding {len(set(wanted))} inputs of source {source!r}",
            received=f"{len(unknown)} that are not registered, such as {examples}",
            next_step="register inputs (discovery does) before steps take them",
        )
