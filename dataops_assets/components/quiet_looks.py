"""Says whether a look at a source can find anything that the last look did not find.

A look reads the metadata a dozen times, and the runs. Most looks find nothing. If the last look left nothing to do, the
files are the same, and nobody has written to the metadata, then a look would find nothing. Both are seen without a
connection: the files by their listing, the metadata by the state of the database's file.

Known limits: what Dagster's own records tell (a dead run, wiped materializations) and tables that are gone are seen at
the next look, which comes after half a minute at most. Object stores, databases and functions cost a request each, so
they are asked no more often than declared; and PostgreSQL has no file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from dataops_assets.components.platform import Platform
from dataops_assets.config.connection import FileConnection
from dataops_assets.config.source import Source
from dataops_assets.connections.files import Files
from dataops_assets.errors import DataOpsError

LEFT_OUT = "nothing has changed since the last look"
"""What a tick says that left its look out."""

_LONGEST_SECONDS = 30.0


@dataclass(frozen=True)
class Surroundings:
    """The state of the files and of the metadata before a look.

    `files` is None if listing them would be a request to a store.
    """

    files: Hashable
    metadata: Hashable


class QuietLooks:
    """The last look of this process at one source, and what it depended on."""

    def __init__(self, source: Source, usual_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`usual_seconds` is the time between two looks at a source that is not in local files."""
        self._source = source
        self._usual = usual_seconds
        self._clock = clock
        self._platform: Platform | None = None
        self._before: tuple[Surroundings, str] | None = None
        self._next = 0.0

    def is_quiet(self, cursor: str) -> bool:
        """Return whether a look can be left out. `cursor` is the one that the daemon has stored."""
        if self._platform is None or self._before is None or self._clock() >= self._next:
            return False
        return self._before == (self.surroundings(self._platform), cursor)

    def looked(self, platform: Platform, before: Surroundings | None, cursor: str) -> None:
        """Remember a look: what was around it when it began, None if it left something to do; and its cursor."""
        self._platform = platform
        self._before = None if before is None else (before, cursor)
        is_listed = before is not None and before.files is not None
        self._next = self._clock() + (max(_LONGEST_SECONDS, self._usual) if is_listed else self._usual)

    def surroundings(self, platform: Platform) -> Surroundings | None:
        """Return what a look now would depend on; None if that is not known."""
        metadata = platform.metadata.state_of_file()
        if metadata is None:
            return None
        connection = self._source.connection
        if not isinstance(connection, FileConnection):
            return Surroundings(None, metadata)
        try:
            files = Files(connection, platform.environment.landing, os.environ)
            return Surroundings(files.state() if files.is_local else None, metadata)
        except DataOpsError:
            # the look tells it
            return None
