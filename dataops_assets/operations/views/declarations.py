"""How moved declarations are shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from dataops_assets.operations.answer import Item, Shown
from dataops_assets.operations.moving.importing import ACTIONS, Preview


def preview(found: Preview) -> Iterator[Shown]:
    """Return an item for each declaration, then what is to do."""
    for item in found.moved:
        yield Item(
            item.action,
            f"{item.kind} {item.name}",
            [f"{change.kind} {change.name}: {change.action}, {change.weight}" for change in item.changes],
        )
    yield from (f"note: {note}" for note in found.notes)
    counted = Counter(item.action for item in found.moved)
    yield ", ".join(f"{counted[action]} {action}" for action in ACTIONS)
    if found.written:
        yield "written; next: dataops plan"
    elif found.differs:
        yield "nothing was written; the same command with --write does it"


def as_data(found: Preview) -> dict[str, Any]:
    """Return a preview as values of JSON."""
    return {
        "declarations": [asdict(item) for item in found.moved],
        "files": dict(found.files),
        "notes": list(found.notes),
        "written": found.written,
    }
