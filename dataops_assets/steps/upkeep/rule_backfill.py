"""Applies changed snapshot rules and validations to the stored rows of a source.

A snapshot rule computes its value when a row is processed, and the value is then frozen. When the rule is changed, its
column and the columns of rules that depend on it are computed again for all rows, with the look-ups of that time. All
other columns stay frozen. The status of the validations (`s_status`) is such a column, too: when a validation, or a
rule that it reads, is changed, `s_status` is recomputed as if the new validation had always been declared. Each table
records the versions of its rules in the commit that applies them.

Rows that now fail a validation are removed from the hub in that commit. Only a merge can find the rows that take their
place, and the rows that now pass: the commit lists the inputs that refresh must merge again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlglot import exp

from dataops_assets.engines.base import Session
from dataops_assets.errors import GateFailed
from dataops_assets.quality.gates import blocked, gate_inputs
from dataops_assets.report import RuleReceipt, StepReport
from dataops_assets.rules.compiler import CompiledRules, compile_rules
from dataops_assets.rules.query import evaluate
from dataops_assets.rules.stage import Stage
from dataops_assets.sql import Relation, alias, column, columns, query
from dataops_assets.steps.enriching.look_ups import RelatedHubs, refuse_ambiguous, typed_columns
from dataops_assets.steps.enriching.row_status import VERDICT, VERDICT_VERSION, failed_names, flags_of, status
from dataops_assets.steps.enriching.uniqueness import with_repeats
from dataops_assets.steps.evolved_columns import evolving_now
from dataops_assets.steps.merging.change import is_deletion
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.stored_rows import lake_of
from dataops_assets.storage import publish
from dataops_assets.storage.commit_retry import until_won
from dataops_assets.storage.delta import Table, TableVersion
from dataops_assets.storage.retyping import rows_cast_exactly

STEP = "restate"
TO_MERGE = "to_merge"
"""Key in the commit information for the ids of the inputs that must be merged again.

The validations now keep out different rows of them than when the hub was merged.
"""

_VERSIONS = "rules"
_OLD = "s_old."
_OWN = "s_of_lake."
# the columns that mark a deletion: in a change set, and in a hub with history
_MARKS = ("s_change", "s_is_deleted")
_STOPS = "s_stops"


def with_rule_versions(info: Mapping[str, Any], rules: CompiledRules) -> dict[str, Any]:
    """Return `info` with rule versions: those that it has, or else the declared ones."""
    declared = {_VERSIONS: dict(rules.snapshot.versions), VERDICT_VERSION: rules.snapshot.verdict}
    return {**declared, **info}


def backfill_rules(context: SourceContext, *, enriched_only: bool = False) -> StepReport | None:
    """Update the rules and the status in `hub/<source>_enriched` and `hub/<source>` to the declared ones.

    Grain: each table changes by one atomic commit of the rows that differ. Rows that now fail a validation are removed
    from the hub. The column of a removed rule is dropped; if the inputs have a column of its name, it gets
    their values again. If nothing was changed or there is no hub, nothing is done
    and the result is None. Otherwise the report is about the hub (with `enriched_only` about the other table), with a
    receipt for each computed rule and `s_status`. A run that is killed between the two commits is simply run again.
    Raises InputError when a row matches several rows of a to-one look-up, GateFailed when the rows of an input would
    no longer pass the hub's gate or a validation of severity 'fail' (then nothing is published), CommitConflict
    after many lost races, RuleError for a wrong rule.
    """
    # the hub comes last: it reads from the other table which inputs must be merged
    tables = (context.enriched,) if enriched_only else (context.enriched, context.hub)

    def attempt() -> StepReport | None:
        found = [(table, base) for table in tables if (base := table.snapshot())]
        declared = context.source.snapshot_rules or context.source.validations
        if not (declared or any(base.info.get(_VERSIONS) or base.info.get(VERDICT_VERSION) for _, base in found)):
            # no rules are or were declared, so nothing must be compiled
            return None
        return _backfilled(context, found)

    return until_won(attempt, f"applying changed rules to hub/{context.source.name}")


def _backfilled(context: SourceContext, found: Sequence[tuple[Table, TableVersion]]) -> StepReport | None:
    started = time.perf_counter()
    if context.source.drift.new_column == "evolve":
        context = evolving_now(context)
    rules = compile_rules(context.source, context.sources)
    outdated = [(table, base) for table, base in found if _is_outdated(base, rules)]
    if not outdated:
        return None
    report: StepReport | None = None
    with context.engine.session() as session:
        # both tables use the same versions of the related hubs
        related = RelatedHubs(context, session, rules.snapshot)
        backfills = [_TableBackfill(context, session, rules, related, table, base) for table, base in outdated]
        for backfill in backfills:
            backfill.compute()
        for backfill in backfills:
            snapshot, receipts = backfill.publish()
            report = StepReport(
                step=STEP,
                asset=backfill.asset,
                inputs=(),
                rows=snapshot.rows,
                version=snapshot.version,
                commit_id=snapshot.commit_id,
                columns=snapshot.columns,
                seconds=time.perf_counter() - started,
                notes={"rules applied": ", ".join(item.rule for item in receipts), **related.notes},
                receipts=receipts,
            )
    return report


def with_receipts(report: StepReport, backfilled: StepReport | None) -> StepReport:
    """Return a step's report with the receipts of the backfill before it."""
    if backfilled is None:
        return report
    return replace(report, receipts=backfilled.receipts, notes={**report.notes, **backfilled.notes})


