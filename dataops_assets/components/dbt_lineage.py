"""Column lineage of dbt models, read from their compiled SQL."""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError
from sqlglot.lineage import lineage
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import build_scope
from sqlglot.schema import MappingSchema

from dataops_assets.components.dbt_catalogue import Catalogue, TableEntry

# asset key and column
Origin = tuple[tuple[str, ...], str]


def column_lineage(catalogue: Catalogue, compiled: str) -> Mapping[str, frozenset[Origin]]:
    """Return for each column of a query, in order, the columns of known tables that its values come from.

    Columns that are used only in conditions (joins, filters, groups) do not count, as in Dagster and OpenLineage. If
    sqlglot cannot read the query, the lineage is empty; the model works all the same.
    """
    dialect = catalogue.dialect
    schema = MappingSchema(dialect=dialect)
    tables: dict[str, TableEntry] = {}
    for table in (*catalogue.sources, *catalogue.models):
        reference = exp.to_table(table.relation, dialect=dialect)
        schema.add_table(reference, {column.name: column.type for column in table.columns}, dialect=dialect)
        tables[_name(reference)] = table
    try:
        tree = parse_one(compiled, dialect=dialect)
        query = qualify(tree, schema=schema, dialect=dialect, validate_qualify_columns=False)
        scope = build_scope(query)
        if scope is None or not isinstance(query, exp.Query):
            return {}
        nodes = {
            name: lineage(name, query, schema=schema, scope=scope, dialect=dialect, copy=False)
            for name in query.named_selects
        }
    except SqlglotError:
        return {}
    found: dict[str, frozenset[Origin]] = {}
    for name, node in nodes.items():
        origins = set()
        for leaf in node.walk():
            origin = tables.get(_name(leaf.source)) if isinstance(leaf.source, exp.Table) else None
            if origin is not None and not leaf.downstream:
                origins.add((origin.key, _column(origin, exp.to_column(leaf.name, dialect=dialect).name)))
        found[name] = frozenset(origins)
    return found


def _name(table: exp.Table) -> str:
    return ".".join(part.name for part in table.parts).lower()


def _column(table: TableEntry, name: str) -> str:
    """Return the column name as declared: SQL ignores the case of a name, the columns of an asset do not."""
    return next((column.name for column in table.columns if column.name.lower() == name.lower()), name)
