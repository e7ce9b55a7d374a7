"""The asset graph of one source as plain values: for each step the assets it makes, the assets it reads, its checks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from dataops_assets.config.connection import FileConnection
from dataops_assets.config.databases import DatabaseConnection
from dataops_assets.config.kafka import KafkaConnection
from dataops_assets.config.quality import Gate
from dataops_assets.config.replication import ReplicationConnection
from dataops_assets.config.rest import RestConnection
from dataops_assets.config.source import Source
from dataops_assets.config.types import sql_type
from dataops_assets.report import CheckKind, Input, StepReport
from dataops_assets.rules.compiler import CompiledRules, RulesCompiler
from dataops_assets.rules.types import system_columns
from dataops_assets.steps.cdc import cdc
from dataops_assets.steps.enrich import enrich
from dataops_assets.steps.ingest import ingest
from dataops_assets.steps.merging.change import absence_deletes
from dataops_assets.steps.merging.row_identity import made_of
from dataops_assets.steps.parse import parse
from dataops_assets.steps.recalculate import recalculate
from dataops_assets.steps.recording import Step
from dataops_assets.steps.refresh import refresh
from dataops_assets.steps.source_context import SourceContext

Edges = Mapping[tuple[str, str], AbstractSet[tuple[str, str]]]

SYSTEM_COLUMNS: Mapping[str, str] = {
    "s_key": "The row's key as text.",
    "s_input_id": "The input the row comes from.",
    "s_row_id": "The row's position in its input, from 0.",
    "s_order": "Order value of the row: it orders the rows of a key.",
    "s_row_hash": "Hash of the columns that decide whether a row changed.",
    "s_created_at": "Extract time of the input that brought the key.",
    "s_updated_at": "Extract time of the input that last changed the row.",
    "s_status": "pass, warn or fail: the outcome of all validations of the row.",
    "s_failed": "Names of the validations that the row failed.",
    "s_change": "new, changed, old (late) or deleted.",
    "s_settled_key": "The row's key, if its input is settled.",
    "s_settled_created_at": "s_created_at of the row in the hub of all settled inputs.",
    "s_settled_at": "Extract time of the row's input, if the input is settled.",
    "s_valid_from": "When this version of the row began.",
    "s_valid_to": "When the next version began; null for the newest one.",
    "s_is_current": "Whether this version of the row is the newest one.",
    "s_is_deleted": "Whether the key is deleted in this version.",
}

_TABLE_KINDS = frozenset({"duckdb", "deltalake"})
_FORMAT_KINDS = {
    "csv": "csv",
    "fixed_width": "text",
    "text": "text",
    "json": "json",
    "jsonl": "json",
    "xml": "xml",
    "yaml": "yaml",
    "parquet": "parquet",
    "orc": "orc",
    "avro": "avro",
    "excel": "excel",
    "python": "python",
}


@dataclass(frozen=True)
class StepNode:
    """One step of a source: the asset it makes, the assets it reads, and the function that runs it.

    `key` and `reads` are asset keys as texts ('hub/sales'); `related` are hubs of other sources. `beside` is a second
    asset that the step makes. `columns` are the declared columns with their SQL types. `code_version` changes when a
    declaration that the step uses changes.
    """

    name: str
    key: str
    beside: str | None
    reads: tuple[str, ...]
    related: tuple[str, ...]
    kinds: frozenset[str]
    description: str
    columns: Mapping[str, str]
    code_version: str
    checks: Mapping[CheckKind, bool]
    is_per_input: bool
    run: Callable[[SourceContext, Sequence[Input]], StepReport]

    @property
    def layer(self) -> str:
        """Return the layer of the asset: raw, lake or hub."""
        return self.key.partition("/")[0]

    @property
    def as_step(self) -> Step:
        """Return the step as a value that can be run."""
        return Step(self.name, self.key, self.run)


def nodes(source: Source, rules: CompiledRules) -> tuple[StepNode, ...]:
    """Return the steps of a source in order; with recalculate only if it has keep-current rules."""
    steps = _Steps(source, rules, _without_descriptions(source.model_dump(mode="json", by_alias=True)))
    found = (steps.ingest(), steps.parse(), steps.cdc(), steps.enrich(), steps.refresh())
    return (*found, steps.recalculate()) if source.keep_current_rules else found


@dataclass(frozen=True)
class _Steps:
    """Makes the node of each step; `declared` is the declaration of the source as plain values."""

    source: Source
    rules: CompiledRules
    declared: Mapping[str, Any]

    def ingest(self) -> StepNode:
        return StepNode(
            name="ingest",
            key=f"raw/{self.source.name}",
            beside=None,
            reads=(),
            related=(),
            kinds=_raw_kinds(self.source),
            description=self._description("The inputs as received, each copied once with its manifest."),
            columns={},
            code_version=_version(self.declared, "connection"),
            checks=_common_checks(self.source),
            is_per_input=True,
            run=ingest,
        )

    def parse(self) -> StepNode:
        lake = f"lake/{self.source.name}"
        return StepNode(
            name="parse",
            key=lake,
            beside=f"{lake}_quarantine",
            reads=(f"raw/{self.source.name}",),
            related=(),
            kinds=_TABLE_KINDS,
            description=self._description("The rows of each input, parsed and typed by the contract."),
            columns=self._contract(),
            code_version=_version(self.declared, "connection", "columns", "drift", *self._filter, ("gates", "lake")),
            checks=_common_checks(self.source) | _contract(self.source.gates.lake),
            is_per_input=True,
            run=parse,
        )

    @property
    def _filter(self) -> tuple[str, ...]:
        # a source without a filter keeps the version that it had before filters existed
        return ("keep_when",) if self.source.keep_when else ()

    def cdc(self) -> StepNode:
        return StepNode(
            name="cdc",
            key=f"lake/{self.source.name}_changes",
            beside=None,
            reads=(f"lake/{self.source.name}",),
            related=(),
            kinds=_TABLE_KINDS,
            description=self._description(
                "The changes that each input makes in the hub: new, changed, late and deleted rows."
            ),
            columns=self._contract(),
            code_version=_version(self.declared, "columns", "refresh"),
            checks=_common_checks(self.source) | _deletes(self.source),
            is_per_input=True,
            run=cdc,
        )

    def enrich(self) -> StepNode:
        source, snapshot = self.source, self.rules.snapshot
        frozen = {rule.name: snapshot.rules[rule.name].type for rule in source.snapshot_rules}
        return StepNode(
            name="enrich",
            key=f"hub/{source.name}_enriched",
            beside=None,
            reads=(f"lake/{source.name}_changes",),
            related=tuple(f"hub/{other}" for other in sorted({*snapshot.related, *waited_for(source)})),
            kinds=_TABLE_KINDS,
            description=self._description(
                "The changes with the columns of snapshot rules and the outcome of the validations."
            ),
            columns=self._contract() | frozen,
            code_version=_version(self.declared, "columns", "relations", "validations", "snapshot", ("gates", "hub")),
            checks=_common_checks(source) | _validation(source) | _waits(source) | _contract(source.gates.hub),
            is_per_input=True,
            run=enrich,
        )

    def refresh(self) -> StepNode:
        return StepNode(
            name="refresh",
            key=f"hub/{self.source.name}",
            beside=None,
            reads=(f"hub/{self.source.name}_enriched",),
            related=(),
            kinds=_TABLE_KINDS,
            description=self._description("The hub: the merged and enriched rows of all inputs."),
            columns=self.rules.hub_columns,
            code_version=_version(self.declared, "columns", "refresh", "snapshot"),
            checks=_common_checks(self.source) | _suspended(self.source),
            is_per_input=True,
            run=refresh,
        )

    def recalculate(self) -> StepNode:
        name, current = self.source.name, self.rules.current
        return StepNode(
            name="recalculate",
            key=f"hub/{name}_current",
            beside=None,
            reads=(f"hub/{name}",),
            related=tuple(f"hub/{other}" for other in current.related if other != name),
            kinds=_TABLE_KINDS,
            description=self._description("The hub with the columns of the keep-current rules."),
            columns={
                **self.rules.hub_columns,
                **{rule.name: current.rules[rule.name].type for rule in self.source.keep_current_rules},
            },
            code_version=_version(self.declared, "columns", "relations", "keep_current", ("gates", "current")),
            checks=_common_checks(self.source) | _contract(self.source.gates.current),
            is_per_input=False,
            run=lambda context, _: recalculate(context),
        )

    def _contract(self) -> dict[str, str]:
        return {item.name: sql_type(item.type) for item in self.source.columns}

    def _description(self, of_step: str) -> str:
        return f"{of_step}\n\n{self.source.description or f'Rows of {self.source.name}.'}"


def table_columns(source: Source, node: StepNode) -> dict[str, str]:
    """Return the columns of a step's table with their SQL types: the declared ones, and those of the platform."""
    kinds = {**system_columns(source), "s_change": "VARCHAR", "s_failed": "VARCHAR"}
    return {**node.columns, **{name: kinds[name] for name in _ADDED.get(node.name, ())}}


