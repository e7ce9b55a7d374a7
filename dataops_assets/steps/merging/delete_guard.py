"""Holds an input that would delete too many rows, because empty and truncated extracts can empty a hub.

An input is compared with the table as it was just before it in the order of inputs: the hub made of the inputs before
it, without those that are held. So which inputs are held depends only on the set of inputs, not on who came first.
When an earlier input is added, removed, approved or parsed again, the later ones are judged again, even if they are in
the hub (`with_inputs_to_rejudge`). If one of them is held then, it is removed from the hub.

A row is lost if it was in the table before the input and is not after it. With a key, that is a key that disappears.
Without a key, new rows of the input count against the deleted ones: a revised row is one deletion and one insertion.
When a person has approved an input, it may go on in every later run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from dataops_assets.config.quality import DeleteGuard
from dataops_assets.config.source import Source
from dataops_assets.engines.base import Session
from dataops_assets.errors import InputHeld
from dataops_assets.report import CheckOutcome
from dataops_assets.sql import query
from dataops_assets.steps.merging import replace_scope
from dataops_assets.steps.merging.change import Change, absence_deletes, current_row_count
from dataops_assets.steps.merging.input_periods import covers_of
from dataops_assets.steps.merging.input_statistics import extents_of
from dataops_assets.steps.merging.merge import Timeline
from dataops_assets.steps.merging.single_pass import Pairs
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage.delta import TableVersion

_EXAMPLES = 3


@dataclass(frozen=True)
class Loss:
    """The rows that one input deletes, of the `before` rows in the table (or in the part that the input covers).

    * `gone`: rows that end with the input. `brought`: rows that begin with it.
    * `of_keys`: rows are identified by a key, so a new row does not replace a deleted one.
    * `of_table`: the input covers the whole table.
    """

    input_id: str
    gone: int
    brought: int
    before: int
    of_keys: bool
    of_table: bool
    examples: tuple[str, ...]

    @property
    def lost(self) -> int:
        """Return the number of rows that are deleted and not replaced."""
        return self.gone if self.of_keys else max(0, self.gone - self.brought)

    @property
    def leaves_nothing(self) -> bool:
        """Whether the input deletes all rows of the table."""
        return self.of_table and self.gone > 0 and self.before - self.gone + self.brought == 0

    def exceeds(self, guard: DeleteGuard) -> bool:
        """Whether the input deletes more rows than the guard allows without a person's approval."""
        if not guard.is_on:
            return False
        is_much = self.lost >= guard.min_rows and self.lost > guard.max_share * self.before
        return is_much or self.leaves_nothing

    def __str__(self) -> str:
        """Return the number of lost rows, their share and examples."""
        if not self.lost:
            return f"none of {self.before:,} rows is missing"
        shown = f", e.g. s_key {', '.join(map(repr, self.examples))}" if self.examples else ""
        why = "because they are missing" if self.of_keys else "and are not replaced"
        share = self.lost / self.before if self.before else 1.0
        return f"{self.lost:,} of {self.before:,} rows ({share:.1%}) go {why}{shown}"


def with_inputs_to_rejudge(session: Session, change: Change, lake: exp.Expr) -> Change:
    """Return the change with the applied inputs that must be judged again, and with their extents.

    These are the inputs that come after a moved input and cover a part of the same rows.
    """
    source = change.source
    known = change.manifest.inputs
    moved = [*change.adding, *(known[input_id].as_input for input_id in (*change.removing, *change.revisited))]
    if not (moved and source.gates.deletes.is_on and absence_deletes(source)):
        return change
    # nothing comes after the newest input, so the usual case reads nothing
    first, others, own = min(moved), change.applied_after(), set(change.moved)
    later = [item.input_id for item in others if item.input_id not in own and item.as_input > first]
    if later and source.refresh.range_by is not None and not change.is_remade:
        later = _overlapping(session, change, lake, later)
    if not later:
        return change
    extents = extents_of(session, source, lake, later) if replace_scope.is_partial(source) else {}
    return replace(change, judged=tuple(later), extents={**extents, **change.extents})


