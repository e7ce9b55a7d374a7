"""Step 6, recalculate: compute the keep-current rules, as if all of them were computed now."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlglot import exp

from dataops_assets.engines.base import Session
from dataops_assets.errors import ConfigError, DataOpsError, GateFailed
from dataops_assets.quality.checks import table_outcomes
from dataops_assets.quality.gates import blocked, gate_table
from dataops_assets.quality.shares import null_share_outcome
from dataops_assets.report import CheckOutcome, InputReport, RuleReceipt, StepReport
from dataops_assets.rules.compiler import CompiledRules, compile_rules
from dataops_assets.sql import columns, query
from dataops_assets.steps.enriching.look_ups import RelatedHubs, refuse_ambiguous, rows_cast_or_null, versions_of
from dataops_assets.steps.evolved_columns import evolving_now
from dataops_assets.steps.merging.judged_contracts import current_judged, current_not_judged, current_outcome
from dataops_assets.steps.recalculating.computed_rows import compute, kept_rules, touched_rows
from dataops_assets.steps.recalculating.difference import Difference, compare, inserted
from dataops_assets.steps.recalculating.scope import Scope
from dataops_assets.steps.recalculating.tables import Tables, those_in
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.stored_rows import version_made
from dataops_assets.storage import publish
from dataops_assets.storage.commit_retry import until_won
from dataops_assets.storage.delta import TableVersion

STEP = "recalculate"


def recalculate(context: SourceContext) -> StepReport:
    """Update `hub/<source>_current` to the hub and the related hubs as they are now, by one commit of the difference.

    Grain: one row for each row of the hub (with history: for each current version). The step computes again the rows
    that changed, the rows that point to a changed related row, and the rows that see one of these through a window. It
    computes a new or changed rule, and the rules that depend on it, for all rows. Then it compares the rows with the
    table and commits the difference. The report has one input report (id '') that counts `rows_seen` (computed again)
    and `rows_changed`; its receipts count the same for each rule.

    Raises ConfigError for a source without keep-current rules, InputError when there is no hub yet, RuleError for a
    wrong rule, CommitConflict after many lost races. When a to-one look-up matches several rows (InputError) or the
    gate fails (GateFailed), nothing is published and the receipt carries the error.
    """
    context = evolving_now(context)
    rules = compile_rules(context.source, context.sources)
    if not rules.current.rules:
        raise ConfigError(
            f"recalculating {context.source.name!r}",
            received="no rule with 'mode: keep_current'",
            next_step="use hub/" + context.source.name,
        )
    started = time.perf_counter()

    def attempt() -> StepReport:
        # after a lost race, start again: another run recalculated meanwhile, perhaps from an older hub
        with context.engine.session() as session:
            return _Recalculation(_tables(context, session, rules), started).run()

    return until_won(attempt, f"publishing hub/{context.source.name}_current")


class _Recalculation:
    """One attempt to recalculate, with one version of every table."""

    def __init__(self, tables: Tables, started: float) -> None:
        self._tables = tables
        self._started = started
        self._source = tables.context.source
        self._asset = f"hub/{self._source.name}_current"

    def run(self) -> StepReport:
        """Compute, compare, check, publish."""
        tables, base = self._tables, self._tables.base
        computed_from = self._computed_from()
        before = base.info.get("computed_from", {}) if base is not None else {}
        if base is not None and before == computed_from:
            return self._unchanged(base)
        hub = rows_cast_or_null(tables.session, tables.hub, tables.hub_columns, versions_of(self._source))
        kept = kept_rules(tables, before, computed_from)
        touched = touched_rows(tables, before, computed_from, hub) if kept else None
        if touched is None:
            kept = frozenset()
        # unchanged rows still point to the same unchanged related rows
        asked = those_in(touched, hub) if touched is not None and kept == set(tables.stage.rules) else hub
        for ambiguous in refuse_ambiguous(tables.session, tables.stage, asked, tables.related).values():
            return self._report(base, _receipt(0, 0, ambiguous))

        scope = compute(tables, hub, kept, touched)
        difference = compare(tables, scope, hub)
        notes: dict[str, str | int] = {"computed": scope.description, "inserted": difference.inserted}
        notes |= {"removed": difference.removed, **tables.related.notes}

        checks = self._gate(scope, difference)
        for error in filter(None, map(blocked, checks)):
            return self._report(base, _receipt(scope.rows, 0, error), checks, notes)
        snapshot = base
        # if rows were computed without a difference, the commit records that, so that they are not computed again; and
        # a plan compares the rules that it names with those declared
        is_same = snapshot is not None and dict(snapshot.columns) == tables.columns and not difference.keys
        if snapshot is None or scope.rows or not is_same or before.get("rules") != computed_from["rules"]:
            info = {"computed_from": computed_from, "rows_seen": scope.rows, "rows_changed": difference.keys}
            info |= current_judged(self._source, checks)
            snapshot = self._publish(scope, difference, info)
        receipts = tuple(
            RuleReceipt(name, version, scope.seen_by(name), difference.by_rule.get(name, 0))
            for name, version in tables.stage.versions.items()
        )
        report = self._report(
            snapshot, _receipt(scope.rows, difference.keys), checks + self._table_outcomes(snapshot), notes
        )
        return replace(report, receipts=receipts)

    def _table_outcomes(self, snapshot: TableVersion) -> tuple[CheckOutcome, ...]:
        """Return the volume, schema and distribution outcomes of the published table."""
        declared = self._source.checks
        found = table_outcomes(self._asset, snapshot.rows, snapshot.columns, self._tables.columns, declared)
        if declared.distribution.enabled:
            before = self._tables.base.null_shares() if self._tables.base is not None else {}
            found += (null_share_outcome(self._asset, before, snapshot.null_shares(), declared.distribution),)
        return found

    def _unchanged(self, base: TableVersion) -> StepReport:
        """Report a table whose rules and hubs are as they were; judge it if its contract was declared since."""
        source, skipped = self._source, {"skipped": "rules and hubs are as they were"}
        gate, snapshot = source.gates.current, base
        if gate is None:
            return self._report(base, _receipt(0, 0), self._table_outcomes(base), skipped)
        if not current_not_judged(source, base.info):
            outcome = current_outcome(self._asset, base.info)
        else:
            rows = query(
                "SELECT $names FROM $old AS o",
                names=columns(self._tables.columns, "o"),
                old=self._tables.session.scan(base),
            )
            outcome = gate_table(self._tables.session, gate, self._asset, rows)
            if (failed := blocked(outcome)) is not None:
                error = GateFailed(
                    f"checking the rows of {self._asset} by the contract {gate.contract}, whose declaration changed",
                    received=failed.received,
                    next_step="correct the data at their origin or the contract; the table stays as it is, and nothing "
                    "new is published until the contract holds",
                )
                return self._report(base, _receipt(0, 0, error), (outcome,), skipped)
            # the commit records it, so that it is not judged again
            info = {**base.info, "rows_seen": 0, "rows_changed": 0, **current_judged(source, [outcome])}
            change = publish.RowChange(columns=self._tables.columns, remove=None, insert=None, info=info)
            snapshot = publish.apply(self._tables.session, self._tables.context.current, base, change)
        return self._report(snapshot, _receipt(0, 0), (outcome, *self._table_outcomes(snapshot)), skipped)

    def _computed_from(self) -> dict[str, Any]:
        """Return everything that decides the result: the rules, and the versions of the tables."""
        snapshots = {**self._tables.related.snapshots, "": self._tables.hub}
        return {
            "hub": self._tables.hub.known_as,
            "related": dict(self._tables.related.versions),
            "tables": {name: found.metadata["id"] for name, found in snapshots.items() if found is not None},
            "rules": dict(self._tables.stage.versions),
            "columns": hashlib.sha256(json.dumps(self._tables.columns).encode()).hexdigest()[:16],
        }

    def _gate(self, scope: Scope, difference: Difference) -> tuple[CheckOutcome, ...]:
        """Return the outcome of the gate for the table as it would be published."""
        gate = self._source.gates.current
        if gate is None:
            return ()
        rows = query("SELECT n.* FROM $recalculated AS n", recalculated=scope.recalculated)
        if self._tables.base is not None and difference.rows is not None and scope.touched is not None:
            kept = query(
                """
                SELECT $names FROM $old AS o
                ANTI JOIN $difference AS d ON d.s_file = o.s_file AND d.s_position = o.s_position
                """,
                names=columns(self._tables.columns, "o"),
                old=self._tables.session.scan(self._tables.base, positions=True),
                difference=difference.rows,
            )
            rows = exp.union(kept, inserted(scope, difference), distinct=False)
        return (gate_table(self._tables.session, gate, self._asset, rows),)

    def _publish(self, scope: Scope, difference: Difference, info: Mapping[str, Any]) -> TableVersion:
        removed = None
        if difference.removed:
            removed = query(
                "SELECT d.s_file, d.s_position FROM $rows AS d WHERE NOT d.s_file IS NULL", rows=difference.rows
            )
        snapshot = publish.apply(
            self._tables.session,
            self._tables.context.current,
            self._tables.base,
            publish.RowChange(
                columns=self._tables.columns,
                remove=removed,
                insert=inserted(scope, difference) if difference.inserted or self._tables.base is None else None,
                info=info,
            ),
        )
        return publish.compact(self._tables.session, self._tables.context.current, snapshot)

    def _report(
        self,
        snapshot: TableVersion | None,
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
            commit_id=snapshot.commit_id if snapshot else "",
            columns=snapshot.columns if snapshot else {},
            seconds=time.perf_counter() - self._started,
            checks=checks,
            notes=notes or {},
            read={
                f"hub/{name or self._source.name}": found.version if found is not None and found.rows else None
                for name, found in {**self._tables.related.snapshots, "": self._tables.hub}.items()
            },
        )


def _tables(context: SourceContext, session: Session, rules: CompiledRules) -> Tables:
    name = context.source.name
    return Tables(
        context,
        session,
        rules.current,
        rules.hub_columns,
        version_made(context, f"hub/{name}", "refresh", f"recalculating {name!r}", "no hub"),
        context.current.snapshot(),
        RelatedHubs(context, session, rules.current),
    )


def _receipt(seen: int, changed: int, error: DataOpsError | None = None) -> InputReport:
    """Return the result of the step as an input report. The step takes no inputs, so the id is empty."""
    return InputReport("", {"rows_seen": seen, "rows_changed": changed}, error)
