"""Step 6, recalculate: compute the keep-current rules, as if all of them were computed now."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlglot import exp

from dataops_assets.engines.base import Session
from dataops_assets.errors import ConfigError, DataOpsError, GateFailed
from dataops_assets.quality.checks import table_outcomes
from dataops_assets.quality.gates import blocked, gate_table
from dataops_assets.quality.shares import null_share_outcome
from dataops_assets.report import CheckOutcome, InputReport, RuleReceipt, StepReport
from dataops_assets.rules.compiler import CompiledRules, compile_rules
from dataops_assets.rules.query import evaluate, pointing
from dataops_assets.rules.stage import Stage
from dataops_assets.rules.windows import Reach
from dataops_assets.sql import Relation, alias, all_rows, column, columns, query
from dataops_assets.steps.enriching.look_ups import RelatedHubs, refuse_ambiguous, rows_cast_or_null, versions_of
from dataops_assets.steps.evolved_columns import evolving
from dataops_assets.steps.merging.judged_contracts import current_judged, current_not_judged, current_outcome
from dataops_assets.steps.recalculating.version_difference import differing_rows
from dataops_assets.steps.recalculating.window_reach import moved_rows, rows_in_reach, with_reach
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.stored_rows import version_made
from dataops_assets.storage import publish
from dataops_assets.storage.commit_retry import until_won
from dataops_assets.storage.delta import TableVersion

STEP = "recalculate"
_IDENTITY = ("s_input_id", "s_row_id")
# a hub with fewer rows is computed in a second in any case
_MANY = 100_000
# relative difference that another order of adding floating-point numbers may cause
_NOISE = 1e-12


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
    context = evolving(context, context.lake.snapshot())
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
            return _Recalculation(context, session, rules, started).run()

    return until_won(attempt, f"publishing hub/{context.source.name}_current")


@dataclass(frozen=True)
class _Difference:
    """The difference between the recalculated rows and the table.

    The number of inserted and removed rows, of their keys, and of the rows in which each rule differs. `rows`: identity
    of the rows to insert, file and position of the rows to remove. None if there is no table: every row is inserted.
    """

    keys: int
    inserted: int
    removed: int
    by_rule: Mapping[str, int]
    rows: Relation | None = None


@dataclass(frozen=True)
class _Scope:
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


class _Recalculation:
    """One attempt to recalculate, with one version of every table."""

    def __init__(self, context: SourceContext, session: Session, rules: CompiledRules, started: float) -> None:
        self._context = context
        self._session = session
        self._rules = rules
        self._stage = rules.current
        self._started = started
        self._asset = f"hub/{context.source.name}_current"
        name = context.source.name
        self._hub = version_made(context, f"hub/{name}", "refresh", f"recalculating {name!r}", "no hub")
        self._base = context.current.snapshot()
        self._related = RelatedHubs(context, session, rules.current)
        self._columns = {**rules.hub_columns, **{name: rule.type for name, rule in rules.current.rules.items()}}

    def run(self) -> StepReport:
        """Compute, compare, check, publish."""
        computed_from = self._computed_from()
        before = self._base.info.get("computed_from", {}) if self._base is not None else {}
        if self._base is not None and before == computed_from:
            return self._unchanged(self._base)
        hub = rows_cast_or_null(self._session, self._hub, self._rules.hub_columns, versions_of(self._context.source))
        kept = self._kept(before, computed_from)
        touched = self._touched(before, computed_from, hub) if kept else None
        if touched is None:
            kept = frozenset()
        # unchanged rows still point to the same unchanged related rows
        asked = _those_in(touched, hub) if touched is not None and kept == set(self._stage.rules) else hub
        for ambiguous in refuse_ambiguous(self._session, self._stage, asked, self._related).values():
            return self._report(self._base, _receipt(0, 0, ambiguous))

        scope = self._compute(hub, kept, touched)
        difference = self._compare(scope, hub)
        notes: dict[str, str | int] = {"computed": scope.description, "inserted": difference.inserted}
        notes |= {"removed": difference.removed, **self._related.notes}

        checks = self._gate(scope, difference)
        for error in filter(None, map(blocked, checks)):
            return self._report(self._base, _receipt(scope.rows, 0, error), checks, notes)
        snapshot = self._base
        # if rows were computed without a difference, the commit records that, so that they are not computed again
        if snapshot is None or scope.rows or dict(snapshot.columns) != self._columns or difference.keys:
            info = {"computed_from": computed_from, "rows_seen": scope.rows, "rows_changed": difference.keys}
            info |= current_judged(self._context.source, checks)
            snapshot = self._publish(scope, difference, info)
        receipts = tuple(
            RuleReceipt(name, version, scope.seen_by(name), difference.by_rule.get(name, 0))
            for name, version in self._stage.versions.items()
        )
        report = self._report(
            snapshot, _receipt(scope.rows, difference.keys), checks + self._table_outcomes(snapshot), notes
        )
        return replace(report, receipts=receipts)

    def _table_outcomes(self, snapshot: TableVersion) -> tuple[CheckOutcome, ...]:
        """Return the volume, schema and distribution outcomes of the published table."""
        declared = self._context.source.checks
        found = table_outcomes(self._asset, snapshot.rows, snapshot.columns, self._columns, declared)
        if declared.distribution.enabled:
            before = self._base.null_shares() if self._base is not None else {}
            found += (null_share_outcome(self._asset, before, snapshot.null_shares(), declared.distribution),)
        return found

    def _unchanged(self, base: TableVersion) -> StepReport:
        """Report a table whose rules and hubs are as they were; judge it if its contract was declared since."""
        source, skipped = self._context.source, {"skipped": "rules and hubs are as they were"}
        gate, snapshot = source.gates.current, base
        if gate is None:
            return self._report(base, _receipt(0, 0), self._table_outcomes(base), skipped)
        if not current_not_judged(source, base.info):
            outcome = current_outcome(self._asset, base.info)
        else:
            rows = query(
                "SELECT $names FROM $old AS o", names=columns(self._columns, "o"), old=self._session.scan(base)
            )
            outcome = gate_table(self._session, gate, self._asset, rows)
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
            change = publish.RowChange(columns=self._columns, remove=None, insert=None, info=info)
            snapshot = publish.apply(self._session, self._context.current, base, change)
        return self._report(snapshot, _receipt(0, 0), (outcome, *self._table_outcomes(snapshot)), skipped)

    def _computed_from(self) -> dict[str, Any]:
        """Return everything that decides the result: the rules, and the versions of the tables."""
        snapshots = {**self._related.snapshots, "": self._hub}
        return {
            "hub": self._hub.known_as,
            "related": dict(self._related.versions),
            "tables": {name: found.metadata["id"] for name, found in snapshots.items() if found is not None},
            "rules": dict(self._stage.versions),
            "columns": hashlib.sha256(json.dumps(self._columns).encode()).hexdigest()[:16],
        }

    def _kept(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> frozenset[str]:
        """Return the rules whose stored values are still right for all rows that are not touched."""
        base = self._base
        if base is None or "tables" not in before or publish.must_rewrite(base, self._columns):
            return frozenset()
        looked_up = {"", *self._related.snapshots}
        if any(now["tables"].get(name) != known for name, known in before["tables"].items() if name in looked_up):
            # a table was created again, or is gone
            return frozenset()
        same = {
            name
            for name, version in self._stage.versions.items()
            if before["rules"].get(name) == version and name in base.columns
        }
        if self._stage.reach is None:
            # it is not known which rows see a change through the windows
            same &= set(self._stage.row_rules)
        return frozenset(same)

    def _touched(self, before: Mapping[str, Any], now: Mapping[str, Any], hub: exp.Query) -> Relation | None:
        """Return the identity of the hub rows, now or before, that changed or point to a changed row.

        None if a version that the table was computed from can no longer be read.
        """
        source = self._context.source
        own = differing_rows(
            self._session,
            self._context.hub,
            before["hub"],
            self._hub,
            self._rules.hub_columns,
            versions_of(source),
        )
        if own is None:
            return None
        parts: list[exp.Query] = [query("SELECT s_input_id, s_row_id FROM $own AS c", own=own)]
        for lookup in self._stage.lookups:
            version = before["related"].get(lookup.source)
            if version == now["related"].get(lookup.source):
                continue
            others = differing_rows(
                self._session,
                self._context.table(f"hub/{lookup.source}"),
                version,
                self._related.snapshots[lookup.source],
                lookup.columns,
                versions_of(self._context.sources[lookup.source], lookup),
            )
            if others is None:
                return None
            related = columns(lookup.related)
            changed = query("SELECT DISTINCT $related FROM $changed AS c", related=related, changed=others)
            parts.append(pointing(self._stage, lookup, hub, self._related, changed))
        found = all_rows([query("SELECT p.* FROM $part AS p", part=part) for part in parts])
        return self._session.create(query("SELECT DISTINCT t.* FROM $found AS t", found=found))

    def _compute(self, hub: exp.Query, kept: frozenset[str], touched: Relation | None) -> _Scope:
        """Compute the `kept` rules for the rows that can differ, and the other rules for all rows."""
        if not kept or self._base is None or touched is None or self._are_most(touched):
            return self._compute_all(hub)
        stage = self._stage.only(kept)
        if any(stage.rules[name].windowed for name in kept) and self._stage.reach is not None:
            near = self._in_reach(hub, self._base, self._stage.reach, stage, touched)
            if self._are_most(near):
                return self._compute_all(hub)
            computed = evaluate(stage, with_reach(hub, near), self._related)
            computed = query("SELECT r.* FROM $rows AS r WHERE r.s_is_seen", rows=computed)
        else:
            computed = evaluate(stage, _those_in(touched, hub), self._related)
        others = [name for name in self._stage.rules if name not in kept]
        names = [name for name in self._columns if name not in others]
        seen = self._session.create(query("SELECT $names FROM $rows AS r", names=columns(names, "r"), rows=computed))
        if not others:
            rows = query("SELECT * FROM $seen", seen=seen)
            count = self._count(seen)
            made = self._session.create(self._selected(rows))
            return _Scope(made, count, count, "touched rows", kept, touched)
        every = self._with_stored(hub, self._base, seen, [name for name in names if name in kept])
        computed = evaluate(self._stage.only(others, given=kept), every, self._related)
        made = self._session.create(self._selected(computed))
        description = f"all rows for {', '.join(others)}; touched rows for the other rules"
        return _Scope(made, self._count(made), self._count(seen), description, kept)

    def _compute_all(self, hub: exp.Query) -> _Scope:
        made = self._session.create(self._selected(evaluate(self._stage, hub, self._related)))
        rows = self._count(made)
        return _Scope(made, rows, rows, "all rows")

    def _with_stored(self, hub: exp.Query, base: TableVersion, seen: Relation, stored: Sequence[str]) -> exp.Query:
        """Return the `seen` rows, and all other rows with the values of the `stored` rules in the table."""
        names = [*self._rules.hub_columns, *stored]
        rest = query(
            """
            SELECT $given, $stored FROM $hub AS h
            ANTI JOIN $seen AS s ON s.s_input_id = h.s_input_id AND s.s_row_id = h.s_row_id
            JOIN $old AS o ON o.s_input_id = h.s_input_id AND o.s_row_id = h.s_row_id
            """,
            given=columns(self._rules.hub_columns, "h"),
            stored=columns(stored, "o"),
            hub=hub,
            seen=seen,
            old=self._session.scan(base),
        )
        complete = query("SELECT $names FROM $rest AS r", names=columns(names, "r"), rest=rest)
        return exp.union(query("SELECT * FROM $seen", seen=seen), complete, distinct=False)

    def _are_most(self, rows: Relation) -> bool:
        """Whether these are so many of the hub's rows that it is cheaper to compute all of them."""
        return self._hub.rows > _MANY and self._count(rows) * 2 > self._hub.rows

    def _selected(self, rows: exp.Query) -> exp.Query:
        found: exp.Query = query("SELECT $names FROM $rows AS r", names=columns(self._columns, "r"), rows=rows)
        return found

    def _count(self, rows: Relation) -> int:
        return int(self._session.fetch(query("SELECT count(*) AS n FROM $t AS t", t=rows)).column("n")[0].as_py())

    def _in_reach(self, hub: exp.Query, base: TableVersion, reach: Reach, stage: Stage, touched: Relation) -> Relation:
        """Return the hub rows that can see a touched row through a window, and the rows that they see."""
        kept = [*self._rules.hub_columns, *stage.row_rules]
        new = evaluate(stage.only(stage.row_rules), _those_in(touched, hub), self._related)
        old = _those_in(touched, self._session.scan(base, positions=True))
        # the look-ups of a window are in no column of the row
        differs = exp.true() if stage.seen_by_windows else self._differs(base, kept)
        moved = moved_rows(self._session, reach, new, old, differs)
        return rows_in_reach(self._session, self._stage, reach, hub, self._related, moved)

    def _compare(self, scope: _Scope, hub: exp.Query) -> _Difference:
        """Compare with the table. A row of the table is gone if it should have been computed and was not."""
        base = self._base
        if base is None:
            return _Difference(scope.rows, scope.rows, 0, dict.fromkeys(self._stage.rules, scope.rows))
        flags = {
            name: alias(query("o.s_input_id IS NULL OR $differs", differs=self._differs(base, [name])), name)
            for name in self._stage.rules
        }
        must_rewrite = publish.must_rewrite(base, self._columns)
        rows = self._session.create(
            query(
                """
                SELECT n.s_input_id, n.s_row_id, coalesce(n.s_key, o.s_key) AS s_key, o.s_file, o.s_position, $flags
                FROM $recalculated AS n FULL JOIN $old AS o
                  ON o.s_input_id = n.s_input_id AND o.s_row_id = n.s_row_id
                WHERE n.s_input_id IS NULL OR o.s_input_id IS NULL OR ($differs)
                """,
                flags=list(flags.values()),
                recalculated=scope.recalculated,
                old=self._compared(base, scope, hub),
                differs=exp.true() if must_rewrite else self._differs(base, self._columns),
            )
        )
        counted = [
            alias(query("count(CASE WHEN NOT d.s_input_id IS NULL AND $flag THEN 1 END)", flag=column(name, "d")), name)
            for name in flags
        ]
        found = self._session.fetch(
            query(
                """
                SELECT count(DISTINCT d.s_key) AS s_keys, count(d.s_input_id) AS s_inserted,
                       count(d.s_file) AS s_removed, $counted
                FROM $difference AS d
                """,
                counted=counted,
                difference=rows,
            )
        ).to_pylist()[0]
        return _Difference(found.pop("s_keys"), found.pop("s_inserted"), found.pop("s_removed"), found, rows)

    def _compared(self, base: TableVersion, scope: _Scope, hub: exp.Query) -> exp.Expr:
        """Return the rows of the table that the recalculated rows are compared with."""
        old = self._session.scan(base, positions=True)
        if scope.touched is None:
            return old
        here = query("SELECT h.s_input_id, h.s_row_id FROM $hub AS h", hub=_those_in(scope.touched, hub))
        there = query("SELECT t.s_input_id, t.s_row_id FROM $touched AS t", touched=scope.touched)
        gone = self._session.create(exp.except_(there, here, distinct=True))
        concerned = self._session.create(
            exp.union(
                query("SELECT r.s_input_id, r.s_row_id FROM $rows AS r", rows=scope.recalculated),
                query("SELECT g.s_input_id, g.s_row_id FROM $gone AS g", gone=gone),
                distinct=False,
            )
        )
        return _those_in(concerned, old)

    def _differs(self, base: TableVersion, names: Iterable[str]) -> exp.Expr:
        conditions: list[exp.Expr] = []
        for name in names:
            if name in _IDENTITY:
                continue
            if base.columns.get(name, self._columns[name]) != self._columns[name]:
                return exp.true()
            new = column(name, "n")
            old = column(name, "o") if name in base.columns else exp.null()
            rule = self._stage.rules.get(name)
            differs = query("$new IS DISTINCT FROM $old", new=new, old=old)
            if rule is not None and rule.inexact and rule.type == "DOUBLE":
                close = "coalesce(abs($new - $old) <= $noise * greatest(abs($new), abs($old)), FALSE)"
                differs = exp.and_(differs, query(close, new=new, old=old, noise=_NOISE).not_())
            conditions.append(differs)
        return exp.or_(*conditions)

    def _gate(self, scope: _Scope, difference: _Difference) -> tuple[CheckOutcome, ...]:
        """Return the outcome of the gate for the table as it would be published."""
        gate = self._context.source.gates.current
        if gate is None:
            return ()
        rows = query("SELECT n.* FROM $recalculated AS n", recalculated=scope.recalculated)
        if self._base is not None and difference.rows is not None and scope.touched is not None:
            kept = query(
                """
                SELECT $names FROM $old AS o
                ANTI JOIN $difference AS d ON d.s_file = o.s_file AND d.s_position = o.s_position
                """,
                names=columns(self._columns, "o"),
                old=self._session.scan(self._base, positions=True),
                difference=difference.rows,
            )
            rows = exp.union(kept, _inserted(scope, difference), distinct=False)
        return (gate_table(self._session, gate, self._asset, rows),)

    def _publish(self, scope: _Scope, difference: _Difference, info: Mapping[str, Any]) -> TableVersion:
        removed = None
        if difference.removed:
            removed = query(
                "SELECT d.s_file, d.s_position FROM $rows AS d WHERE NOT d.s_file IS NULL", rows=difference.rows
            )
        snapshot = publish.apply(
            self._session,
            self._context.current,
            self._base,
            publish.RowChange(
                columns=self._columns,
                remove=removed,
                insert=_inserted(scope, difference) if difference.inserted or self._base is None else None,
                info=info,
            ),
        )
        return publish.compact(self._session, self._context.current, snapshot)

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
                f"hub/{name or self._context.source.name}": found.version if found is not None and found.rows else None
                for name, found in {**self._related.snapshots, "": self._hub}.items()
            },
        )


def _those_in(wanted: Relation, rows: exp.Expr) -> exp.Query:
    """Return those of `rows` whose identity is in `wanted`."""
    found: exp.Query = query(
        """
        SELECT r.* FROM $rows AS r
        SEMI JOIN $wanted AS t ON t.s_input_id = r.s_input_id AND t.s_row_id = r.s_row_id
        """,
        rows=rows,
        wanted=wanted,
    )
    return found


def _inserted(scope: _Scope, difference: _Difference) -> exp.Query:
    rows: exp.Query = query("SELECT n.* FROM $recalculated AS n", recalculated=scope.recalculated)
    return rows if difference.rows is None else _those_in(difference.rows, rows)


def _receipt(seen: int, changed: int, error: DataOpsError | None = None) -> InputReport:
    """Return the result of the step as an input report. The step takes no inputs, so the id is empty."""
    return InputReport("", {"rows_seen": seen, "rows_changed": changed}, error)
