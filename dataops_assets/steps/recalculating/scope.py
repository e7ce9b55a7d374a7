"""The rows that one attempt to recalculate computed."""

from __future__ import annotations

from dataclasses import dataclass

from dataops_assets.sql import Relation


@dataclass(frozen=True)
class Scope:
    """The rows that were computed again.

    * `recalculated`: the rows with all columns as they should be.
    * `rows`: their number. `seen`: number of rows for which also the rules `kept` were computed.
    * `description`: the scope as a text.
    * `kept`: rules whose values in the table stay for all other rows.
    * `touched`: identity of the rows, now or before, that changed or point to a changed row. None if all rows of the
      table were computed.
    """

    recalculated: Relation
    rows: int
    seen: int
    description: str
    kept: frozenset[str] = frozenset()
    touched: Relation | None = None

    def seen_by(self, rule: str) -> int:
        """Return the number of rows for which a rule was computed."""
        return self.seen if rule in self.kept else self.rows
