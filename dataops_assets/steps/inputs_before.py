"""Reads the earlier inputs that the inputs of a table are compared with, and the stored forecast of the table."""

from __future__ import annotations

from collections.abc import Sequence

from dataops_assets.profiles import Profile
from dataops_assets.quality.checks import Compared
from dataops_assets.quality.control.verdicts import WINDOW
from dataops_assets.steps.source_context import SourceContext


def saved_and_compared(context: SourceContext, asset: str, profiles: Sequence[Profile]) -> Compared:
    """Save the profiles of inputs in a table, and return the earlier inputs that they are compared with.

    They are saved first: of several versions of one file in a run only the last is history for the others. What is
    read depends on these inputs, and not on how many others are known.
    """
    metadata, name = context.metadata, context.source.name
    metadata.profiles.save(name, asset, profiles)
    if not profiles or not context.source.checks.compare_inputs:
        return Compared((), len(context.sources))
    known = metadata.profiles.before(name, asset, [item.input_id for item in profiles], WINDOW)
    faulty = metadata.decisions.faulty_inputs(name)
    return Compared(known, len(context.sources), faulty, metadata.forecasts.of(name, asset))
