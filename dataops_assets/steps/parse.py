"""Step 2, parse: the bytes of inputs become typed rows in the lake; rows that cannot become so go to quarantine.

Grain: `lake/<source>` has one row for each record of an input that parsed, `lake/<source>_quarantine` one for each that
did not; `s_row_id` is the record's 0-based position in its input and counts both, so it is the same whatever parses.
Re-run: an input's rows replace what it had. Quarantine is published before the lake, so whoever sees an input's rows
in the lake also finds those it lost. An input that cannot be read, lacks columns or fails a gate publishes nothing,
and the others are published.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlglot import exp

from dataops_assets.config.source import Column, FileConnection, FileFormat, Source
from dataops_assets.config.types import sql_type
from dataops_assets.connections.formats.compression import compression_of, unpack
from dataops_assets.connections.formats.reader import format_of, read
from dataops_assets.connections.formats.staging import RawFile, RawRows, Staging
from dataops_assets.engines.base import Session
from dataops_assets.errors import DataOpsError, InputError, StorageError, nearest
from dataops_assets.quality.checks import earlier_inputs, input_outcomes
from dataops_assets.quality.gates import blocked, gate_inputs
from dataops_assets.quality.profiles import ColumnProfile, Profile
from dataops_assets.quality.profiling import profile_inputs
from dataops_assets.rules.types import types
from dataops_assets.sql import DIALECT, alias, column, columns, literal, query, table, values
from dataops_assets.steps.conversion import TextMarks, converted, default_of, marks_of, present
from dataops_assets.steps.report import CheckOutcome, Input, InputReport, StepReport
from dataops_assets.steps.workspace import Workspace
from dataops_assets.storage.publish import files_of, replace_inputs

_TYPED = "s_typed"
_QUARANTINE = {
    "s_input_id": "VARCHAR",
    "s_row_id": "BIGINT",
    "s_line": "BIGINT",
    "s_reason": "VARCHAR",
    "s_column": "VARCHAR",
    "s_value": "VARCHAR",
    "s_record": "VARCHAR",
}
_LONGEST_VALUE = 1000
# how many known profiles are looked through for the inputs just before one that is parsed again
_PROFILES = 400
# what a row's `s_fault` says: this, or twice the number of the column, plus one for a null that is not allowed
_MALFORMED = -1
_KINDS = {
    "integer": "an integer of 64 bits",
    "double": "a number",
    "boolean": "true or false",
    "date": "a date",
    "timestamp": "a time",
    "timestamptz": "a time",
}


@dataclass
class _Read:
    """What was read: raw rows and how their values are written, raw columns by input, and inputs that are lost."""

    rows: list[tuple[RawRows, TextMarks]] = field(default_factory=list)
    headers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    lost: dict[str, DataOpsError] = field(default_factory=dict)


def parse(workspace: Workspace, inputs: Sequence[Input]) -> StepReport:
    """Parse `inputs` into the lake; counts are rows and rejected.

    An input's error is InputError (its bytes or columns are not what is declared), GateFailed, or StorageError (its
    bytes are not in the raw area). Raises ConfigError for a declaration that cannot be carried out, StorageError where
    the tables cannot be written.
    """
    started = time.perf_counter()
    source = workspace.source
    asset = f"lake/{source.name}"
    with tempfile.TemporaryDirectory(prefix="parse-") as folder, workspace.engine.session() as session:
        found = _read(workspace, inputs, Staging(session, Path(folder)))
        session.create(_TYPED, _typed(source, found, _defaults(source)))
        there = [item.input_id for item in sorted(inputs) if item.input_id not in found.lost]
        counts = _counts(session, there)
        gated = _gated(session, source, asset, there, found)
        for input_id, outcome in gated.items():
            error = blocked(outcome)
            if error is not None:
                found.lost[input_id] = error
        good = [input_id for input_id in there if input_id not in found.lost]
        if good:
            _publish(workspace, session, found, good, counts)
        profiles = _profiles(session, source, asset, good)
    checks = _checks(workspace, asset, profiles, found)
    workspace.metadata.save_profiles(source.name, asset, profiles)
    snapshot = workspace.lake.snapshot()
    return StepReport(
        step="parse",
        asset=asset,
        inputs=tuple(
            InputReport(
                item.input_id,
                counts.get(item.input_id, {}),
                found.lost.get(item.input_id),
                (*([gated[item.input_id]] if item.input_id in gated else []), *checks.get(item.input_id, ())),
            )
            for item in inputs
        ),
        rows=snapshot.rows if snapshot else None,
        version=snapshot.version if snapshot else None,
        columns=dict(snapshot.columns) if snapshot else {},
        seconds=time.perf_counter() - started,
        notes={"rejected": sum(counts[input_id]["rejected"] for input_id in good)},
    )


# --- bytes to raw rows -----------------------------------------------------------------------------------------------


def _read(workspace: Workspace, inputs: Sequence[Input], staging: Staging) -> _Read:
    source = workspace.source
    found = _Read()
    by_format: dict[str, tuple[FileFormat, list[RawFile]]] = {}
    for item in inputs:
        try:
            layout, file = _unpacked(workspace, item, staging)
        except (InputError, StorageError) as error:
            found.lost[item.input_id] = error
            continue
        by_format.setdefault(layout.model_dump_json(), (layout, []))[1].append(file)
    names = [item.raw_name for item in source.columns]
    for layout, files in by_format.values():
        marks = marks_of(layout)
        reading = read(staging, files, layout, names)
        found.lost |= reading.errors
        found.headers |= reading.headers
        known_as = {file.input_id: file for file in files}
        for input_id, header in reading.headers.items():
            drift = _drift(source, header)
            if drift is not None:
                found.lost[input_id] = known_as[input_id].refused(*drift)
        found.rows += [(rows, marks) for rows in reading.rows]
    return found


def _unpacked(workspace: Workspace, item: Input, staging: Staging) -> tuple[FileFormat, RawFile]:
    connection = workspace.source.connection
    name = item.origin.rpartition("/")[2]
    # a link of our own: an engine takes some characters of a path for patterns
    path = staging.path()
    path.symlink_to(workspace.raw.local_path(item).absolute())
    file = RawFile(item.input_id, name, path)
    layout = format_of(connection, name)
    if layout is None:
        raise file.refused("a file name that does not say what is in it", "end it in .csv, .json, .jsonl, .parquet ...")
    declared = connection.compression if isinstance(connection, FileConnection) else "infer"
    return layout, unpack(file, compression_of(name, declared), staging.path())


def _drift(source: Source, header: Sequence[str]) -> tuple[str, str] | None:
    """What of an input's columns the source does not allow, and what to do about it."""
    wanted = [item.raw_name for item in source.columns]
    there = set(header)
    missing = [name for name in wanted if name not in there]
    repeated = [name for name in wanted if header.count(name) > 1]
    new = [name for name in header if name and name not in wanted]
    if missing and source.drift.missing_column == "fail":
        near = [f"{name}: {hint}" for name in missing if (hint := nearest(name, [*new]))]
        received = f"no column {', '.join(missing)}; its columns are {', '.join(header)}"
        return received, "; ".join(near) or "deliver it with all columns, or set drift.missing_column to ignore"
    if repeated:
        return f"more than one column {', '.join(repeated)}", "give each column a name of its own"
    if new and source.drift.new_column == "fail":
        return f"columns that are not declared: {', '.join(new)}", "declare them, or set drift.new_column to ignore"
    return None


