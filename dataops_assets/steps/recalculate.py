"""Step 6, recalculate: the hub with its keep-current rules, as if all of them were computed now."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from dataops_assets.engines.base import Session
from dataops_assets.errors import CommitConflict, ConfigError, DataOpsError, InputError
from dataops_assets.quality.checks import table_outcomes
from dataops_assets.quality.gates import blocked, gate_table
from dataops_assets.quality.shares import null_share_outcome
from dataops_assets.rules.compiler import CompiledRules, compile_rules
from dataops_assets.rules.query import evaluate
from dataops_assets.rules.windows import Reach
from dataops_assets.sql import DIALECT, column, columns, query
from dataops_assets.steps.evolution import evolving
from dataops_assets.steps.lookups import RelatedHubs, conformed, refuse_ambiguous
from dataops_assets.steps.neighbourhood import find_moved, neighbourhood
from dataops_assets.steps.report import CheckOutcome, InputReport, StepReport
from dataops_assets.steps.workspace import Workspace
from dataops_assets.storage import publish
from dataops_assets.storage.delta import Snapshot

STEP = "recalculate"
_ATTEMPTS = 10
_IDENTITY = ("s_input_id", "s_row_id")
# what adding up floating-point numbers in another order may change
_NOISE = 1e-12


def recalculate(workspace: Workspace) -> StepReport:
    """Bring `hub/<source>_current` up to what the hub and the related hubs say now, by one commit of the difference.

    Grain: one row for each row of the hub (with history: for each current version). Rows are compared with the table as
    it is; windows are computed again only for rows that a changed row can be seen from, where the rules tell which
    these are. When nothing differs, nothing is committed. The report's one input report (id '') is the receipt:
    `rows_seen` (computed with all their rules) and `rows_changed`.

    Raises ConfigError for a source without keep-current rules, InputError when there is no hub yet, RuleError for a
    wrong rule, CommitConflict after many lost races. When a to-one look-up matches several rows (InputError) or the
    gate fails (GateFailed), nothing is published and the receipt carries the error.
    """
    workspace = evolving(workspace, workspace.lake.snapshot())
    rules = compile_rules(workspace.source, workspace.sources)
    if not rules.current.rules:
        raise ConfigError(
            f"recalculating {workspace.source.name!r}",
            received="no rule with 'mode: keep_current'",
            next_step="use hub/" + workspace.source.name,
        )
    started = time.perf_counter()
    for _ in range(_ATTEMPTS):
        try:
            with workspace.engine.session() as session:
                return _Recalculation(workspace, session, rules, started).run()
        except CommitConflict:
            # somebody else recalculated meanwhile, perhaps from an older hub: look again
            continue
    raise CommitConflict(
        f"publishing hub/{workspace.source.name}_current",
        received=f"{_ATTEMPTS} lost races",
        next_step="lower the number of concurrent runs of this source",
    )


@dataclass(frozen=True)
class _Difference:
    """How many rows are inserted and removed, and how many keys that concerns."""

    keys: int
    inserted: int
    removed: int


class _Recalculation:
    """One attempt on one version of every table.

    Its results are temporary tables of the session. `s_recalculated`: rows with all their columns as they should be,
    all rows or those that can differ. `s_difference`: identity of rows to insert, file and position of rows to remove.
    """

    def __init__(self, workspace: Workspace, session: Session, rules: CompiledRules, started: float) -> None:
        self._workspace = workspace
        self._session = session
        self._rules = rules
        self._stage = rules.current
        self._started = started
        self._asset = f"hub/{workspace.source.name}_current"
        self._hub = _hub(workspace)
        self._base = workspace.current.snapshot()
        self._related = RelatedHubs(workspace, session, rules.current)
        self._columns = {**rules.hub_columns, **{name: rule.type for name, rule in rules.current.rules.items()}}

    def run(self) -> StepReport:
        """Compute, compare, check, publish."""
        computed_from = self._computed_from()
        before = self._base.info.get("computed_from", {}) if self._base is not None else {}
        if before == computed_from:
            skipped = {"skipped": "rules and hubs are as they were"}
            return self._report(self._base, _receipt(0, 0), self._unchanged(), skipped)
        history = self._workspace.source.refresh.history
        hub = conformed(self._session, self._hub, self._rules.hub_columns, only_current=history)
        for ambiguous in refuse_ambiguous(self._session, self._stage, hub, self._related).values():
            return self._report(self._base, _receipt(0, 0, ambiguous))

        reach = self._stage.reach
        limited = self._is_limited(before, computed_from)
        if self._base is not None and reach is not None and limited:
            hub = self._in_reach(hub, self._base, reach)
        seen = self._compute(hub, only_seen=limited)
        difference = self._compare(seen, complete=not limited)
        notes: dict[str, str | int] = {"computed": "rows in reach of a changed row" if limited else "all rows"}
        notes |= {"inserted": difference.inserted, "removed": difference.removed, **self._related.notes}

        checks = self._gate(complete=not limited)
        for error in filter(None, map(blocked, checks)):
            return self._report(self._base, _receipt(seen, 0, error), checks, notes)
        snapshot = self._base
        if snapshot is None or difference.keys or dict(snapshot.columns) != self._columns:
            info = {"computed_from": computed_from, "rows_seen": seen, "rows_changed": difference.keys}
            snapshot = self._publish(difference, info)
        return self._report(snapshot, _receipt(seen, difference.keys), checks + self._looks(snapshot), notes)

    def _looks(self, snapshot: Snapshot) -> tuple[CheckOutcome, ...]:
        """Volume, schema and distribution of the table as it was published."""
        declared = self._workspace.source.checks
        found = table_outcomes(self._asset, snapshot.rows, snapshot.columns, self._columns, declared)
        if declared.distribution.enabled:
            before = self._base.null_shares() if self._base is not None else {}
            found += (null_share_outcome(self._asset, before, snapshot.null_shares(), declared.distribution),)
        return found

    def _unchanged(self) -> tuple[CheckOutcome, ...]:
        """The outcomes of a table that stays as it is: what was published has passed its gate."""
        gate, base = self._workspace.source.gates.current, self._base
        if base is None:
            return ()
        if gate is None:
            return self._looks(base)
        kept = CheckOutcome(
            self._asset, "contract", True, gate.severity, f"version {base.version} was checked when it was published"
        )
        return (kept, *self._looks(base))

    def _computed_from(self) -> dict[str, Any]:
        """Equal where the result cannot differ: the same rules on the same versions."""
        compiled = evaluate(
            self._stage, exp.select("*").from_("hub"), lambda lookup: exp.select("*").from_(lookup.source)
        )
        texts = [compiled.sql(DIALECT), json.dumps(self._columns)]
        return {
            "hub": self._hub.version,
            "related": dict(self._related.versions),
            "rules": hashlib.sha256("\n".join(texts).encode()).hexdigest(),
        }

    def _is_limited(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
        """Whether all that a window can see differently shows in a stored column of a row."""
        if self._base is None or self._stage.reach is None or before.get("rules") != now["rules"]:
            return False
        return all(before["related"].get(name) == now["related"].get(name) for name in self._stage.seen_by_windows)

    def _in_reach(self, hub: exp.Query, base: Snapshot, reach: Reach) -> exp.Query:
        """The rows of the hub that a changed row can be seen from, and what those see."""
        kept = [*self._rules.hub_columns, *self._stage.row_rules]
        new = evaluate(self._stage.only(self._stage.row_rules), hub, self._related)
        old = query("SELECT * FROM $old AS o", old=self._session.scan(base, positions=True))
        find_moved(self._session, reach, new, old, self._differs(base, kept))
        return neighbourhood(self._session, self._stage, reach, hub, self._related)

    def _compute(self, rows: exp.Query, *, only_seen: bool) -> int:
        """Create `s_recalculated` from `rows`, or from those of them with `s_is_seen`; how many they are."""
        computed = evaluate(self._stage, rows, self._related)
        found = query("SELECT $names FROM $rows AS r", names=columns(self._columns, "r"), rows=computed)
        self._session.create("s_recalculated", found.where(column("s_is_seen", "r")) if only_seen else found)
        return int(self._session.fetch(query("SELECT count(*) AS n FROM s_recalculated")).column("n")[0].as_py())

    def _compare(self, seen: int, *, complete: bool) -> _Difference:
        """Create `s_difference`; `complete`: a row of the table that was not computed is gone."""
        if self._base is None:
            return _Difference(seen, seen, 0)
        difference = query(
            """
            SELECT n.s_input_id, n.s_row_id, coalesce(n.s_key, o.s_key) AS s_key, o.s_file, o.s_position
            FROM s_recalculated AS n FULL JOIN $old AS o
              ON o.s_input_id = n.s_input_id AND o.s_row_id = n.s_row_id
            WHERE ($complete AND n.s_input_id IS NULL) OR o.s_input_id IS NULL
               OR (NOT n.s_input_id IS NULL AND ($differs))
            """,
            old=self._session.scan(self._base, positions=True),
            complete=complete,
            differs=self._differs(self._base, self._columns),
        )
        if not complete:
            gone = query(
                """
                SELECT m.s_input_id, CAST(NULL AS BIGINT) AS s_row_id, m.s_old_key AS s_key, m.s_file, m.s_position
                FROM s_moved AS m WHERE m.s_input_id IS NULL
                """
            )
            difference = exp.union(difference, gone, distinct=False)
        self._session.create("s_difference", difference)
        found = self._session.fetch(
            query(
                """
                SELECT count(DISTINCT s_key) AS keys, count(s_input_id) AS inserted, count(s_file) AS removed
                FROM s_difference AS d
                """
            )
        )
        return _Difference(**found.to_pylist()[0])

    def _differs(self, base: Snapshot, names: Iterable[str]) -> exp.Expr:
        if any(base.columns.get(name, kind) != kind for name, kind in self._columns.items()):
            # a column of another type cannot share a table with the old one: every row is written again
            return exp.true()
        conditions = []
        for name in names:
            if name in _IDENTITY:
                continue
            new = column(name, "n")
            old = column(name, "o") if name in base.columns else exp.null()
            rule = self._stage.rules.get(name)
            differs = query("$new IS DISTINCT FROM $old", new=new, old=old)
            if rule is not None and rule.inexact and rule.type == "DOUBLE":
                close = "coalesce(abs($new - $old) <= $noise * greatest(abs($new), abs($old)), FALSE)"
                differs = exp.and_(differs, query(close, new=new, old=old, noise=_NOISE).not_())
            conditions.append(differs)
        return exp.or_(*conditions)

    def _gate(self, *, complete: bool) -> tuple[CheckOutcome, ...]:
        """The outcome of the gate on the table as it would be."""
        gate = self._workspace.source.gates.current
        if gate is None:
            return ()
        rows = query("SELECT n.* FROM s_recalculated AS n")
        if self._base is not None and not complete:
            kept = query(
                """
                SELECT $names FROM $old AS o
                ANTI JOIN s_difference AS d ON d.s_file = o.s_file AND d.s_position = o.s_position
                """,
                names=columns(self._columns, "o"),
                old=self._session.scan(self._base, positions=True),
            )
            rows = exp.union(kept, self._inserted(), distinct=False)
        return (gate_table(self._session, gate, self._asset, rows),)

    def _inserted(self) -> exp.Query:
        rows: exp.Query = query("SELECT n.* FROM s_recalculated AS n")
        if self._base is not None:
            rows = query(
                """
                SELECT n.* FROM $rows AS n
                SEMI JOIN s_difference AS d ON d.s_input_id = n.s_input_id AND d.s_row_id = n.s_row_id
                """,
                rows=rows,
            )
        return rows

    def _publish(self, difference: _Difference, info: Mapping[str, Any]) -> Snapshot:
        removed = query("SELECT d.s_file, d.s_position FROM s_difference AS d WHERE NOT d.s_file IS NULL")
        snapshot = publish.apply(
            self._session,
            self._workspace.current,
            self._base,
            columns=self._columns,
            remove=removed if difference.removed else None,
            insert=self._inserted() if difference.inserted or self._base is None else None,
            info=info,
        )
        return publish.compact(self._session, self._workspace.current, snapshot)

    def _report(
        self,
        snapshot: Snapshot | None,
        receipt: InputReport,
        checks: tuple[CheckOutcome, ...] = (),
        notes: Mapping[str, str | int] | None = None,
    ) -> StepReport:
        return StepReport(
            step=STEP,
            asset=self._asset,
            inputs=(receipt,),
            rows=snapshot.rows if snapshot else 0,
            version=snapshot.version if snapshot else None,
            columns=snapshot.columns if snapshot else {},
            seconds=time.perf_counter() - self._started,
            checks=checks,
            notes=notes or {},
        )


def _receipt(seen: int, changed: int, error: DataOpsError | None = None) -> InputReport:
    """What the step did; it takes no inputs, so the id is empty."""
    return InputReport("", {"rows_seen": seen, "rows_changed": changed}, error)


def _hub(workspace: Workspace) -> Snapshot:
    hub = workspace.hub.snapshot()
    if hub is None:
        raise InputError(
            f"recalculating {workspace.source.name!r}",
            received="no hub",
            next_step=f"materialize hub/{workspace.source.name} first",
        )
    return hub
