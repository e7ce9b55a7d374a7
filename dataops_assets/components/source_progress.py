"""Reads the progress of a source: which inputs are to do, held or failed, and which sources they wait for.

The sensor decides with it what to run, and `dataops status` shows it, so both mean the same by every word. It reads
only inputs with something left to do: the cost follows them, not the history.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from dataops_assets.components.requests import Progress, progress
from dataops_assets.errors import InputError
from dataops_assets.metadata.store import MetadataStore, StepStatus
from dataops_assets.report import PER_INPUT, Input
from dataops_assets.steps.merging.held_inputs import Held, held_inputs
from dataops_assets.steps.merging.manifest import HubManifest
from dataops_assets.steps.merging.refused_inputs import tried_again
from dataops_assets.steps.source_context import SourceContext


@dataclass(frozen=True)
class SourceProgress:
    """The unfinished inputs of a source in order, the last attempts of their steps, and what follows from them.

    `guarded` are the inputs that wait for a person.
    """

    inputs: Sequence[Input]
    processes: Sequence[StepStatus]
    guarded: Mapping[str, Held]
    state: Progress


def read_progress(context: SourceContext) -> SourceProgress:
    """Return the progress of a source."""
    metadata, name = context.metadata, context.source.name
    guarded = held_inputs(context)
    unfinished = metadata.unfinished(name)
    others = guarded.keys() - {item.input_id for item in unfinished}
    inputs = sorted([*unfinished, *metadata.inputs(name, sorted(others))])
    processes = metadata.processes(name, input_ids=[item.input_id for item in inputs])
    state = progress(inputs, processes, guarded, retried=tried_again(context, inputs, processes))
    return SourceProgress(inputs, processes, guarded, state)


def newest_done(context: SourceContext, step: str) -> str:
    """Return the id of the newest input that has passed a step; of the inputs in the hub, if it has any.

    Raises InputError if no input has passed the step.
    """
    metadata, name = context.metadata, context.source.name
    done = [input_id for input_id, status in metadata.step_status(name, step).items() if status == "done"]
    if not done:
        raise InputError(
            f"running {step} of {name!r} again",
            received="no input has passed it yet",
            next_step="materialize it for an input first; checks are evaluated with it",
        )
    hub = context.hub.snapshot()
    # a removed input has passed the step, too
    in_hub = HubManifest.read(hub.info if hub else None).inputs
    return metadata.inputs(name, [one for one in done if one in in_hub] or done)[-1].input_id


def unsettled(metadata: MetadataStore, names: Collection[str]) -> list[str]:
    """Return which of these sources have unfinished inputs, or no input in their hub, each with the reason.

    The snapshot rules of a source wait for the sources that they look up: a snapshot value is frozen, so a row must not
    be processed before the rows that it looks up.
    """
    found = []
    for name in names:
        left = metadata.unfinished(name)
        processes = metadata.processes(name, input_ids=[item.input_id for item in left])
        done, _ = metadata.done_steps(name, PER_INPUT[-1:])
        state = progress(left, processes, others_done=done)
        if not state.is_settled:
            what = f"{len(state.under_way)} inputs on their way" if state.under_way else "no input in its hub"
            found.append(f"{name} ({what})")
    return found
