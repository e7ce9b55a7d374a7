"""Makes, extends or checks the table that an output writes, and the table with the positions of outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlglot import exp

from dataops_assets.config.outputs import Output, TableTarget
from dataops_assets.connections.databases.writing import Writer, new_column, new_table, table_named
from dataops_assets.errors import ConfigError, nearest
from dataops_assets.outputs.mapping import Compiled

POSITIONS = "dataops_outputs"
"""Name of the table in the target's schema that says how far each output is."""

_POSITION_COLUMNS = {
    "output": "VARCHAR",
    "source": "VARCHAR",
    "version": "BIGINT",
    "commit_id": "VARCHAR",
    "mapping": "VARCHAR",
    "delivery": "BIGINT",
    "delivered_rows": "BIGINT",
}


def positions_beside(table: exp.Table) -> exp.Table:
    """Return the table of positions in the schema of a table."""
    return exp.table_(POSITIONS, db=table.db or None, quoted=True)


def columns_written(output: Output, item: Compiled) -> dict[str, str]:
    """Return the columns that the target needs, with their SQL types."""
    flag = {output.deleted_column: "BOOLEAN"} if output.deletes == "soft" else {}
    return {**item.columns, **flag}


def fit(writer: Writer, output: Output, target: TableTarget, item: Compiled) -> exp.Table:
    """Make the target fit the output as it is declared, and return it. Raises ConfigError if it cannot fit."""
    table = table_named(target.table)
    needed = columns_written(output, item)
    there = writer.columns(table)
    if not there and target.structure == "check":
        raise ConfigError(
            f"delivering output {output.name!r} to {target.table} of {writer.place}",
            received="no such table",
            next_step="create it, or declare structure: create",
        )
    if not there:
        writer.run(new_table(table, _native(writer, needed, item.key), item.key))
        there = writer.columns(table)
    _add_missing(writer, output, target, needed, there)
    writer.refuse_unsafe(table)
    _fit_positions(writer, positions_beside(table))
    return table


def _add_missing(
    writer: Writer, output: Output, target: TableTarget, needed: Mapping[str, str], there: Sequence[str]
) -> None:
    missing = [name for name in needed if name not in there]
    if not missing:
        return
    if target.structure != "alter":
        raise ConfigError(
            f"delivering output {output.name!r} to {target.table} of {writer.place}",
            received=f"the table has no column {missing[0]!r}",
            known=list(there),
            next_step=nearest(missing[0], there) or "add the column, or declare structure: alter",
        )
    native = _native(writer, {name: needed[name] for name in missing}, ())
    for name, kind in native.items():
        writer.run(new_column(table_named(target.table), name, kind))


def _fit_positions(writer: Writer, positions: exp.Table) -> None:
    if not writer.columns(positions):
        writer.run(new_table(positions, _native(writer, _POSITION_COLUMNS, ("output",)), ("output",)))


def _native(writer: Writer, columns: Mapping[str, str], key: Sequence[str]) -> dict[str, exp.DataType]:
    return {name: writer.native(kind, in_key=name in key) for name, kind in columns.items()}
