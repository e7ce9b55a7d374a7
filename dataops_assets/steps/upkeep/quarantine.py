"""Lists the rows that are kept out of the hub, with the reasons, and records repairs.

Two steps keep rows out: parse, if a row does not fit the contract, and enrich, if it fails a validation of severity
`quarantine`. A repair is a correction that is stored beside the raw input. From then on every parse applies it, so when
the input's steps run again, the row gets its place in the hub.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
from sqlglot import exp

from dataops_assets.config.source import Source
from dataops_assets.engines.base import Session
from dataops_assets.errors import ConfigError, InputError, nearest
from dataops_assets.report import Input
from dataops_assets.rules.compiler import compile_rules
from dataops_assets.sql import alias, column, literal, query
from dataops_assets.steps.evolved_columns import evolving_now
from dataops_assets.steps.merging.input_statistics import decisive_columns
from dataops_assets.steps.merging.manifest import HubManifest
from dataops_assets.steps.merging.row_identity import has_markers
from dataops_assets.steps.merging.settled_inputs import settled_in_hub
from dataops_assets.steps.parsing.corrections import unconvertible
from dataops_assets.steps.parsing.quarantined_rows import rejected_by
from dataops_assets.steps.parsing.raw_inputs import lines_of
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage.corrections import Repair, Values
from dataops_assets.storage.delta import TableVersion

HIDDEN = "***"
"""Shown instead of a value of a column tagged `pii`."""

_EXAMPLES = 5


@dataclass(frozen=True)
class KeptOut:
    """One value of a row that is kept out of the hub, with the rule that keeps it out.

    * `line`: the line or sheet row in the file, None if the format has none.
    * `column`: None if the record has no columns; then `value` is the whole record. A rule that reads no column has
      neither.
    """

    input_id: str
    row_id: int
    line: int | None
    origin: str
    step: str
    rule: str
    column: str | None
    value: str | None


@dataclass(frozen=True)
class Listing:
    """The requested `rows` in the order of input and position; `totals` counts all rows by rule."""

    rows: tuple[KeptOut, ...]
    totals: Mapping[str, int]


def kept_out(
    context: SourceContext, *, input_ids: Sequence[str] = (), rule: str = "", limit: int | None = None
) -> Listing:
    """Return the rows that are kept out of the hub, of some inputs or by one rule, at most `limit` rows of each step.

    A row has one entry for each validation that it fails and each column that the validation reads. Values of columns
    tagged `pii` are hidden, and so is a record that may contain them. Raises InputError for an unknown input,
    ConfigError for a rule that keeps no row out.
    """
    context = evolving_now(context)
    known = {item.input_id: item for item in context.metadata.inputs(context.source.name, list(input_ids) or None)}
    with context.engine.session() as session:
        tables = [found for found in (_rejected(context), _quarantined(context, session)) if found is not None]
        totals: dict[str, int] = {}
        entries: list[KeptOut] = []
        for table in tables:
            totals |= table.totals(session, input_ids)
            entries += table.entries(session, known, input_ids, rule, limit)
    if rule and rule not in totals:
        raise ConfigError(
            f"listing what is kept out of hub/{context.source.name} by a rule",
            received=repr(rule),
            known=sorted(totals),
            next_step=nearest(rule, list(totals)),
        )
    order = {input_id: place for place, input_id in enumerate(known)}
    entries.sort(key=lambda entry: (order[entry.input_id], entry.row_id))
    return Listing(tuple(_with_lines(context, known, entries)), totals)


def count_kept_out(context: SourceContext) -> tuple[int, int]:
    """Return how many rows parse rejected, and how many rows fail a validation that keeps them out of the hub."""
    rejected, enriched = context.quarantine.snapshot(), context.enriched.snapshot()
    failed = 0
    if enriched is not None:
        with context.engine.session() as session:
            rows = query("SELECT count(*) AS n FROM $rows AS e WHERE e.s_status = 'fail'", rows=session.scan(enriched))
            failed = session.fetch(rows).column("n").to_pylist()[0]
    return rejected.rows if rejected else 0, failed


def kept_out_by_rule(context: SourceContext) -> dict[str, int]:
    """Return how many rows each rule keeps out of the hub: the reasons of parse, and the validations."""
    totals: dict[str, int] = {}
    with context.engine.session() as session:
        for table in (_rejected(context), _quarantined(context, session)):
            totals |= table.totals(session, ()) if table is not None else {}
    return totals


def inputs_with_rows_kept_out(context: SourceContext) -> list[Input]:
    """Return the inputs with rows that are kept out, in order."""
    with context.engine.session() as session:
        tables = [found for found in (_rejected(context), _quarantined(context, session)) if found is not None]
        ids = {input_id for table in tables for input_id in table.inputs(session)}
    return [item for item in context.metadata.inputs(context.source.name) if item.input_id in ids]


def _with_lines(context: SourceContext, known: Mapping[str, Input], entries: Sequence[KeptOut]) -> Iterable[KeptOut]:
    """Add the lines of parsed rows from the raw bytes, because the lake does not have them."""
    without: dict[Input, list[int]] = {}
    for entry in entries:
        if entry.step == "enrich":
            without.setdefault(known[entry.input_id], []).append(entry.row_id)
    lines = lines_of(context, without) if without else {}
    return [
        replace(entry, line=lines.get((entry.input_id, entry.row_id))) if entry.step == "enrich" else entry
        for entry in entries
    ]


# --- the two tables --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rejected:
    """The rows that parse rejected."""

    source: Source
    snapshot: TableVersion

    def totals(self, session: Session, input_ids: Sequence[str]) -> dict[str, int]:
        found = session.fetch(
            query(
                "SELECT $rule AS rule, count(*) AS n FROM $rows AS q WHERE $wanted GROUP BY ALL",
                rule=rejected_by("q"),
                rows=session.scan(self.snapshot),
                wanted=_of_inputs(input_ids, "q"),
            )
        )
        return {row["rule"]: row["n"] for row in found.to_pylist()}

    def inputs(self, session: Session) -> list[str]:
        rows = query("SELECT DISTINCT q.s_input_id FROM $rows AS q", rows=session.scan(self.snapshot))
        found: list[str] = session.fetch(rows).column("s_input_id").to_pylist()
        return found

    def entries(
        self, session: Session, known: Mapping[str, Input], input_ids: Sequence[str], rule: str, limit: int | None
    ) -> list[KeptOut]:
        rows: exp.Select = query(
            "SELECT q.*, $rule AS s_rule FROM $rows AS q WHERE $wanted ORDER BY q.s_input_id, q.s_row_id",
            rule=rejected_by("q"),
            rows=session.scan(self.snapshot),
            wanted=exp.and_(_of_inputs(input_ids, "q"), rejected_by("q").eq(rule) if rule else exp.true()),
        )
        hidden = _hidden(self.source)
        entries = []
        for row in session.fetch(rows.limit(limit) if limit is not None else rows).to_pylist():
            name = row["s_column"]
            is_personal = name in hidden if name else bool(hidden)
            value = row["s_value"] if name else row["s_record"]
            entries.append(
                KeptOut(
                    row["s_input_id"],
                    row["s_row_id"],
                    row["s_line"],
                    known[row["s_input_id"]].origin,
                    "parse",
                    row["s_rule"],
                    name,
                    HIDDEN if is_personal and value is not None else value,
                )
            )
        return entries


@dataclass(frozen=True)
class _Quarantined:
    """The rows that fail a validation. `reads` are the columns that each validation reads."""

    source: Source
    snapshot: TableVersion
    reads: Mapping[str, tuple[str, ...]]
    warnings: frozenset[str]

    def totals(self, session: Session, input_ids: Sequence[str]) -> dict[str, int]:
        rows = query(
            "SELECT e.s_failed, count(*) AS n FROM $rows AS e WHERE e.s_status = 'fail' AND $wanted GROUP BY ALL",
            rows=session.scan(self.snapshot),
            wanted=_of_inputs(input_ids, "e"),
        )
        totals: dict[str, int] = {}
        for row in session.fetch(rows).to_pylist():
            for name in self._rules(row["s_failed"]):
                totals[name] = totals.get(name, 0) + row["n"]
        return totals

    def inputs(self, session: Session) -> list[str]:
        rows = query(
            "SELECT DISTINCT e.s_input_id FROM $rows AS e WHERE e.s_status = 'fail'", rows=session.scan(self.snapshot)
        )
        found: list[str] = session.fetch(rows).column("s_input_id").to_pylist()
        return found

    def entries(
        self, session: Session, known: Mapping[str, Input], input_ids: Sequence[str], rule: str, limit: int | None
    ) -> list[KeptOut]:
        shown = sorted({name for names in self.reads.values() for name in names})
        values = [alias(query("CAST($value AS VARCHAR)", value=column(name, "e")), name) for name in shown]
        failed = query("list_contains(string_split(e.s_failed, ', '), $rule)", rule=rule)
        rows: exp.Select = query(
            """
            SELECT e.s_input_id, e.s_row_id, e.s_failed, $values FROM $rows AS e
            WHERE e.s_status = 'fail' AND $wanted ORDER BY e.s_input_id, e.s_row_id
            """,
            values=values,
            rows=session.scan(self.snapshot),
            wanted=exp.and_(_of_inputs(input_ids, "e"), failed if rule else exp.true()),
        )
        hidden = _hidden(self.source)
        entries = []
        for row in session.fetch(rows.limit(limit) if limit is not None else rows).to_pylist():
            for name in self._rules(row["s_failed"]):
                if rule and name != rule:
                    continue
                for read in self.reads.get(name) or (None,):
                    value = None if read is None else row[read]
                    entries.append(
                        KeptOut(
                            row["s_input_id"],
                            row["s_row_id"],
                            None,
                            known[row["s_input_id"]].origin,
                            "enrich",
                            name,
                            read,
                            HIDDEN if read in hidden and value is not None else value,
                        )
                    )
        return entries

    def _rules(self, failed: str) -> list[str]:
        """Return the validations that keep a row out; all names, if that validation is no longer declared."""
        names = failed.split(", ")
        return [name for name in names if name not in self.warnings] or names


def _rejected(context: SourceContext) -> _Rejected | None:
    snapshot = context.quarantine.snapshot()
    return None if snapshot is None else _Rejected(context.source, snapshot)


def _quarantined(context: SourceContext, session: Session) -> _Quarantined | None:
    snapshot = context.enriched.snapshot()
    if snapshot is None:
        return None
    stage = compile_rules(context.source, context.sources).snapshot
    there = set(session.schema(session.scan(snapshot)))
    own = [name for name in context.source.column_names if name in there]
    warnings = {item.name for item in stage.validations if item.severity == "warn"}
    warnings |= {f"{name}: cast" for name in stage.rules}
    return _Quarantined(
        context.source,
        snapshot,
        {item.name: tuple(name for name in own if name in item.reads) for item in stage.validations},
        frozenset(warnings),
    )


def _hidden(source: Source) -> frozenset[str]:
    return frozenset(item.name for item in source.columns if "pii" in item.tags)


def _of_inputs(input_ids: Sequence[str], table: str) -> exp.Expr:
    if not input_ids:
        return exp.true()
    return exp.In(this=column("s_input_id", table), expressions=[literal(input_id) for input_id in input_ids])


# --- repair ----------------------------------------------------------------------------------------------------------


def repair(
    context: SourceContext,
    rows: Mapping[tuple[str, int], Values | None],
    *,
    made_by: str,
    made_at: dt.datetime,
) -> list[Input]:
    """Record corrections of rows, by input and position; None withdraws the earlier corrections of a row.

    All corrections are checked first. If one is wrong, nothing is recorded. Returns the inputs whose steps must run
    again, from parse on. Raises InputError with the faulty corrections: a row that does not exist or has nothing to
    repair, an unknown column, a value that does not have its column's type, a null where a value is required. Raises
    InputError also for an unknown or settled input.
    """
    evolved = evolving_now(context)
    source = evolved.source
    input_ids = list(dict.fromkeys(input_id for input_id, _ in rows))
    inputs = context.metadata.inputs(source.name, input_ids)
    for error in settled_in_hub(context, inputs).values():
        raise error
    with context.engine.session() as session:
        problems = [
            *_unfit_rows(evolved, session, rows),
            *_unfit_values(session, source, [values for values in rows.values() if values is not None]),
        ]
    if problems:
        shown = "; ".join(problems[:_EXAMPLES])
        rest = f"; and {len(problems) - _EXAMPLES} more" if len(problems) > _EXAMPLES else ""
        raise InputError(
            f"repairing rows of {source.name!r}",
            received=shown + rest,
            next_step=f"nothing was recorded; 'dataops quarantine list {source.name}' shows the rows",
        )
    for item in inputs:
        own = {row: values for (input_id, row), values in rows.items() if input_id == item.input_id}
        context.corrections.record(Repair(item.input_id, made_by, made_at, own))
    return inputs


def still_kept_out(context: SourceContext, places: Collection[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return those of the rows, by input and position, that are still kept out of the hub."""
    with context.engine.session() as session:
        rejected = _positions(session, context.quarantine.snapshot(), places)
        failing = _positions(session, context.enriched.snapshot(), places, ("fail",))
    return sorted(rejected | failing)


