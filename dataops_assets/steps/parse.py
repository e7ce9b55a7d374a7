"""Step 2, parse: convert the bytes of inputs to typed rows in the lake, and put rejected rows into quarantine.

Grain: `lake/<source>` has one row for each record of an input that parsed, `lake/<source>_quarantine` one for each that
did not; `s_row_id` is the record's 0-based position in its input and counts both, so it is the same whatever parses.
Corrections (`steps/parsing/corrections.py`) stand in place of what the bytes say.
Re-run: an input's rows replace what it had. Quarantine is published before the lake, so whoever sees an input's rows
in the lake also finds those it lost. An input that cannot be read, lacks columns or fails a gate publishes nothing,
and the others are published.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlglot import exp

from dataops_assets.config.connection import FileConnection, FileFormat
from dataops_assets.config.contract import Column, EvolvedColumn
from dataops_assets.config.source import Source
from dataops_assets.config.types import sql_type
from dataops_assets.connections.formats.compression import compression_of, unpack
from dataops_assets.connections.formats.isolated_input import attempt
from dataops_assets.connections.formats.null_words import present
from dataops_assets.connections.formats.reader import format_of, read
from dataops_assets.connections.formats.staging import RawField, RawFile, RawRows, Staging, Wanted
from dataops_assets.engines.base import Session
from dataops_assets.errors import DataOpsError, InputError, StorageError, nearest
from dataops_assets.profiles import ColumnProfile, Profile
from dataops_assets.quality.checks import earlier_inputs, input_outcomes
from dataops_assets.quality.gates import blocked, gate_inputs
from dataops_assets.quality.profiling import profile_inputs
from dataops_assets.report import CheckOutcome, Input, InputReport, StepReport
from dataops_assets.rules.types import types
from dataops_assets.sql import DIALECT, alias, column, columns, literal, query, table, values
from dataops_assets.steps.evolved_columns import evolved, evolved_name
from dataops_assets.steps.merging.row_identity import delete_marker
from dataops_assets.steps.merging.settled_inputs import settled_of, unless_settled
from dataops_assets.steps.parsing.corrections import Corrected, corrections_for, joined_with_corrections
from dataops_assets.steps.parsing.rejected_rows import MALFORMED, faults_of_types, readable_key, with_markers
from dataops_assets.steps.parsing.typed_values import TextMarks, converted, default_of, is_type, marks_of
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep.lost_data import version_of
from dataops_assets.storage.publish import files_of, replace_inputs, written_as

_TYPED = "s_typed"
_QUARANTINE = {
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
_EXAMPLES = 3
# how many known profiles are searched for the inputs just before one that is parsed again
_PROFILES = 400
# what a row's `s_fault` says: this, or twice the number of the column, plus one for a null that is not allowed
_NULL = "null where a value must be"
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
    """Result of reading: raw rows with their notation; by input the raw columns and the file name; and lost inputs.

    `records` and `undeclared` are what `Reading` says they are, `corrected` the corrections of these rows.
    """

    rows: list[tuple[RawRows, TextMarks]] = field(default_factory=list)
    headers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    lost: dict[str, DataOpsError] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    records: dict[str, int] = field(default_factory=dict)
    undeclared: dict[str, dict[str, int]] = field(default_factory=dict)
    corrected: Corrected = field(default_factory=Corrected)

    def lacking(self, rows: RawRows, item: Column) -> list[str]:
        """Return the inputs of `rows` that do not have the column under any of its names."""
        return [key for key in rows.input_ids if not set(item.raw_names) & set(self.headers[key])]


def parse(context: SourceContext, inputs: Sequence[Input]) -> StepReport:
    """Parse `inputs` into the lake; counts are rows and rejected.

    An input's error is InputError (its bytes or columns are not what is declared, or it is settled), GateFailed, or
    StorageError (its bytes are not in the raw area). Raises ConfigError for a declaration that cannot be carried out,
    StorageError where the tables cannot be written.
    """
    started = time.perf_counter()
    source = context.source
    asset = f"lake/{source.name}"
    lake = version_of(context, context.lake, "parse", [item.input_id for item in inputs])
    with (
        tempfile.TemporaryDirectory(prefix="parse-") as folder,
        context.engine.session() as session,
        session.reading() as reader,
    ):
        settled = settled_of(source, lake, inputs)
        wanted = [item for item in inputs if item.input_id not in settled]
        found = _read(context, wanted, Staging(reader, Path(folder)))
        found.lost |= settled
        found.rows = [(replace(rows, query=session.taken(reader, rows.query)), marks) for rows, marks in found.rows]
        source = _evolved(context, found)
        context = replace(context, source=source)
        found.corrected = corrections_for(context, session, source, list(found.headers))
        _make_typed(session, source, found)
        if source.drift.changed_type == "fail":
            found.lost |= _changed_types(session, source, found)
        counts = _counts(session, [item.input_id for item in inputs if item.input_id not in found.lost])
        found.lost |= _unaccounted(found, counts)
        there = [item.input_id for item in sorted(inputs) if item.input_id not in found.lost]
        leaves_out = source.drift.changed_type == "ignore" or source.refresh.delete_when
        left_out = _left_out(session, source, there) if leaves_out else {}
        for input_id, values_left_out in left_out.items():
            counts[input_id]["left_out"] = sum(values_left_out.values())
        gated = _gated(session, source, asset, there, found)
        for input_id, outcome in gated.items():
            error = blocked(outcome)
            if error is not None:
                found.lost[input_id] = error
        good = [input_id for input_id in there if input_id not in found.lost]
        if good:
            _publish(context, session, found, [item for item in inputs if item.input_id in good], counts)
            _remember_evolution(context, found, good)
        kept_out = _kept_out(session, source, found, [key for key in good if counts[key]["rejected"]])
        profiles = _profiles(session, source, asset, good, counts)
    # before the checks: of several versions of one file in this run only the last is history for the others
    context.metadata.save_profiles(source.name, asset, profiles)
    checks = _checks(context, asset, profiles, found, left_out)
    snapshot = context.lake.snapshot()
    return StepReport(
        step="parse",
        asset=asset,
        inputs=tuple(
            InputReport(
                item.input_id,
                counts.get(item.input_id, {}),
                found.lost.get(item.input_id),
                (*([gated[item.input_id]] if item.input_id in gated else []), *checks.get(item.input_id, ())),
                kept_out.get(item.input_id, {}),
                written_as(snapshot, item.input_id),
            )
            for item in inputs
        ),
        rows=snapshot.rows if snapshot else None,
        version=snapshot.version if snapshot else None,
        commit_id=snapshot.commit_id if snapshot else "",
        columns=dict(snapshot.columns) if snapshot else {},
        seconds=time.perf_counter() - started,
        notes={"rejected": sum(counts[input_id]["rejected"] for input_id in good), **_ignored(found)},
    )


def _ignored(found: _Read) -> dict[str, str]:
    """Return the notes about corrections of columns that no longer exist."""
    unknown = found.corrected.unknown
    return {"corrections of no column": ", ".join(unknown)} if unknown else {}


# --- bytes to raw rows -----------------------------------------------------------------------------------------------


def _read(context: SourceContext, inputs: Sequence[Input], staging: Staging) -> _Read:
    source = context.source
    found = _Read()
    by_format: dict[str, tuple[FileFormat, list[RawFile]]] = {}
    for item in inputs:
        unpacked = attempt(item.origin.rpartition("/")[2], _unpacked, context, item, staging)
        if isinstance(unpacked, DataOpsError):
            found.lost[item.input_id] = unpacked
            continue
        layout, file = unpacked
        found.names[item.input_id] = file.name
        by_format.setdefault(layout.model_dump_json(), (layout, []))[1].append(file)
    earlier = [name for item in source.columns for name in item.renamed_from]
    keeps_new = source.drift.new_column == "evolve"
    null_words = {
        name: item.null_words for item in source.columns if item.null_words is not None for name in item.raw_names
    }
    wanted = Wanted([item.raw_name for item in source.columns], earlier, keeps_new, null_words)
    for layout, files in by_format.values():
        marks = marks_of(layout)
        reading = read(staging, files, layout, wanted, source.connection.limits)
        found.lost |= reading.errors
        found.headers |= reading.headers
        found.records |= reading.records
        found.undeclared |= reading.undeclared
        known_as = {file.input_id: file for file in files}
        for input_id, header in reading.headers.items():
            drift = _drift(source, header, reading.undeclared.get(input_id, {}))
            if drift is not None:
                found.lost[input_id] = known_as[input_id].refused(*drift)
        found.rows += [(rows, marks) for rows in reading.rows]
    return found


def _unpacked(context: SourceContext, item: Input, staging: Staging) -> tuple[FileFormat, RawFile]:
    connection = context.source.connection
    name = item.origin.rpartition("/")[2]
    # a link of our own: an engine takes some characters of a path for patterns
    path = staging.path()
    path.symlink_to(context.raw.sound_path(item).absolute())
    file = RawFile(item.input_id, name, path)
    layout = format_of(connection, name)
    if layout is None:
        raise file.refused("a file name that does not say what is in it", "end it in .csv, .json, .jsonl, .parquet ...")
    declared = connection.compression if isinstance(connection, FileConnection) else "infer"
    return layout, unpack(file, compression_of(name, declared), staging.path(), connection.limits)


def _drift(source: Source, header: Sequence[str], undeclared: Mapping[str, int]) -> tuple[str, str] | None:
    """Return the error for columns of an input that the source does not allow, with what to do."""
    missing = _missing(source, header)
    new = _new(source, header)
    repeated = [name for item in source.columns for name in item.raw_names if header.count(name) > 1]
    renamed = [both for item in source.columns if len(both := [name for name in item.raw_names if name in header]) > 1]
    if missing and source.drift.missing_column == "fail":
        near = [f"{name}: {hint}" for name in missing if (hint := nearest(name, new))]
        received = f"no column {', '.join(missing)}; its columns are {', '.join(header)}"
        return received, "; ".join(near) or "deliver it with all columns, or set drift.missing_column to ignore"
    if repeated:
        return f"more than one column {', '.join(repeated)}", "give each column a name of its own"
    if renamed:
        received = "; ".join(f"{' and '.join(names)}, which are names of one column" for names in renamed)
        return received, "deliver one of them, or declare two columns"
    same = [
        names
        for name in dict.fromkeys(evolved_name(source, raw) for raw in new)
        if len(names := [raw for raw in new if evolved_name(source, raw) == name]) > 1
    ]
    if source.drift.new_column == "evolve" and (same or (repeated := [raw for raw in new if header.count(raw) > 1])):
        received = "; ".join(" and ".join(names) for names in same) or f"more than one column {', '.join(repeated)}"
        return f"undeclared columns that become one: {received}", "give each column a name of its own, or declare them"
    if new and source.drift.new_column == "fail":
        return (
            f"columns that are not declared: {_told(new, undeclared)}",
            "declare them, or set drift.new_column to ignore",
        )
    return None


def _told(names: Sequence[str], held: Mapping[str, int]) -> str:
    """Return the names of undeclared columns as a text, with the number of values of each."""
    told = []
    for name in names:
        count = held.get(name, 0)
        told.append(f"{name or repr(name)} ({count:,} value{'' if count == 1 else 's'})")
    return ", ".join(told)


def _missing(source: Source, header: Sequence[str]) -> list[str]:
    """Return the declared columns that the input lacks under all of their names, by their present raw name."""
    declared = (item for item in source.columns if not isinstance(item, EvolvedColumn))
    return [item.raw_name for item in declared if not set(item.raw_names) & set(header)]


def _new(source: Source, header: Sequence[str]) -> list[str]:
    known = {name for item in source.columns if not isinstance(item, EvolvedColumn) for name in item.raw_names}
    return [name for name in dict.fromkeys(header) if name not in known]


def _evolved(context: SourceContext, found: _Read) -> Source:
    """Return the source with the undeclared columns of its lake and of these inputs."""
    headers = (header for input_id, header in found.headers.items() if input_id not in found.lost)
    new = {name for header in headers for name in _new(context.source, header)}
    return evolved(context.source, context.lake.snapshot(), new)


def _remember_evolution(context: SourceContext, found: _Read, input_ids: Sequence[str]) -> None:
    """Record in the metadata what these inputs added to the contract: columns, and nulls in required columns."""
    source = context.source
    headers = [set(found.headers[input_id]) for input_id in input_ids]
    added = {
        item.name: raw_names
        for item in source.columns
        if isinstance(item, EvolvedColumn)
        and (raw_names := [name for name in item.raw_names if any(name in header for header in headers)])
    }
    relaxed = [
        item.name
        for item in source.columns
        if source.drift.missing_column == "evolve"
        and not item.nullable
        and item.default is None
        and any(not header & set(item.raw_names) for header in headers)
    ]
    if added or relaxed:
        context.metadata.evolve(source.name, added, relaxed)


# --- raw rows to typed rows ------------------------------------------------------------------------------------------


def _defaults(source: Source) -> dict[str, exp.Expr]:
    """Return the declared defaults by column, in the column's type. Raises ConfigError for a wrong default."""
    with types() as asked:
        found = {item.name: default_of(item, asked) for item in source.columns}
    return {name: default for name, default in found.items() if default is not None}


