"""Decide which runs a source needs, from stored facts alone and never from the result of the last sensor tick.

All arguments and results are plain values. The facts are the registered inputs, the status of each step of each input,
and the active runs. So a tick that is repeated, lost or made after a clock change decides the same. An input is
requested until it is done. An input with a permanent error is requested again only when what refused it changed.

A run that fails as a whole, or is killed, does not show which input is at fault. So its inputs are tried again in
halves, until the faulty input is alone. Only runs with one input count as failed attempts of that input.
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
from dataops_assets.steps.merging.refused_inputs import TriedAgain, refusal

RUNS = 3
"""Number of runs of the same batch that may end without a result before the next one waits."""

_FIRST_PAUSE = dt.timedelta(minutes=1)
_LONGEST_PAUSE = dt.timedelta(hours=1)

JUDGED_FROM = PER_INPUT.index("cdc")
"""First step to run again for a held input that is judged again."""

WAITS_AT = PER_INPUT.index("enrich")
"""The step before which an input waits for other sources, as a position in PER_INPUT."""
_MERGES = PER_INPUT.index("refresh")


@dataclass(frozen=True)
class Progress:
    """Progress of a source. `todo` has, by input id, the position in PER_INPUT of the first step to run.

    `held` has the reason for inputs that are not requested again. `refused` has, for those of them that failed with a
    permanent error, the failed step; the others wait for a person. `failed` has the last attempt of the step to
    run, if a retry can help. `again` has, for held or refused inputs to judge again, a fingerprint of what they are
    judged against.
    """

    todo: Mapping[str, int]
    held: Mapping[str, str]
    done: int
    failed: Mapping[str, StepStatus] = field(default_factory=dict)
    again: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, StepStatus] = field(default_factory=dict)

    @property
    def under_way(self) -> Collection[str]:
        """Return the inputs that are to do and not given up."""
        return [
            input_id
            for input_id in self.todo
            if input_id not in self.failed or self.failed[input_id].error_type != errors.GivenUp.__name__
        ]

    @property
    def is_settled(self) -> bool:
        """Return whether the hub has inputs, and no other input is to do."""
        return self.done > 0 and not self.under_way

    @property
    def suspects(self) -> Mapping[str, tuple[str, int]]:
        """Return by input the failed run that it was in, and the maximum number of inputs of its next run."""
        together = Counter(process.run_id for process in self.failed.values())
        found = {}
        for input_id, process in self.failed.items():
            count = together[process.run_id]
            # a given up input ran alone already, or none of its steps ever began
            is_half = process.error_type != errors.GivenUp.__name__
            found[input_id] = (process.run_id, (count + 1) // 2 if is_half else count)
        return found


def pause(runs: int) -> dt.timedelta:
    """Return how long the next try waits after this number of runs of the same batch ended without a result."""
    if runs < RUNS:
        return dt.timedelta(0)
    # the exponent is limited, because a very large power does not fit into a duration
    return min(_FIRST_PAUSE * 2 ** min(runs - RUNS, 10), _LONGEST_PAUSE)


def progress(
    inputs: Sequence[Input],
    processes: Sequence[StepStatus],
    guarded: Mapping[str, Held] | None = None,
    others_done: int = 0,
    retried: Mapping[str, TriedAgain] | None = None,
) -> Progress:
    """Return the progress of `inputs`; `guarded` are the inputs that wait for a person.

    `others_done` is the number of inputs that are done and not among `inputs`. `retried` are refused inputs to try
    again.
    """
    by_input: dict[str, dict[str, StepStatus]] = {}
    for process in processes:
        by_input.setdefault(process.input_id, {})[process.step] = process
    todo: dict[str, int] = {}
    held: dict[str, str] = {}
    failed: dict[str, StepStatus] = {}
    again: dict[str, str] = {}
    refused: dict[str, StepStatus] = {}
    done = others_done
    for item in inputs:
        steps = by_input.get(item.input_id, {})
        guard = (guarded or {}).get(item.input_id)
        if guard is not None and refusal(steps.values()) is None:
            if guard.again:
                todo[item.input_id], again[item.input_id] = JUDGED_FROM, guard.again
            else:
                held[item.input_id] = f"{item.origin}: {guard.reason}"
            continue
        left = [position for position, step in enumerate(PER_INPUT) if not _is_done(steps.get(step))]
        if PER_INPUT.index("refresh") not in left:
            done += 1
        elif (one := (retried or {}).get(item.input_id)) is not None:
            todo[item.input_id], again[item.input_id] = PER_INPUT.index(one.step), one.against
        elif (wrong := refusal(steps.values(), or_held=True)) is not None:
            held[item.input_id] = f"{item.origin}: {wrong.step} failed: {wrong.error}"
            refused[item.input_id] = wrong
        else:
            todo[item.input_id] = left[0]
            last = steps.get(PER_INPUT[left[0]])
            if last is not None and last.status == "failed" and last.error_type != errors.InputWaits.__name__:
                failed[item.input_id] = last
    return Progress(todo, held, done, failed, again, refused)


def _is_done(process: StepStatus | None) -> bool:
    return process is not None and process.status == "done"


@dataclass(frozen=True)
class Batch:
    """Inputs for one run, a range of the source's partitions, with the steps to run: `first_step` to before `end`.

    `places` are the new arrival times of inputs that are merged again. `again` are the fingerprints (see `Progress`) of
    inputs that are judged again.
    """

    input_ids: tuple[str, ...]
    first_step: int
    end: int = len(PER_INPUT)
    places: tuple[str, ...] = ()
    again: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Return a hash of the inputs, steps, places and fingerprints; it identifies the batch."""
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
    """Return the needed runs: ranges of `order` (all partitions in Dagster's order) with at most `most` inputs.

    All inputs of a range start with the same step, so a range includes no input that is not to do. Inputs that are
    `waiting` run up to the step before the wait. Inputs of a failed run are tried again in halves. Inputs that are
    `moved` (arrival time by id) are merged again.
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