def _unfit_rows(context: SourceContext, session: Session, rows: Mapping[tuple[str, int], Any]) -> list[str]:
    """Return why rows cannot be repaired: they do not exist, or are in the hub without a failed validation."""
    rejected = _positions(session, context.quarantine.snapshot(), rows)
    parsed = _positions(session, context.lake.snapshot(), rows)
    failing = _positions(session, context.enriched.snapshot(), rows, ("warn", "fail"))
    hub = context.hub.snapshot()
    in_hub = HubManifest.read(hub.info if hub else None).inputs
    repairs = context.corrections.repairs({input_id for input_id, _ in rows})
    before = {(item.input_id, row) for item in repairs for row in item.rows}
    kept_out = rejected | failing | before
    problems = []
    for place in rows:
        input_id, row = place
        if place not in rejected and place not in parsed:
            problems.append(f"input {input_id} has no row {row}")
        elif place not in kept_out and input_id in in_hub:
            problems.append(f"row {row} of input {input_id} is in the hub and fails nothing")
    return problems


def _positions(
    session: Session, snapshot: TableVersion | None, places: Collection[tuple[str, int]], statuses: Sequence[str] = ()
) -> set[tuple[str, int]]:
    """Return those of the places (input, row position) that a table has, with one of these statuses."""
    if snapshot is None or not places:
        return set()
    ids, rows = zip(*places, strict=True)
    wanted = pa.table({"s_input_id": pa.array(ids, pa.string()), "s_row_id": pa.array(rows, pa.int64())})
    status = exp.In(this=column("s_status", "r"), expressions=[literal(word) for word in statuses])
    found = session.fetch(
        query(
            """
            SELECT r.s_input_id, r.s_row_id FROM $rows AS r
            SEMI JOIN $wanted AS w ON w.s_input_id = r.s_input_id AND w.s_row_id = r.s_row_id
            WHERE $inputs AND $status
            """,
            rows=session.scan(snapshot),
            wanted=session.register(wanted),
            inputs=_of_inputs(sorted(set(ids)), "r"),
            status=status if statuses else exp.true(),
        )
    )
    return set(zip(found.column("s_input_id").to_pylist(), found.column("s_row_id").to_pylist(), strict=True))


