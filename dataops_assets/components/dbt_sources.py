"""Check that declared sources make the lake and hub tables that a dbt project reads.

dbt reads a table that does not exist yet as empty, so that a new feed blocks nothing. A misspelt table or column would
then be empty forever, and every check would pass. So it is refused when the code location is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from dataops_assets.components.dbt_catalogue import SourceEntry
from dataops_assets.components.declarations import Declarations
from dataops_assets.components.graph import SYSTEM_COLUMNS, nodes
from dataops_assets.errors import ConfigError, nearest

_LAYERS = ("lake", "hub")


def require_made(tables: Iterable[SourceEntry], declared: Declarations) -> None:
    """Raise ConfigError with file, table and column for a table or column that no declared source makes.

    A code location without sources reads tables of other code locations, which are unknown here. Columns are not
    checked if undeclared columns may arrive (`new_column: evolve`), and for tables of rejected rows.
    """
    made = _made(declared)
    if not made:
        return
    for table in tables:
        layer, name = table.key[0], "/".join(table.key)
        if layer not in _LAYERS:
            continue
        if name not in made:
            known = sorted(key for key in made if key.startswith(f"{layer}/"))
            raise _unknown(f"{table.file}: table {name}", "no declared source makes it", name, known)
        columns = made[name]
        if columns is None:
            continue
        known_names = {column.lower() for column in (*columns, *SYSTEM_COLUMNS)}
        for column in table.columns:
            if column.name.lower() not in known_names:
                raise _unknown(
                    f"{table.file}: column {column.name} of table {name}",
                    "the table has no such column",
                    column.name,
                    columns,
                )


def _made(declared: Declarations) -> Mapping[str, Sequence[str] | None]:
    """Return by asset key the columns of all tables of the declared sources; None if not all are declared."""
    found: dict[str, Sequence[str] | None] = {}
    for name, source in declared.sources.items():
        for node in nodes(source, declared.rules(name)):
            found[node.key] = None if source.drift.new_column == "evolve" else list(node.columns)
            if node.beside:
                found[node.beside] = None
    return found


def _unknown(attempted: str, received: str, name: str, known: Sequence[str]) -> ConfigError:
    return ConfigError(
        attempted,
        received=received,
        known=list(known),
        next_step=nearest(name, known) or "declare a source that makes it, or remove it here",
    )
