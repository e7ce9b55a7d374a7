"""Finds where the tables of a source differ from its declaration, from the tables and the metadata alone.

Whoever changed the declaration, and whatever was killed since: the answer is what is still to do. Each part of it names
the work that makes the tables as declared, as a person would do it by hand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dataops_assets.metadata.store import ParsedInput
from dataops_assets.report import Input
from dataops_assets.rules.compiler import CompiledRules, compile_rules
from dataops_assets.steps.evolved_columns import evolving, renamed_columns
from dataops_assets.steps.merging.held_inputs import held_inputs
from dataops_assets.steps.merging.judged_contracts import current_not_judged, not_judged
from dataops_assets.steps.merging.manifest import HubManifest
from dataops_assets.steps.merging.refused_inputs import tried_again
from dataops_assets.steps.merging.settled_inputs import settled_in_hub
from dataops_assets.steps.parsing.declared_as import parsed_as
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep.rule_backfill import OutdatedRules, outdated_rules
from dataops_assets.storage.delta import TableVersion
from dataops_assets.storage.retyping import retyped

_SYSTEM = "s_"


@dataclass(frozen=True)
class Tables:
    """One version of each table of a source; None for one that no step wrote yet."""

    lake: TableVersion | None
    enriched: TableVersion | None
    hub: TableVersion | None
    current: TableVersion | None

    @classmethod
    def of(cls, context: SourceContext) -> Tables:
        """Read the newest version of each table."""
        return cls(
            context.lake.snapshot(), context.enriched.snapshot(), context.hub.snapshot(), context.current.snapshot()
        )

    @property
    def commits(self) -> Iterator[tuple[str, str]]:
        """Return the path and the commit id of each table that is there."""
        for table in (self.lake, self.enriched, self.hub, self.current):
            if table is not None:
                yield table.uri, table.commit_id


@dataclass(frozen=True)
class Outdated:
    """What is to do in the tables of one source.

    * `to_parse`: inputs that were parsed with another declaration, in order. `settled`: the number of those among them
      that cannot be parsed again.
    * `renamed`: undeclared columns of inputs to parse that have another name today, with this name.
    * `rebuild`: why the hub must be built again from the lake; empty if it need not.
    * `rules`: snapshot rules and validations that are not applied to all rows.
    * `current`: keep-current rules that are not computed for all rows.
    * `contract`: the contract of the recalculated table, if it has not judged the rows as it is declared; else empty.
    * `judged`: held inputs that the delete guard judges again, because its limits or the inputs before changed.
    * `refused`: refused inputs that are tried again, because what refused them changed, or changes with the rebuild.
    """

    source: str
    tables: Tables
    to_parse: Sequence[Input] = ()
    settled: int = 0
    renamed: Mapping[str, str] = field(default_factory=dict)
    rebuild: str = ""
    rules: OutdatedRules = field(default_factory=OutdatedRules)
    current: Sequence[str] = ()
    judged: Sequence[str] = ()
    contract: str = ""
    refused: Sequence[str] = ()

    def __bool__(self) -> bool:
        return bool(
            self.to_parse or self.rebuild or self.rules or self.current or self.judged or self.contract or self.refused
        )


def outdated(
    context: SourceContext, parsed: Collection[ParsedInput], before: str, rules: CompiledRules | None = None
) -> Outdated:
    """Return the work that the tables of a source need.

    `parsed` says with what declaration inputs were parsed; `before` is the one of inputs for which it is not known,
    empty if they count as parsed with the present one. Raises StorageError if a table cannot be read.
    """
    tables = Tables.of(context)
    rules = rules or compile_rules(context.source, context.sources)
    wanted = parsed_as(context.source)
    renamed = renamed_columns(context.source, tables.lake)
    ids = [
        item.input_id for item in parsed if item.input_id in renamed or (item.declared or before or wanted) != wanted
    ]
    inputs = sorted(context.metadata.inputs(context.source.name, ids)) if ids else []
    settled = settled_in_hub(context, inputs) if inputs else {}
    to_parse = [item for item in inputs if item.input_id not in settled]
    rebuild = _why_rebuild(context, tables, rules)
    return Outdated(
        context.source.name,
        tables,
        to_parse,
        len(settled),
        {name: now for key in ids if key not in settled for name, now in renamed.get(key, {}).items() if name != now},
        rebuild,
        _rules(tables, rules),
        _current(context, tables, rules),
        sorted(input_id for input_id, held in held_inputs(context).items() if held.again),
        "" if tables.current is None else current_not_judged(context.source, tables.current.info),
        _refused(context, to_parse, is_rebuilt=bool(rebuild)),
    )


def _refused(context: SourceContext, to_parse: Sequence[Input], *, is_rebuilt: bool) -> list[str]:
    """Return the refused inputs that are tried again, without those that are parsed again anyway."""
    metadata, name = context.metadata, context.source.name
    parsed_again = {item.input_id for item in to_parse}
    inputs = [item for item in metadata.unfinished(name) if item.input_id not in parsed_again]
    processes = metadata.processes(name, input_ids=[item.input_id for item in inputs])
    return sorted(tried_again(context, inputs, processes, rebuilt=is_rebuilt))


def _why_rebuild(context: SourceContext, tables: Tables, rules: CompiledRules) -> str:
    hub = tables.hub
    if hub is None or not HubManifest.writes(hub.info):
        return ""
    source = evolving(context, tables.lake).source
    if not HubManifest.read_without_inputs(hub.info).is_of(source):
        return "the declaration of its key, order, refresh type, tracked columns or order of columns changed"
    columns = {**rules.hub_columns, **_evolved(context, tables)}
    own = {name: kind for name, kind in columns.items() if name not in {rule.name for rule in source.rules}}
    if other := retyped(hub, own):
        return f"{', '.join(other)} has another type in it"
    if missing := [name for name in own if name not in hub.columns]:
        return f"it has no column {', '.join(missing)}"
    known = {*columns, *hub.info.get("rules", {})}
    if left := [name for name in hub.columns if name not in known and not name.startswith(_SYSTEM)]:
        return f"it has the column {', '.join(left)}, which is not declared any more"
    if contracts := not_judged(source, hub.info):
        return f"its rows were not judged by the contract {', '.join(contracts)} as it is declared"
    return ""


def _rules(tables: Tables, rules: CompiledRules) -> OutdatedRules:
    found = [
        outdated_rules(table, rules, is_hub=table is tables.hub)
        for table in (tables.enriched, tables.hub)
        if table is not None
    ]
    return OutdatedRules(
        list(dict.fromkeys(name for item in found for name in item.changed)),
        list(dict.fromkeys(name for item in found for name in item.removed)),
        any(item.verdict for item in found),
    )


def _current(context: SourceContext, tables: Tables, rules: CompiledRules) -> list[str]:
    """Return the keep-current rules that the table was computed with otherwise, or lacks, or has too much."""
    declared: Mapping[str, str] = rules.current.versions
    if not declared or tables.hub is None:
        return []
    if tables.current is None:
        return list(declared)
    known: Mapping[str, str] = tables.current.info.get("computed_from", {}).get("rules", {})
    changed = [name for name, version in declared.items() if known.get(name) != version]
    wanted = {**rules.hub_columns, **{name: rule.type for name, rule in rules.current.rules.items()}}
    wanted = {**wanted, **_evolved(context, tables)}
    gone = [name for name in tables.current.columns if name not in wanted]
    return list(dict.fromkeys([*changed, *gone, *retyped(tables.current, wanted)]))


def _evolved(context: SourceContext, tables: Tables) -> dict[str, str]:
    declared = set(context.source.column_names)
    return {name: "VARCHAR" for name in evolving(context, tables.lake).source.column_names if name not in declared}