def column_lineage(
    source: Source, rules: CompiledRules, node: StepNode, columns: Sequence[str]
) -> dict[str, set[tuple[str, str]]]:
    """Return for each column of an asset the pairs (asset key, column) that it comes from; {} for raw bytes."""
    if not node.reads:
        return {}
    upstream = node.reads[0]
    found: dict[str, set[tuple[str, str]]] = {}
    if node.name == "parse":
        read = (item for item in source.columns if item.name in columns)
        raw_names = {item.name: (item.presence_of,) if item.presence_of else item.raw_names for item in source.columns}
        return {
            item.name: {(upstream, name) for made in made_of(source, [item.name]) for name in raw_names.get(made, ())}
            for item in read
        }
    stage = {"enrich": rules.snapshot, "recalculate": rules.current}.get(node.name)
    computed = {} if stage is None else {name: rule.lineage for name, rule in stage.rules.items()}
    for name in columns:
        if name in computed:
            found[name] = {(origin.table, origin.column) for origin in computed[name]}
        elif name in _MADE_BY.get(node.name, ()):
            continue
        else:
            found[name] = {(upstream, name)}
    return found


def lineage_edges(sources: Mapping[str, Source]) -> Edges:
    """Return for every column of every asset the columns that it comes from, as (asset key, column)."""
    edges: dict[tuple[str, str], set[tuple[str, str]]] = {}
    compiler = RulesCompiler(sources)
    for source in sources.values():
        rules = compiler.compile(source)
        for node in nodes(source, rules):
            for name, origins in column_lineage(source, rules, node, list(node.columns)).items():
                edges[node.key, name] = origins
    return edges


