"""Says whether a look at a source can find anything that the last look did not find.

A look reads the metadata a dozen times, and the runs. Most looks find nothing. If the last look left nothing to do, the
files are the same, and nothing was written about the source, then a look would find nothing. The files are seen by
their listing; the metadata of a whole group of sources by five short queries, and on SQLite only if its file changed.

Known limits: what Dagster's own records tell (wiped materializations) and tables that are gone are seen at the next
look, which comes after half a minute, or after ten minutes with 2,000 sources. A look at many inputs takes longer: the
next one comes after twenty times its duration. Object stores, databases and functions cost a request each, so they are
asked no more often than declared.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from dataops_assets.components.platform import Platform
from dataops_assets.config.connection import FileConnection
from dataops_assets.config.environment import Environment
from dataops_assets.config.source import Source
from dataops_assets.connections.files import Files
from dataops_assets.errors import DataOpsError
from dataops_assets.metadata.look_store import LookRecord

_LONGEST_SECONDS = 30.0
# looks at everything shall take a twentieth of the time; of one source with few inputs it costs about 15 ms
_TIMES_ITS_OWN = 20.0
_LONGEST_FOR_EACH_SOURCE = 0.3


@dataclass(frozen=True)
class Surroundings:
    """The state of a source's files and of its metadata before a look.

    `files` is None if listing them would be a request to a store.
    """

    files: Hashable
    metadata: Hashable


class QuietLooks:
    """The last look of this process at one source, and what it depended on."""

    def __init__(
        self, source: Source, usual_seconds: float, sources: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`usual_seconds` is the time between two looks at a source that is not in local files.

        `sources` is the number of sources of the code location.
        """
        self._source = source
        self._usual = usual_seconds
        self._longest = max(_LONGEST_SECONDS, usual_seconds, sources * _LONGEST_FOR_EACH_SOURCE)
        self._clock = clock
        self._before: Surroundings | None = None
        self._next = 0.0

    def is_quiet(self, environment: Environment, metadata: Hashable) -> bool:
        """Return whether a look can be left out; `metadata` is the state of the source there now."""
        if self._before is None or self._before.metadata != metadata or self._clock() >= self._next:
            return False
        return self._before == self.surroundings(environment, metadata)

    def looked(self, before: Surroundings | None, seconds: float = 0.0) -> None:
        """Remember a look: its surroundings when it began (None if it left something to do), and its duration."""
        self._before = before
        is_listed = before is not None and before.files is not None
        wait = max(self._longest, _TIMES_ITS_OWN * seconds) if is_listed else self._usual
        self._next = self._clock() + wait

    def surroundings(self, environment: Environment, metadata: Hashable) -> Surroundings:
        """Return the state of files and metadata on which a look would depend now."""
        connection = self._source.connection
        if not isinstance(connection, FileConnection):
            return Surroundings(None, metadata)
        try:
            files = Files(connection, environment.landing, os.environ)
            return Surroundings(files.local_state() if files.is_local else None, metadata)
        except DataOpsError as error:
            # such as a folder that is not there yet: the look has told it, and the next one would find the same
            return Surroundings(str(error), metadata)


@dataclass(frozen=True)
class KnownOfSources:
    """The metadata of a group of sources at one moment, by source: a state that changes, and the record of looks."""

    states: Mapping[str, Hashable]
    records: Mapping[str, LookRecord]


class MetadataOfGroup:
    """Reads what the metadata says of a group of sources, and only again if the database may have changed."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._file: Hashable = None
        self._known: KnownOfSources | None = None

    def now(self, platform: Platform) -> KnownOfSources:
        """Return it. Raises StorageError if the database cannot be reached."""
        metadata = platform.metadata
        # read first, so that a write during the queries is seen the next time
        file = metadata.state_of_file()
        if self._known is None or file is None or file != self._file:
            with metadata.kept_open():
                looks = metadata.looks
                self._known = KnownOfSources(looks.states(self._names), looks.records(self._names))
            self._file = file
        return self._known
