"""Run the steps of inputs again by hand, and print the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dataops_assets.report import Input
from dataops_assets.steps.merging.settled_inputs import settled_in_hub
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep.reset import forget

Say = Callable[[str], None]


def run_again(context: SourceContext, inputs: Sequence[Input], first: str, run_id: str, say: Say) -> int:
    """Run the steps of inputs from `first` to the hub. Return the exit status: 1 if an input failed."""
    # the import of Dagster, which gets the report, takes seconds
    from dataops_assets.components.by_hand import run_steps

    done = run_steps(context, inputs, first, run_id, lambda step: say(f"{step} of {len(inputs)} inputs"))
    for input_id, error in done.errors.items():
        say(f"input {input_id}: {error}")
    if done.report is not None and done.report.step == "refresh":
        say(f"{done.report.asset}: {done.report.rows:,} rows in version {done.report.version}")
    return 1 if done.errors else 0


def reset(context: SourceContext, step: str, input_ids: Sequence[str], say: Say) -> int:
    """Forget a step and all later steps of inputs (default: all that are not settled), and run them again.

    Returns the exit status. Raises InputError for an input that is unknown or settled.
    """
    context.metadata.register_source(context.source)
    known = context.metadata.inputs(context.source.name, list(input_ids) or None)
    settled = settled_in_hub(context, known)
    if input_ids:
        for error in settled.values():
            raise error
    inputs = [item for item in known if item.input_id not in settled]
    forget(context, step, inputs)
    return run_again(context, inputs, step, "dataops reset", say)