# --- raw rows to typed rows ------------------------------------------------------------------------------------------


def _defaults(source: Source) -> dict[str, exp.Expr]:
    """The declared defaults by column, of the column's type. Raises ConfigError for what is no literal of it."""
    with types() as asked:
        found = {item.name: default_of(item, asked) for item in source.columns}
    return {name: default for name, default in found.items() if default is not None}


def _typed(source: Source, found: _Read, defaults: Mapping[str, exp.Expr]) -> exp.Query:
    """All rows with the contract's columns and `s_fault`, which is null for a row that parsed."""
    selects = [
        _typed_rows(source, rows, marks, defaults, [key for key in rows.input_ids if key in found.lost])
        for rows, marks in found.rows
        if any(key not in found.lost for key in rows.input_ids)
    ]
    if not selects:
        types = {item.name: sql_type(item.type) for item in source.columns}
        return values([], {"s_input_id": "VARCHAR", "s_row_id": "BIGINT", **types, "s_fault": "INTEGER"})
    result: exp.Query = selects[0]
    for following in selects[1:]:
        result = exp.union(result, following, distinct=False)
    return result


def _typed_rows(
    source: Source, rows: RawRows, marks: TextMarks, defaults: Mapping[str, exp.Expr], lost: Sequence[str]
) -> exp.Query:
    fields = {item.name: item for item in rows.fields}
    given: list[exp.Expr] = []
    made: list[exp.Expr] = []
    results: list[exp.Expr] = []
    fault = query("CASE WHEN s_problem IS NOT NULL THEN $malformed END", malformed=_MALFORMED)
    for index, item in enumerate(source.columns):
        target = exp.DataType.build(sql_type(item.type), dialect=DIALECT)
        value, result = column(f"v{index}"), column(f"t{index}")
        raw = fields.get(item.raw_name)
        if raw is None:
            given.append(alias(exp.cast(exp.null(), target), value.name))
            made.append(alias(value, result.name))
        else:
            given.append(alias(present(column(raw.column), raw.type, marks), value.name))
            conversion = converted(value, raw.type, item, marks)
            made.append(alias(conversion, result.name))
            if conversion != value:
                fault.append(
                    "ifs", _when(query("$value IS NOT NULL AND $result IS NULL", value=value, result=result), 2 * index)
                )
        if item.name in defaults:
            result = query("coalesce($result, $default)", result=result, default=defaults[item.name])
        elif not item.nullable:
            fault.append("ifs", _when(query("$result IS NULL", result=result), 2 * index + 1))
        results.append(alias(exp.cast(result, target), item.name))
    raw_rows = query("SELECT * FROM $rows AS r", rows=rows.query)
    if lost:
        raw_rows = raw_rows.where(
            exp.not_(exp.In(this=column("s_input_id"), expressions=[literal(key) for key in lost]))
        )
    return query(
        "SELECT s_input_id, s_row_id, $results, CAST($fault AS INTEGER) AS s_fault FROM ("
        "SELECT s_input_id, s_row_id, s_problem, $kept, $made FROM ("
        "SELECT s_input_id, s_row_id, s_problem, $given FROM $rows AS r) AS g) AS m",
        results=results,
        fault=fault,
        kept=columns(item.alias for item in given),
        made=made,
        given=given,
        rows=raw_rows,
    )


