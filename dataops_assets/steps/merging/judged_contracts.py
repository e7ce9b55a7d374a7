"""Judges the rows that are there already by the contracts that are declared now.

An input is judged by the contracts that are declared when it is parsed and enriched. A contract that is declared later,
or otherwise, has not seen the rows that are there already. Each version of a hub says which contracts have judged all
its rows, so that a plan knows what is still to judge. A rebuild judges all of them. A recalculated table is judged as a
whole each time; its version says by which contract and with which result, and the next run judges by another one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlglot import exp

from dataops_assets.config.quality import Gate
from dataops_assets.config.source import Source
from dataops_assets.quality.gates import blocked, gate_inputs
from dataops_assets.report import CheckOutcome
from dataops_assets.sql import columns, literal, query
from dataops_assets.steps.merging.read_tables import ReadTables
from dataops_assets.steps.merging.row_identity import delete_marker, has_markers
from dataops_assets.steps.merging.row_verdicts import PassingDiff

_JUDGED_BY = "judged_by"
_GATE = "gate"


def judged_by(source: Source, before: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the entry of a hub's commit that names the contracts that have judged all its rows, by layer.

    `before` is the information of the version that the commit changes; None if it writes all rows.
    """
    if before is None:
        return {_JUDGED_BY: {layer: fingerprint(gate) for layer, gate in _gates(source).items()}}
    return {_JUDGED_BY: before[_JUDGED_BY]} if _JUDGED_BY in before else {}


def not_judged(source: Source, info: Mapping[str, Any]) -> list[str]:
    """Return the contracts that have not judged all rows of a hub version as they are declared now."""
    known = info.get(_JUDGED_BY, {})
    return [gate.contract for layer, gate in _gates(source).items() if known.get(layer) != fingerprint(gate)]


def judge_rows(tables: ReadTables, passing: PassingDiff) -> tuple[CheckOutcome, ...]:
    """Judge the rows that a rebuild publishes, and the parsed rows that they come from; return an outcome an input.

    Raises GateFailed for the first input that a contract refuses: then nothing is published.
    """
    source, ids = tables.source, passing.timeline.change.ids
    found: list[CheckOutcome] = []
    if not ids:
        return ()
    for layer, gate in _gates(source).items():
        asset, rows = _rows(tables, passing, layer, ids)
        found += gate_inputs(tables.session, gate, asset, rows, ids).values()
    for outcome in found:
        if (error := blocked(outcome)) is not None:
            raise error
    return tuple(found)


def current_judged(source: Source, outcomes: Sequence[CheckOutcome]) -> dict[str, Any]:
    """Return the entry of a commit of the recalculated table: its contract, and the outcome for all rows."""
    gate = source.gates.current
    if gate is None or not outcomes:
        return {}
    (outcome,) = outcomes
    told = {"passed": outcome.passed, "severity": outcome.severity, "explanation": outcome.explanation}
    return {_GATE: {_JUDGED_BY: fingerprint(gate), **told}}


def current_not_judged(source: Source, info: Mapping[str, Any]) -> str:
    """Return the contract of the recalculated table if it has not judged a version as it is declared now; else ''."""
    gate = source.gates.current
    if gate is None or info.get(_GATE, {}).get(_JUDGED_BY) == fingerprint(gate):
        return ""
    return gate.contract


def current_outcome(asset: str, info: Mapping[str, Any]) -> CheckOutcome:
    """Return the outcome that a version of a recalculated table records."""
    known = info[_GATE]
    return CheckOutcome(asset, "contract", known["passed"], known["severity"], known["explanation"])


def _gates(source: Source) -> dict[str, Gate]:
    declared = {"lake": source.gates.lake, "hub": source.gates.hub}
    return {layer: gate for layer, gate in declared.items() if gate is not None}


def _rows(tables: ReadTables, passing: PassingDiff, layer: str, ids: Sequence[str]) -> tuple[str, exp.Query]:
    """Return the asset whose rows a contract judges, and the rows with the columns that its step gives to it."""
    source = tables.source
    if layer == "hub":
        rules = [rule.name for rule in source.snapshot_rules]
        names = [*source.column_names, *rules, "s_key", "s_input_id", "s_row_id"]
        rows = query("SELECT $names FROM $rows AS r", names=columns(names, "r"), rows=passing.rows)
        return f"hub/{source.name}_enriched", rows
    rows = query(
        "SELECT $names FROM $lake AS t WHERE t.s_input_id IN ($ids)",
        names=columns([*source.column_names, "s_input_id", "s_row_id"], "t"),
        lake=tables.lake,
        ids=[literal(input_id) for input_id in ids],
    )
    return f"lake/{source.name}", rows.where(exp.not_(delete_marker(source, "t"))) if has_markers(source) else rows


def fingerprint(gate: Gate) -> str:
    """Return a fingerprint of what a gate checks, and of what follows from a failure."""
    # a process that only loads the code location needs no pandera
    from dataops_assets.quality.contracts import described, load_contract

    judging = [gate.model_dump(mode="json"), described(load_contract(gate.contract))]
    return hashlib.sha256(json.dumps(judging, sort_keys=True).encode()).hexdigest()[:16]
