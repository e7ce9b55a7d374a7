"""Finds the inputs that must wait until another source is recent enough.

The recency of a source is the newest extract time among the inputs in its hub. Only published inputs count.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from dataops_assets.config.rules import Wait
from dataops_assets.config.source import Source
from dataops_assets.errors import InputWaits
from dataops_assets.report import CheckOutcome, Input
from dataops_assets.steps.merging.manifest import HubManifest
from dataops_assets.steps.source_context import SourceContext


def waiting(context: SourceContext, inputs: Sequence[Input]) -> dict[str, InputWaits]:
    """Return the inputs that may not be enriched yet, by id, with the first source that is not recent enough."""
    found: dict[str, InputWaits] = {}
    for wait in context.source.waits_for:
        recent = _recency(context, wait.source) if inputs else None
        for item in inputs:
            if recent is None or recent < item.extract_time - wait.within:
                found.setdefault(item.input_id, _error(context.source, wait, item, recent))
    return found


def outcomes(source: Source, inputs: Sequence[Input], waiting: Mapping[str, InputWaits]) -> tuple[CheckOutcome, ...]:
    """Return the check result of each input: failed if it waits, passed otherwise."""
    if not source.waits_for:
        return ()
    names = " and ".join(item.source for item in source.waits_for)
    passed = [item.input_id for item in inputs if item.input_id not in waiting]
    asset = f"hub/{source.name}_enriched"
    return (
        *(CheckOutcome(asset, "waits_for", True, "warn", f"{names}: recent enough", input_id) for input_id in passed),
        *(
            CheckOutcome(asset, "waits_for", False, "warn", f"waits: {error.received}", input_id)
            for input_id, error in waiting.items()
        ),
    )


def _recency(context: SourceContext, name: str) -> dt.datetime | None:
    hub = context.table(f"hub/{name}").snapshot()
    inputs = HubManifest.read(hub.info if hub else None).inputs.values()
    return max((item.extract_time for item in inputs), default=None)


def _error(source: Source, wait: Wait, item: Input, recent: dt.datetime | None) -> InputWaits:
    known = f"hub/{wait.source} is of {_shown(recent)}" if recent else f"hub/{wait.source} has no input"
    return InputWaits(
        f"enriching input {item.input_id} of {source.name!r}",
        received=f"{known}, needed is {_shown(item.extract_time - wait.within)} or newer",
        next_step=f"nothing; it goes on once {wait.source!r} is recent enough",
    )


def _shown(time: dt.datetime) -> str:
    return time.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
