"""Adds undeclared columns of inputs to the source, if it allows them (`drift.new_column: evolve`).

Such a column is text and nullable. Its name depends only on its raw name and the declaration. Each commit of parse to
the lake records for each input which undeclared columns it has, and under which raw names. So every step sees the same
source: the declared columns, then those that the inputs have and the declaration does not name. A column that the lake
has from an earlier declaration is not one of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dataops_assets.config.contract import SYSTEM_PREFIX, EvolvedColumn, name_problem
from dataops_assets.config.source import Source
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage.delta import TableVersion
from dataops_assets.storage.publish import written

_NO_WORD = re.compile(r"\W+")
# leaves room for a prefix
_LONGEST = 200
# by input: the raw name of each undeclared column by its name; null for inputs from before this was recorded
_RECORD = "undeclared"


def evolving(context: SourceContext, lake: TableVersion | None) -> SourceContext:
    """Return the context with the source that has the undeclared columns of this lake version."""
    return replace(context, source=evolved(context.source, lake))


def evolving_now(context: SourceContext) -> SourceContext:
    """Return the context with the source that has the undeclared columns of the newest lake version.

    The lake is read only for a source that takes undeclared columns. Raises StorageError if its log cannot be read.
    """
    evolves = context.source.drift.new_column == "evolve"
    return evolving(context, context.lake.snapshot()) if evolves else context


def evolved(source: Source, lake: TableVersion | None, raw_names: Iterable[str] = ()) -> Source:
    """Return the source with the undeclared columns of its lake and of `raw_names`, sorted by name.

    A column of the lake counts if an input has it that was parsed with the name that the column has today.
    """
    if source.drift.new_column != "evolve":
        return source
    names = _Names(source)
    found: dict[str, set[str]] = {}
    for name, raw in {pair for columns in _recorded(source, lake).values() for pair in columns.items()}:
        if names.fits(name, raw):
            found.setdefault(name, set()).update(() if raw is None else (raw,))
    for raw in raw_names:
        found.setdefault(names.of(raw), set()).add(raw)
    more = []
    for name, raws in sorted(found.items()):
        first, *others = sorted(raws) or [name]
        more.append(EvolvedColumn(name=name, source_name=first, renamed_from=tuple(others)))
    return source.model_copy(update={"columns": (*source.columns, *more)})


def evolved_name(source: Source, raw_name: str) -> str:
    """Return the name of an undeclared column: its raw name in lower case, with `_` instead of special characters.

    A name that is used by a column, a rule, the system's prefix or an engine gets the prefix `new_`.
    """
    return _Names(source).of(raw_name)


def undeclared_names(source: Source, header: Sequence[str]) -> list[str]:
    """Return the raw names in a header that are not declared."""
    declared = declared_raw_names(source)
    return [name for name in dict.fromkeys(header) if name not in declared]


def declared_raw_names(source: Source) -> set[str]:
    """Return all raw names of the declared columns."""
    return {name for item in source.columns if not isinstance(item, EvolvedColumn) for name in item.raw_names}


def with_undeclared(
    source: Source, lake: TableVersion | None, info: Mapping[str, Any], headers: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Return `info` of a commit to the lake with a record of the undeclared columns of inputs, by their `headers`.

    `lake` is a version before it. For inputs from before there was such a record, it says what was assumed of them.
    """
    names, evolves = _Names(source), source.drift.new_column == "evolve"
    known = info[_RECORD] if _RECORD in info else _recorded(source, lake)
    found = {input_id: columns for input_id, columns in known.items() if input_id not in headers}
    for input_id, header in headers.items():
        if evolves and (raw_names := undeclared_names(source, header)):
            found[input_id] = {names.of(raw): raw for raw in raw_names}
    return {**info, _RECORD: found}


def renamed_columns(source: Source, lake: TableVersion | None) -> dict[str, dict[str, str]]:
    """Return by input of the lake its undeclared columns that were parsed with another name than they have today.

    Each is a name and the name of today. It is the same one if it is not known which raw column it was.
    """
    if source.drift.new_column != "evolve":
        return {}
    names = _Names(source)
    found = {}
    for input_id, columns in _recorded(source, lake).items():
        other = {
            name: name if raw is None else names.of(raw)
            for name, raw in columns.items()
            if raw is None or not names.fits(name, raw)
        }
        if other:
            found[input_id] = other
    return found


def _recorded(source: Source, lake: TableVersion | None) -> Mapping[str, Mapping[str, str | None]]:
    """Return the undeclared columns of the inputs in the lake, with their raw names.

    In a lake from before they were recorded, each input can have each column that is not declared.
    """
    if lake is None or source.drift.new_column != "evolve":
        return {}
    if _RECORD in lake.info:
        found: Mapping[str, Mapping[str, str | None]] = lake.info[_RECORD]
        return found
    taken = {item.name for item in source.columns if not isinstance(item, EvolvedColumn)}
    left = [name for name in lake.columns if name not in taken and not name.startswith(SYSTEM_PREFIX)]
    return {input_id: dict.fromkeys(left) for input_id in written(lake.info)} if left else {}


class _Names:
    """The names that the undeclared columns of a source have. Each is made once."""

    def __init__(self, source: Source) -> None:
        declared = (item.name for item in source.columns if not isinstance(item, EvolvedColumn))
        self._taken = {name.lower() for name in (*declared, *(rule.name for rule in source.rules))}
        self._declared = declared_raw_names(source)
        self._known: dict[str, str] = {}

    def of(self, raw: str) -> str:
        """Return the name of the column with this raw name."""
        if raw not in self._known:
            name = _NO_WORD.sub("_", raw).strip("_").lower()[:_LONGEST].strip("_") or "column"
            while name in self._taken or name_problem(name):
                name = f"new_{name}"
            self._known[raw] = name
        return self._known[raw]

    def fits(self, name: str, raw: str | None) -> bool:
        """Whether an undeclared column has this name today; None is a raw name that is not known."""
        if raw is None:
            return name.lower() not in self._taken
        return raw not in self._declared and self.of(raw) == name
