"""Finds the elements of XML files that are records."""

from __future__ import annotations

from collections import Counter
from xml.parsers import expat

from dataops_assets.connections.formats.staging import DELIVER_AGAIN, RawFile
from dataops_assets.errors import ConfigError


def records_path(file: RawFile) -> str:
    """Return the path to the records: the elements nearest to the root that an element has several of.

    Raises ConfigError if there are none, and InputError for damaged XML.
    """
    opened: list[str] = []
    children: list[Counter[str]] = [Counter()]
    most: dict[tuple[str, ...], int] = {}

    def start(tag: str, _attributes: object) -> None:
        children[-1][tag] += 1
        opened.append(tag)
        children.append(Counter())

    def end(_tag: str) -> None:
        for tag, count in children.pop().items():
            path = (*opened, tag)
            most[path] = max(most.get(path, 0), count)
        opened.pop()

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    try:
        with file.path.open("rb") as stream:
            parser.ParseFile(stream)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise file.refused(f"damaged XML: {error}", DELIVER_AGAIN) from error
    repeated = [path for path, count in most.items() if count > 1]
    if not repeated:
        raise ConfigError(
            f"finding the records of {file.name}",
            received="no element has several children of one name",
            next_step="give a file with several records, or declare the path in the format's records",
        )
    return ".".join(sorted(repeated, key=lambda path: (len(path), -most[path]))[0])