# system columns of a step's table that the node does not have
_OF_CHANGES = ("s_key", "s_input_id", "s_row_id", "s_order", "s_row_hash", "s_change")
_ADDED = {
    "parse": ("s_input_id", "s_row_id"),
    "cdc": _OF_CHANGES,
    "enrich": (*_OF_CHANGES, "s_status", "s_failed"),
}

# system columns that a step computes
_MADE_BY = {
    "cdc": ("s_change", "s_key", "s_order", "s_row_hash", "s_created_at", "s_updated_at"),
    "enrich": ("s_status", "s_failed"),
    "refresh": ("s_created_at", "s_updated_at", "s_valid_from", "s_valid_to", "s_is_current", "s_is_deleted"),
}


def column_descriptions(source: Source) -> dict[str, str]:
    """Return the description of every column of the source's tables."""
    rules = {item.name: item.description or item.expression for item in source.rules}
    return {**SYSTEM_COLUMNS, **{item.name: item.description for item in source.columns}, **rules}


def column_tags(source: Source) -> dict[str, Mapping[str, str]]:
    """Return the declared tags of the contract's columns."""
    return {item.name: item.tags for item in source.columns if item.tags}


def _raw_kinds(source: Source) -> frozenset[str]:
    if isinstance(source.connection, FileConnection):
        return frozenset({"file", _FORMAT_KINDS[source.connection.format.type]})
    if isinstance(source.connection, RestConnection):
        return frozenset({"api", "json"})
    if isinstance(source.connection, KafkaConnection):
        return frozenset({"kafka"})
    if isinstance(source.connection, ReplicationConnection):
        return frozenset({"database", "json"})
    return frozenset({"database" if isinstance(source.connection, DatabaseConnection) else "python"})


def _common_checks(source: Source) -> dict[CheckKind, bool]:
    """Return the enabled kinds of check, and whether each is blocking."""
    checks = source.checks
    kinds: dict[CheckKind, tuple[bool, str]] = {
        "volume": (checks.volume.enabled, checks.volume.severity),
        "schema": (checks.table_schema.enabled, checks.table_schema.severity),
        "distribution": (checks.distribution.enabled, checks.distribution.severity),
    }
    return {kind: severity == "fail" for kind, (enabled, severity) in kinds.items() if enabled}


def _contract(gate: Gate | None) -> dict[CheckKind, bool]:
    return {} if gate is None else {"contract": gate.severity == "fail"}


def _deletes(source: Source) -> dict[CheckKind, bool]:
    # a held input is not published anyway, so the check itself blocks nothing
    return {"deletes": False} if absence_deletes(source) else {}


def _suspended(source: Source) -> dict[CheckKind, bool]:
    return {"suspended_deletes": False} if absence_deletes(source) else {}


def waited_for(source: Source) -> tuple[str, ...]:
    """Return the names of the sources that inputs wait for."""
    return tuple(item.source for item in source.waits_for)


def _waits(source: Source) -> dict[CheckKind, bool]:
    # a waiting input is not published anyway, so the check itself blocks nothing
    return {"waits_for": False} if source.waits_for else {}


def _validation(source: Source) -> dict[CheckKind, bool]:
    if not source.validations:
        return {}
    return {"validation": any(item.severity == "fail" for item in source.validations)}


def _without_descriptions(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_descriptions(item) for key, item in value.items() if key != "description"}
    if isinstance(value, list):
        return [_without_descriptions(item) for item in value]
    return value


def _version(declared: Mapping[str, Any], *parts: str | tuple[str, str]) -> str:
    """Return a short hash of parts of a declaration; 'snapshot' and 'keep_current' are the rules of that mode."""
    chosen: dict[str, Any] = {}
    for part in parts:
        if isinstance(part, tuple):
            chosen["/".join(part)] = declared[part[0]][part[1]]
        elif part in ("snapshot", "keep_current"):
            chosen[part] = [rule for rule in declared["rules"] if rule["mode"] == part]
        else:
            chosen[part] = declared[part]
    text = json.dumps(chosen, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
