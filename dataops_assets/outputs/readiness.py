"""Says whether an output may deliver its table: not while inputs are held or have failed a gate."""

from __future__ import annotations

import datetime as dt

from dataops_assets.errors import GateFailed
from dataops_assets.outputs.context import OutputContext
from dataops_assets.report import Input
from dataops_assets.steps.source_context import SourceContext

_SHOWN = 3


def require_ready(context: OutputContext) -> None:
    """Raise GateFailed if the source of a hub has inputs that a gate or the delete guard keeps out of it.

    An input that was removed, or sent again under its name, keeps nothing back.
    """
    source = context.source_context
    if source is None or context.output.when_held == "deliver":
        return
    problems = _kept_out(source)
    if problems:
        rest = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise GateFailed(
            f"delivering output {context.output.name!r} from {context.output.source}",
            received="; ".join(problems[:_SHOWN]) + rest,
            next_step=f"dataops status {source.source.name} says what to do; or declare when_held: deliver",
        )


def _kept_out(context: SourceContext) -> list[str]:
    name, metadata = context.source.name, context.metadata
    held = {input_id: f"input {input_id} is held" for input_id in metadata.decisions.held(name)}
    failed = {
        item.input_id: f"{item.step}: a gate failed for {f'input {item.input_id}' if item.input_id else 'the table'}"
        for item in metadata.processes(name)
        if item.status == "failed" and item.error_type == GateFailed.__name__
    }
    found = failed | held
    out = metadata.decisions.removed(name)
    replaced = _replaced(metadata.inputs_of_one_time(name)) if found else set()
    return [text for input_id, text in found.items() if input_id not in out and input_id not in replaced]


def _replaced(inputs: list[Input]) -> set[str]:
    """Return the inputs whose file was sent again under its own name; `inputs` are in their order."""
    newest: dict[tuple[str, dt.datetime], str] = {}
    for item in inputs:
        newest[item.origin, item.extract_time] = item.input_id
    return {item.input_id for item in inputs} - set(newest.values())
