"""The moments of publications: each names a version of every table of the publication, and is written at once.

A moment is one object that is created if it is absent, as a commit of a Delta table is: it is there wholly or not at
all, on a local disk and on an object store. The newest one is in force. A reader reads it once, and then reads the
versions that it names, so what is published meanwhile or who is killed makes no difference to the reader.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

from dataops_assets.errors import StorageError
from dataops_assets.storage.objects import Folder

_FOLDER = "_published"
_ENDING = ".json"
_READS = 10


@dataclass(frozen=True)
class PublishedTable:
    """One table at one moment.

    A Delta table has a `version` with the id of its commit, and its rows; `version` None: it has no version yet. A
    model of the warehouse has None, and as `commit_id` the id of its build.
    """

    asset: str
    version: int | None
    commit_id: str
    rows: int


@dataclass(frozen=True)
class Moment:
    """One moment of a publication; numbers ascend.

    `warehouse` is the name of the copy of the warehouse that its models are in, and `warehouse_state` tells whether the
    warehouse was written since; both are empty without models.
    """

    publication: str
    number: int
    published_at: dt.datetime
    tables: Sequence[PublishedTable]
    warehouse: str = ""
    warehouse_state: str = ""


class Moments:
    """The moments of the publications of a storage area."""

    def __init__(self, storage: str) -> None:
        self._folder = Folder(storage)

    def newest(self, publication: str) -> Moment | None:
        """Return the moment in force; None if nothing was published yet. Raises StorageError when the store fails."""
        path = ""
        for _ in range(_READS):
            paths = self._paths(publication)
            if not paths:
                return None
            path = paths[-1]
            content = self._folder.read(path)
            # else it was removed after the listing, because there are newer ones
            if content is not None:
                return _moment(content)
        raise StorageError(f"reading {path}", received="it is listed, but cannot be read", next_step="dataops doctor")

    def all(self, publication: str = "") -> list[Moment]:
        """Return the moments that are kept, of one or all publications, each oldest first."""
        contents = [self._folder.read(path) for path in self._paths(publication)]
        return [_moment(content) for content in contents if content is not None]

    def publish(self, moment: Moment) -> None:
        """Put a moment in force. Raises CommitConflict if another process published one of this number."""
        content = json.dumps({**asdict(moment), "published_at": moment.published_at.isoformat()})
        self._folder.create(_path(moment), content.encode())

    def remove_before(self, moment: dt.datetime) -> None:
        """Remove the moments that were replaced before `moment`, which is aware; what is in force stays."""
        found = self.all()
        following = {(item.publication, item.number): item.published_at for item in found}
        gone = [item for item in found if (next_one := _next(following, item)) is not None and next_one < moment]
        self._folder.delete([_path(item) for item in gone])

    def remove(self, publication: str) -> int:
        """Remove all moments of a publication; return their number."""
        paths = self._paths(publication)
        self._folder.delete(paths)
        return len(paths)

    def pinned(self, asset: str) -> frozenset[int]:
        """Return the versions of a table that moments name."""
        return frozenset(
            table.version
            for moment in self.all()
            for table in moment.tables
            if table.asset == asset and table.version is not None
        )

    def copies(self) -> frozenset[str]:
        """Return the names of the copies of the warehouse that moments name."""
        return frozenset(moment.warehouse for moment in self.all() if moment.warehouse)

    def _paths(self, publication: str) -> Sequence[str]:
        below = f"{_FOLDER}/{publication}" if publication else _FOLDER
        return [path for path in self._folder.names(below) if path.endswith(_ENDING)]


def _path(moment: Moment) -> str:
    return f"{_FOLDER}/{moment.publication}/{moment.number:020d}{_ENDING}"


def _moment(content: bytes) -> Moment:
    found = json.loads(content)
    found["published_at"] = dt.datetime.fromisoformat(found["published_at"])
    found["tables"] = tuple(PublishedTable(**table) for table in found["tables"])
    return Moment(**found)


def _next(known: dict[tuple[str, int], dt.datetime], moment: Moment) -> dt.datetime | None:
    later: Collection[int] = [number for name, number in known if name == moment.publication and number > moment.number]
    return known[moment.publication, min(later)] if later else None
