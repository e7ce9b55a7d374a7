"""Snapshot rules that were declared otherwise before: applied to the rows that a source's tables have.

A snapshot rule freezes what it computes when a row is processed, under the rule as it was declared then. When the rule
is changed, its column, and the columns of rules that depend on it, are computed anew for all rows, with look-ups as
they are at that time; all other columns stay frozen. Each table records the versions of the rules that its columns
stand for, in the commit that makes them true.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlglot import exp

from dataops_assets.engines.base import Session
from dataops_assets.quality.gates import blocked, gate_inputs
from dataops_assets.rules.compiler import CompiledRules, compile_rules
from dataops_assets.rules.query import evaluate
from dataops_assets.sql import alias, column, columns, query
from dataops_assets.steps.evolution import evolving
from dataops_assets.steps.lookups import RelatedHubs, refuse_ambiguous, typed_columns
from dataops_assets.steps.report import RuleReceipt, StepReport
from dataops_assets.steps.workspace import Workspace
from dataops_assets.storage import publish
from dataops_assets.storage.delta import Snapshot, Table
from dataops_assets.storage.races import until_won

STEP = "restate"
_VERSIONS = "rules"
_OLD = "s_old."
# what marks a deletion in a change set, and in a hub with history; each is true of a row that is none
_DELETED: Mapping[str, exp.Expr] = {
    "s_change": query("s_change <> 'deleted'"),
    "s_is_deleted": query("NOT coalesce(s_is_deleted, FALSE)"),
}


def recorded(info: Mapping[str, Any], rules: CompiledRules) -> dict[str, Any]:
    """`info` with the rule versions of a table; those that it has, or for a table that has none the declared ones."""
    return {**info, _VERSIONS: info.get(_VERSIONS, dict(rules.snapshot.versions))}


def restate(workspace: Workspace, *, enriched_only: bool = False) -> StepReport | None:
    """Bring the snapshot rules of `hub/<source>_enriched` and `hub/<source>` to how they are declared now.

    Grain: the rows stay, each table changes by one atomic commit of the rows that differ; a rule that is declared no
    more loses its column. Nothing is done, and the result is None, where no rule changed or there is no hub. Otherwise
    the report is of the hub (with `enriched_only` of the other table), with a receipt for each rule that was computed.
    A run that is killed between the two commits is simply run again. Raises InputError when a row matches several rows
    of a to-one look-up, GateFailed when the rows of an input would not pass the hub's gate any more (nothing is
    published then), CommitConflict after many lost races, RuleError for a wrong rule.
    """
    tables = (workspace.enriched,) if enriched_only else (workspace.hub, workspace.enriched)

    def attempt() -> StepReport | None:
        found = [(table, base) for table in tables if (base := table.snapshot())]
        if not (workspace.source.snapshot_rules or any(base.info.get(_VERSIONS) for _, base in found)):
            # no rules, now or before: nothing needs compiling
            return None
        return _restated(workspace, found)

    return until_won(attempt, f"applying changed rules to hub/{workspace.source.name}")


def _restated(workspace: Workspace, found: Sequence[tuple[Table, Snapshot]]) -> StepReport | None:
    started = time.perf_counter()
    if workspace.source.drift.new_column == "evolve":
        workspace = evolving(workspace, workspace.lake.snapshot())
    rules = compile_rules(workspace.source, workspace.sources)
    outdated = [(table, base) for table, base in found if _is_outdated(base, rules)]
    if not outdated:
        return None
    reports = []
    with workspace.engine.session() as session:
        # one version of what is looked up for both tables
        related = RelatedHubs(workspace, session, rules.snapshot)
        for table, base in outdated:
            asset = table.uri.removeprefix(f"{workspace.environment.storage}/")
            snapshot, receipts = _Restatement(session, rules, related, table, base, asset).run()
            report = StepReport(
                step=STEP,
                asset=asset,
                inputs=(),
                rows=snapshot.rows,
                version=snapshot.version,
                columns=snapshot.columns,
                seconds=time.perf_counter() - started,
                notes={"rules applied": ", ".join(item.rule for item in receipts), **related.notes},
                receipts=receipts,
            )
            reports.append(report)
    return reports[0]


def with_receipts(report: StepReport, restated: StepReport | None) -> StepReport:
    """A step's report with what applying changed rules before it came to."""
    if restated is None:
        return report
    return replace(report, receipts=restated.receipts, notes={**report.notes, **restated.notes})


def _changed(base: Snapshot, rules: CompiledRules) -> list[str]:
    known = base.info.get(_VERSIONS)
    return [
        name
        for name, rule in rules.snapshot.rules.items()
        # a table from before versions were recorded is taken as it is
        if base.columns.get(name) != rule.type or (known is not None and known.get(name) != rule.version)
    ]


def _removed(base: Snapshot, rules: CompiledRules) -> list[str]:
    declared = {*rules.hub_columns, *rules.snapshot.rules}
    return [name for name in base.info.get(_VERSIONS, {}) if name in base.columns and name not in declared]


def _is_outdated(base: Snapshot, rules: CompiledRules) -> bool:
    return bool(_changed(base, rules) or _removed(base, rules))


