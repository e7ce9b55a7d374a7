"""Rewrites YAML documents as JSON lines.

Nothing is constructed of a tag, and no value is guessed: a plain scalar is a number only where JSON writes it in the
same way, and `no`, `010` or `12:30` are texts. Aliases are resolved, up to the size that a document may have.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from dataops_assets.config.connection import YamlFormat
from dataops_assets.config.limits import Limits
from dataops_assets.connections.formats.exact_json import NUMBER
from dataops_assets.connections.formats.rewritten_files import require_kind
from dataops_assets.connections.formats.staging import DELIVER_AGAIN, RawFile, Staging
from dataops_assets.errors import InputError, nearest

_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_JSON_NUMBER = re.compile(rf"(?!-?0[0-9]){NUMBER}")
_NULLS = ("", "~", "null", "Null", "NULL")
# what a parsed document takes in memory is a large multiple of its bytes
_SHARE = 8


def yaml_as_lines(staging: Staging, file: RawFile, layout: YamlFormat, limits: Limits) -> tuple[Path, int]:
    """Write the records of a file's documents to a new file, one on each line. Return it, and their number.

    The number is counted in a pass of its own over the events of the parser. Raises InputError for damaged YAML, for
    a document beyond the limits, and for one without records at the declared path.
    """
    require_kind(file, "", "YAML")
    size, most = file.path.stat().st_size, limits.document_bytes // _SHARE
    if size > most:
        raise file.refused(
            f"YAML of {size:,} bytes, more than an eighth of limits.document_bytes ({most:,})",
            "deliver JSON Lines, which are read line by line, or raise the limit",
        )
    names = layout.records.split(".") if layout.records else []
    path = staging.path()
    try:
        # first, because this pass bounds the nesting
        count = _count(file, names, limits)
        with file.path.open("rb") as stream, path.open("w", encoding="ascii") as lines:
            mappings = _Mappings(file)
            writer = _Writer(file, mappings, most)
            for document in yaml.compose_all(stream, Loader=yaml.CSafeLoader):
                lines.writelines(writer.text(record) + "\n" for record in _records(file, document, names, mappings))
    except RecursionError as error:
        raise _too_deep(file, limits) from error
    except (yaml.YAMLError, UnicodeError) as error:
        raise file.refused(f"damaged YAML: {' '.join(str(error).split())}", DELIVER_AGAIN) from error
    return path, count


def _records(
    file: RawFile, document: yaml.Node | None, names: Sequence[str], mappings: _Mappings
) -> Sequence[yaml.Node]:
    """Return the records of a document: the items of its list, or the document itself if it is no list."""
    found, walked = document, list[str]()
    for name in names:
        members = mappings.members(found) if isinstance(found, yaml.MappingNode) else {}
        if name not in members:
            raise InputError(
                f"reading {file.name}",
                received=f"no {name!r} in {'.'.join(walked) or 'the document'}",
                known=list(members)[:20],
                next_step=nearest(name, list(members)) or "correct the format's records",
            )
        found = members[name]
        walked.append(name)
    if isinstance(found, yaml.SequenceNode):
        return found.value
    if found is None or _is_null(found):
        return []
    if names:
        raise file.refused("a value that is no list at the path of the records", "correct the format's records")
    return [found]


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == f"{_TAG}null"


class _Mappings:
    """Knows the members of mappings, each of which is looked at once, however often others merge it."""

    def __init__(self, file: RawFile) -> None:
        self._file = file
        self._known: dict[int, dict[str, yaml.Node]] = {}

    def members(self, node: yaml.MappingNode) -> dict[str, yaml.Node]:
        """Return the members of a mapping by name, with those that are merged into it (`<<`)."""
        if id(node) not in self._known:
            self._known[id(node)] = {**self.merged(node), **dict(self.own(node))}
        return self._known[id(node)]

    def own(self, node: yaml.MappingNode) -> list[tuple[str, yaml.Node]]:
        """Return the members that stand in a mapping itself."""
        found = []
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._file.refused(
                    f"a key that is no text in line {key.start_mark.line + 1:,}", "deliver mappings with names"
                )
            if key.tag != _MERGE:
                found.append((key.value, value))
        return found

    def merged(self, node: yaml.MappingNode) -> dict[str, yaml.Node]:
        """Return the members that are merged into a mapping and do not stand in it; of several, the first counts."""
        found: dict[str, yaml.Node] = {}
        for value in [value for key, value in node.value if key.tag == _MERGE]:
            for other in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if not isinstance(other, yaml.MappingNode):
                    raise self._file.refused("a merge (<<) of a value that is no mapping", DELIVER_AGAIN)
                found = {**self.members(other), **found}
        for name in {name for name, _ in self.own(node)} if found else ():
            found.pop(name, None)
        return found


class _Writer:
    """Writes nodes as JSON. All that is written of a file, with its aliases resolved, is no more than `most` bytes."""

    def __init__(self, file: RawFile, mappings: _Mappings, most: int) -> None:
        self._file = file
        self._mappings = mappings
        self._left = self._most = most
        self._open: set[int] = set()

    def text(self, node: yaml.Node) -> str:
        """Return a node as one line of JSON."""
        if isinstance(node, yaml.ScalarNode):
            return self._counted(_scalar(node))
        if id(node) in self._open:
            raise self._file.refused("a value that contains itself (an alias within its anchor)", DELIVER_AGAIN)
        self._open.add(id(node))
        found = ""
        if isinstance(node, yaml.SequenceNode):
            found = "[" + ",".join([self.text(item) for item in node.value]) + "]"
        elif isinstance(node, yaml.MappingNode):
            # of its own members, all that have one name are written: the reader rejects such a record
            given = [*self._mappings.merged(node).items(), *self._mappings.own(node)]
            found = "{" + ",".join([f"{self._counted(json.dumps(key))}:{self.text(item)}" for key, item in given]) + "}"
        self._open.discard(id(node))
        return found

    def _counted(self, text: str) -> str:
        self._left -= len(text) + 1
        if self._left < 0:
            raise self._file.refused(
                f"more than {self._most:,} bytes (an eighth of limits.document_bytes) with all aliases resolved",
                "deliver it without aliases, or raise the limit",
            )
        return text


def _scalar(node: yaml.ScalarNode) -> str:
    kind, value = node.tag.removeprefix(_TAG), node.value
    if kind == "null":
        return "null"
    if kind == "bool" and value.lower() in ("true", "false"):
        return value.lower()
    if kind in ("int", "float") and _JSON_NUMBER.fullmatch(value):
        return value
    return json.dumps(value)


# --- counting --------------------------------------------------------------------------------------------------------


@dataclass
class _Open:
    """A collection that is not closed yet: its place below the document (None: below no path), and its present key."""

    place: tuple[str, ...] | None
    is_mapping: bool
    has_records: bool = False
    key: str | None = None


def _count(file: RawFile, names: Sequence[str], limits: Limits) -> int:
    """Count the records by the events of the parser, which takes no memory for what was read."""
    wanted = tuple(names)
    opened: list[_Open] = []
    found = 0
    with file.path.open("rb") as stream:
        for event in yaml.parse(stream, Loader=yaml.CSafeLoader):
            if isinstance(event, yaml.CollectionEndEvent):
                opened.pop()
                continue
            if not isinstance(event, yaml.NodeEvent):
                continue
            above = opened[-1] if opened else None
            is_list = isinstance(event, yaml.SequenceStartEvent)
            place, is_key = _place(above, event)
            found += above is not None and above.has_records
            if place == wanted and not is_list and not names:
                found += not (isinstance(event, yaml.ScalarEvent) and event.implicit[0] and event.value in _NULLS)
            if isinstance(event, yaml.CollectionStartEvent):
                # a collection as a key is refused when it is read
                inside = None if is_key else place
                opened.append(_Open(inside, not is_list, is_list and inside == wanted))
                if len(opened) > len(names) + 1 + limits.nesting:
                    raise _too_deep(file, limits)
    return found


def _place(above: _Open | None, event: yaml.NodeEvent) -> tuple[tuple[str, ...] | None, bool]:
    """Return the place of a node, and whether it is a key."""
    if above is None:
        return (), False
    if not above.is_mapping:
        return None, False
    if above.key is None:
        above.key = str(event.value) if isinstance(event, yaml.ScalarEvent) else ""
        return None, True
    place = None if above.place is None else (*above.place, above.key)
    above.key = None
    return place, False


def _too_deep(file: RawFile, limits: Limits) -> InputError:
    return file.refused(
        f"YAML of more than {limits.nesting:,} levels (limits.nesting)", "deliver flat records, or raise the limit"
    )
