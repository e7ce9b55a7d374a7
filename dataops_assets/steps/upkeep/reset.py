"""Resets a step and the steps after it for some inputs, so that they are run again.

A step that runs again replaces its earlier rows of an input. So nothing is removed here, and readers keep the old rows
until the new result is published. Only the status in the metadata is removed. So the next run of the source runs the
steps again, even if the process that requested the reset was killed.
"""

from __future__ import annotations

from collections.abc import Sequence

from dataops_assets.report import PER_INPUT, Input
from dataops_assets.steps.source_context import SourceContext


def forget(context: SourceContext, step: str, inputs: Sequence[Input]) -> None:
    """Mark `step` and the steps after it as not done for these inputs. Raises StorageError.

    Inputs that a rollback left out are taken back.

    With the ingest step, a damaged copy in the raw area is removed, so that it is copied again. A good copy stays,
    because its origin may be gone.
    """
    steps = PER_INPUT[PER_INPUT.index(step) :]
    context.metadata.releases.take_back(context.source.name, [item.input_id for item in inputs])
    context.metadata.forget(context.source.name, steps, [item.input_id for item in inputs])
    if step == "ingest":
        for item in inputs:
            context.raw.discard_spoiled(item)