def losses(session: Session, base: TableVersion | None, timeline: Timeline) -> list[Loss]:
    """Return the loss of each input that is added or judged again, in the order of inputs.

    An input deletes nothing if keys of its rejected rows cannot be read.
    """
    change, source = timeline.change, timeline.change.source
    if not absence_deletes(source) or not (change.adding or change.judged):
        return []
    events = _by_input(timeline)
    found = session.fetch(
        query(
            """
            SELECT t.s_input_id, t.s_rank,
                   count(CASE WHEN t.s_deleted THEN 1 END) AS gone, count(CASE WHEN NOT t.s_deleted THEN 1 END) AS new,
                   min_by(CASE WHEN t.s_deleted THEN t.s_key END, t.s_key, $examples) AS examples
            FROM $timeline AS t
            WHERE t.s_rank > 0 AND t.s_is_event AND CASE WHEN t.s_deleted THEN t.s_deleted_before = FALSE
                                                          ELSE coalesce(t.s_deleted_before, TRUE) END
            GROUP BY t.s_input_id, t.s_rank ORDER BY t.s_rank
            """,
            examples=_EXAMPLES,
            timeline=events,
        )
    ).to_pylist()
    by_input = {row["s_input_id"]: row for row in found}
    of_table = not replace_scope.is_partial(source)
    standing = _standing_at_start(session, base, timeline) if of_table else 0
    result = []
    judged = {*change.ids, *change.judged}
    for item in change.applied_after():
        row = by_input.get(item.input_id, {})
        gone, brought = int(row.get("gone", 0)), int(row.get("new", 0))
        examples = tuple(key for key in row.get("examples") or () if key is not None)
        if item.input_id in judged:
            before = standing if of_table else max(0, gone + change.rows(item.input_id) - brought)
            of_keys = bool(source.refresh.key)
            result.append(Loss(item.input_id, gone, brought, before, of_keys, of_table, examples))
        standing += brought - gone
    return result if of_table else _without_kept_out(session, result, timeline, events)


def first_held(context: SourceContext, implied: Sequence[Loss]) -> Loss | None:
    """Return the first input that must wait for approval. The inputs after it are then compared without it."""
    exceeding = [item for item in implied if item.exceeds(context.source.gates.deletes)]
    approved = context.metadata.decisions.approved(context.source.name) if exceeding else frozenset()
    return next((item for item in exceeding if item.input_id not in approved), None)


def held_error(source: Source, item: Loss) -> InputHeld:
    """Return the error that says how many rows the input deletes, which ones, and what to do next."""
    guard = source.gates.deletes
    limit = f"the limit is {guard.max_share:.0%}, from {guard.min_rows:,} rows on"
    if item.leaves_nothing:
        limit = "no row would be left"
    return InputHeld(
        f"taking input {item.input_id} of {source.name!r}: it waits for a person's approval",
        received=f"{item}; {limit}",
        next_step=f"if the rows are really gone, run: dataops approve {source.name} {item.input_id} (or launch the "
        "job approve_inputs in the Dagster UI); otherwise deliver the extract again; the hub does not contain this "
        "input",
    )


def check_outcome(source: Source, item: Loss) -> CheckOutcome:
    """Return the result of the check. It fails for an approved input, too, so that the deletion stays visible."""
    return CheckOutcome(
        f"lake/{source.name}_changes",
        "deletes",
        not item.exceeds(source.gates.deletes),
        "warn",
        str(item),
        item.input_id,
        {"deleted": item.lost, "before": item.before},
    )


def has_ties(change: Change, *, late: bool) -> bool:
    """Whether inputs have the same extract time: a timeline has only the last of their observations at one instant."""
    times = [item.extract_time for item in (change.applied_after() if late else change.adding)]
    return len(set(times)) < len(times)


