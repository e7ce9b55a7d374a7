"""Records held inputs, and finds those that must be judged again.

The decision to hold an input depends on the inputs before it in the hub, on their rows, and on the settings of both
guards. A fingerprint of these is recorded with the input. When the fingerprint changes, or
a person approves the input, the sensor requests a run that judges the input again.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dataops_assets.errors import DataOpsError
from dataops_assets.metadata.decision_store import DELETES, Hold
from dataops_assets.report import Input
from dataops_assets.steps.enriching.row_status import verdict_of
from dataops_assets.steps.merging import anomaly_guard
from dataops_assets.steps.merging.manifest import HubManifest, settings_of
from dataops_assets.steps.source_context import SourceContext


@dataclass(frozen=True)
class Held:
    """A held input, with the reason. `again`: what it must be judged against now, empty if that is done already."""

    reason: str
    again: str = ""


def judged_against(
    context: SourceContext, manifest: HubManifest, validated: str | None, items: Iterable[Input]
) -> Mapping[str, str]:
    """Return, by input, a fingerprint of everything that decides whether it is held.

    That is the part of the hub of `manifest` that comes before the input, and the settings. `validated` is the version
    of the validations of that hub's rows.
    """
    source, rest = context.source, deque(manifest.ordered)
    limits = source.gates.deletes.model_dump(mode="json")
    odd = anomaly_guard.facts(context)
    facts = hashlib.sha256(json.dumps([settings_of(source), limits, validated, *([odd] if odd else [])]).encode())
    found = {}
    for item in sorted(items):
        # the order of inputs alone: an input of the hub knows nothing of its bytes
        place = (item.extract_time, item.arrival, item.input_id)
        while rest and (rest[0].extract_time, rest[0].arrival, rest[0].input_id) < place:
            other = rest.popleft()
            facts.update(json.dumps([other.input_id, other.complete, other.written]).encode())
        found[item.input_id] = facts.hexdigest()[:16]
    return found


def held_inputs(context: SourceContext) -> Mapping[str, Held]:
    """Return the held inputs of the source, by id."""
    metadata, source = context.metadata, context.source
    known = metadata.decisions.held(source.name)
    if not known:
        return {}
    hub = context.hub.snapshot()
    info = hub.info if hub else None
    manifest = HubManifest.read(info)
    approved = {kind: metadata.decisions.approved(source.name, kind) for kind in {item.kind for item in known.values()}}
    held = metadata.inputs(source.name, sorted(known))
    now = judged_against(context, manifest, verdict_of(info), held)
    found = {}
    for item in held:
        record, against = known[item.input_id], now[item.input_id]
        is_approved = item.input_id in approved[record.kind]
        # a held input can be in the hub: a run was killed, or lost a race, before it removed the input
        is_due = against != record.judged_against or is_approved or item.input_id in manifest.inputs
        again = f"{against}:{is_approved}" if is_due else ""
        found[item.input_id] = Held(record.reason, again)
    return found


def record_holds(
    context: SourceContext,
    held: Mapping[Input, DataOpsError],
    manifest: HubManifest,
    validated: str | None,
    kind: str = DELETES,
) -> None:
    """Record that these inputs are held, each with its error, as judged against the hub of `manifest`.

    Call this before the hub is changed. If a run is killed in between, it is run again, and an input that was removed
    from the hub always has a record.
    """
    if not held:
        return
    source = context.source
    against = judged_against(context, manifest, validated, held)
    found = [Hold(item.input_id, str(error), against[item.input_id], kind) for item, error in held.items()]
    context.metadata.decisions.hold(source.name, found)