def _changed(base: TableVersion, rules: CompiledRules) -> list[str]:
    known = base.info.get(_VERSIONS)
    return [
        name
        for name, rule in rules.snapshot.rules.items()
        # an old table without recorded versions is not changed
        if base.columns.get(name) != rule.type or (known is not None and known.get(name) != rule.version)
    ]


def _removed(base: TableVersion, rules: CompiledRules) -> list[str]:
    declared = {*rules.hub_columns, *rules.snapshot.rules}
    return [name for name in base.info.get(_VERSIONS, {}) if name in base.columns and name not in declared]


def _own_again(base: TableVersion, rules: CompiledRules) -> list[str]:
    return [name for name in base.info.get(_VERSIONS, {}) if name in base.columns and name in rules.source.column_names]


def _has_other_verdict(base: TableVersion, rules: CompiledRules) -> bool:
    known, declared = base.info.get(VERDICT_VERSION), rules.snapshot.verdict
    # an old table without a recorded version is changed only with its rules
    return known != declared if known is not None else bool(declared and _changed(base, rules))


def _to_merge(base: TableVersion | None) -> Sequence[str]:
    found: Sequence[str] = base.info.get(TO_MERGE, ()) if base else ()
    return found


@dataclass(frozen=True)
class OutdatedRules:
    """The rules of a table that differ from the declaration: changed, new and removed rules, and the validations."""

    changed: Sequence[str] = ()
    removed: Sequence[str] = ()
    verdict: bool = False

    def __bool__(self) -> bool:
        return bool(self.changed or self.removed or self.verdict)


def outdated_rules(base: TableVersion, rules: CompiledRules, *, is_hub: bool) -> OutdatedRules:
    """Return what a backfill of the enriched rows or of the hub would change."""
    # the enriched rows keep the list of inputs to merge, and the hub forgets it when they are merged
    verdict = _has_other_verdict(base, rules) or (is_hub and bool(_to_merge(base)))
    return OutdatedRules(_changed(base, rules), _removed(base, rules), verdict)


def _is_outdated(base: TableVersion, rules: CompiledRules) -> bool:
    return bool(
        _changed(base, rules) or _removed(base, rules) or _own_again(base, rules) or _has_other_verdict(base, rules)
    )


