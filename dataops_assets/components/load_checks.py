"""Load-time checks for faults in declarations that would otherwise appear at run time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dataops_assets.components.declarations import Declaration, Declarations
from dataops_assets.components.graph import StepNode, nodes
from dataops_assets.components.merged_value_checks import rules_on_merged_values
from dataops_assets.components.output_checks import over_hub, require_target
from dataops_assets.components.wait_cycles import require_no_wait_cycle
from dataops_assets.config.connection import Connection, FileConnection, PythonConnection, PythonFormat
from dataops_assets.config.contract import Column
from dataops_assets.config.databases import DatabaseConnection
from dataops_assets.config.kafka import KafkaConnection
from dataops_assets.config.refresh import INPUT, CustomRefresh, KeyRefresh
from dataops_assets.config.replication import ReplicationConnection
from dataops_assets.config.rest import RestConnection
from dataops_assets.config.rules import Relation, Validation
from dataops_assets.config.source import Source
from dataops_assets.connections.databases.opening import (
    require_api,
    require_cluster,
    require_declared,
    require_logged,
)
from dataops_assets.connections.extract_time import require_pattern
from dataops_assets.connections.python import function_of, load_hook
from dataops_assets.connections.stores import require_options, require_store
from dataops_assets.errors import ConfigError, RuleError, nearest
from dataops_assets.rules.compiler import compile_rules
from dataops_assets.rules.types import types
from dataops_assets.steps.merging import merged_values
from dataops_assets.steps.merging.replace_scope import predicate_names
from dataops_assets.steps.merging.row_identity import group_deletes
from dataops_assets.steps.parsing.computed_columns import computed_columns
from dataops_assets.steps.parsing.typed_values import TextMarks, default_of, marks_for, marks_of, require_date_format

_GATED = {"lake": "parse", "hub": "enrich", "current": "recalculate"}
_PartCheck = tuple[tuple[str | int, ...], Callable[[], object]]


def faults(declared: Declarations) -> list[str]:
    """Return the error, with file and line, for each source and output for which the code location would not load."""
    found = []
    for item in declared.by_name.values():
        try:
            require_usable(item, declared, nodes(item.source, declared.rules(item.source.name)))
        except ConfigError as error:
            found.append(str(error))
    for output in declared.outputs.values():
        try:
            over_hub(output, declared)
            require_target(output, declared)
        except ConfigError as error:
            found.append(str(error))
    # a wrong rule of a related source is named by each source that looks it up
    return list(dict.fromkeys(found))


def require_usable(item: Declaration, declared: Declarations, steps: Sequence[StepNode]) -> None:
    """Check that runs can use every part of a source, whose `steps` are given. Raises ConfigError with file and line.

    Imports the modules of the source's contracts and of its Python hook.
    """
    for path, check in chain(_references(item.source, declared), _part_checks(item.source, steps)):
        try:
            check()
        except ConfigError as error:
            raise ConfigError(f"{item.place(*path)}: {error}") from error
    require_no_wait_cycle(declared, item.source.name)


def _references(source: Source, declared: Declarations) -> Iterator[_PartCheck]:
    """Return the checks of what a source refers to: databases, clusters, time zones."""
    connection = source.connection
    if isinstance(connection, DatabaseConnection):
        yield ("connection", "database"), lambda: require_declared(connection.database, declared.databases)
    if isinstance(connection, ReplicationConnection):
        yield ("connection", "database"), lambda: require_logged(connection, declared.databases)
    if isinstance(connection, RestConnection):
        yield ("connection", "api"), lambda: require_api(connection.api, declared.databases)
    if isinstance(connection, KafkaConnection):
        yield ("connection", "cluster"), lambda: _require_readable(connection, declared)
    yield ("discovery", "timezone"), lambda: _require_zone(source.discovery.timezone)
    if source.discovery.schedule:
        yield ("discovery", "schedule"), lambda: _require_schedule(source.discovery.schedule)


def _require_readable(connection: KafkaConnection, declared: Declarations) -> None:
    cluster = require_cluster(connection.cluster, declared.databases)
    if connection.needs_registry and cluster.schema_registry is None:
        raise ConfigError(
            f"looking for the schemas of the topic {connection.topic!r}",
            received=f"the cluster {connection.cluster!r} declares no schema_registry",
            next_step="declare it at the cluster, or give schema_text where type is avro",
        )


def _require_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(
            "no such zone", received=repr(name), next_step="use an IANA name such as Europe/Berlin"
        ) from error


def _require_schedule(cron: str) -> None:
    # Dagster takes seconds to import, and decides what a schedule is
    import dagster as dg

    try:
        dg.ScheduleDefinition(name="checked", cron_schedule=cron, target="*")
    except dg.DagsterInvalidDefinitionError as error:
        raise ConfigError(str(error), received=cron) from error


def _functions(connection: Connection) -> Iterator[_PartCheck]:
    """Return the checks that declared functions in Python are there."""
    if isinstance(connection, PythonConnection):
        yield ("connection", "function"), lambda: load_hook(connection.function)
    if isinstance(connection, FileConnection) and isinstance(layout := connection.format, PythonFormat):
        for field in ("function", "count"):
            if named := getattr(layout, field):
                path = ("connection", "format", field)
                yield path, functools.partial(function_of, named, ".".join(path))


def _require_marks(connection: Connection, item: Column) -> None:
    """Raise ConfigError if the decimal mark and the thousands mark of a column are equal or no marks."""
    if item.number_format is not None:
        marks_for(item, marks_of(connection.format) if isinstance(connection, FileConnection) else TextMarks())


def _part_checks(source: Source, steps: Sequence[StepNode]) -> Iterator[_PartCheck]:
    """Return the path of each part to check, with a function that raises ConfigError if the part is wrong."""
    connection = source.connection
    if isinstance(connection, FileConnection):
        yield ("connection", "path"), lambda: require_store(connection.path, "connection.path")
        options = functools.partial(require_options, connection.path, connection.storage_options)
        yield ("connection", "storage_options"), options
        yield ("connection", "format"), lambda: marks_of(connection.format)
        yield ("connection", "extract_time", "pattern"), lambda: require_pattern(connection.extract_time.pattern)
    yield from _functions(connection)
    with types() as asked:
        for index, item in enumerate(source.columns):
            yield ("columns", index, "date_format"), functools.partial(require_date_format, item)
            yield ("columns", index, "number_format"), functools.partial(_require_marks, connection, item)
            yield ("columns", index, "default"), functools.partial(default_of, item, asked)
    yield from _expressions(source)
    yield ("keep_when",), lambda: _require_row_condition(source, "keep_when", source.keep_when)
    yield ("refresh", "delete_when"), lambda: _require_row_condition(source, "delete_when", source.refresh.delete_when)
    for index, marker in enumerate(group_deletes(source)):
        of_group = functools.partial(_require_row_condition, source, "when", marker.when)
        yield ("refresh", "group_deletes", index, "when"), of_group
    for name, how in merged_values.merged_columns(source).items():
        if name in source.refresh.merge and how.when:
            place = ("refresh", "merge", name, "when")
            yield place, functools.partial(_require_row_condition, source, "when", how.when)
    yield from rules_on_merged_values(source)
    yield ("refresh", "delete_where"), lambda: _require_replacement(source)
    tables = {node.name: node.columns for node in steps}
    for index, name in enumerate(source.checks.distribution.ignore):
        yield ("checks", "distribution", "ignore", index), functools.partial(_require_column, name, tables.values())
    for layer, step in _GATED.items():
        gate = getattr(source.gates, layer)
        if gate is not None:
            yield ("gates", layer, "contract"), functools.partial(_require_contract, gate.contract, tables[step])


def _expressions(source: Source) -> Iterator[_PartCheck]:
    """Return the checks of computed columns. They are compiled together, and an error names its own column."""
    problem: ConfigError | None = None
    try:
        computed_columns(source)
    except ConfigError as error:
        problem = error
    for index, item in enumerate(source.columns):
        if item.expression:
            yield ("columns", index, "expression"), functools.partial(_refuse_expression, problem, item.name)


def _refuse_expression(problem: ConfigError | None, name: str) -> None:
    if problem is not None and (not isinstance(problem, RuleError) or problem.at.rule == name):
        raise problem


def _require_row_condition(source: Source, field: str, predicate: str) -> None:
    """Check a predicate like a validation: it is a condition on one row, without look-ups."""
    if predicate:
        condition = Validation(name=field, expression=predicate)
        alone = source.model_copy(update={"rules": (), "relations": {}, "validations": (condition,)})
        compile_rules(alone, {})


def _require_replacement(source: Source) -> None:
    """Check a custom refresh's predicate like a validation that looks up the rows of the arriving input."""
    if isinstance(source.refresh, CustomRefresh):
        predicate = Validation(name="delete_where", expression=source.refresh.delete_where)
        first = source.columns[0].name
        arriving = source.model_copy(
            update={
                "name": INPUT,
                "rules": (),
                "relations": {},
                "validations": (),
                "refresh": KeyRefresh(type="key", key=(first,)),
            }
        )
        related = Relation(source=INPUT, on={first: first})
        alone = source.model_copy(update={"rules": (), "relations": {INPUT: related}, "validations": (predicate,)})
        compile_rules(alone, {INPUT: arriving})
        read = {name for _, name in predicate_names(source.refresh)}
        if unknown := sorted(read - {name.lower() for name in source.column_names}):
            raise ConfigError(
                "reading delete_where: it may read columns of the contract",
                received=", ".join(unknown),
                known=source.column_names,
            )


def _require_column(name: str, tables: Iterable[Mapping[str, str]]) -> None:
    known = list(dict.fromkeys(column for table in tables for column in table))
    if name not in known:
        raise ConfigError(
            "looking for the column in the source's tables",
            received=name,
            known=known,
            next_step=nearest(name, known),
        )


def _require_contract(reference: str, table: Mapping[str, str]) -> None:
    # pandera and pandas take a second to import: only a code location with contracts needs them
    from dataops_assets.quality.contracts import load_contract, validate_contract

    validate_contract(load_contract(reference), table)
