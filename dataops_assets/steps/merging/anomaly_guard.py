"""Keeps inputs out of the hub whose rows are not as expected, until a person approves them (`gates.on_anomaly: hold`).

An input is judged by its parsed rows, against the inputs before it in the hub. Held inputs are not among these. So what
is held is a function of the set of inputs and of the approvals, in any order of arrival, as with the delete guard.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from dataops_assets.config.source import Source
from dataops_assets.errors import DataOpsError, InputError, InputHeld
from dataops_assets.metadata.decision_store import ANOMALY
from dataops_assets.profiles import Profile
from dataops_assets.quality.checks import Compared, EarlierInputs, anomalies, judged
from dataops_assets.quality.control.verdicts import WINDOW
from dataops_assets.report import CheckOutcome, Input
from dataops_assets.steps.merging.change import Change
from dataops_assets.steps.merging.manifest import HubManifest
from dataops_assets.steps.source_context import SourceContext

_Place = tuple[object, object, str]


def odd_inputs(context: SourceContext, manifest: HubManifest, adding: Iterable[Input]) -> dict[str, DataOpsError]:
    """Return by id, in order, why added inputs must wait: those that are odd after the hub of `manifest`.

    Nothing unless the source holds anomalies. An input without a profile cannot be judged: its error says so.
    """
    if not context.source.gates.holds_anomalies:
        return {}
    return _odd(context, [*(item.as_input for item in manifest.inputs.values()), *adding], {*_ids(adding)})


def odd_in_change(context: SourceContext, change: Change, without: Collection[str]) -> dict[str, DataOpsError]:
    """Return by id, in order, the inputs of a change that are odd in the hub that it makes.

    These are inputs that it adds, and inputs of the hub that come after an added or removed one. `without` are inputs
    that do not count, because they are removed or held.
    """
    if not context.source.gates.holds_anomalies or not change.moved:
        return {}
    known = change.manifest.inputs
    left_out = {*change.removing, *without}
    standing = {key: item.as_input for key, item in known.items()} | {item.input_id: item for item in change.adding}
    moved = {*change.moved, *without}
    ordered = sorted(standing.values(), key=_place)
    tested: set[str] = set()
    reach = 0
    for item in ordered:
        reach = WINDOW if item.input_id in moved else reach - 1
        is_settled = change.settled is not None and item.extract_time < change.settled
        if reach >= 0 and item.input_id not in left_out and not is_settled:
            tested.add(item.input_id)
    added = set(change.ids)
    found = _odd(context, [item for item in ordered if item.input_id not in left_out], tested)
    # what is in the hub already is not taken out because nobody knows how it looked
    return {key: error for key, error in found.items() if key in added or isinstance(error, InputHeld)}


def without(change: Change, held: Collection[str]) -> Change:
    """Return the change without these inputs: they are not added, and those that are in the hub are removed."""
    removing = set(change.removing)
    gone = [key for key in held if key in change.manifest.inputs and key not in removing]
    return replace(
        change,
        adding=tuple(item for item in change.adding if item.input_id not in held),
        removing=(*change.removing, *gone),
        judged=(),
    )


def facts(context: SourceContext) -> str:
    """Return a fingerprint of the settings that decide whether an input is an anomaly; '' if anomalies are not held."""
    source = context.source
    if not source.gates.holds_anomalies:
        return ""
    settings = [
        source.gates.on_anomaly,
        source.checks.model_dump(mode="json", include={"volume", "distribution", "control"}),
        len(context.sources),
        sorted(context.metadata.decisions.faulty_inputs(source.name)),
    ]
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def _odd(context: SourceContext, standing: Sequence[Input], tested: Collection[str]) -> dict[str, DataOpsError]:
    source, metadata = context.source, context.metadata
    if not tested:
        return {}
    ordered = sorted(standing, key=_place)
    places = [place for place, item in enumerate(ordered) if item.input_id in tested]
    # the manifest of a hub does not know the origin of its inputs
    window = metadata.inputs(source.name, _ids(ordered[max(0, places[0] - WINDOW) : places[-1] + 1]))
    profiles = metadata.profiles.of_inputs(source.name, f"lake/{source.name}", _ids(window))
    approved = metadata.decisions.approved(source.name, ANOMALY)
    waiting = [item for item in window if item.input_id in tested and item.input_id not in approved]
    found: dict[str, DataOpsError] = {
        item.input_id: _unknown(source, item) for item in waiting if item.input_id not in profiles
    }
    left = [item for item in waiting if item.input_id in profiles]
    while left:
        points = _points([item for item in window if item.input_id in profiles and item.input_id not in found])
        told = _judged(context, [profiles[item.input_id] for item in points], [profiles[one] for one in _ids(left)])
        odd = next((place for place, item in enumerate(left) if told[item.input_id]), None)
        if odd is None:
            break
        # what comes after it is compared with what there is without it
        found[left[odd].input_id] = _held(source, left[odd], told[left[odd].input_id])
        left = left[odd + 1 :]
    return found


def _judged(
    context: SourceContext, known: Sequence[Profile], tested: Sequence[Profile]
) -> Mapping[str, Sequence[CheckOutcome]]:
    checks, faulty = context.source.checks, context.metadata.decisions.faulty_inputs(context.source.name)
    told = judged(tested, Compared(known, len(context.sources), faulty), checks)
    earlier = EarlierInputs(known)
    return {
        profile.input_id: anomalies(profile, earlier.before(profile), checks, told.get(profile.input_id))
        for profile in tested
    }


def _points(inputs: Sequence[Input]) -> list[Input]:
    """Return the inputs, in order, without those whose file is among them in a later version."""
    newest = {(item.origin, item.extract_time): item.input_id for item in inputs}
    return [item for item in inputs if newest[item.origin, item.extract_time] == item.input_id]


def _held(source: Source, item: Input, outcomes: Sequence[CheckOutcome]) -> InputHeld:
    return InputHeld(
        f"taking input {item.input_id} of {source.name!r}: it waits for a person's approval",
        received="; ".join(f"{outcome.check}: {outcome.explanation}" for outcome in outcomes),
        next_step=f"if the data are right, run: dataops approve {source.name} {item.input_id} (or launch the job "
        f"approve_inputs in the Dagster UI); otherwise deliver the file again, or run: dataops remove {source.name} "
        f"{item.input_id}; the hub does not contain this input",
    )


def _unknown(source: Source, item: Input) -> InputError:
    return InputError(
        f"judging input {item.input_id} of {source.name!r}",
        received=f"no profile of it in lake/{source.name}, although anomalies are held",
        next_step=f"profile it: dataops reset {source.name} parse {item.input_id}",
    )


def _place(item: Input) -> _Place:
    return item.extract_time, item.arrival, item.input_id


def _ids(inputs: Iterable[Input]) -> list[str]:
    return [item.input_id for item in inputs]
