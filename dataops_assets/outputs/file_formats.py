"""Writes rows as a file of one format, and reads the file back to compare it with the rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sqlglot import exp

from dataops_assets.config.outputs import FilesTarget
from dataops_assets.engines.duckdb import DuckDBSession
from dataops_assets.outputs.contents import Content, content_of, content_read
from dataops_assets.outputs.json_rows import as_json, refuse_not_finite
from dataops_assets.sql import DIALECT, alias, column, query


def write_and_read(
    session: DuckDBSession,
    rows: exp.Query,
    types: Mapping[str, str],
    target: FilesTarget,
    path: Path,
    of_file: Mapping[str, str],
) -> tuple[int, str]:
    """Write rows as one file and read it back. Returns the number of its rows, and its fault ('' if it has none).

    `of_file` are the values of tokens about the whole file. Raises InputError if the format cannot hold the rows,
    ConfigError for a template that does not fit, and StorageError if the disk fails.
    """
    should = content_of(session, rows, types)
    if target.template is None:
        _write_file(session, rows, types, target, path)
        there = _content_in(session, types, target, path)
        if there.rows != should.rows:
            return there.rows, f"{path.name} has {there.rows:,} rows and should have {should.rows:,}"
        is_whole = there == should
    else:
        from dataops_assets.outputs.text_file import TemplatedText

        text = TemplatedText(target.template, session, rows, types, of_file)
        text.write(path, target.compression)
        is_whole = text.is_in(path, target.compression)
    return should.rows, "" if is_whole else f"values in {path.name} are not read as they were written"


def _write_file(
    session: DuckDBSession, rows: exp.Query, types: Mapping[str, str], target: FilesTarget, path: Path
) -> None:
    """Write rows as one file. Raises InputError if the format cannot hold them, StorageError if the disk fails."""
    if target.format == "excel":
        from dataops_assets.outputs.workbook import write_workbook

        write_workbook(session, rows, types, path)
        return
    if target.format == "avro":
        from dataops_assets.outputs.avro_file import write_avro

        write_avro(session, rows, types, target.compression, path)
        return
    if target.format == "jsonl":
        refuse_not_finite(session, rows, types)
        rows = query("SELECT $values FROM $rows AS t", values=as_json(types), rows=rows)
    options = {
        "csv": f"FORMAT csv, HEADER {str(target.header).lower()}, DELIMITER {_text(target.delimiter)}",
        "jsonl": "FORMAT json",
        "parquet": "FORMAT parquet",
    }[target.format]
    if target.format != "parquet" or target.compression != "none":
        options += f", COMPRESSION {target.compression}"
    session.execute(exp.Command(this="COPY", expression=f"({rows.sql(DIALECT)}) TO {_text(str(path))} ({options})"))


def _content_in(session: DuckDBSession, types: Mapping[str, str], target: FilesTarget, path: Path) -> Content:
    """Return the content of a file as a reader gets it."""
    if target.format == "excel":
        from dataops_assets.outputs.workbook import texts_of_workbook

        return content_read(texts_of_workbook(path, types), types)
    if target.format == "avro":
        from dataops_assets.outputs.avro_file import rows_of_avro

        return content_read(rows_of_avro(path, types), types)
    if target.format == "parquet":
        return content_of(session, query("SELECT * FROM read_parquet($path)", path=str(path)), types)
    texts = exp.Struct(
        expressions=[
            exp.PropertyEQ(this=exp.to_identifier(n, quoted=True), expression=exp.Literal.string("VARCHAR"))
            for n in types
        ]
    )
    if target.format == "csv":
        read: exp.Query = query(
            "SELECT * FROM read_csv($path, columns = $texts, header = $header, delim = $delimiter, quote = '\"', "
            "escape = '\"', nullstr = '', allow_quoted_nulls = FALSE, auto_detect = FALSE, compression = $packed, "
            "max_line_size = 100000000)",
            path=str(path),
            texts=texts,
            header=target.header,
            delimiter=target.delimiter,
            packed=target.compression,
        )
    else:
        read = query(
            "SELECT * FROM read_json($path, columns = $texts, format = 'newline_delimited', compression = $packed)",
            path=str(path),
            texts=texts,
            packed=target.compression,
        )
    typed = [alias(_from_text(column(name, "t"), kind), name) for name, kind in types.items()]
    return content_of(session, query("SELECT $typed FROM $rows AS t", typed=typed, rows=read), types)


def _from_text(value: exp.Expr, kind: str) -> exp.Expr:
    return exp.TryCast(this=value, to=exp.DataType.build(kind, dialect=DIALECT))


def _text(value: str) -> str:
    return exp.Literal.string(value).sql(DIALECT)
