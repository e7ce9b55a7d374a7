"""Corrections of raw rows: stored beside the raw inputs, never changed, applied at each parse.

    corrections/<input id>/<time>-<digest>.json   one act of repair: who, when, and the rows with their new values

A correction belongs to an input and a row position. The bytes of the input stay as they were received, so what was
received and the changes of a person stay separate.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from dataops_assets.errors import CommitConflict, StorageError
from dataops_assets.storage.objects import Folder

_FOLDER = "corrections"
_TIME = "%Y%m%dT%H%M%S.%fZ"

Values = Mapping[str, str | None]
"""New values of a row by contract column, as text; None is null."""


@dataclass(frozen=True)
class Repair:
    """One act of repair of rows of one input. `rows` has None for a row whose earlier corrections are withdrawn."""

    input_id: str
    made_by: str
    made_at: dt.datetime
    rows: Mapping[int, Values | None]


class Corrections:
    """The corrections of one source, below its raw area."""

    def __init__(self, uri: str) -> None:
        """Opens nothing yet."""
        self._folder = Folder(uri)

    def record(self, repair: Repair) -> None:
        """Store a repair; an equal one is stored once. Raises StorageError."""
        content = json.dumps(
            {
                "input_id": repair.input_id,
                "made_by": repair.made_by,
                "made_at": repair.made_at.isoformat(),
                "rows": [{"row": row, "set": values} for row, values in sorted(repair.rows.items())],
            },
            indent=2,
        ).encode()
        name = f"{repair.made_at.astimezone(dt.UTC).strftime(_TIME)}-{_digest(content)}.json"
        try:
            self._folder.create(f"{_FOLDER}/{repair.input_id}/{name}", content)
        except CommitConflict:
            # named by its content
            return

    def repairs(self, input_ids: Collection[str]) -> list[Repair]:
        """Return the repairs of these inputs, earliest first. Raises StorageError."""
        # a killed writer leaves a file with another ending
        there = [name for name in self._folder.names(_FOLDER) if name.endswith(".json")]
        names = [name for name in there if name.split("/")[1] in input_ids]
        return [self._read(name) for name in sorted(names, key=lambda name: name.rpartition("/")[2])]

    def corrected(
        self, input_ids: Collection[str], until: dt.datetime | None = None
    ) -> dict[tuple[str, int], dict[str, str | None]]:
        """Return the valid values by input and row position: the last one for each column.

        With `until`, those that were valid at that time.
        """
        found: dict[tuple[str, int], dict[str, str | None]] = {}
        for repair in self.repairs(input_ids):
            if until is not None and repair.made_at > until:
                continue
            for row, values in repair.rows.items():
                if values is None:
                    found.pop((repair.input_id, row), None)
                else:
                    found.setdefault((repair.input_id, row), {}).update(values)
        return found

    def put_back(self, input_ids: Collection[str], until: dt.datetime, made_by: str) -> None:
        """Make the values valid again that were valid at a time, by further repairs. Doing it again changes nothing.

        Raises StorageError.
        """
        now, then = self.corrected(input_ids), self.corrected(input_ids, until)
        at = dt.datetime.now(dt.UTC)
        for input_id in sorted({key[0] for key in {*now, *then} if now.get(key) != then.get(key)}):
            of_now = {row: None for one, row in now if one == input_id}
            of_then = {row: values for (one, row), values in then.items() if one == input_id}
            if of_now:
                self.record(Repair(input_id, made_by, at, of_now))
            if of_then:
                # after the withdrawal: repairs are applied in the order of their times
                self.record(Repair(input_id, made_by, at + dt.timedelta(microseconds=1), of_then))

    def _read(self, name: str) -> Repair:
        content = self._folder.read(name)
        try:
            # named by its content
            if not name.endswith(f"-{_digest(content or b'')}.json"):
                raise ValueError
            fields = json.loads(content or b"")
            return Repair(
                fields["input_id"],
                fields["made_by"],
                dt.datetime.fromisoformat(fields["made_at"]),
                {item["row"]: item["set"] for item in fields["rows"]},
            )
        except (ValueError, KeyError, TypeError) as error:
            raise StorageError(
                f"reading the correction {self._folder.uri}/{name}",
                received="a text that differs from the stored correction",
                next_step="restore the file from a backup, or remove it and repair the rows again",
            ) from error


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
