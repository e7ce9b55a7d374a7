"""Which runs a source needs: decided from what is known, and never from what was seen last.

Plain values in and out. What is known: the inputs that are registered, what became of each step of each, and which
runs are under way. So a look that is repeated, lost or made at a moved clock decides the same, an input is asked for
until it is done, and one that cannot be taken is not asked for again.

A run that fails as a whole, or dies, says nothing of any one of its inputs. So they are tried again in halves, until
the one that is at fault is alone. Only runs of an input alone count against it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from dataops_assets import errors
from dataops_assets.metadata.store import StepStatus
from dataops_assets.report import PER_INPUT, Input
from dataops_assets.steps.merging.held_inputs import Held

RUNS = 3
"""How many runs for the same may end without a result before the next one waits."""

_FIRST_PAUSE = dt.timedelta(minutes=1)
_LONGEST_PAUSE = dt.timedelta(hours=1)

JUDGED_FROM = PER_INPUT.index("cdc")
"""The step from which an input is run again that has to be judged again."""

WAITS_AT = PER_INPUT.index("enrich")
"""The step before which an input waits for other sources."""
_MERGES = PER_INPUT.index("refresh")

_PERMANENT = {
    kind.__name__: kind.permanent
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.DataOpsError)
}


@dataclass(frozen=True)
class Progress:
    """What is left to do of a source. `todo` has, by input id, the position in PER_INPUT of the first step to run.

    `held` are inputs that are not asked for again, with the reason. `failed` says how the step to run went the last
    time, where another try can help. `again` has, for inputs that are judged again, what they are judged against now.
    """

    todo: Mapping[str, int]
    held: Mapping[str, str]
    done: int
    failed: Mapping[str, StepStatus] = field(default_factory=dict)
    again: Mapping[str, str] = field(default_factory=dict)

    @property
    def under_way(self) -> Collection[str]:
        """What is on its way to the hub: to do, and not given up."""
        return [
            input_id
            for input_id in self.todo
            if input_id not in self.failed or self.failed[input_id].error_type != errors.GivenUp.__name__
        ]

    @property
    def is_settled(self) -> bool:
        """Whether there is anything in the hub and nothing on its way to it."""
        return self.done > 0 and not self.under_way

    @property
    def suspects(self) -> Mapping[str, tuple[str, int]]:
        """Inputs that a run failed with: the run, and how many of them may go together in the next one."""
        together = Counter(process.run_id for process in self.failed.values())
        found = {}
        for input_id, process in self.failed.items():
            count = together[process.run_id]
            # what is given up is alone already, or no step of it ever began
            is_half = process.error_type != errors.GivenUp.__name__
            found[input_id] = (process.run_id, (count + 1) // 2 if is_half else count)
        return found


def pause(runs: int) -> dt.timedelta:
    """How long the next try waits after so many runs for the same ended without a result."""
    if runs < RUNS:
        return dt.timedelta(0)
    # a power of any size is no time
    return min(_FIRST_PAUSE * 2 ** min(runs - RUNS, 10), _LONGEST_PAUSE)


def progress(
    inputs: Sequence[Input], processes: Sequence[StepStatus], guarded: Mapping[str, Held] | None = None
) -> Progress:
    """What became of `inputs`; `guarded` are those that are held because too much would be lost by them."""
    by_input: dict[str, dict[str, StepStatus]] = {}
    for process in processes:
        by_input.setdefault(process.input_id, {})[process.step] = process
    todo: dict[str, int] = {}
    held: dict[str, str] = {}
    failed: dict[str, StepStatus] = {}
    again: dict[str, str] = {}
    done = 0
    for item in inputs:
        steps = by_input.get(item.input_id, {})
        guard = (guarded or {}).get(item.input_id)
        if guard is not None and not _is_refused(steps):
            if guard.again:
                todo[item.input_id], again[item.input_id] = JUDGED_FROM, guard.again
            else:
                held[item.input_id] = f"{item.origin}: {guard.reason}"
            continue
        left = [position for position, step in enumerate(PER_INPUT) if not _is_done(steps.get(step))]
        if PER_INPUT.index("refresh") not in left:
            done += 1
        elif reason := _reason_to_hold(steps):
            held[item.input_id] = f"{item.origin}: {reason}"
        else:
            todo[item.input_id] = left[0]
            last = steps.get(PER_INPUT[left[0]])
            if last is not None and last.status == "failed" and last.error_type != errors.InputWaits.__name__:
                failed[item.input_id] = last
    return Progress(todo, held, done, failed, again)


def _is_done(process: StepStatus | None) -> bool:
    return process is not None and process.status == "done"


def _is_refused(steps: Mapping[str, StepStatus]) -> bool:
    """Whether a step cannot take the input for another reason than that too much would be lost by it."""
    return any(
        process.status == "failed"
        and process.error_type != errors.InputHeld.__name__
        and _PERMANENT.get(process.error_type or "", False)
        for process in steps.values()
    )


def _reason_to_hold(steps: Mapping[str, StepStatus]) -> str:
    for process in steps.values():
        if process.error_type == errors.InputWaits.__name__:
            # whether it still waits is looked at anew, and waiting is no attempt
            continue
        if process.status == "failed" and _PERMANENT.get(process.error_type or "", False):
            return f"{process.step} failed: {process.error}"
    return ""


@dataclass(frozen=True)
class Batch:
    """Inputs for one run, a range of the source's partitions, and the steps to run: from `first_step`, before `end`.

    `places` are where those of them that are in the hub already are to be merged now. `again` is what those that
    are judged again are judged against.
    """

    input_ids: tuple[str, ...]
    first_step: int
    end: int = len(PER_INPUT)
    places: tuple[str, ...] = ()
    again: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Equal for the same inputs, steps and places, where nothing is to be judged against something else."""
        steps = (PER_INPUT[self.first_step], *PER_INPUT[self.end :])
        text = "\n".join((*steps, *self.input_ids, *self.places, *self.again))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def batches(
    order: Sequence[str],
    state: Progress,
    running: Collection[str],
    most: int,
    waiting: Collection[str] = (),
    moved: Mapping[str, str] | None = None,
) -> Iterator[Batch]:
    """The runs that are needed: ranges of `order` (all partitions, as Dagster orders them) of at most `most` inputs.

    A range holds only inputs that are to do from the same step on, so no other input is run by being between them.
    Those that are `waiting` go as far as the step before they must wait. Those that a run failed with go in halves.
    Those that are `moved` are merged again at the place that is given.
    """
    suspects, places = state.suspects, moved or {}
    todo = {**state.todo, **dict.fromkeys(places, _MERGES)}

    def steps(input_id: str) -> tuple[int, int, tuple[str, int]]:
        if input_id in running:
            return 0, 0, ("", 0)
        end = WAITS_AT if input_id in waiting else len(PER_INPUT)
        return min(todo.get(input_id, end), end), end, suspects.get(input_id, ("", 0))

    for (first, end, (_, size)), members in groupby(order, key=steps):
        if first == end:
            continue
        ids = tuple(members)
        size = min(most, size) if size else most
        for start in range(0, len(ids), size):
            some = ids[start : start + size]
            merged = tuple(places[input_id] for input_id in some if input_id in places)
            yield Batch(some, first, end, merged, tuple(state.again[one] for one in some if one in state.again))