def _make_typed(session: Session, source: Source, found: _Read) -> None:
    """Make the table of typed rows. An input whose rows the engine cannot compute is lost, and the others are made."""
    defaults = _defaults(source)
    while True:
        made = attempt("several inputs", session.create, _typed(source, found, defaults), _TYPED)
        if not isinstance(made, DataOpsError):
            return
        there = sorted(key for key in found.headers if key not in found.lost)
        # a store that is full or away is no input's fault
        culprit = None if isinstance(made, StorageError) else _culprit(session, source, found, defaults, there)
        if culprit is None:
            raise made
        found.lost |= culprit


def _culprit(
    session: Session, source: Source, found: _Read, defaults: Mapping[str, exp.Expr], input_ids: Sequence[str]
) -> dict[str, DataOpsError] | None:
    """Return an input whose rows alone cannot be computed, with its error; None if all can."""
    others = [key for key in found.headers if key not in input_ids]
    alone = replace(found, lost=found.lost | dict.fromkeys(others, InputError("reading another input")))
    name = found.names[input_ids[0]]
    made = attempt(name, session.create, _typed(source, alone, defaults), _TYPED)
    if not isinstance(made, DataOpsError):
        return None
    if len(input_ids) == 1:
        return {input_ids[0]: made}
    middle = len(input_ids) // 2
    halves = (input_ids[:middle], input_ids[middle:])
    return next((some for half in halves if (some := _culprit(session, source, found, defaults, half))), None)


