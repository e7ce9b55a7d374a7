"""Writes an output of DataForge as the query of a dbt model over the hubs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sqlglot import exp

from dataops_assets.declaring.foreign.dataforge_expressions import translated
from dataops_assets.errors import InputError
from dataops_assets.sql import DIALECT

_MAPPING = re.compile(r"^(.+?)\s+(\w+)$", re.DOTALL)


# returns for a source (empty: that of the channel) and its column how they are named here
Named = Callable[[str, str], Sequence[str]]


def model_of(content: Mapping[str, Any], table_of: Callable[[str], str], named: Callable[[str], Named]) -> str:
    """Return the query of a dbt model for an output, or the reason why there is none.

    `table_of` and `named` return for a source its table in the hub, and how its columns are named.
    """
    columns = [str(item).split()[0] for item in content.get("columns") or ()]
    try:
        parts = [
            _select(channel, columns, table_of(source), named(source))
            for channel in content.get("channels") or ()
            for source in [str(channel.get("source_name", "")).strip()]
        ]
    except InputError as error:
        return f"not translated: {error}"
    return f"write a dbt model: {' union all '.join(parts)}" if parts else "it has no channel"


def _select(channel: Mapping[str, Any], columns: Sequence[str], table: str, named: Named) -> str:
    found = dict(_mappings(channel, named))
    plain = [sql for sql, is_aggregate in found.values() if not is_aggregate]
    selected = [f"{found.get(name, ('null', False))[0]} as {name}" for name in columns]
    parts = ["select", ", ".join(selected), "from", f"{{{{ source('hub', '{table}') }}}}"]
    if channel.get("filter"):
        parts += ["where", translated(str(channel["filter"]), named).sql(dialect=DIALECT)]
    if channel.get("operation_type") == "Aggregate" and plain:
        parts += ["group by", ", ".join(plain)]
    return " ".join(parts)


def _mappings(channel: Mapping[str, Any], named: Named) -> Iterator[tuple[str, tuple[str, bool]]]:
    """Return by output column the expression, and whether it is an aggregate."""
    for item in channel.get("mappings") or ():
        parts = _MAPPING.match(str(item).strip())
        if parts is None:
            raise InputError("reading a mapping", received=repr(item), next_step="write it as: expression column")
        tree = translated(parts[1], named)
        yield parts[2], (tree.sql(dialect=DIALECT), tree.find(exp.AggFunc) is not None)
