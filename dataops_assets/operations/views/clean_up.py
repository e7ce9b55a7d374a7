"""How a clean-up is shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from dataops_assets.operations.answer import Shown
from dataops_assets.operations.clean_up import CleanUp


def clean_up(done: CleanUp) -> Iterator[Shown]:
    """Return the inputs that were settled, and the files that were removed."""
    if done.retained is not None:
        retained = done.retained
        yield (
            f"{done.source}: {retained.settled:,} inputs from before {retained.before:%Y-%m-%d %H:%M:%S} UTC are "
            f"settled, {retained.removed:,} of them superseded and removed"
        )
    yield f"{done.source}: {done.removed:,} files removed ({done.bytes / 1e6:,.1f} MB), {done.kept:,} kept"


def clean_up_as_data(done: CleanUp) -> dict[str, Any]:
    """Return a clean-up as values of JSON."""
    found = asdict(done)
    if done.retained is not None:
        found["retained"]["before"] = done.retained.before.isoformat()
    return found
