"""Whatever happens between two looks, every settled version of a file is exactly one arrival of exactly one input."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dataops_assets.connections.discovery import discover
from dataops_assets.connections.look import ReadingTime
from dataops_assets.metadata.store import Arrival, MetadataStore

SETTLE = 10.0


class Dying(MetadataStore):
    def remember_arrivals(self, source: str, arrivals: Sequence[Arrival]) -> None:  # noqa: ARG002
        raise KeyboardInterrupt


def budget(is_spent: bool) -> dict[str, Any]:
    """What a look may take: all, or no more than one file, since its time is over at once."""
    return {"clock": lambda: 0.0} | ({"budget_seconds": 0, "least_files": 1} if is_spent else {})


write = st.tuples(st.just("write"), st.sampled_from("abc"), st.binary(max_size=2), st.floats(-30, 30))
look = st.tuples(st.just("look"), st.booleans(), st.booleans())
clock = st.tuples(st.just("clock"), st.integers(-100_000, 100_000))


@settings(max_examples=30, deadline=None)
@given(
    refresh=st.sampled_from([{"type": "append"}, {"type": "full"}]),
    steps=st.lists(st.one_of(write, look, clock), max_size=15),
)
def test_nothing_is_missed_or_taken_twice(make_place: Any, refresh: dict[str, str], steps: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as home:
        place = make_place(Path(home) / "home", refresh=refresh, settle_seconds=SETTLE)
        reported: list[str] = []
        died = any(step[0] == "look" and step[1] for step in steps)
        for step in steps:
            if step[0] == "write":
                place.deliver(step[1], step[2], age=step[3])
            elif step[0] == "clock":
                place.now += dt.timedelta(seconds=step[1])
            elif step[1]:
                dying = Dying(place.environment.metadata_url)
                with contextlib.suppress(KeyboardInterrupt):
                    discover(
                        place.source, place.environment, dying, now=place.now, limit=ReadingTime(**budget(step[2]))
                    )
            else:
                found = place.look(after=1, **budget(step[2]))
                reported += [item.input_id for item in found.new]
        # left in peace, a few looks find everything, wherever the clock stands
        for _ in range(8):
            found = place.look(after=SETTLE)
            reported += [item.input_id for item in found.new]
        assert (found.new, found.noted, found.settling, found.left, found.problems) == ([], [], [], [], [])

        inputs = place.metadata.inputs("sales")
        ids = [item.input_id for item in inputs]
        assert len(reported) == len(set(reported))
        assert set(reported) <= set(ids)
        arrivals = {(item.origin, item.size, item.modified): item for item in place.metadata.arrivals("sales")}
        for path in place.folder.iterdir():
            content, status = path.read_bytes(), path.stat()
            modified = dt.datetime.fromtimestamp(status.st_mtime, dt.UTC)
            arrival = arrivals[str(path), status.st_size, modified]
            assert arrival.digest == hashlib.sha256(content).hexdigest()
            assert arrival.input_id in ids
        # an input arrived when the newest version of a file with its content was made
        for item in inputs:
            known = [arrival.modified for arrival in arrivals.values() if arrival.input_id == item.input_id]
            # a look that died may have registered an arrival that no other look saw
            assert item.arrival == max(known) if not died else item.arrival >= max(known, default=item.arrival)
        assert len({(item.extract_time, item.content) for item in inputs}) == len(inputs)
