"""Records the declarations that a deployment runs with, each once, and since when.

A declaration is stored under the hash of its content. So a load with one changed source adds one declaration, and a
release names a whole load by its number.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dataops_assets.errors import InputError
from dataops_assets.metadata import tables
from dataops_assets.metadata.database import Database
from dataops_assets.metadata.statements import insert, insert_of, portions


@dataclass(frozen=True)
class Declaration:
    """One thing that is declared: its kind (source, model, ...), its name, and all of it as values of JSON."""

    kind: str
    name: str
    content: Any

    @property
    def digest(self) -> str:
        """Return the hash of kind, name and content."""
        return _digest([self.kind, self.name, tables.plain(self.content)])


@dataclass(frozen=True)
class Load:
    """The declarations with which a deployment runs since `loaded_at`."""

    load_id: int
    digest: str
    loaded_at: dt.datetime
    declarations: Sequence[Declaration]


def digest_of(declarations: Iterable[Declaration]) -> str:
    """Return the hash of a set of declarations, in whatever order they are."""
    return _digest(sorted(item.digest for item in declarations))


class DeclarationStore:
    """The loads in the metadata. Its methods raise StorageError if the database cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, declarations: Sequence[Declaration]) -> int:
        """Record that the deployment runs with these declarations now, and return the number of the load.

        Writes only if they differ from those in force.
        """
        by_digest = {item.digest: item for item in declarations}
        digest = _digest(sorted(by_digest))
        attempted = "recording the declarations in force"
        with self._database.read(attempted) as connection:
            newest = _newest(connection)
        if newest is not None and newest.digest == digest:
            return int(newest.load_id)
        with self._database.write(attempted) as connection:
            newest = _newest(connection)
            if newest is not None and newest.digest == digest:
                return int(newest.load_id)
            new = insert_of(self._database.dialect)(tables.declarations).on_conflict_do_nothing()
            rows = [
                {"digest": key, "kind": item.kind, "name": tables.storable(item.name), "content": item.content}
                for key, item in sorted(by_digest.items())
            ]
            if rows:
                connection.execute(new, rows)
            load = tables.loads.insert().returning(tables.loads.c.load_id)
            load_id = int(
                connection.execute(load, {"digest": digest, "loaded_at": dt.datetime.now(dt.UTC)}).scalar_one()
            )
            members = [{"load_id": load_id, "digest": key} for key in sorted(by_digest)]
            insert(connection, tables.load_declarations, members)
        return load_id

    def in_force(self) -> Load | None:
        """Return the newest load; None if none was ever recorded."""
        with self._database.read("reading the declarations in force") as connection:
            newest = _newest(connection)
            return None if newest is None else _load(connection, newest)

    def load(self, load_id: int) -> Load:
        """Return one load. Raises InputError for an unknown one."""
        with self._database.read(f"reading load {load_id} of the declarations") as connection:
            found = connection.execute(sa.select(tables.loads).where(tables.loads.c.load_id == load_id)).one_or_none()
            if found is None:
                raise InputError(f"finding load {load_id} of the declarations", received="no such load")
            return _load(connection, found)

    def has_sources(self) -> bool:
        """Return whether any source was ever registered, even before declarations were recorded."""
        with self._database.read("reading the registered sources") as connection:
            return connection.execute(sa.select(tables.sources.c.source).limit(1)).one_or_none() is not None


def _newest(connection: sa.Connection) -> sa.Row[Any] | None:
    return connection.execute(sa.select(tables.loads).order_by(tables.loads.c.load_id.desc()).limit(1)).one_or_none()


def _load(connection: sa.Connection, row: sa.Row[Any]) -> Load:
    members, known = tables.load_declarations, tables.declarations
    digests = list(connection.execute(sa.select(members.c.digest).where(members.c.load_id == row.load_id)).scalars())
    found: list[Declaration] = []
    for some in portions(digests):
        wanted = sa.select(known.c.kind, known.c.name, known.c.content).where(known.c.digest.in_(some))
        found += [Declaration(*item) for item in connection.execute(wanted)]
    return Load(int(row.load_id), row.digest, row.loaded_at, sorted(found, key=lambda item: (item.kind, item.name)))


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def by_name(declarations: Iterable[Declaration]) -> Mapping[tuple[str, str], Any]:
    """Return the contents of declarations by kind and name."""
    return {(item.kind, item.name): item.content for item in declarations}
