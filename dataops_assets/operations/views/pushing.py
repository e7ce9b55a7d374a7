"""How pushed files are shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from dataops_assets.operations.answer import Item
from dataops_assets.operations.pushing import BAD, Pushed


def shown(found: Pushed) -> Item:
    """Return what became of a file."""
    return Item(found.became, f"{found.name} ({found.size:,} bytes)", [found.why] if found.why else [])


def told(found: Sequence[Pushed]) -> str:
    """Return the text about one round."""
    counted = Counter(item.became for item in found)
    return ", ".join(f"{number:,} {became}" for became, number in counted.items()) or "there are no files"


def is_bad(found: Sequence[Pushed]) -> bool:
    """Return whether a file was not sent that should have been."""
    return any(item.became in BAD for item in found)


def as_data(found: Sequence[Pushed]) -> dict[str, Any]:
    """Return a round as values of JSON."""
    return {"files": [asdict(item) for item in found], "is_well": not is_bad(found)}
