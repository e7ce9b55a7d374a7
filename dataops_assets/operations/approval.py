"""Approve held inputs in the name of a person."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from dataclasses import dataclass

from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep import approvals


@dataclass(frozen=True)
class Approval:
    """Approved inputs of a source, and the person who approved them."""

    source: str
    inputs: Sequence[str]
    by: str


def approve(context: SourceContext, input_ids: Sequence[str], by: str = "") -> Approval:
    """Approve the deletions of held inputs. `by` is a person; default: the user of the operating system.

    Raises InputError, and approves none, if one of them is not held.
    """
    person = by or getpass.getuser()
    return Approval(context.source.name, approvals.approve(context, input_ids, f"dataops approve by {person}"), person)
