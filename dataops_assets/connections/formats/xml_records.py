"""Reads XML files as raw rows: each element at a declared path is a record. They are rewritten as JSON lines.

Elements and attributes become members as xmltodict names them: a child by its name, an attribute by `@name`, the text
of an element with attributes by `#text`. Children of one name become a list.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.parsers import expat

import xmltodict

from dataops_assets.config.connection import XmlFormat
from dataops_assets.config.limits import Limits
from dataops_assets.connections.formats.rewritten_files import require_kind
from dataops_assets.connections.formats.staging import DELIVER_AGAIN, RawFile, Staging


def xml_as_lines(staging: Staging, file: RawFile, layout: XmlFormat, limits: Limits) -> tuple[Path, int]:
    """Write the records of a file to a new one, one on each line. Return it, and the number of records.

    They are counted in a pass of its own over the elements. Damaged XML, and declared entities, give an InputError.
    """
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