class _Restatement:
    """One table, one attempt."""

    def __init__(
        self, session: Session, rules: CompiledRules, related: RelatedHubs, table: Table, base: Snapshot, asset: str
    ) -> None:
        self._session = session
        self._source = rules.source
        self._asset = asset
        self._stage = rules.snapshot
        self._related = related
        self._table = table
        self._base = base
        self._changed = _changed(base, rules)
        self._given = {name: kind for name, kind in rules.hub_columns.items() if name not in self._changed}
        removed = _removed(base, rules)
        kept = {name: kind for name, kind in base.columns.items() if name not in removed}
        self._columns = {**kept, **{name: self._stage.rules[name].type for name in self._changed}}
        self._info = {**base.info, _VERSIONS: dict(self._stage.versions)}

    def run(self) -> tuple[Snapshot, tuple[RuleReceipt, ...]]:
        """Compute, compare, publish."""
        if not self._changed:
            return self._publish(exp.false()), ()
        self._compute()
        counted = [
            alias(query("count(CASE WHEN $flag THEN 1 END)", flag=column(_flag(name), "r")), name)
            for name in self._changed
        ]
        found = self._session.fetch(query("SELECT count(*) AS s_rows, $counted FROM s_restated AS r", counted=counted))
        counts = found.to_pylist()[0]
        if publish.must_rewrite(self._base, self._columns):
            chosen: exp.Expr = exp.true()
        else:
            chosen = exp.or_(*[column(_flag(name), "n") for name in self._changed])
        receipts = tuple(
            RuleReceipt(name, self._stage.versions[name], counts["s_rows"], counts[name]) for name in self._changed
        )
        self._require_gate()
        return self._publish(chosen), receipts

    def _require_gate(self) -> None:
        """Raise GateFailed where the rows of an input in the hub would not pass the hub's gate any more."""
        gate = self._source.gates.hub
        if gate is None or self._asset != f"hub/{self._source.name}":
            return
        names = [*self._source.column_names, *self._stage.rules, "s_key", "s_input_id", "s_row_id"]
        absent = [alias(exp.null(), name) for name in names if name not in self._columns]
        rows = query(
            """
            SELECT $names FROM $old AS o JOIN s_restated AS n ON n.s_file = o.s_file AND n.s_position = o.s_position
            WHERE $present
            """,
            names=[
                *(column(name, "n" if name in self._changed else "o") for name in names if name in self._columns),
                *absent,
            ],
            old=self._session.scan(self._base, positions=True),
            present=self._is_present(),
        )
        ids = self._session.fetch(query("SELECT DISTINCT r.s_input_id FROM $rows AS r", rows=rows))
        inputs = sorted(ids.column("s_input_id").to_pylist())
        for outcome in gate_inputs(self._session, gate, self._asset, rows, inputs).values():
            if (error := blocked(outcome)) is not None:
                raise error

    def _is_present(self) -> exp.Expr:
        marks = [mark.copy() for name, mark in _DELETED.items() if name in self._base.columns]
        return exp.and_(*marks) if marks else exp.true()

    def _compute(self) -> None:
        """Create `s_restated`: for each row its place, the changed rules, and whether each one's value is another."""
        marks = [name for name in _DELETED if name in self._base.columns]
        is_present = self._is_present()
        known = [name for name in self._changed if self._base.columns.get(name) == self._columns[name]]
        rows: exp.Query = query(
            "SELECT $given, $marks, $known, r.s_file, r.s_position FROM $rows AS r",
            given=typed_columns(self._base, {name: kind for name, kind in self._given.items() if name not in marks}),
            marks=columns(marks, "r"),
            known=[alias(column(name, "r"), _OLD + name) for name in known],
            rows=self._session.scan(self._base, positions=True),
        )
        stage = self._stage.only(self._changed, given=set(self._stage.rules) - set(self._changed))
        present = query("SELECT r.* FROM $rows AS r WHERE $present", rows=rows, present=is_present)
        for error in refuse_ambiguous(self._session, stage, present, self._related).values():
            raise error
        values: list[exp.Expr] = []
        flags: list[exp.Expr] = []
        for name in self._changed:
            # a deletion has no values
            value = query("CASE WHEN $present THEN $value END", present=is_present, value=column(name, "c"))
            values.append(alias(value, name))
            if name in known or name not in self._base.columns:
                old = column(_OLD + name, "c") if name in known else exp.null()
                flags.append(alias(query("$new IS DISTINCT FROM $old", new=value, old=old), _flag(name)))
            else:
                flags.append(alias(exp.true(), _flag(name)))
        computed = evaluate(stage, rows, self._related)
        self._session.create(
            "s_restated",
            query(
                "SELECT c.s_file, c.s_position, $values, $flags FROM $rows AS c",
                values=values,
                flags=flags,
                rows=computed,
            ),
        )

    def _publish(self, chosen: exp.Expr) -> Snapshot:
        """Commit the rows that are `chosen` (over alias n) with their new values, and what the table now stands for."""
        remove = insert = None
        if self._changed:
            self._session.create("s_chosen", query("SELECT n.* FROM s_restated AS n WHERE $chosen", chosen=chosen))
            if self._session.fetch(query("SELECT 1 AS one FROM s_chosen LIMIT 1")).num_rows:
                remove = query("SELECT n.s_file, n.s_position FROM s_chosen AS n")
                insert = query(
                    """
                    SELECT $names FROM $old AS o
                    JOIN s_chosen AS n ON n.s_file = o.s_file AND n.s_position = o.s_position
                    """,
                    names=[column(name, "n" if name in self._changed else "o") for name in self._columns],
                    old=self._session.scan(self._base, positions=True),
                )
        snapshot = publish.apply(
            self._session,
            self._table,
            self._base,
            columns=self._columns,
            remove=remove,
            insert=insert,
            info=self._info,
        )
        return publish.compact(self._session, self._table, snapshot)


def _flag(name: str) -> str:
    return f"s_other.{name}"
