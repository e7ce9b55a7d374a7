"""Approves the deletions of inputs that the delete guard holds."""

from __future__ import annotations

from collections.abc import Sequence

from dataops_assets.errors import InputError, nearest
from dataops_assets.steps.source_context import SourceContext


def approve(context: SourceContext, input_ids: Sequence[str], approved_by: str) -> list[str]:
    """Record that a person approves the deletions of held inputs; return their ids, each once.

    An input that is approved already stays so. Raises InputError, and approves none, if an input was never held.
    """
    metadata, name = context.metadata, context.source.name
    metadata.register_source(context.source)
    held = metadata.holds(name)
    approved = metadata.approved(name)
    if unknown := [one for one in input_ids if one not in held and one not in approved]:
        raise InputError(
            f"approving inputs of {name!r}",
            received=f"{', '.join(unknown)}, which the delete guard does not hold; nothing was approved",
            known=sorted(held),
            next_step=nearest(unknown[0], list(held)) or f"'dataops status {name}' shows what is held",
        )
    metadata.approve(name, input_ids, approved_by)
    return list(dict.fromkeys(input_ids))
