"""Writes a drafted source as YAML, with a comment for each suggestion that says why."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dataops_assets.config.connection import (
    CsvFormat,
    ExcelFormat,
    FileFormat,
    FixedWidthFormat,
    JsonFormat,
    TextFormat,
    XmlFormat,
)
from dataops_assets.config.envelopes import ORDER
from dataops_assets.declaring.columns import SuggestedColumn
from dataops_assets.declaring.draft import Draft
from dataops_assets.declaring.health.finding import Finding
from dataops_assets.declaring.yaml_flow import flow

SOURCE_TYPE = "dataops_assets.components.SourceComponent"
_WIDTH = 118


def declaration_text(draft: Draft, contract: str = "") -> str:
    """Return the text of the defs.yaml of a draft. `contract` is the contract of the lake as 'module:attribute'."""
    return "\n".join(line.rstrip() for line in _lines(draft, contract)) + "\n"


def attributes_of(draft: Draft) -> dict[str, Any]:
    """Return the attributes of the source as plain values, without its contract."""
    found: dict[str, Any] = {"name": draft.name, "area": draft.area, "description": draft.description}
    found["connection"] = {"type": "files", "path": draft.path, "format": format_values(draft.layout)}
    if draft.of is not None:
        found["connection"] = {"type": "database", "database": draft.of.database, "table": draft.of.table}
    elif draft.names.pattern:
        rule = draft.names.rule.model_dump(exclude_defaults=True)
        if draft.members:
            # the name of a file in an archive begins with that of the archive
            rule["pattern"] += "!*"
        found["connection"]["extract_time"] = rule
    if draft.members:
        found["connection"]["members"] = draft.members
    if draft.envelope:
        found["envelope"] = draft.envelope
    found["columns"] = [column_values(item) for item in draft.columns]
    if draft.order:
        found["columns"].append(_order_column(draft))
    if draft.drift:
        found["drift"] = dict(draft.drift)
    found["refresh"] = draft.refresh.declared
    if draft.validations:
        found["validations"] = [dict(item.declared) for item in draft.validations]
    if draft.limits:
        found["checks"] = {key: value for item in draft.limits for key, value in item.declared.items()}
    return found


def format_values(layout: FileFormat) -> dict[str, Any]:
    """Return the settings of a format that differ from its defaults."""
    found = layout.model_dump(exclude_defaults=True)
    return {"type": layout.type, **{key: _plain(value) for key, value in found.items()}}


def column_values(item: SuggestedColumn) -> dict[str, Any]:
    """Return the settings of a column that differ from their defaults."""
    return {key: _plain(value) for key, value in item.declared.model_dump(exclude_defaults=True).items()}


def _order_column(draft: Draft) -> dict[str, Any]:
    return {"name": ORDER, "type": "integer", "source_name": draft.order, "nullable": False}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _lines(draft: Draft, contract: str) -> Iterator[str]:
    origin, these = _origin(draft)
    yield from _comment(
        f"Drafted by `dataops init` from {origin} with {draft.rows:,} rows. It loads and runs as it is. Each comment "
        f"with 'suggested' is a guess from {these}: check it, and change what you know better. "
        "docs/declare-from-data.md says how each part is decided.",
        "",
    )
    values = attributes_of(draft)
    yield f"type: {SOURCE_TYPE}"
    yield "attributes:"
    yield f"  name: {flow(values['name'])}"
    yield f"  area: {flow(values['area'])}"
    yield from _comment("suggested: say what one row is, and who delivers it", "  ")
    yield f"  description: {flow(values['description'])}"
    yield ""
    yield from _connection(draft, values["connection"])
    yield ""
    yield from _columns(draft)
    if draft.drift:
        yield ""
        yield from _comment("suggested: some files do not have all columns", "  ")
        yield f"  drift: {flow(values['drift'])}"
    yield ""
    yield from _refresh(draft)
    if draft.validations:
        yield ""
        yield "  validations:"
        for part in draft.validations:
            yield from _comment(f"suggested: {part.why}", "    ")
            yield f"    - {flow(dict(part.declared))}"
    if contract:
        yield ""
        yield "  gates:"
        yield from _comment("suggested: it reports; with severity fail it would stop a file. See contracts.py", "    ")
        yield f"    lake: {flow({'contract': contract, 'severity': 'warn'})}"
    if draft.limits:
        yield ""
        yield "  checks:"
        for part in draft.limits:
            yield from _comment(f"suggested: {part.why}", "    ")
            for key, value in part.declared.items():
                yield f"    {key}: {flow(value)}"
    if draft.findings:
        yield ""
        yield from _comment(f"What looks unhealthy in {these}:", "")
        for finding in draft.findings:
            yield from _comment(f"- {finding_text(finding)}", "")


def _columns(draft: Draft) -> Iterator[str]:
    if draft.envelope:
        yield from _comment(
            "suggested: the names in the records are those of this change feed. See docs/coming-from.md",
            "  ",
        )
        yield f"  envelope: {draft.envelope}"
    yield "  columns:"
    for item in draft.columns:
        for note in item.notes:
            yield from _comment(f"suggested: {note}", "    ")
        yield f"    - {flow(column_values(item))}"
    if draft.order:
        yield from _comment("suggested: the place of a change in the log of its database", "    ")
        yield f"    - {flow(_order_column(draft))}"


def _origin(draft: Draft) -> tuple[str, str]:
    """Return what the source is drafted from, and words for its rows."""
    if draft.of is not None:
        return f"the table {draft.of.table} of the database {draft.of.database}", "these rows"
    return f"{len(draft.file_names)} file{'s' if len(draft.file_names) > 1 else ''}", "these files"


def _connection(draft: Draft, values: Mapping[str, Any]) -> Iterator[str]:
    yield "  connection:"
    if draft.of is not None:
        yield "    type: database"
        yield f"    database: {flow(values['database'])}"
        yield from _comment(
            "suggested: each look reads all rows; docs/databases.md says how to take changes alone", "    "
        )
        yield f"    table: {flow(values['table'])}"
        return
    yield "    type: files"
    yield from _comment(draft.path_note, "    ")
    yield f"    path: {flow(values['path'])}"
    if draft.members:
        yield from _comment("suggested: the files in each archive", "    ")
        yield f"    members: {flow(draft.members)}"
    yield from _comment(f"suggested: {_format_note(draft.layout)}", "    ")
    if draft.other_types:
        yield from _comment(
            f"suggested: the other types are sources of their own, from the same files: {', '.join(draft.other_types)} "
            "(dataops init NAME FILE --record-type TYPE)",
            "    ",
        )
    yield f"    format: {flow(values['format'])}"
    yield from _comment(f"suggested: {draft.names.why}", "    ")
    if "extract_time" in values:
        yield f"    extract_time: {flow(values['extract_time'])}"


def _format_note(layout: FileFormat) -> str:
    if isinstance(layout, CsvFormat):
        header = "a header" if layout.header else "no header: the columns need names"
        numbers = f", decimal mark {layout.decimal_mark!r}" if layout.decimal_mark != "." else ""
        taken = layout.record_type.values if layout.record_type else ()
        numbers += f", the records of type {', '.join(taken)}" if taken else ""
        last = ", and a last line with totals, which are checked" if layout.trailer_lines else ""
        return f"delimited by {layout.delimiter!r}, {layout.encoding}, {header}{numbers}{last}"
    if isinstance(layout, XmlFormat):
        return f"each element {layout.records} is a record"
    if isinstance(layout, TextFormat):
        return "a log; a line of another form belongs to the record before it"
    if isinstance(layout, FixedWidthFormat):
        return "text with fixed positions, without names: check where each field begins, and name it"
    if isinstance(layout, ExcelFormat):
        above = f", below {layout.skip_rows} other rows" if layout.skip_rows else ""
        return f"a workbook; the first sheet has the rows{above}"
    if isinstance(layout, JsonFormat):
        return (
            f"a JSON document with its records at {layout.records!r}" if layout.records else "a JSON array of records"
        )
    return "by the content of the files"


def _refresh(draft: Draft) -> Iterator[str]:
    yield from _comment(f"suggested: {draft.refresh.why}", "  ")
    chosen = draft.refresh.declared.get("key", [])
    for key in draft.keys[:4]:
        if list(key.names) != chosen and (key.is_sure or not chosen):
            yield from _comment(f"another candidate key: {', '.join(key.names)} ({key.why})", "  ")
    if draft.deletes:
        yield from _comment(f"if these rows are deletions, add to refresh: delete_when: {flow(draft.deletes)}", "  ")
    yield f"  refresh: {flow(draft.refresh.declared)}"


def finding_text(finding: Finding) -> str:
    """Return a finding in a line: column, sentence, number of rows, examples."""
    place = f"{finding.column}: " if finding.column else ""
    rows = f" ({finding.rows:,} row{'' if finding.rows == 1 else 's'})" if finding.rows else ""
    examples = f", e.g. {', '.join(_readable(item) for item in finding.examples)}" if finding.examples else ""
    return f"{place}{finding.what}{rows}{examples}"


def _readable(text: str) -> str:
    return repr(text) if text != text.strip() or not text.isprintable() or not text else text


def _comment(text: str, indent: str) -> Sequence[str]:
    printable = "".join(sign if sign.isprintable() else " " for sign in text)
    hanging = "  " if text.startswith("- ") else ""
    return [
        f"{indent}# {line}"
        for line in textwrap.wrap(
            printable, _WIDTH - len(indent), subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False
        )
    ]


def finding_data(finding: Finding) -> dict[str, Any]:
    """Return a finding as plain values."""
    return {
        "kind": finding.kind,
        "column": finding.column,
        "what": finding.what,
        "rows": finding.rows,
        "examples": list(finding.examples),
    }