def _unfit_values(session: Session, source: Source, given: Sequence[Values]) -> list[str]:
    columns = {item.name: item for item in source.columns}
    hidden = _hidden(source)
    problems = []
    texts: list[tuple[str, str]] = []
    for name in dict.fromkeys(name for values in given for name in values):
        if name not in columns:
            hint = nearest(name, list(columns))
            problems.append(f"no column {name!r}" + (f", {hint}" if hint else f"; known: {', '.join(columns)}"))
            continue
        item = columns[name]
        if item.expression:
            problems.append(f"column {name!r} is computed as {item.expression}: correct the columns that it reads")
            continue
        own = [values[name] for values in given if name in values]
        # a delete marker needs no other value; a row that is not one will be rejected again
        needed = not has_markers(source) or name in decisive_columns(source)
        if None in own and not item.nullable and item.default is None and needed:
            problems.append(f"column {name!r} must have a value")
        if HIDDEN in own and name in hidden:
            problems.append(f"column {name!r}: {HIDDEN} is what is shown of it, not a value")
        texts += [(name, text) for text in own if text is not None]
    for name, text in unconvertible(session, source, texts):
        shown = HIDDEN if name in hidden else repr(text)
        problems.append(f"column {name!r}: {shown} is no {columns[name].type}")
    return problems