def _typed(source: Source, found: _Read, defaults: Mapping[str, exp.Expr]) -> exp.Query:
    """All rows with the contract's columns, `s_fault` and `s_left_out`.

    `s_fault` is null for a row that parsed. `s_left_out` are the numbers of columns whose value was left out.
    """
    selects = [
        _typed_rows(source, found, rows, marks, defaults)
        for rows, marks in found.rows
        if any(key not in found.lost for key in rows.input_ids)
    ]
    if not selects:
        types = {item.name: sql_type(item.type) for item in source.columns}
        system = {"s_fault": "INTEGER", "s_left_out": "VARCHAR"}
        return values([], {"s_input_id": "VARCHAR", "s_row_id": "BIGINT", **types, **system})
    result: exp.Query = selects[0]
    for following in selects[1:]:
        result = exp.union(result, following, distinct=False)
    return result


def _typed_rows(
    source: Source, found: _Read, rows: RawRows, marks: TextMarks, defaults: Mapping[str, exp.Expr]
) -> exp.Query:
    given: list[exp.Expr] = []
    made: list[exp.Expr] = []
    results: list[exp.Expr] = []
    nulls: list[exp.If] = []
    left_out: list[exp.Expr] = []
    wrong: dict[int, exp.Expr] = {}
    fault = query("CASE WHEN s_problem IS NOT NULL THEN $malformed END", malformed=MALFORMED)
    corrected = found.corrected if found.corrected.concerns(rows) else Corrected()
    for index, item in enumerate(source.columns):
        target = exp.DataType.build(sql_type(item.type), dialect=DIALECT)
        value, result = column(f"v{index}"), column(f"t{index}")
        fields = _fields_of(item, rows)
        may_be_null = item.nullable or item.name in defaults
        if not fields:
            given.append(alias(exp.cast(exp.null(), target), value.name))
            conversion: exp.Expr = value
        else:
            # of a column's names an input has one, but inputs of one query may have different ones
            texts = [present(column(raw.column), raw) for raw in fields]
            given.append(alias(texts[0] if len(texts) == 1 else exp.func("coalesce", *texts), value.name))
            is_new = isinstance(item, EvolvedColumn)
            is_refused = (
                not is_new
                and source.drift.changed_type == "fail"
                and rows.is_typed
                and not is_type(fields[0].type, item)
            )
            conversion = exp.cast(exp.null(), target) if is_refused else converted(value, fields[0].type, item, marks)
            if is_new and fields[0].type == "BLOB":
                # nobody said that these bytes are text
                conversion = query("hex($value)", value=value)
        is_given = query("$value IS NOT NULL", value=value)
        is_kept = conversion == value
        if index in corrected.columns:
            is_kept = is_kept and item.type == "text"
            is_given = corrected.is_given(index, is_given)
            conversion = corrected.value(index, item, conversion)
        made.append(alias(conversion, result.name))
        changed = query("$is_given AND $result IS NULL", is_given=is_given, result=result)
        if is_kept:
            pass
        elif source.drift.changed_type == "ignore" and may_be_null:
            left_out.append(query("CASE WHEN $changed THEN $number END", changed=changed, number=str(index)))
        else:
            wrong[index] = changed
            fault.append("ifs", _when(changed, 2 * index))
        if item.name in defaults:
            result = query("coalesce($result, $default)", result=result, default=defaults[item.name])
        elif not item.nullable:
            is_null = query("$result IS NULL", result=result)
            if source.drift.missing_column == "evolve" and (lacking := found.lacking(rows, item)):
                is_null = exp.and_(is_null, exp.not_(_is_one_of(lacking)))
            nulls.append(_when(is_null, 2 * index + 1))
        results.append(alias(exp.cast(result, target), item.name))
    # a value of another type is told before a null
    for condition in nulls:
        fault.append("ifs", condition)
    raw_rows = corrected.joined(rows) if corrected.columns else query("SELECT * FROM $rows AS r", rows=rows.query)
    given += columns(corrected.names)
    lost = [key for key in rows.input_ids if key in found.lost]
    if lost:
        raw_rows = raw_rows.where(exp.not_(_is_one_of(lost, "r")))
    typed = query(
        "SELECT s_input_id, s_row_id, $results, CAST($fault AS INTEGER) AS s_fault, $left_out AS s_left_out, $wrong "
        "FROM (SELECT s_input_id, s_row_id, s_problem, $kept, $made FROM ("
        "SELECT s_input_id, s_row_id, s_problem, $given FROM $rows AS r) AS g) AS m",
        results=results,
        fault=fault,
        left_out=exp.Anonymous(this="concat_ws", expressions=[literal(","), *left_out])
        if left_out
        else exp.cast(exp.null(), "VARCHAR"),
        wrong=faults_of_types(source, wrong),
        kept=columns(item.alias_or_name for item in given),
        made=made,
        given=given,
        rows=raw_rows,
    )
    return with_markers(source, typed)


