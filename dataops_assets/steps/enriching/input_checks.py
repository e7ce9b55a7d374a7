"""Checks the enriched rows of each input: the gate of the hub, then volume, schema and distribution."""

from __future__ import annotations

from collections.abc import Sequence

from dataops_assets.engines.base import Session
from dataops_assets.profiles import Profile
from dataops_assets.quality.checks import EarlierInputs, distribution, judged, table_schema, volume
from dataops_assets.quality.gates import gate_inputs
from dataops_assets.quality.profiling import profile_inputs
from dataops_assets.report import CheckOutcome
from dataops_assets.sql import columns, literal, query
from dataops_assets.steps.enriching.enriched_rows import EnrichedRows
from dataops_assets.steps.inputs_before import saved_and_compared
from dataops_assets.steps.source_context import SourceContext


def hub_gate(session: Session, enriched: EnrichedRows, asset: str, ids: Sequence[str]) -> dict[str, CheckOutcome]:
    """Return the outcome of the hub's gate for the rows that would reach the hub."""
    source = enriched.rules.source
    gate = source.gates.hub
    if gate is None or not ids:
        return {}
    rules = [rule.name for rule in source.snapshot_rules]
    rows = query(
        "SELECT $names FROM $enriched AS e WHERE NOT e.s_gone AND e.s_status <> 'fail'",
        names=columns([*source.column_names, *rules, "s_key", "s_input_id", "s_row_id"], "e"),
        enriched=enriched.table,
    )
    return gate_inputs(session, gate, asset, rows, ids)


def check_inputs(
    context: SourceContext, session: Session, enriched: EnrichedRows, asset: str, ids: Sequence[str]
) -> dict[str, tuple[CheckOutcome, ...]]:
    """Return the volume, schema and distribution outcomes of each input.

    Only rules are profiled, because the contract's columns were profiled in the lake. The size of a change set depends
    on what changed and can be 0, so only a declared maximum limits it.
    """
    rules, checks = enriched.rules, context.source.checks
    if not ids or not (checks.volume.enabled or checks.table_schema.enabled or checks.distribution.enabled):
        return {}
    profiles = _profiles(session, enriched, asset, ids)
    compared = saved_and_compared(context, asset, profiles)
    kinds = {name: enriched.table.columns[name] for name in enriched.names}
    expected = {**kinds, **{name: kind for name, kind in rules.hub_columns.items() if name in kinds}}
    limits = checks.volume.model_copy(update={"min_rows": 0})
    told = judged(profiles, compared, checks)
    outcomes = {}
    earlier_inputs = EarlierInputs(compared.known)
    for profile in profiles:
        found: list[CheckOutcome] = []
        if checks.volume.enabled:
            found.append(volume(profile, (), limits))
        if checks.table_schema.enabled:
            found.append(table_schema(asset, kinds, expected, checks.table_schema, profile.input_id))
        if checks.distribution.enabled:
            earlier, judgement = earlier_inputs.before(profile), told.get(profile.input_id)
            found.append(distribution(profile, earlier, checks.distribution, judgement))
        outcomes[profile.input_id] = tuple(found)
    return outcomes


def _profiles(session: Session, enriched: EnrichedRows, asset: str, ids: Sequence[str]) -> list[Profile]:
    """Return the profile of every input, also of one without rows."""
    computed = enriched.rules.snapshot.rules
    rows = query(
        "SELECT $names FROM $enriched AS e WHERE e.s_input_id IN ($ids) AND NOT e.s_gone",
        names=columns([*computed, "s_input_id", "s_row_id"], "e"),
        enriched=enriched.table,
        ids=[literal(input_id) for input_id in ids],
    )
    hidden = [name for name, rule in computed.items() if rule.personal]
    types = {name: rule.type for name, rule in computed.items()}
    found = {item.input_id: item for item in profile_inputs(session, rows, types, asset, hidden)}
    return [found.get(input_id) or Profile(asset, input_id, 0, ()) for input_id in ids]
