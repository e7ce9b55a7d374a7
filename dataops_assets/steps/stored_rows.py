"""Reads tables that an earlier step must have made, and the rows of a source's lake table."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from dataops_assets.config.source import Source
from dataops_assets.config.types import stored_type
from dataops_assets.engines.base import Session
from dataops_assets.errors import InputError
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep.lost_data import version_of
from dataops_assets.storage import publish
from dataops_assets.storage.delta import TableVersion
from dataops_assets.storage.retyping import rows_cast_exactly


def version_made(context: SourceContext, asset: str, step: str, attempted: str, missing: str) -> TableVersion:
    """Return the newest version of the table behind `asset`, which `step` makes and `attempted` needs.

    Raises InputError, with what is `missing`, if the step made nothing yet; StorageError if the table is missing
    although it had inputs.
    """
    found = version_of(context, context.table(asset), step)
    if found is None:
        raise InputError(attempted, received=missing, next_step=f"materialize {asset} first")
    return found


def lake_of(context: SourceContext) -> TableVersion:
    """Return the newest version of the source's lake table.

    Raises InputError if nothing was parsed yet, StorageError if the table is missing although inputs were parsed.
    """
    name = context.source.name
    return version_made(context, f"lake/{name}", "parse", f"comparing inputs of {name!r} with its hub", "no lake table")


def lake_rows(session: Session, source: Source, lake: TableVersion, input_ids: Sequence[str] | None = None) -> exp.Expr:
    """Return the rows of the lake in the declared types; with `input_ids`, only from files that may have them.

    Raises ConfigError if a value would change in its declared type.
    """
    kinds = {item.name: stored_type(item.type) for item in source.columns}
    files = None if input_ids is None else publish.files_of(lake, input_ids)
    return rows_cast_exactly(session, lake, kinds, files=files)