class _TableBackfill:
    """The backfill of one table in one attempt."""

    def __init__(
        self,
        context: SourceContext,
        session: Session,
        rules: CompiledRules,
        related: RelatedHubs,
        table: Table,
        base: TableVersion,
    ) -> None:
        self._context = context
        self._session = session
        self._source = rules.source
        self.asset = table.uri.removeprefix(f"{context.environment.storage}/")
        self._is_hub = self.asset == f"hub/{rules.source.name}"
        # for each row its place, the new values, and whether each of them differs; None before `compute`
        self._rows: Relation | None = None
        self._stage = rules.snapshot
        self._related = related
        self._table = table
        self._base = base
        self._rules = _changed(base, rules)
        # columns of the inputs in which the table has the values of an earlier rule
        self._own = _own_again(base, rules)
        self._verdict = [name for name in VERDICT if name in base.columns] if _has_other_verdict(base, rules) else []
        self._changed = [*self._rules, *self._verdict, *self._own]
        self._given = {name: kind for name, kind in rules.hub_columns.items() if name not in self._changed}
        removed = _removed(base, rules)
        kept = {name: kind for name, kind in base.columns.items() if name not in removed}
        self._columns = {**kept, **{name: self._stage.rules[name].type for name in self._rules}}
        self._columns |= {name: rules.hub_columns[name] for name in self._own}
        self._info = {**with_rule_versions(base.info, rules), _VERSIONS: dict(self._stage.versions)}
        if self._verdict:
            self._info[VERDICT_VERSION] = self._stage.verdict

    def compute(self) -> None:
        """Compute and check, without publishing. Raises InputError and GateFailed like `backfill_rules`."""
        if self._changed:
            self._compute()
            if self._is_hub:
                self._require_gate()
                self._require_validations()

    def publish(self) -> tuple[TableVersion, tuple[RuleReceipt, ...]]:
        """Commit the rows that differ."""
        if self._verdict:
            self._info[TO_MERGE] = self._to_merge()
        if not self._changed:
            return self._publish(exp.false()), ()
        # `s_status` and `s_failed` count as one
        shown = [name for name in (*self._rules, *self._verdict) if name != "s_failed"]
        counted = [alias(query("count(CASE WHEN $f THEN 1 END)", f=column(_flag(name), "r")), name) for name in shown]
        found = self._session.fetch(
            query("SELECT count(*) AS s_rows, $counted FROM $rows AS r", counted=counted, rows=self._rows)
        )
        counts = found.to_pylist()[0]
        if publish.must_rewrite(self._base, self._columns):
            chosen: exp.Expr = exp.true()
        else:
            chosen = exp.or_(*[column(_flag(name), "n") for name in self._changed])
        versions = {**self._stage.versions, "s_status": self._stage.verdict}
        receipts = tuple(RuleReceipt(name, versions[name], counts["s_rows"], counts[name]) for name in shown)
        return self._publish(chosen), receipts

    def _to_merge(self) -> list[str]:
        """Return the inputs of which different rows are kept out now than when the hub was merged."""
        now, before = (column(name, "r").eq("fail") for name in ("s_status", _OLD + "s_status"))
        hit = now if self._is_hub else exp.NEQ(this=exp.paren(now), expression=exp.paren(before))
        found = self._session.fetch(
            query("SELECT DISTINCT r.s_input_id FROM $rows AS r WHERE $hit", rows=self._rows, hit=hit)
        )
        ids = found.column("s_input_id").to_pylist()
        if self._is_hub:
            return sorted({*ids, *_to_merge(self._base), *_to_merge(self._context.enriched.snapshot())})
        hub = self._context.hub.snapshot()
        follows = hub is None or hub.info.get(VERDICT_VERSION) == self._base.info.get(VERDICT_VERSION)
        return sorted({*ids, *(() if follows else _to_merge(self._base))})

    def _require_gate(self) -> None:
        """Raise GateFailed if the rows of an input in the hub would no longer pass the hub's gate."""
        gate = self._source.gates.hub
        if gate is None:
            return
        names = [*self._source.column_names, *self._stage.rules, "s_key", "s_input_id", "s_row_id"]
        absent = [alias(exp.null(), name) for name in names if name not in self._columns]
        published = exp.and_(self._is_present("o"), self._stays("n"))
        rows = query(
            """
            SELECT $names FROM $old AS o JOIN $backfilled AS n ON n.s_file = o.s_file AND n.s_position = o.s_position
            WHERE $published
            """,
            names=[
                *(column(name, "n" if name in self._changed else "o") for name in names if name in self._columns),
                *absent,
            ],
            old=self._session.scan(self._base, positions=True),
            backfilled=self._rows,
            published=published,
        )
        inputs = sorted(publish.input_ids_of(self._session, rows))
        for outcome in gate_inputs(self._session, gate, self.asset, rows, inputs).values():
            if (error := blocked(outcome)) is not None:
                raise error

    def _require_validations(self) -> None:
        """Raise GateFailed if a validation of severity 'fail' no longer holds."""
        if not self._verdict:
            return
        found = self._session.fetch(
            query(
                """
                SELECT r.s_stops, count(*) AS s_rows, min(r.s_input_id) AS s_input_id,
                       min_by(r.s_row_id, r.s_input_id) AS s_row_id
                FROM $rows AS r WHERE NOT r.s_stops IS NULL GROUP BY r.s_stops ORDER BY r.s_stops
                """,
                rows=self._rows,
            )
        ).to_pylist()
        if found:
            problems = (
                f"{row[_STOPS]} does not hold in {row['s_rows']:,} rows, e.g. row {row['s_row_id']} of input "
                f"{row['s_input_id']}"
                for row in found
            )
            raise GateFailed(
                f"applying changed rules and validations to {self.asset}",
                received="; ".join(problems),
                next_step="correct the rule or the validation; nothing was published",
            )

    def _stays(self, table: str) -> exp.Expr:
        """Return the condition that a row of the hub is not kept out now."""
        return column("s_status", table).neq("fail") if self._is_hub and self._verdict else exp.true()

    def _is_present(self, table: str) -> exp.Expr:
        """Return the condition that a row is not a deletion. Deletions are not validated."""
        if "s_change" in self._base.columns:
            return exp.not_(is_deletion(self._source, table))
        if "s_is_deleted" in self._base.columns:
            return query("NOT coalesce($gone, FALSE)", gone=column("s_is_deleted", table))
        return exp.true()

    def _compute(self) -> None:
        """Compute for each row its place, the new values, and whether each of them differs."""
        marks = [name for name in _MARKS if name in self._base.columns]
        known = [name for name in self._changed if self._base.columns.get(name) == self._columns[name]]
        scan: exp.Expr = self._session.scan(self._base, positions=True)
        rows: exp.Query = query(
            "SELECT $given, $marks, $known, $own, r.s_file, r.s_position FROM $rows AS r",
            given=typed_columns(self._base, {name: kind for name, kind in self._given.items() if name not in marks}),
            marks=columns(marks, "r"),
            known=[alias(column(name, "r"), _OLD + name) for name in known],
            own=columns([_OWN + name for name in self._own], "r"),
            rows=self._with_own_values(scan) if self._own else scan,
        )
        others = set(self._stage.rules) - set(self._rules)
        stage = self._stage.only(self._rules, given=others, verdict=bool(self._verdict))
        present = query("SELECT r.* FROM $rows AS r WHERE $present", rows=rows, present=self._is_present("r"))
        for error in refuse_ambiguous(self._session, stage, present, self._related).values():
            raise error
        values: list[exp.Expr] = []
        flags: list[exp.Expr] = []
        for name, (computed, of_deletion) in self._results().items():
            value = query(
                "CASE WHEN $present THEN $value ELSE $none END",
                present=self._is_present("c"),
                value=computed,
                none=of_deletion,
            )
            values.append(alias(value, name))
            if name in known or name not in self._base.columns:
                old = column(_OLD + name, "c") if name in known else exp.null()
                flags.append(alias(query("$new IS DISTINCT FROM $old", new=value, old=old), _flag(name)))
            else:
                flags.append(alias(exp.true(), _flag(name)))
        if self._verdict:
            values.append(column(_OLD + "s_status", "c"))
        self._rows = self._session.create(
            query(
                "SELECT c.s_input_id, c.s_row_id, c.s_file, c.s_position, $values, $flags FROM $rows AS c",
                values=values,
                flags=flags,
                rows=evaluate(stage, self._with_repeats(rows, stage), self._related),
            ),
        )

    def _results(self) -> dict[str, tuple[exp.Expr, exp.Expr]]:
        """Return the computed values (over alias c), each with the value that a deletion has."""
        found: dict[str, tuple[exp.Expr, exp.Expr]] = {name: (column(name, "c"), exp.null()) for name in self._rules}
        for name in self._own:
            # of a deletion the hub has only the key
            found[name] = (column(_OWN + name, "c"), exp.null() if self._is_hub else column(_OWN + name, "c"))
        if self._verdict:
            flags = flags_of(self._stage)
            results = {
                "s_status": (status(flags), exp.Literal.string("pass")),
                "s_failed": (failed_names(flags), exp.null()),
            }
            found |= {name: results[name] for name in self._verdict}
            found[_STOPS] = (failed_names([flag for flag in flags if flag.severity == "fail"]), exp.null())
        return found

    def _with_own_values(self, rows: exp.Expr) -> exp.Query:
        """Return the rows with the values that the lake has in the columns that a rule made before."""
        lake = lake_of(self._context)
        kinds = {name: self._columns[name] for name in self._own}
        found: exp.Query = query(
            """
            SELECT t.*, $own FROM $rows AS t
            LEFT JOIN $lake AS l ON l.s_input_id = t.s_input_id AND l.s_row_id = t.s_row_id
            """,
            own=[alias(column(name, "l"), _OWN + name) for name in self._own],
            rows=rows,
            lake=rows_cast_exactly(self._session, lake, kinds),
        )
        return found

    def _with_repeats(self, rows: exp.Query, stage: Stage) -> exp.Query:
        if not any(item.unique for item in stage.validations):
            return rows
        ids = publish.input_ids_of(self._session, rows)
        return with_repeats(self._context, self._session, stage, rows, ids)

    def _publish(self, chosen: exp.Expr) -> TableVersion:
        """Commit the `chosen` rows (over alias n) with their new values, and the new rule versions."""
        remove = insert = None
        if self._changed:
            changed = self._session.create(
                query("SELECT n.* FROM $rows AS n WHERE $chosen", rows=self._rows, chosen=chosen)
            )
            if self._session.fetch(query("SELECT 1 AS one FROM $chosen LIMIT 1", chosen=changed)).num_rows:
                remove = query("SELECT n.s_file, n.s_position FROM $chosen AS n", chosen=changed)
                insert = query(
                    """
                    SELECT $names FROM $old AS o
                    JOIN $chosen AS n ON n.s_file = o.s_file AND n.s_position = o.s_position
                    WHERE $stays
                    """,
                    names=[column(name, "n" if name in self._changed else "o") for name in self._columns],
                    old=self._session.scan(self._base, positions=True),
                    chosen=changed,
                    stays=self._stays("n"),
                )
        snapshot = publish.apply(
            self._session,
            self._table,
            self._base,
            publish.RowChange(
                columns=self._columns,
                remove=remove,
                insert=insert,
                info=self._info,
            ),
        )
        return publish.compact(self._session, self._table, snapshot)


def _flag(name: str) -> str:
    return f"s_other.{name}"
