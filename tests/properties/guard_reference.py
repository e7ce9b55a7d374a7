"""Which inputs are held, written from the definition and nothing else: slow, small and obviously right.

Inputs are looked at in their order. Each is judged by the hub that those before it give, the held ones left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from reference import GivenInput, Row, Version, place


@dataclass(frozen=True)
class Guard:
    """The limits, and what the refresh type means.

    `meaning`: the versions that inputs give. `covers`: whether an input says all there is of what a row is about.
    `of_keys`: a row is known by its key; otherwise what an input brings stands for what goes. `of_table`: an input
    covers the whole table, and may leave nothing of it.
    """

    max_share: float
    min_rows: int
    meaning: Callable[[list[GivenInput]], list[Version]]
    covers: Callable[[GivenInput, Row], bool]
    of_keys: bool
    of_table: bool

    def held(self, inputs: Iterable[GivenInput], approved: Collection[str]) -> set[str]:
        """The ids of the inputs that wait for a person."""
        taken: list[GivenInput] = []
        held = set()
        for item in sorted(inputs, key=place):
            if item.input_id not in approved and self._is_too_much(taken, item):
                held.add(item.input_id)
            else:
                taken.append(item)
        return held

    def _is_too_much(self, taken: list[GivenInput], item: GivenInput) -> bool:
        before, after = self._standing(taken), self._standing([*taken, item])
        stood = sum(1 for row in before.values() if self.covers(item, row))
        gone, came = len(before.keys() - after.keys()), len(after.keys() - before.keys())
        lost = gone if self.of_keys else max(0, gone - came)
        if self.of_table and before and not after:
            return True
        return lost >= self.min_rows and lost > self.max_share * stood

    def _standing(self, inputs: list[GivenInput]) -> dict[Any, Row]:
        return {version.key: version.row for version in self.meaning(inputs) if version.is_current}
