"""Finds refused inputs that must be tried again, because what refused them changed.

A step refuses an input with a permanent error. The bytes of the input never change, but the error can also come from
the declaration, from the settings and column types of the hub, or from the tables that rules look up. When a step
starts, a fingerprint of these is made, and it is recorded with the error. When the fingerprint changes (by another
declaration, a rebuild, a rollback, or new rows in a table that is looked up), the sensor requests the input again.

Other inputs of the hub are not part of the fingerprint: they refuse no input, they only let it be held
(see `held_inputs`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dataops_assets.config.quality import Gate
from dataops_assets.config.source import Source
from dataops_assets.errors import ConfigError, InputHeld, InputWaits, is_permanent
from dataops_assets.metadata.store import StepStatus
from dataops_assets.report import PER_INPUT, Input
from dataops_assets.rules.compiler import compile_rules
from dataops_assets.steps.merging.judged_contracts import fingerprint
from dataops_assets.steps.merging.manifest import HubManifest
from dataops_assets.steps.parsing.declared_as import parsed_as
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage.retyping import retyped

_PARSE, _ENRICH = "parse", "enrich"
_WITH_HUB = ("cdc", "enrich", "refresh")
_HELD, _WAITS = InputHeld.__name__, InputWaits.__name__
_WORDS: Mapping[str, Any] = {
    field: {"__all__": {"description", "tags"}} for field in ("columns", "relations", "rules", "validations")
}
_DECISIVE = {
    "connection",
    "envelope",
    "columns",
    "drift",
    "keep_when",
    "refresh",
    "relations",
    "compatible",
    "rules",
    "validations",
    "gates",
    "checks",
    "engine",
}


@dataclass(frozen=True)
class TriedAgain:
    """The first step to run again for a refused input, and what identifies this try."""

    step: str
    against: str


def refusal(steps: Iterable[StepStatus], *, or_held: bool = False) -> StepStatus | None:
    """Return the step of an input that failed with a permanent error, other than that the input waits or is held.

    With `or_held`, also the step that held it.
    """
    # a wait is evaluated again at each tick, and waiting is not an attempt
    others = (_WAITS,) if or_held else (_WAITS, _HELD)
    for process in steps:
        kind = process.error_type or ""
        if process.status == "failed" and kind not in others and is_permanent(kind):
            return process
    return None


def judged_against(
    context: SourceContext, step: str, inputs: Sequence[Input], *, rebuilt: bool = False
) -> Mapping[str, str]:
    """Return, by input, a fingerprint of everything besides the input that decides whether the step refuses it.

    `rebuilt`: as if the hub was rebuilt with the settings that are declared now.
    """
    if not inputs:
        return {}
    source = context.source
    rules = compile_rules(source, context.sources)
    facts: list[Any] = [_declaration(source)]
    gate = {_PARSE: source.gates.lake, _ENRICH: source.gates.hub}.get(step)
    facts += [_contract(gate)] if gate is not None else []
    manifest = HubManifest()
    if step in _WITH_HUB and (hub := context.hub.snapshot()) is not None:
        manifest = HubManifest.read_without_inputs(hub.info)
        derived = {rule.name for rule in source.rules}
        columns = {name: kind for name, kind in rules.hub_columns.items() if name not in derived}
        # without inputs, a hub takes the settings that are declared now
        is_other = not manifest.is_of(source) and bool(HubManifest.writes(hub.info))
        differs = [[manifest.settings, *manifest.hashed] if is_other else [], retyped(hub, columns)]
        facts += [differs] if any(differs) and not rebuilt else []
    if step == _ENRICH:
        heads = {name: context.table(f"hub/{name}").newest() for name in sorted(rules.snapshot.related)}
        facts += [{name: head.commit_id if head else "" for name, head in heads.items()}]
    horizon = manifest.horizon
    return {item.input_id: _digest([*facts, horizon is not None and item.extract_time < horizon]) for item in inputs}


def tried_again(
    context: SourceContext, inputs: Sequence[Input], processes: Iterable[StepStatus], *, rebuilt: bool = False
) -> Mapping[str, TriedAgain]:
    """Return by id the refused ones of some inputs that must be tried again. `processes` are their last attempts.

    What an earlier release of the software refused has no fingerprint, and is tried again once. `rebuilt`: as for
    `judged_against`.
    """
    by_input: dict[str, dict[str, StepStatus]] = {}
    for process in processes:
        by_input.setdefault(process.input_id, {})[process.step] = process
    refused = {item: found for item in inputs if (found := refusal(by_input.get(item.input_id, {}).values()))}
    again: dict[str, TriedAgain] = {}
    for step in PER_INPUT:
        of_step = [item for item, process in refused.items() if process.step == step]
        now = judged_against(context, step, of_step, rebuilt=rebuilt) if of_step else {}
        for item in of_step:
            process = refused[item]
            if process.judged_against != now[item.input_id]:
                first = _PARSE if _is_parsed_otherwise(context, by_input[item.input_id]) else step
                # the attempts make it another try if an earlier state comes back
                again[item.input_id] = TriedAgain(first, f"{now[item.input_id]}:{process.attempts}")
    return again


def _is_parsed_otherwise(context: SourceContext, steps: Mapping[str, StepStatus]) -> bool:
    """Return whether the input was parsed with another declaration: then its rows can be what was refused."""
    parsed = steps.get(_PARSE)
    return parsed is not None and parsed.declared not in (None, parsed_as(context.source))


def _declaration(source: Source) -> Mapping[str, Any]:
    # what is as by default does not count: a new version of the software can bring settings
    declared = source.model_dump(mode="json", include=_DECISIVE, exclude=_WORDS, exclude_defaults=True)
    return {**declared, "timezone": source.discovery.timezone}


def _contract(gate: Gate) -> str:
    try:
        return fingerprint(gate)
    except ConfigError as error:
        # the step refuses all inputs with this error, until the contract can be read
        return str(error)


def _digest(facts: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
