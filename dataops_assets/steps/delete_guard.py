"""Holds an input whose absences would delete much of the table: empty and truncated extracts are how hubs get lost.

A person approves the input, and from then on it may go on, whoever runs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dataops_assets.config.quality import DeleteGuard
from dataops_assets.config.source import Source
from dataops_assets.engines.base import Session
from dataops_assets.errors import InputHeld
from dataops_assets.sql import query
from dataops_assets.steps.change import ABSENT, Change, T, absence_deletes, standing_rows
from dataops_assets.steps.report import CheckOutcome
from dataops_assets.steps.workspace import Workspace
from dataops_assets.storage.delta import Snapshot

_EXAMPLES = 3


@dataclass(frozen=True)
class ImpliedDeletes:
    """Rows that one input deletes because it does not contain them, of how many that stood before it."""

    input_id: str
    deleted: int
    before: int
    examples: tuple[str, ...]

    def exceed(self, guard: DeleteGuard) -> bool:
        """Whether so many are more than may go without a person's approval."""
        return self.deleted >= guard.min_rows and self.deleted > guard.max_share * self.before

    def __str__(self) -> str:
        """Number, share and examples."""
        if not self.deleted:
            return f"none of {self.before:,} rows is missing"
        share = self.deleted / self.before if self.before else 1.0
        shown = f", e.g. s_key {', '.join(map(repr, self.examples))}" if self.examples else ""
        return f"{self.deleted:,} of {self.before:,} rows ({share:.1%}) go because they are missing{shown}"


def implied_deletes(session: Session, change: Change, base: Snapshot | None) -> list[ImpliedDeletes]:
    """One an input whose absences count for the first time and that changes the hub, in order.

    That is an input that is added, or one whose rejected rows were repaired. Needs the session's `timeline`.
    """
    source = change.source
    if not absence_deletes(source) or not change.adding:
        return []
    found = session.fetch(
        query(
            """
            SELECT t.s_input_id, t.s_rank,
                   sum(CASE WHEN t.s_deleted AND t.s_row_id = $absent THEN 1 ELSE 0 END) AS deleted,
                   sum(CASE WHEN NOT t.s_deleted AND coalesce(t.s_deleted_before, TRUE) THEN 1 ELSE 0 END) AS new,
                   min_by(CASE WHEN t.s_deleted THEN t.s_key END, t.s_key, $examples) AS examples
            FROM $timeline AS t WHERE t.s_added AND t.s_is_event AND NOT t.s_is_old
            GROUP BY t.s_input_id, t.s_rank ORDER BY t.s_rank
            """,
            absent=ABSENT,
            examples=_EXAMPLES,
            timeline=T.timeline,
        )
    )
    standing = standing_rows(session, source, base)
    result = []
    for row in found.to_pylist():
        known = change.manifest.inputs.get(row["s_input_id"])
        if known is None or not known.complete:
            examples = tuple(key for key in row["examples"] or () if key is not None)
            deleted = int(row["deleted"])
            # of an input that is not the newest, the rows that stood before it are not known
            result.append(ImpliedDeletes(row["s_input_id"], deleted, max(standing, deleted), examples))
        standing += int(row["new"]) - int(row["deleted"])
    return result


def held(workspace: Workspace, implied: Sequence[ImpliedDeletes]) -> ImpliedDeletes | None:
    """The first input that must wait for approval; those after it are to be compared without it."""
    exceeding = [item for item in implied if item.exceed(workspace.source.gates.deletes)]
    approved = workspace.metadata.approved(workspace.source.name) if exceeding else frozenset()
    return next((item for item in exceeding if item.input_id not in approved), None)


def error(source: Source, item: ImpliedDeletes) -> InputHeld:
    """Says how many rows and which, and how to go on."""
    guard = source.gates.deletes
    return InputHeld(
        f"taking input {item.input_id} of {source.name!r}: it waits for a person's approval",
        received=f"{item}; the limit is {guard.max_share:.0%}, from {guard.min_rows:,} rows on",
        next_step=f"if they are truly gone, materialize lake/{source.name}_changes and what follows it for this input "
        "with approve_deletes: true in the launchpad; otherwise let the extract be made again; the hub is untouched",
    )


def outcome(source: Source, item: ImpliedDeletes) -> CheckOutcome:
    """The check's result; it fails for what was approved, too, so that it stays visible."""
    return CheckOutcome(
        f"lake/{source.name}_changes",
        "deletes",
        not item.exceed(source.gates.deletes),
        "warn",
        str(item),
        item.input_id,
        {"deleted": item.deleted, "before": item.before},
    )
