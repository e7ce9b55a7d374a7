"""Held inputs on record: what each was judged against, and which of them have to be judged again.

The verdict on an input depends on the inputs before it in the hub, on their rows and on the limits. The fingerprint of
these is recorded with it. Once it is another, or a person approved the input, the sensor lets it be judged again.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from dataops_assets.config.source import Source
from dataops_assets.metadata.store import Hold
from dataops_assets.report import Input
from dataops_assets.steps.enriching.row_status import verdict_of
from dataops_assets.steps.merging.manifest import HubManifest, settings_of
from dataops_assets.steps.source_context import SourceContext

UNVALIDATED = "unvalidated"
"""Stands for the verdict of the validations where rows were compared that these had not been asked of yet."""


@dataclass(frozen=True)
class Held:
    """A held input: why, and what it has to be judged against now; empty where that was done already."""

    reason: str
    again: str = ""


def judged_against(
    source: Source, manifest: HubManifest, validated: str | None, items: Iterable[Input]
) -> Mapping[str, str]:
    """By input a fingerprint of what decides the verdict on it: what of the hub of `manifest` comes before it.

    `validated` is the version of the validations that the rows of that hub were asked for.
    """
    rest = deque(sorted(manifest.inputs.values()))
    limits = source.gates.deletes.model_dump(mode="json")
    facts = hashlib.sha256(json.dumps([settings_of(source), limits, validated]).encode())
    found = {}
    for item in sorted(items):
        place = replace(item, digest="", origin="", size=0)
        while rest and rest[0].as_input < place:
            other = rest.popleft()
            facts.update(json.dumps([other.input_id, other.complete, other.written]).encode())
        found[item.input_id] = facts.hexdigest()[:16]
    return found


def held_inputs(context: SourceContext, inputs: Iterable[Input]) -> Mapping[str, Held]:
    """Those of the source's inputs that are held, by id."""
    metadata, source = context.metadata, context.source
    known = metadata.holds(source.name)
    if not known:
        return {}
    hub = context.hub.snapshot()
    info = hub.info if hub else None
    manifest, approved = HubManifest.read(info), metadata.approved(source.name)
    held = [item for item in inputs if item.input_id in known]
    now = judged_against(source, manifest, verdict_of(info), held)
    found = {}
    for item in held:
        record, against, is_approved = known[item.input_id], now[item.input_id], item.input_id in approved
        # one that is in the hub all the same: a run was killed, or lost a race, before it took it out
        is_due = against != record.judged_against or is_approved or item.input_id in manifest.inputs
        again = f"{against}:{is_approved}" if is_due else ""
        found[item.input_id] = Held(record.reason, again)
    return found


def hold(context: SourceContext, held: Mapping[Input, str], manifest: HubManifest, validated: str | None) -> None:
    """Record that these inputs are held, each for a reason, judged by the hub of `manifest`.

    Done before the hub is changed: a run that is killed in between is run again, and an input that is taken out of the
    hub is never without a record.
    """
    if not held:
        return
    source = context.source
    against = judged_against(source, manifest, validated, held)
    found = [Hold(item.input_id, reason, against[item.input_id]) for item, reason in held.items()]
    context.metadata.hold(source.name, found)
