"""How findings and repairs are shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from dataops_assets.operations.answer import Column, Shown, Table
from dataops_assets.operations.doctor import Repair
from dataops_assets.steps.upkeep.examination import Finding


def findings(found: Sequence[Finding]) -> Iterator[Shown]:
    """Return each finding with its next step, and their number."""
    if found:
        columns = (Column("place"), Column("problem"), Column("next"))
        yield Table(columns, [[item.place, item.problem, item.next_step] for item in found], is_prose=True)
    yield f"{len(found):,} findings" if found else "no findings"


def findings_as_data(found: Sequence[Finding]) -> list[dict[str, Any]]:
    """Return findings as values of JSON."""
    return [asdict(item) for item in found]


def repairs(done: Sequence[Repair]) -> Iterator[str]:
    """Return what was repaired."""
    yield from (f"{item.place}: {item.what}" for item in done)