def _fields_of(item: Column, rows: RawRows) -> list[RawField]:
    """Return the fields with the values of the column; its present name comes first."""
    by_name = {raw.name: raw for raw in rows.fields}
    return [by_name[name] for name in item.raw_names if name in by_name]


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


def _unaccounted(found: _Read, counts: dict[str, dict[str, int]]) -> dict[str, DataOpsError]:
    """The inputs whose rows are not all there: their records are counted by other means, and `counts` gets them too."""
    lost: dict[str, DataOpsError] = {}
    for input_id, count in counts.items():
        count["records"] = found.records[input_id]
        made = count["rows"] + count["rejected"]
        if made != count["records"]:
            lost[input_id] = InputError(
                f"reading {found.names[input_id]}",
                received=f"{count['records']:,} records, of which {made:,} became rows "
                f"({count['rows']:,} for the lake, {count['rejected']:,} rejected)",
                next_step="look at quotes, line ends and the declared format; nothing of the input is published",
            )
    return lost


def _kept_out(session: Session, source: Source, found: _Read, input_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Count the rejected rows by input and reason."""
    if not input_ids:
        return {}
    rows = session.fetch(
        query(
            "SELECT s_input_id, $rule AS rule, count(*) AS n FROM $rejected AS q GROUP BY ALL ORDER BY n DESC, rule",
            rule=rejected_by("q"),
            rejected=_rejected(source, found, input_ids),
        )
    )
    kept_out: dict[str, dict[str, int]] = {}
    for row in rows.to_pylist():
        kept_out.setdefault(row["s_input_id"], {})[row["rule"]] = row["n"]
    return kept_out


def rejected_by(table: str) -> exp.Expr:
    """Return why a row of the quarantine was rejected: column and reason, or the fault of the record."""
    found: exp.Expr = query(
        "coalesce($name || ': ', '') || $reason", name=column("s_column", table), reason=column("s_reason", table)
    )
    return found


def lines_of(context: SourceContext, rows: Mapping[Input, Sequence[int]]) -> dict[tuple[str, int], int]:
    """Return the line (or sheet row) of rows of inputs, if the raw bytes exist and the format has lines."""
    with (
        tempfile.TemporaryDirectory(prefix="lines-") as folder,
        context.engine.session() as session,
        session.reading() as reader,
    ):
        found = _read(context, list(rows), Staging(reader, Path(folder)))
        lines: dict[tuple[str, int], int] = {}
        wanted = [{"s_input_id": item.input_id, "s_row_id": row} for item, some in rows.items() for row in some]
        for raw, _ in found.rows:
            known = reader.fetch(
                query(
                    "SELECT r.s_input_id, r.s_row_id, r.s_line FROM $rows AS r JOIN $wanted AS w "
                    "ON w.s_input_id = r.s_input_id AND w.s_row_id = r.s_row_id WHERE r.s_line IS NOT NULL",
                    rows=raw.query,
                    wanted=values(wanted, {"s_input_id": "VARCHAR", "s_row_id": "BIGINT"}),
                )
            )
            lines |= {(row["s_input_id"], row["s_row_id"]): row["s_line"] for row in known.to_pylist()}
    return lines


def _left_out(session: Session, source: Source, input_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Count the values of parsed rows that were left out because of their type, by input and column."""
    found = session.fetch(
        query(
            "SELECT s_input_id, s_number, count(*) AS n FROM ("
            "SELECT s_input_id, unnest(string_split(s_left_out, ',')) AS s_number FROM $typed AS t "
            "WHERE s_fault IS NULL AND s_left_out <> '' AND $wanted) AS u GROUP BY s_input_id, s_number",
            typed=table(_TYPED),
            wanted=_is_one_of(input_ids),
        )
    ).to_pylist()
    left_out: dict[str, dict[str, int]] = {}
    for row in sorted(found, key=lambda row: int(row["s_number"])):
        name = source.columns[int(row["s_number"])].name
        left_out.setdefault(row["s_input_id"], {})[name] = row["n"]
    return left_out


def _changed_types(session: Session, source: Source, found: _Read) -> dict[str, DataOpsError]:
    """Return the inputs with values that do not have the declared type, with column, count and examples."""
    changed = session.fetch(
        query("SELECT DISTINCT s_input_id FROM $typed AS t WHERE s_fault >= 0 AND s_fault % 2 = 0", typed=table(_TYPED))
    )
    ids = changed.column(0).to_pylist()
    if not ids:
        return {}
    rows = session.fetch(
        query(
            "SELECT s_input_id, s_column, s_reason, count(*) AS n, "
            "list(s_value ORDER BY s_row_id)[1:$most] AS examples "
            "FROM $rejected AS r WHERE s_reason <> $is_null AND s_column IS NOT NULL "
            "GROUP BY s_input_id, s_column, s_reason ORDER BY s_input_id, s_column",
            rejected=_rejected(source, found, ids),
            most=_EXAMPLES,
            is_null=_NULL,
        )
    ).to_pylist()
    hidden = {item.name for item in source.columns if "pii" in item.tags}
    problems: dict[str, list[str]] = {}
    for row in rows:
        shown = ", ".join("***" if row["s_column"] in hidden else repr(value) for value in row["examples"])
        types = _types_of(source, found, row["s_input_id"], row["s_column"])
        problems.setdefault(row["s_input_id"], []).append(
            f"{row['s_column']}: {types}{row['s_reason']} in {row['n']:,} rows, e.g. {shown}"
        )
    return {
        input_id: InputError(
            f"reading {found.names[input_id]}",
            received=f"values of another type: {'; '.join(what)}",
            next_step="deliver the declared types, declare a wider type, or set drift.changed_type to evolve",
        )
        for input_id, what in problems.items()
    }


def _types_of(source: Source, found: _Read, input_id: str, name: str) -> str:
    """Return the type of a column in a typed format; empty for other formats."""
    item = next(item for item in source.columns if item.name == name)
    for rows, _ in found.rows:
        if rows.is_typed and input_id in rows.input_ids:
            return f"{_fields_of(item, rows)[0].type.lower()}, "
    return ""


def _parsed(source: Source, input_ids: Sequence[str]) -> exp.Query:
    """Return the parsed rows of these inputs, as the lake stores them."""
    rows: exp.Query = query(
        "SELECT $names, s_input_id, s_row_id FROM $typed AS t WHERE s_fault IS NULL",
        names=columns(source.column_names),
        typed=table(_TYPED),
    )
    return rows.where(_is_one_of(input_ids))


def _but_markers(source: Source, input_ids: Sequence[str]) -> exp.Query:
    """Return the rows without delete markers, because contracts and distributions do not apply to them."""
    rows = _parsed(source, input_ids)
    return rows.where(exp.not_(delete_marker(source, "t"))) if source.refresh.delete_when else rows


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
    names = {name: item.name for item in source.columns for name in item.raw_names}
    headers = {key: [names.get(name, name) for name in found.headers[key]] for key in input_ids}
    return gate_inputs(session, source.gates.lake, asset, _but_markers(source, input_ids), input_ids, headers)


def _publish(
    context: SourceContext,
    session: Session,
    found: _Read,
    inputs: Sequence[Input],
    counts: Mapping[str, Mapping[str, int]],
) -> None:
    input_ids = [item.input_id for item in inputs]
    rejected = [input_id for input_id in input_ids if counts[input_id]["rejected"]]
    known = context.quarantine.snapshot()
    if rejected or known is None or files_of(known, input_ids):
        rows = _rejected(context.source, found, rejected) if rejected else values([], _QUARANTINE)
        replace_inputs(session, context.quarantine, rows, input_ids)
    # what is parsed again to the same rows leaves the hub's knowledge of them true
    replace_inputs(
        session,
        context.lake,
        _parsed(context.source, input_ids),
        input_ids,
        unless_settled(context.source, inputs),
        keep_same=True,
    )


def _rejected(source: Source, found: _Read, input_ids: Sequence[str]) -> exp.Query:
    """Return the rejected rows of these inputs with their first fault, as the quarantine stores them."""
    faults = [
        {"s_fault": 2 * index + is_null, "s_reason": _reason(item, bool(is_null)), "s_column": item.name}
        for index, item in enumerate(source.columns)
        for is_null in (0, 1)
    ]
    known = values(faults, {"s_fault": "INTEGER", "s_reason": "VARCHAR", "s_column": "VARCHAR"})
    selects = []
    for rows, _ in found.rows:
        if not set(rows.input_ids) & set(input_ids):
            continue
        corrected = found.corrected if found.corrected.concerns(rows) else Corrected()
        value = query("CASE t.s_fault WHEN $malformed THEN NULL END", malformed=MALFORMED)
        texts = {item.name: query("CAST($value AS VARCHAR)", value=column(item.column, "r")) for item in rows.fields}
        for index, item in enumerate(source.columns):
            given = [texts[raw.name].copy() for raw in _fields_of(item, rows)]
            text: exp.Expr = exp.func("coalesce", *given) if given else exp.null()
            if index in corrected.columns:
                text = corrected.raw_text(index, text)
            value.append("ifs", exp.If(this=literal(2 * index), true=text))
        record = [part for item in rows.fields for part in (literal(item.name), texts[item.name].copy())]
        rejected = query(
            "SELECT t.s_input_id, t.s_row_id, r.s_line, coalesce(k.s_reason, r.s_problem) AS s_reason, k.s_column, "
            "left($value, $longest) AS s_value, coalesce(r.s_record, CAST($record AS VARCHAR)) AS s_record, "
            "$known_key AS s_key "
            "FROM $typed AS t JOIN $rows AS r ON r.s_input_id = t.s_input_id AND r.s_row_id = t.s_row_id "
            "LEFT JOIN $known AS k ON k.s_fault = t.s_fault WHERE t.s_fault IS NOT NULL AND $wanted",
            value=value,
            longest=_LONGEST_VALUE,
            known_key=readable_key(source, "t"),
            record=exp.Anonymous(this="json_object", expressions=record),
            typed=table(_TYPED),
            rows=rows.query,
            known=known,
            wanted=_is_one_of(input_ids, "t"),
        )
        selects.append(joined_with_corrections(rejected, "t") if corrected.columns else rejected)
    result: exp.Query = selects[0]
    for following in selects[1:]:
        result = exp.union(result, following, distinct=False)
    return result


def _reason(item: Column, is_null: bool) -> str:
    if is_null:
        return _NULL
    forms = [form or "ISO 8601" for form in item.date_formats]
    form = f" of the form {' or '.join(forms)}" if forms != ["ISO 8601"] else ""
    return f"not {_KINDS.get(item.type, item.type)}{form}"


# --- profiles and checks ---------------------------------------------------------------------------------------------


def _profiles(
    session: Session,
    source: Source,
    asset: str,
    input_ids: Sequence[str],
    counts: Mapping[str, Mapping[str, int]],
) -> list[Profile]:
    """The profile of every input, also of one without rows. What it says of columns leaves out delete markers."""
    if not input_ids:
        return []
    rows = _but_markers(source, input_ids)
    declared = set(source.column_names)
    types = {name: kind for name, kind in session.schema(rows).items() if name in declared}
    hidden = [item.name for item in source.columns if "pii" in item.tags]
    found = {item.input_id: item for item in profile_inputs(session, rows, types, asset, hidden)}
    nothing = tuple(ColumnProfile(name, kind, 0, 0, None, None, None, None) for name, kind in types.items())
    profiles = [found.get(input_id) or Profile(asset, input_id, 0, nothing) for input_id in input_ids]
    return [replace(profile, rows=counts[profile.input_id]["rows"]) for profile in profiles]


def _checks(
    context: SourceContext,
    asset: str,
    profiles: Sequence[Profile],
    found: _Read,
    left_out: Mapping[str, Mapping[str, int]],
) -> dict[str, tuple[CheckOutcome, ...]]:
    """Return volume, schema and distribution outcomes of every input, against the profiles of earlier inputs."""
    if not profiles:
        return {}
    source = context.source
    known = context.metadata.profiles(source.name, asset, limit=_PROFILES + len(profiles))
    # as the engine spells the types
    expected = {item.name: item.type for item in profiles[0].columns}
    outcomes = {}
    for profile in profiles:
        note = _note(source, found, profile.input_id, left_out.get(profile.input_id, {}))
        outcomes[profile.input_id] = input_outcomes(
            profile, earlier_inputs(profile, known), source.checks, expected, note
        )
    return outcomes


def _note(source: Source, found: _Read, input_id: str, left_out: Mapping[str, int]) -> str:
    header = found.headers[input_id]
    missing, new = _missing(source, header), _new(source, header)
    notes = [f"missing in the input, so null: {', '.join(missing)}"] if missing else []
    what = "not declared, so kept as text" if source.drift.new_column == "evolve" else "in the input and not declared"
    notes += [f"{what}: {_told(new, found.undeclared.get(input_id, {}))}"] if new else []
    values_of = ", ".join(f"{name} ({count:,})" for name, count in left_out.items())
    notes += [f"values left out because of their type: {values_of}"] if values_of else []
    return "; ".join(notes)
