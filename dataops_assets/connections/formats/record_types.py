"""Takes the records of the declared type from a file with records of several types, and counts the others."""

from __future__ import annotations

from dataops_assets.config.text_lines import FieldRecordType, PlaceRecordType


class RecordTypes:
    """Decides which records of one file a source takes; `filtered` is the number of those of other types.

    A record whose type cannot be read is taken, so that it is rejected with a reason and not lost.
    """

    def __init__(self, declared: FieldRecordType | PlaceRecordType | None) -> None:
        self.filtered = 0
        self._values = frozenset(declared.values) if declared is not None else frozenset()

    def takes(self, value: str | None) -> bool:
        """Return whether a record of this type is taken, and count it if not."""
        if value is None or not self._values or value in self._values:
            return True
        self.filtered += 1
        return False
