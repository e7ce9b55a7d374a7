"""Step 6, recalculate: the hub with its keep-current rules, as if all of them were computed now."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from typing import Any

from sqlglot import exp

from dataops_assets.engines.base import Session
from dataops_assets.errors import CommitConflict, ConfigError, DataOpsError, InputError
from dataops_assets.quality.gates import blocked, gate_table
from dataops_assets.rules.compiler import CompiledRules, compile_rules
from dataops_assets.rules.query import evaluate
from dataops_assets.sql import DIALECT, column, columns, query
from dataops_assets.steps.lookups import RelatedHubs, conformed, refuse_ambiguous
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

    Grain: one row for each row of the hub (with history: for each current version). When nothing differs, nothing is
    committed. The report's one input report (id '') is the receipt: `rows_seen`, `rows_changed`.

    Raises ConfigError for a source without keep-current rules, InputError when there is no hub yet, RuleError for a
    wrong rule, CommitConflict after many lost races. When a to-one look-up matches several rows (InputError) or the
    gate fails (GateFailed), nothing is published and the receipt carries the error.
    """
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


class _Recalculation:
    """One attempt on one version of every table."""

    def __init__(self, workspace: Workspace, session: Session, rules: CompiledRules, started: float) -> None:
        self._workspace = workspace
        self._session = session
        self._rules = rules
        self._started = started
        self._asset = f"hub/{workspace.source.name}_current"
        self._hub = _hub(workspace)
        self._base = workspace.current.snapshot()
        self._related = RelatedHubs(workspace, session, rules.current)
        self._columns = {**rules.hub_columns, **{name: rule.type for name, rule in rules.current.rules.items()}}

    def run(self) -> StepReport:
        """Compute, check, and publish what differs."""
        computed_from = self._computed_from()
        if self._base is not None and self._base.info.get("computed_from") == computed_from:
            return self._report(
                self._base, _receipt(0, 0), notes={"skipped": "rules and hubs are the same as last time"}
            )
        history = self._workspace.source.refresh.history
        rows = conformed(self._session, self._hub, self._rules.hub_columns, only_current=history)
        for ambiguous in refuse_ambiguous(self._session, self._rules.current, rows, self._related).values():
            return self._report(self._base, _receipt(0, 0, ambiguous))
        seen = self._compute(rows)
        outcomes = self._gate()
        for error in filter(None, map(blocked, outcomes)):
            return self._report(self._base, _receipt(seen, 0, error), outcomes)
        changed, inserted, removed = self._compare()
        snapshot = self._base
        if snapshot is None or changed or dict(snapshot.columns) != self._columns:
            info = {"computed_from": computed_from, "rows_seen": seen, "rows_changed": changed}
            snapshot = self._publish(info, insert=bool(inserted), remove=bool(removed))
        notes: dict[str, str | int] = {"inserted": inserted, "removed": removed, **self._related.notes}
        return self._report(snapshot, _receipt(seen, changed), outcomes, notes)

    def _computed_from(self) -> dict[str, Any]:
        """Equal where the result cannot differ: the same rules on the same versions."""
        rows = exp.select("*").from_("rows")
        compiled = evaluate(self._rules.current, rows, lambda lookup: exp.select("*").from_(lookup.source))
        texts = [compiled.sql(DIALECT), json.dumps(self._columns)]
        return {
            "hub": self._hub.version,
            "related": dict(self._related.versions),
            "rules": hashlib.sha256("\n".join(texts).encode()).hexdigest(),
        }

    def _compute(self, rows: exp.Query) -> int:
        """Create `s_recalculated`, the whole result; the number of its rows."""
        self._session.create(
            "s_recalculated",
            query(
                "SELECT $names FROM $rows AS r",
                names=columns(self._columns, "r"),
                rows=evaluate(self._rules.current, rows, self._related),
            ),
        )
        return int(self._session.fetch(query("SELECT count(*) AS n FROM s_recalculated")).column("n")[0].as_py())

    def _gate(self) -> tuple[CheckOutcome, ...]:
        gate = self._workspace.source.gates.current
        if gate is None:
            return ()
        return (gate_table(self._session, gate, self._asset, query("SELECT * FROM s_recalculated AS n")),)

    def _compare(self) -> tuple[int, int, int]:
        """Create `s_difference`: identity of rows to insert, file and position of rows to remove. Its three counts."""
        if self._base is None:
            difference = query(
                """
                SELECT n.s_input_id, n.s_row_id, CAST(NULL AS VARCHAR) AS s_file, CAST(NULL AS BIGINT) AS s_position
                FROM s_recalculated AS n
                """
            )
        else:
            difference = query(
                """
                SELECT n.s_input_id, n.s_row_id, o.s_file, o.s_position
                FROM s_recalculated AS n FULL JOIN $old AS o
                  ON o.s_input_id = n.s_input_id AND o.s_row_id = n.s_row_id
                WHERE n.s_input_id IS NULL OR o.s_input_id IS NULL OR $differs
                """,
                old=self._session.scan(self._base, positions=True),
                differs=self._differs(self._base),
            )
        self._session.create("s_difference", difference)
        counted = self._session.fetch(
            query("SELECT count(*) AS c, count(s_input_id) AS i, count(s_file) AS r FROM s_difference AS d")
        ).to_pylist()[0]
        return counted["c"], counted["i"], counted["r"]

    def _differs(self, base: Snapshot) -> exp.Expr:
        if any(base.columns.get(name, kind) != kind for name, kind in self._columns.items()):
            # a column of another type cannot share a table with the old one: every row is written again
            return exp.true()
        conditions = []
        for name in self._columns:
            if name in _IDENTITY:
                continue
            new = column(name, "n")
            old = column(name, "o") if name in base.columns else exp.null()
            rule = self._rules.current.rules.get(name)
            template = "$new IS DISTINCT FROM $old"
            if rule is not None and rule.inexact and rule.type == "DOUBLE":
                template += " AND NOT coalesce(abs($new - $old) <= $noise * greatest(abs($new), abs($old)), FALSE)"
                conditions.append(query(template, new=new, old=old, noise=_NOISE))
            else:
                conditions.append(query(template, new=new, old=old))
        return exp.or_(*conditions)

    def _publish(self, info: Mapping[str, Any], *, insert: bool, remove: bool) -> Snapshot:
        inserted = query(
            "SELECT n.* FROM s_recalculated AS n SEMI JOIN s_difference AS d "
            "ON d.s_input_id = n.s_input_id AND d.s_row_id = n.s_row_id"
        )
        removed = query("SELECT s_file, s_position FROM s_difference AS d WHERE NOT s_file IS NULL")
        snapshot = publish.apply(
            self._session,
            self._workspace.current,
            self._base,
            columns=self._columns,
            remove=removed if remove else None,
            insert=inserted if insert else None,
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
