"""Which runs a source needs: decided from what is known, and never from what was seen last.

Plain values in and out. What is known: the inputs that are registered, what became of each step of each, and which
runs are under way. So a look that is repeated, lost or made at a moved clock decides the same, an input is asked for
until it is done, and one that cannot be taken is not asked for again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from dataops_assets import errors
from dataops_assets.metadata.store import Process
from dataops_assets.steps.report import PER_INPUT, Input

RUNS = 3
"""How many runs an input gets for faults that another try can help, before a person must look."""

WAITS_AT = PER_INPUT.index("enrich")
"""The step before which an input waits for other sources."""

_PERMANENT = {
    kind.__name__: kind.permanent
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.DataOpsError)
}


@dataclass(frozen=True)
class Progress:
    """What is left to do of a source. `todo` has, by input id, the position in PER_INPUT of the first step to run.

    `held` are inputs that are not asked for again, with the reason.
    """

    todo: Mapping[str, int]
    held: Mapping[str, str]
    done: int

    @property
    def is_settled(self) -> bool:
        """Whether there is anything in the hub and nothing on its way to it."""
        return self.done > 0 and not self.todo


def progress(inputs: Sequence[Input], processes: Sequence[Process], attempts_a_run: int) -> Progress:
    """What became of `inputs`. `attempts_a_run` is how often one run tries a step."""
    by_input: dict[str, dict[str, Process]] = {}
    for process in processes:
        by_input.setdefault(process.input_id, {})[process.step] = process
    todo: dict[str, int] = {}
    held: dict[str, str] = {}
    done = 0
    for item in inputs:
        steps = by_input.get(item.input_id, {})
        left = [position for position, step in enumerate(PER_INPUT) if not _is_done(steps.get(step))]
        if PER_INPUT.index("refresh") not in left:
            done += 1
        elif reason := _reason_to_hold(steps, attempts_a_run):
            held[item.input_id] = f"{item.origin}: {reason}"
        else:
            todo[item.input_id] = left[0]
    return Progress(todo, held, done)


def _is_done(process: Process | None) -> bool:
    return process is not None and process.status == "done"


def _reason_to_hold(steps: Mapping[str, Process], attempts_a_run: int) -> str:
    for process in steps.values():
        if process.error_type == errors.InputWaits.__name__:
            # whether it still waits is looked at anew, and waiting is no attempt
            continue
        if process.status == "failed" and _PERMANENT.get(process.error_type or "", False):
            return f"{process.step} failed: {process.error}"
        if process.status != "done" and process.attempts >= RUNS * attempts_a_run:
            return f"{process.step} given up after {process.attempts} attempts: {process.error or 'never finished'}"
    return ""


@dataclass(frozen=True)
class Batch:
    """Inputs for one run, a range of the source's partitions, and the steps to run: from `first_step`, before `end`."""

    input_ids: tuple[str, ...]
    first_step: int
    end: int = len(PER_INPUT)

    @property
    def digest(self) -> str:
        """Equal for the same inputs and steps."""
        text = "\n".join((PER_INPUT[self.first_step], *PER_INPUT[self.end :], *self.input_ids))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def batches(
    order: Sequence[str], todo: Mapping[str, int], running: Collection[str], most: int, waiting: Collection[str] = ()
) -> Iterator[Batch]:
    """The runs that are needed: ranges of `order` (all partitions, as Dagster orders them) of at most `most` inputs.

    A range holds only inputs that are to do from the same step on, so no other input is run by being between them.
    Those that are `waiting` go as far as the step before they must wait.
    """

    def steps(input_id: str) -> tuple[int, int]:
        if input_id in running:
            return 0, 0
        end = WAITS_AT if input_id in waiting else len(PER_INPUT)
        return min(todo.get(input_id, end), end), end

    for (first, end), members in groupby(order, key=steps):
        if first == end:
            continue
        ids = tuple(members)
        for start in range(0, len(ids), most):
            yield Batch(ids[start : start + most], first, end)
