"""Tables of another tool as declared sources: their attributes, and what could not be translated."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataops_assets.config.contract import COLUMN_TYPE, name_problem
from dataops_assets.config.names import NAME
from dataops_assets.config.types import suggested_type
from dataops_assets.declaring.yaml_flow import flow

_SOURCE_TYPE = "dataops_assets.components.SourceComponent"
_WIDTH = 118
_MOST_DIGITS = 38


@dataclass
class Translated:
    """One source: its attributes as in YAML, and `notes` on what is to be decided or could not be translated."""

    name: str
    attributes: dict[str, Any]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Translation:
    """The sources, and messages about what became no source."""

    sources: Sequence[Translated]
    left_out: Sequence[str] = ()


def source_name(text: str) -> str:
    """Return a text as the name of a source: lower case letters, digits and underscores."""
    found = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:60]
    return found if NAME.match(found) else f"t_{found}"


def column(name: str, kind: str, notes: list[str], **settings: Any) -> dict[str, Any]:
    """Return the declaration of a column; `kind` is its type as the other tool names it. It may add to `notes`."""
    found: dict[str, Any] = {"name": name}
    if name_problem(name):
        found = {"name": f"x_{name.strip()}", "source_name": name}
        notes.append(f"column {name}: named {found['name']}, because {name_problem(name)}")
    translated = _type(kind)
    if not translated:
        translated = "text"
        if kind:
            notes.append(f"column {name}: text, because the type {kind} is not known")
        else:
            notes.append(f"column {name}: text, because no type is declared")
    if translated != "text":
        found["type"] = translated
    return found | {key: value for key, value in settings.items() if value not in (None, "", {})}


def _type(kind: str) -> str:
    known = kind.strip().lower()
    if re.match(r"^(decimal|numeric|number)\(\d+\)$", known):
        known = f"{known[:-1]},0)"
    found = known if COLUMN_TYPE.match(known) else suggested_type(known.replace(" ", "") if "(" in known else known)
    digits = re.match(r"^decimal\((\d+),", found)
    if not COLUMN_TYPE.match(found) and found:
        # a length, as in varchar(20), is no part of a type here
        found = suggested_type(known.partition("(")[0])
    return "" if digits and int(digits[1]) > _MOST_DIGITS else found


def declaration_of(source: Translated, origin: str) -> str:
    """Return the text of the defs.yaml of a source; `origin` says what it was read from."""
    return "\n".join(_lines(source, origin)) + "\n"


def _lines(source: Translated, origin: str) -> Iterator[str]:
    yield from _comment(f"Read from {origin} as a beginning: it loads as it is. Check what a comment says.")
    for note in source.notes:
        yield from _comment(f"- {note}")
    yield f"type: {_SOURCE_TYPE}"
    yield "attributes:"
    for key, value in source.attributes.items():
        parts = value if key in ("columns", "rules", "validations") else None
        if parts is None and not (isinstance(value, Mapping) and key in ("relations", "connection")):
            yield f"  {key}: {flow(value)}"
        elif parts is not None:
            yield f"  {key}:"
            yield from (f"    - {flow(item)}" for item in parts)
        else:
            yield f"  {key}:"
            yield from (f"    {name}: {flow(item)}" for name, item in value.items())


def _comment(text: str) -> list[str]:
    printable = "".join(sign if sign.isprintable() else " " for sign in text)
    hanging = "  " if text.startswith("- ") else ""
    return [f"# {line}" for line in textwrap.wrap(printable, _WIDTH, subsequent_indent=hanging)]
