"""Makes the rows of the quarantine: rejected rows with their first fault, its column, and the raw record."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from dataops_assets.config.contract import Column
from dataops_assets.connections.formats.staging import RawRows
from dataops_assets.engines.base import Session
from dataops_assets.sql import all_rows, column, literal, query, values
from dataops_assets.steps.parsing.corrections import Corrected
from dataops_assets.steps.parsing.date_advice import looks_like
from dataops_assets.steps.parsing.rejected_rows import MALFORMED, readable_key
from dataops_assets.steps.parsing.rows_outside_period import REASON as OUTSIDE
from dataops_assets.steps.parsing.rows_outside_period import fault_outside
from dataops_assets.steps.parsing.typed_rows import TypedRows, fields_of, is_one_of

NOT_NULL = "null where a value must be"
"""The reason for which a row with a null in a required column is rejected."""

_COLUMNS = {
    "s_input_id": "VARCHAR",
    "s_row_id": "BIGINT",
    "s_line": "BIGINT",
    "s_reason": "VARCHAR",
    "s_column": "VARCHAR",
    "s_value": "VARCHAR",
    "s_record": "VARCHAR",
    "s_key": "VARCHAR",
}
_LONGEST_VALUE = 1000
_TIMES = ("date", "timestamp", "timestamptz")
# of an input and column; enough that one of them has a day after the twelfth
_SAMPLED = 200
_KINDS = {
    "integer": "an integer of 64 bits",
    "double": "a number",
    "boolean": "true or false",
    "date": "a date",
    "timestamp": "a time",
    "timestamptz": "a time",
}


def quarantined(typed: TypedRows, input_ids: Sequence[str]) -> exp.Query:
    """Return the rejected rows of these inputs, as the quarantine stores them."""
    selects = [_rejected(typed, rows, input_ids) for rows, _ in typed.raw.rows if set(rows.input_ids) & set(input_ids)]
    return all_rows(selects) if selects else values([], _COLUMNS)


def rejected_by(table: str) -> exp.Expr:
    """Return why a row of the quarantine was rejected: column and reason, or the fault of the record."""
    found: exp.Expr = query(
        "coalesce($name || ': ', '') || $reason", name=column("s_column", table), reason=column("s_reason", table)
    )
    return found


def rejected_by_reason(session: Session, typed: TypedRows, input_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Count the rejected rows by input and reason."""
    if not input_ids:
        return {}
    rows = session.fetch(
        query(
            "SELECT s_input_id, $rule AS rule, count(*) AS n FROM $rejected AS q GROUP BY ALL ORDER BY n DESC, rule",
            rule=rejected_by("q"),
            rejected=quarantined(typed, input_ids),
        )
    )
    counts: dict[str, dict[str, int]] = {}
    for row in rows.to_pylist():
        counts.setdefault(row["s_input_id"], {})[row["rule"]] = row["n"]
    return counts


def rejected_dates(session: Session, typed: TypedRows, input_ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return, by input and column, the format that the first rejected dates and times have, if it is a known one."""
    kinds = {item.name: item for item in typed.source.columns if item.type in _TIMES}
    if not kinds or not input_ids:
        return {}
    rows = session.fetch(
        query(
            "SELECT s_input_id, s_column, s_value FROM $rejected AS q WHERE s_value IS NOT NULL AND $timed "
            "QUALIFY row_number() OVER (PARTITION BY s_input_id, s_column ORDER BY s_row_id) <= $most",
            rejected=quarantined(typed, input_ids),
            most=_SAMPLED,
            timed=exp.In(this=column("s_column", "q"), expressions=[literal(name) for name in kinds]),
        )
    ).to_pylist()
    sampled: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        sampled.setdefault((row["s_input_id"], row["s_column"]), []).append(row["s_value"])
    found: dict[str, dict[str, str]] = {}
    for (input_id, name), texts in sorted(sampled.items()):
        if advice := looks_like(texts, kinds[name].type, kinds[name].date_formats):
            found.setdefault(input_id, {})[name] = advice
    return found


def _rejected(typed: TypedRows, rows: RawRows, input_ids: Sequence[str]) -> exp.Query:
    corrected = typed.corrected if typed.corrected.concerns(rows) else Corrected()
    texts = {item.name: query("CAST($value AS VARCHAR)", value=column(item.column, "r")) for item in rows.fields}
    record = [part for item in rows.fields for part in (literal(item.name), texts[item.name].copy())]
    rejected = query(
        "SELECT t.s_input_id, t.s_row_id, r.s_line, coalesce(k.s_reason, r.s_problem) AS s_reason, k.s_column, "
        "left($value, $longest) AS s_value, coalesce(r.s_record, CAST($record AS VARCHAR)) AS s_record, "
        "$known_key AS s_key "
        "FROM $typed AS t JOIN $rows AS r ON r.s_input_id = t.s_input_id AND r.s_row_id = t.s_row_id "
        "LEFT JOIN $known AS k ON k.s_fault = t.s_fault WHERE t.s_fault >= $malformed AND $wanted",
        value=_wrong_value(typed, rows, corrected),
        longest=_LONGEST_VALUE,
        malformed=MALFORMED,
        known_key=readable_key(typed.source, "t"),
        record=exp.Anonymous(this="json_object", expressions=record),
        typed=typed.table,
        rows=rows.query,
        known=_reasons(typed),
        wanted=is_one_of(input_ids, "t"),
    )
    return corrected.joined_to(rejected, "t") if corrected.columns else rejected


def _wrong_value(typed: TypedRows, rows: RawRows, corrected: Corrected) -> exp.Expr:
    """Return the text of the value for which a row was rejected; null if the fault is no value of another type."""
    value: exp.Expr = query("CASE t.s_fault WHEN $malformed THEN NULL END", malformed=MALFORMED)
    for index, item in enumerate(typed.source.columns):
        given = [query("CAST($value AS VARCHAR)", value=column(raw.column, "r")) for raw in fields_of(item, rows)]
        text: exp.Expr = exp.func("coalesce", *given) if given else exp.null()
        if index in corrected.columns:
            text = corrected.raw_text(index, text)
        value.append("ifs", exp.If(this=literal(2 * index), true=text))
        if item.name == typed.source.refresh.range_by:
            value.append("ifs", exp.If(this=literal(fault_outside(typed.source)), true=text.copy()))
    return value


def _reasons(typed: TypedRows) -> exp.Query:
    """Return a table of the reason and the column of each fault."""
    faults = [
        {
            "s_fault": 2 * index + is_null,
            "s_reason": NOT_NULL if is_null else _wrong_type(item),
            "s_column": item.name,
        }
        for index, item in enumerate(typed.source.columns)
        for is_null in (0, 1)
    ]
    if (by := typed.source.refresh.range_by) is not None:
        faults.append({"s_fault": fault_outside(typed.source), "s_reason": OUTSIDE, "s_column": by})
    return values(faults, {"s_fault": "INTEGER", "s_reason": "VARCHAR", "s_column": "VARCHAR"})


def _wrong_type(item: Column) -> str:
    forms = [form or "ISO 8601" for form in item.date_formats]
    form = f" of the form {' or '.join(forms)}" if forms != ["ISO 8601"] else ""
    computed = f", computed as {item.expression}" if item.expression else ""
    return f"not {_KINDS.get(item.type, item.type)}{form}{computed}"
