"""Run the steps of inputs again by hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from dataops_assets.errors import DataOpsError
from dataops_assets.report import PER_INPUT, Input
from dataops_assets.steps.merging.settled_inputs import settled_in_hub
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep.reset import forget

if TYPE_CHECKING:
    from dataops_assets.components.by_hand import Done

Begin = Callable[[str], None]
"""Is called with a description of each step before it begins."""


def run_again(
    context: SourceContext, inputs: Sequence[Input], first: str, run_id: str, begin: Begin, last: str = PER_INPUT[-1]
) -> Done:
    """Run the steps of inputs from `first` to `last`, by default to the hub."""
    # the import of Dagster, which gets the report, takes seconds
    from dataops_assets.components.by_hand import run_steps

    return run_steps(context, inputs, first, run_id, lambda step: begin(f"{step} of {len(inputs)} inputs"), last=last)


def reset(context: SourceContext, step: str, input_ids: Sequence[str], begin: Begin) -> Done:
    """Forget a step and all later steps of inputs, and run them again.

    The default are all inputs that are not settled and that no rollback left out.

    Raises InputError for an input that is unknown or settled.
    """
    context.metadata.contracts.register(context.source)
    known = context.metadata.inputs(context.source.name, list(input_ids) or None)
    settled = settled_in_hub(context, known)
    if input_ids:
        for error in settled.values():
            raise error
    out = frozenset() if input_ids else context.metadata.releases.left_out(context.source.name)
    inputs = [item for item in known if item.input_id not in settled and item.input_id not in out]
    forget(context, step, inputs)
    return run_again(context, inputs, step, "dataops reset", begin)


def inputs_to_make(context: SourceContext) -> tuple[list[Input], list[Input]]:
    """Return the inputs of a source that its tables can be made of, and those that are settled, in order.

    Those are inputs that were parsed and are not removed. Of a settled one, retention has removed rows. Registers the
    source.
    """
    source, metadata = context.source.name, context.metadata
    metadata.contracts.register(context.source)
    parsed = {one for one, status in metadata.step_status(source, "parse").items() if status == "done"}
    kept = parsed - metadata.decisions.removed(source) - metadata.releases.left_out(source)
    inputs = [item for item in metadata.inputs(source) if item.input_id in kept]
    settled = settled_in_hub(context, inputs)
    return (
        [item for item in inputs if item.input_id not in settled],
        [item for item in inputs if item.input_id in settled],
    )


def make_again(
    context: SourceContext, inputs: Sequence[Input], run_id: str, begin: Begin
) -> Mapping[str, DataOpsError]:
    """Remove the tables of a source, and make them again of these inputs from their raw bytes.

    Only for a private environment: no history is kept. Returns the errors of inputs.
    """
    had_current = context.current.newest() is not None
    for table in context.tables:
        # the files have another name in the deployment
        shutil.rmtree(table.uri, ignore_errors=True)
    forget(context, "parse", inputs)
    done = run_again(context, inputs, "parse", run_id, begin)
    if had_current and context.hub.newest() is not None:
        # the import of Dagster, which gets the report, takes seconds
        from dataops_assets.components.by_hand import recalculate

        begin("recalculate")
        recalculate(context)
    return done.errors
