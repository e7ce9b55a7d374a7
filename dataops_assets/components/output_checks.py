"""Load-time checks of outputs: faults that would otherwise appear when an output is delivered."""

from __future__ import annotations

from dataops_assets.components.declarations import Declarations, OutputDeclaration
from dataops_assets.components.graph import nodes, table_columns
from dataops_assets.config.outputs import HttpTarget, TableTarget, TopicTarget
from dataops_assets.connections.databases.opening import require_api, require_cluster, require_declared
from dataops_assets.connections.python import function_of
from dataops_assets.errors import ConfigError, nearest
from dataops_assets.outputs.after_delivery import FIELD
from dataops_assets.outputs.context import source_of
from dataops_assets.outputs.mapping import Compiled, compiled


def require_target(item: OutputDeclaration, declared: Declarations) -> None:
    """Raise ConfigError with file and line if an output has no declared connection, or the place of another output."""
    target = item.output.to
    place = item.output.place
    for other in declared.outputs_at(place) if place is not None else ():
        if other.output.name != item.output.name:
            raise ConfigError(
                f"{item.place('to')}: the output {other.output.name!r} has the same place",
                received=" ".join(place or ()),
                next_step="each would replace the rows of the other: choose another name for one of them; the other is "
                f"at {other.place('to')}",
            )
    if isinstance(target, TableTarget):
        try:
            require_declared(target.database, declared.databases)
        except ConfigError as error:
            raise ConfigError(f"{item.place('to', 'database')}: {error}") from error
    if isinstance(target, HttpTarget):
        try:
            require_api(target.api, declared.databases)
        except ConfigError as error:
            raise ConfigError(f"{item.place('to', 'api')}: {error}") from error
    if isinstance(target, TopicTarget):
        try:
            require_cluster(target.cluster, declared.databases)
        except ConfigError as error:
            raise ConfigError(f"{item.place('to', 'cluster')}: {error}") from error


def require_function(item: OutputDeclaration) -> None:
    """Raise ConfigError with file and line if the function of `after` is not there."""
    if item.output.after is None:
        return
    try:
        function_of(item.output.after.function, FIELD)
    except ConfigError as error:
        raise ConfigError(f"{item.place('after', 'function')}: {error}") from error


def over_hub(item: OutputDeclaration, declared: Declarations) -> Compiled | None:
    """Return the output over the declared columns of its hub; None for a model, whose columns dbt knows.

    Raises ConfigError with file and line if the output does not fit its hub.
    """
    output = item.output
    if not output.source.startswith("hub/"):
        return None
    source = source_of(output, declared.sources)
    tables = {} if source is None else {node.key: node for node in nodes(source, declared.rules(source.name))}
    if source is None or output.source not in tables:
        known = [f"hub/{name}" for name in declared.sources]
        raise ConfigError(
            f"{item.place('from')}: no declared source makes it",
            received=output.source,
            known=known,
            next_step=nearest(output.source, known),
        )
    if output.versions == "all" and not (source.refresh.history and output.source == f"hub/{source.name}"):
        raise ConfigError(
            f"{item.place('versions')}: {output.source} keeps no history",
            received="all",
            next_step="declare refresh.history: true for the source, or versions: current",
        )
    try:
        return compiled(output, table_columns(source, tables[output.source]), source.refresh.key)
    except ConfigError as error:
        raise ConfigError(f"{item.place('columns')}: {error}") from error