def _by_input(timeline: Timeline) -> exp.Expr:
    """Return the timeline with every observation of one instant, in the order of inputs."""
    if isinstance(timeline.seen, Pairs) or not has_ties(timeline.change, late=timeline.delivery.late):
        return query("SELECT t.* FROM $timeline AS t", timeline=timeline.ordered.rows)
    return query(
        """
        SELECT s.s_input_id, s.s_rank, s.s_key, s.s_deleted, TRUE AS s_is_event,
               lag(s.s_deleted) OVER (PARTITION BY s.s_key ORDER BY s.s_rank, s.s_row_id) AS s_deleted_before
        FROM $seen AS s
        """,
        seen=timeline.ordered.every,
    )


def _standing_at_start(session: Session, base: TableVersion | None, timeline: Timeline) -> int:
    """Return the number of rows before the first input that is not part of the start of the timelines."""
    if base is not None and not timeline.delivery.late:
        return current_row_count(session, timeline.change.source, base)
    if timeline.change.settled is None:
        return 0
    start = query(
        "SELECT count(*) AS n FROM $timeline AS t WHERE t.s_rank = 0 AND NOT t.s_deleted",
        timeline=timeline.ordered.rows,
    )
    return int(session.fetch(start).column("n")[0].as_py())


def _without_kept_out(session: Session, losses: Sequence[Loss], timeline: Timeline, events: exp.Expr) -> list[Loss]:
    """Return the losses with `before` reduced by the rows that validations keep out of the hub.

    Does this only if an input may be held, because nothing else depends on it.
    """
    seen = timeline.seen
    if not any(item.lost >= timeline.change.source.gates.deletes.min_rows for item in losses):
        return list(losses)
    if isinstance(seen, Pairs):
        rows = query(
            """
            SELECT p.s_input_id, p.s_row_id, p.s_deleted_before AS s_gone FROM $pairs AS p
            SEMI JOIN $excluded AS x ON x.s_input_id = p.s_input_id AND x.s_row_id = p.s_row_id
            """,
            pairs=seen.rows,
            excluded=timeline.excluded,
        )
    else:
        rows = query(
            """
            SELECT o.s_input_id, o.s_row_id, max_by(t.s_deleted, t.s_rank) AS s_gone FROM $observed AS o
            SEMI JOIN $excluded AS x ON x.s_input_id = o.s_input_id AND x.s_row_id = o.s_row_id
            LEFT JOIN $timeline AS t ON t.s_key = o.s_key AND t.s_rank < o.s_rank
            GROUP BY o.s_input_id, o.s_row_id
            """,
            observed=seen.rows,
            excluded=timeline.excluded,
            timeline=events,
        )
    found = session.fetch(
        query(
            "SELECT s_input_id, count(*) AS n FROM $rows AS r WHERE coalesce(s_gone, TRUE) GROUP BY s_input_id",
            rows=rows,
        )
    )
    kept_out: Mapping[str, int] = {row["s_input_id"]: int(row["n"]) for row in found.to_pylist()}
    return [replace(item, before=item.before - kept_out.get(item.input_id, 0)) for item in losses]


def _overlapping(session: Session, change: Change, lake: exp.Expr, later: Sequence[str]) -> list[str]:
    """Return the later inputs whose range overlaps the range of a moved input."""
    source = change.source
    found = session.fetch(
        query(
            """
            SELECT DISTINCT n.s_input_id FROM $later AS n JOIN $moved AS m
              ON n.s_low <= m.s_high AND n.s_high >= m.s_low
            """,
            later=covers_of(session, source, lake, change.told_of(later)),
            moved=covers_of(session, source, lake, change.told_of(change.moved)),
        )
    )
    hit = set(found.column("s_input_id").to_pylist())
    return [input_id for input_id in later if input_id in hit]
