"""Approves held inputs: their deletions or their anomalies."""

from __future__ import annotations

from collections.abc import Sequence

from dataops_assets.errors import InputError, nearest
from dataops_assets.metadata.decision_store import ANOMALY, DELETES
from dataops_assets.steps.source_context import SourceContext


def approve(context: SourceContext, input_ids: Sequence[str], approved_by: str) -> list[str]:
    """Record that a person approves held inputs; return their ids, each once.

    The approval is about what an input is held for. If it is then held for another reason, it needs another approval.
    An input that is approved already stays so. Raises InputError, and approves none, if an input was never held.
    """
    metadata, name = context.metadata, context.source.name
    metadata.contracts.register(context.source)
    held = metadata.decisions.held(name)
    approved = metadata.decisions.approved(name, DELETES) | metadata.decisions.approved(name, ANOMALY)
    if unknown := [one for one in input_ids if one not in held and one not in approved]:
        raise InputError(
            f"approving inputs of {name!r}",
            received=f"{', '.join(unknown)}, which are not held; nothing was approved",
            known=sorted(held),
            next_step=nearest(unknown[0], list(held)) or f"'dataops status {name}' shows what is held",
        )
    for kind in (DELETES, ANOMALY):
        of_kind = [one for one in input_ids if one in held and held[one].kind == kind]
        metadata.decisions.approve(name, of_kind, approved_by, kind)
    return list(dict.fromkeys(input_ids))
