"""Column lineage of dbt models, read from their compiled SQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError
from sqlglot.lineage import lineage
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, build_scope
from sqlglot.schema import MappingSchema

from dataops_assets.components.dbt_catalogue import Catalogue, TableEntry

# asset key and column
Origin = tuple[tuple[str, ...], str]


@dataclass(frozen=True)
class QueryLineage:
    """The origins of each column of a query, in order, and the columns that decide which rows it has (`conditions`).

    A column that is used only in conditions (joins, filters, groups) is no origin of a column, as in Dagster and
    OpenLineage. `is_read`: whether sqlglot could read the query; else all is empty, and the model works all the same.
    """

    columns: Mapping[str, frozenset[Origin]] = field(default_factory=dict)
    conditions: frozenset[Origin] = frozenset()
    is_read: bool = False


class LineageReader:
    """Reads the lineage of many queries over the tables of one catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._dialect = catalogue.dialect
        self._schema = MappingSchema(dialect=self._dialect)
        self._tables: dict[str, TableEntry] = {}
        for table in (*catalogue.sources, *catalogue.models):
            reference = exp.to_table(table.relation, dialect=self._dialect)
            columns = {column.name: column.type for column in table.columns}
            self._schema.add_table(reference, columns, dialect=self._dialect)
            self._tables[_name(reference)] = table

    def read(self, compiled: str) -> QueryLineage:
        """Return the lineage of a query."""
        dialect, schema = self._dialect, self._schema
        try:
            tree = parse_one(compiled, dialect=dialect)
            query = qualify(tree, schema=schema, dialect=dialect, validate_qualify_columns=False)
            scope = build_scope(query)
            if scope is None or not isinstance(query, exp.Query):
                return QueryLineage()
            nodes = {
                name: lineage(name, query, schema=schema, scope=scope, dialect=dialect, copy=False)
                for name in query.named_selects
            }
            conditions = frozenset(self._conditions(scope))
        except SqlglotError:
            return QueryLineage()
        found: dict[str, frozenset[Origin]] = {}
        for name, node in nodes.items():
            origins = set()
            for leaf in node.walk():
                origin = self._table(leaf.source)
                if origin is not None and not leaf.downstream:
                    origins.add((origin.key, _column(origin, exp.to_column(leaf.name, dialect=dialect).name)))
            found[name] = frozenset(origins)
        return QueryLineage(found, conditions, is_read=True)

    def _table(self, source: object) -> TableEntry | None:
        return self._tables.get(_name(source)) if isinstance(source, exp.Table) else None

    def _conditions(self, scope: Scope) -> Iterator[Origin]:
        """Return the origins of all columns that stand outside of the lists of selected columns."""
        for part in scope.traverse():
            selected = {id(found) for item in _selects(part) for found in item.find_all(exp.Column)}
            if part.expression.args.get("distinct"):
                selected = set()
            for used in part.columns:
                if id(used) not in selected:
                    yield from self._origins(part, used.table, used.name)

    def _origins(self, scope: Scope, table: str, name: str) -> Iterator[Origin]:
        source = scope.sources.get(table)
        origin = self._table(source)
        if origin is not None:
            yield origin.key, _column(origin, name)
        elif isinstance(source, Scope):
            names = [item.alias_or_name for item in _selects(source)]
            for part in _parts(source) if name in names else ():
                for used in _selects(part)[names.index(name)].find_all(exp.Column):
                    yield from self._origins(part, used.table, used.name)


def _parts(scope: Scope) -> Iterator[Scope]:
    """Return the queries that a scope is the union of, or the scope itself."""
    if not isinstance(scope.expression, exp.SetOperation):
        yield scope
        return
    # only the scope of a union has them
    parts: Sequence[Scope] = getattr(scope, "union_scopes", ())
    for part in parts:
        yield from _parts(part)


def _selects(scope: Scope) -> Sequence[exp.Expr]:
    return scope.expression.selects if isinstance(scope.expression, exp.Query) else ()


def _name(table: exp.Table) -> str:
    return ".".join(part.name for part in table.parts).lower()


def _column(table: TableEntry, name: str) -> str:
    """Return the column name as declared: SQL ignores the case of a name, the columns of an asset do not."""
    return next((column.name for column in table.columns if column.name.lower() == name.lower()), name)