def _when(condition: exp.Expr, fault: int) -> exp.If:
    return exp.If(this=condition, true=literal(fault))


def _counts(session: Session, input_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    found = session.fetch(
        query(
            "SELECT s_input_id, count(*) - count(s_fault) AS parsed, count(s_fault) AS rejected FROM $typed "
            "GROUP BY s_input_id",
            typed=table(_TYPED),
        )
    ).to_pylist()
    counts = {row["s_input_id"]: {"rows": row["parsed"], "rejected": row["rejected"]} for row in found}
    return {input_id: counts.get(input_id, {"rows": 0, "rejected": 0}) for input_id in input_ids}


def _parsed(source: Source, input_ids: Sequence[str]) -> exp.Query:
    """The rows of these inputs that parsed, as the lake has them."""
    rows: exp.Query = query(
        "SELECT $names, s_input_id, s_row_id FROM $typed WHERE s_fault IS NULL",
        names=columns(source.column_names),
        typed=table(_TYPED),
    )
    return rows.where(_is_one_of(input_ids))


def _is_one_of(input_ids: Sequence[str], name: str = "") -> exp.Expr:
    if not input_ids:
        return exp.false()
    return exp.In(this=column("s_input_id", name), expressions=[literal(input_id) for input_id in input_ids])


# --- publishing ------------------------------------------------------------------------------------------------------


def _gated(
    session: Session, source: Source, asset: str, input_ids: Sequence[str], found: _Read
) -> dict[str, CheckOutcome]:
    if source.gates.lake is None or not input_ids:
        return {}
    names = {item.raw_name: item.name for item in source.columns}
    headers = {key: [names.get(name, name) for name in found.headers[key]] for key in input_ids}
    return gate_inputs(session, source.gates.lake, asset, _parsed(source, input_ids), input_ids, headers)


def _publish(
    workspace: Workspace,
    session: Session,
    found: _Read,
    input_ids: Sequence[str],
    counts: Mapping[str, Mapping[str, int]],
) -> None:
    rejected = [input_id for input_id in input_ids if counts[input_id]["rejected"]]
    known = workspace.quarantine.snapshot()
    if rejected or known is None or files_of(known, input_ids):
        rows = _rejected(workspace.source, found, rejected) if rejected else values([], _QUARANTINE)
        replace_inputs(session, workspace.quarantine, rows, input_ids)
    replace_inputs(session, workspace.lake, _parsed(workspace.source, input_ids), input_ids)


def _rejected(source: Source, found: _Read, input_ids: Sequence[str]) -> exp.Query:
    """The rows of these inputs that did not parse, with what is wrong first, as the quarantine has them."""
    faults = [
        {"s_fault": 2 * index + is_null, "s_reason": _reason(item, bool(is_null)), "s_column": item.name}
        for index, item in enumerate(source.columns)
        for is_null in (0, 1)
    ]
    known = values(faults, {"s_fault": "INTEGER", "s_reason": "VARCHAR", "s_column": "VARCHAR"})
    numbers = {item.raw_name: index for index, item in enumerate(source.columns)}
    selects = []
    for rows, _ in found.rows:
        if not set(rows.input_ids) & set(input_ids):
            continue
        value = query("CASE t.s_fault WHEN $malformed THEN NULL END", malformed=_MALFORMED)
        record: list[exp.Expr] = []
        for item in rows.fields:
            text = query("CAST($value AS VARCHAR)", value=column(item.column, "r"))
            record += [literal(item.name), text]
            if item.name in numbers:
                value.append("ifs", _when(literal(2 * numbers[item.name]), 0))
                value.args["ifs"][-1].set("true", text.copy())
        selects.append(
            query(
                "SELECT t.s_input_id, t.s_row_id, r.s_line, coalesce(k.s_reason, r.s_problem) AS s_reason, k.s_column, "
                "left($value, $longest) AS s_value, coalesce(r.s_record, CAST($record AS VARCHAR)) AS s_record "
                "FROM $typed AS t JOIN $rows AS r ON r.s_input_id = t.s_input_id AND r.s_row_id = t.s_row_id "
                "LEFT JOIN $known AS k ON k.s_fault = t.s_fault WHERE t.s_fault IS NOT NULL AND $wanted",
                value=value,
                longest=_LONGEST_VALUE,
                record=exp.Anonymous(this="json_object", expressions=record),
                typed=table(_TYPED),
                rows=rows.query,
                known=known,
                wanted=_is_one_of(input_ids, "t"),
            )
        )
    result: exp.Query = selects[0]
    for following in selects[1:]:
        result = exp.union(result, following, distinct=False)
    return result


def _reason(item: Column, is_null: bool) -> str:
    if is_null:
        return "null where a value must be"
    form = f" of the form {item.date_format}" if item.date_format else ""
    return f"not {_KINDS.get(item.type, item.type)}{form}"


# --- profiles and checks ---------------------------------------------------------------------------------------------


def _profiles(session: Session, source: Source, asset: str, input_ids: Sequence[str]) -> list[Profile]:
    """The profile of every input, also of one without rows."""
    if not input_ids:
        return []
    rows = _parsed(source, input_ids)
    declared = set(source.column_names)
    types = {name: kind for name, kind in session.schema(rows).items() if name in declared}
    hidden = [item.name for item in source.columns if "pii" in item.tags]
    found = {item.input_id: item for item in profile_inputs(session, rows, types, asset, hidden)}
    nothing = tuple(ColumnProfile(name, kind, 0, 0, None, None, None, None) for name, kind in types.items())
    return [found.get(input_id) or Profile(asset, input_id, 0, nothing) for input_id in input_ids]


def _checks(
    workspace: Workspace, asset: str, profiles: Sequence[Profile], found: _Read
) -> dict[str, tuple[CheckOutcome, ...]]:
    """Volume, schema and distribution of every input, against the inputs before it, in this set or known."""
    if not profiles:
        return {}
    source = workspace.source
    own = [profile.input_id for profile in profiles]
    known = [*workspace.metadata.profiles(source.name, asset, exclude=own, limit=_PROFILES), *profiles]
    # as the engine spells the types
    expected = {item.name: item.type for item in profiles[0].columns}
    outcomes = {}
    for profile in profiles:
        note = _note(source, found.headers[profile.input_id])
        outcomes[profile.input_id] = input_outcomes(
            profile, earlier_inputs(profile, known), source.checks, expected, note
        )
    return outcomes


def _note(source: Source, header: Sequence[str]) -> str:
    wanted = [item.raw_name for item in source.columns]
    missing = [name for name in wanted if name not in header]
    new = [name for name in header if name and name not in wanted]
    notes = [f"missing in the input, so null: {', '.join(missing)}"] if missing else []
    notes += [f"in the input and not declared: {', '.join(new)}"] if new else []
    return "; ".join(notes)
