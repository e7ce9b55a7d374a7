"""Adds undeclared columns of inputs to the source, if it allows them (`drift.new_column: evolve`).

Such a column is text and nullable. Its name depends only on its raw name and the declaration. The lake has the list of
these columns, so that every step sees the same source: the declared columns, then the undeclared ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from dataops_assets.config.contract import SYSTEM_PREFIX, EvolvedColumn, name_problem
from dataops_assets.config.source import Source
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage.delta import TableVersion

_NO_WORD = re.compile(r"\W+")
# leaves room for a prefix
_LONGEST = 200


def evolving(context: SourceContext, lake: TableVersion | None) -> SourceContext:
    """Return the context with the source that has the undeclared columns of this lake version."""
    return replace(context, source=evolved(context.source, lake))


def evolved(source: Source, lake: TableVersion | None, raw_names: Iterable[str] = ()) -> Source:
    """Return the source with the undeclared columns of its lake and of `raw_names`, sorted by name."""
    if source.drift.new_column != "evolve":
        return source
    taken = _taken(source)
    found: dict[str, set[str]] = {
        name: set()
        for name in (lake.columns if lake else ())
        if name.lower() not in taken and not name.startswith(SYSTEM_PREFIX)
    }
    for raw in raw_names:
        found.setdefault(evolved_name(source, raw), set()).add(raw)
    more = []
    for name, raws in sorted(found.items()):
        first, *others = sorted(raws) or [name]
        more.append(EvolvedColumn(name=name, source_name=first, renamed_from=tuple(others)))
    return source.model_copy(update={"columns": (*source.columns, *more)})


def evolved_name(source: Source, raw_name: str) -> str:
    """Return the name of an undeclared column: its raw name in lower case, with `_` instead of special characters.

    A name that is used by a column, a rule, the system's prefix or an engine gets the prefix `new_`.
    """
    taken = _taken(source)
    name = _NO_WORD.sub("_", raw_name).strip("_").lower()[:_LONGEST].strip("_") or "column"
    while name in taken or name_problem(name):
        name = f"new_{name}"
    return name


def _taken(source: Source) -> set[str]:
    declared = (item.name for item in source.columns if not isinstance(item, EvolvedColumn))
    return {name.lower() for name in (*declared, *(rule.name for rule in source.rules))}
