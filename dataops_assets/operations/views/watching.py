"""How the result of a watch is shown."""

from __future__ import annotations

from collections.abc import Iterator

from dataops_assets.operations.answer import Item, Shown
from dataops_assets.operations.watching import Watched


def shown(found: Watched) -> Iterator[Shown]:
    """Return the failures, or the message that nothing failed."""
    yield from (Item("failed", text) for text in found.failed)
    if not found.failed:
        yield f"nothing failed in {found.seconds / 60:.1f} minutes"
