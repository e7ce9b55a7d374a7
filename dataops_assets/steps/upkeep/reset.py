"""Forgets what a step, and those after it, made of inputs, so that they are run again.

A step that is run again replaces what it made of an input before, so nothing of that is removed here and readers keep
what they have until the new result is published. Forgotten is that the steps are done. So whoever runs the source next
runs them, even where the process that asked for it was killed.
"""

from __future__ import annotations

from collections.abc import Sequence

from dataops_assets.report import PER_INPUT, Input
from dataops_assets.steps.source_context import SourceContext


def forget(context: SourceContext, step: str, inputs: Sequence[Input]) -> None:
    """Forget that `step` and the steps after it are done for these inputs. Raises StorageError.

    A copy in the raw area that is not what was received is removed with the ingest step, so that it is made again; a
    good one stays, because its origin may be gone.
    """
    steps = PER_INPUT[PER_INPUT.index(step) :]
    context.metadata.forget(context.source.name, steps, [item.input_id for item in inputs])
    if step == "ingest":
        for item in inputs:
            context.raw.discard_spoiled(item)
