"""Reads XML files as raw rows: each element at a declared path is a record. They are rewritten as JSON lines.

Elements and attributes become members as xmltodict names them: a child by its name, an attribute by `@name`, the text
of an element with attributes by `#text`. Children of one name become a list.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.parsers import expat

import xmltodict

from dataops_assets.config.connection import XmlFormat
from dataops_assets.config.limits import Limits
from dataops_assets.connections.formats.json_records import read_json_lines
from dataops_assets.connections.formats.rewritten_files import read_rewritten, require_kind
from dataops_assets.connections.formats.staging import DELIVER_AGAIN, RawFile, Reading, Staging, Wanted
from dataops_assets.sql import columns, query


def read_xml(staging: Staging, files: Sequence[RawFile], layout: XmlFormat, wanted: Wanted, limits: Limits) -> Reading:
    """Return the wanted members of the records of `files`. Damaged XML, and declared entities, give an InputError.

    The number of records is counted in a pass of its own over the elements.
    """
    reading = read_rewritten(
        files,
        lambda file: _rewritten(staging, file, layout, limits),
        lambda rewritten: read_json_lines(staging, rewritten, wanted, limits),
    )
    # the lines of the rewritten file are not those of the delivered one
    reading.rows = [
        replace(
            rows,
            query=query(
                "SELECT r.s_input_id, r.s_row_id, CAST(NULL AS BIGINT) AS s_line, r.s_problem, r.s_record, $fields "
                "FROM $rows AS r",
                fields=columns([item.column for item in rows.fields], "r"),
                rows=rows.query,
            ),
        )
        for rows in reading.rows
    ]
    return reading


def _rewritten(staging: Staging, file: RawFile, layout: XmlFormat, limits: Limits) -> tuple[Path, int]:
    require_kind(file, "", "XML")
    tags = layout.records.split(".")
    path = staging.path()
    try:
        records = _count(file, tags, limits)
        with path.open("w", encoding="utf-8") as lines, file.path.open("rb") as stream:

            def write(place: Sequence[tuple[str, Any]], item: Any) -> bool:
                if [tag for tag, _ in place] == tags:
                    members = item if isinstance(item, dict) else {} if item is None else {"#text": item}
                    lines.write(json.dumps(members, ensure_ascii=False) + "\n")
                return True

            xmltodict.parse(stream, item_depth=len(tags), item_callback=write)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise file.refused(f"damaged XML: {error}", DELIVER_AGAIN) from error
    return path, records


def _count(file: RawFile, tags: Sequence[str], limits: Limits) -> int:
    """Count the records. Raises InputError if they are nested deeper than allowed."""
    opened: list[str] = []
    found = 0

    def start(tag: str, _attributes: object) -> None:
        nonlocal found
        opened.append(tag)
        found += opened == tags
        if len(opened) - len(tags) > limits.nesting:
            raise file.refused(
                f"more than {limits.nesting:,} levels (limits.nesting) in record {found:,}",
                "deliver flat records, or raise the limit",
            )

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _tag: opened.pop()
    with file.path.open("rb") as stream:
        parser.ParseFile(stream)
    return found
