"""Recognises files with several record types: the first field is the type, and each type has its own fields."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dataops_assets.connections.formats.csv_text import Dialect, records
from dataops_assets.errors import ConfigError

_DELIMITERS = (";", "|", "\t", ",", "^", "~")
_MOST_TYPES = 12
_MOST_RECORDS = 5_000


@dataclass(frozen=True)
class RecordKinds:
    """The dialect of the records, and their types, the most frequent one first."""

    dialect: Dialect
    types: tuple[str, ...]

    def chosen(self, wanted: str) -> str:
        """Return the type that a source takes: the wanted one, or the most frequent. Raises ConfigError."""
        if wanted and wanted not in self.types:
            raise ConfigError("choosing records by their type", received=repr(wanted), known=self.types)
        return wanted or self.types[0]


def record_kinds(samples: Sequence[str]) -> RecordKinds | None:
    """Return the types of the records of texts; None if they have one type.

    They have several if the first field has few values, each with one number of fields, and not all with the same
    number. At least two of the values come again in a text, or there are three: a first line, rows and a last line.
    """
    for delimiter in _DELIMITERS:
        dialect = Dialect(delimiter, '"', '"')
        texts = [text.splitlines(keepends=True) for text in samples]
        rows = [item for lines in texts for item in itertools.islice(records(lines, dialect), _MOST_RECORDS)]
        if not rows or any(item.problem or len(item.fields) < 2 or not item.fields[0] for item in rows):
            continue
        widths: dict[str, set[int]] = {}
        for item in rows:
            widths.setdefault(str(item.fields[0]), set()).add(len(item.fields))
        counts = Counter(str(item.fields[0]) for item in rows)
        again = sum(count > len(samples) for count in counts.values())
        several = (len(counts) > 2 and again) or again > 1
        own = all(len(each) == 1 for each in widths.values()) and len(set().union(*widths.values())) > 1
        if several and own and len(counts) <= min(_MOST_TYPES, max(3, len(rows) // 2)):
            return RecordKinds(dialect, tuple(name for name, _ in counts.most_common()))
    return None
