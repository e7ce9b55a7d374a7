"""Keeps the declared contract of each source, its versions, and what inputs added to it.

Grain: one row a source, and one row a version of its contract.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from dataops_assets.config.source import Source
from dataops_assets.errors import ConfigError
from dataops_assets.metadata import tables
from dataops_assets.metadata.database import Database
from dataops_assets.metadata.registered import contract_version, newest_contract
from dataops_assets.metadata.statements import Existing, upsert, utc_now

_CONTRACT = {"columns", "drift", "refresh", "relations", "rules", "validations"}
# key of the columns that inputs added to the declared contract
_EVOLVED = "evolved"
# a changed description is not a new contract version
_WITHOUT_DESCRIPTIONS = {
    field: {"__all__": {"description"}} for field in ("columns", "relations", "rules", "validations")
}


class ContractStore:
    """The contracts in the metadata. Its methods raise StorageError if the database cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, source: Source) -> int:
        """Record a declaration and return its contract version.

        The version increases if the columns, drift policy, refresh, relations, rules or validations differ from the
        newest recorded ones. Writes only if something differs. Raises ConfigError for another time zone, if inputs have
        extract times that were read in the one before.
        """
        declared = {
            "area": tables.storable(source.area),
            "description": tables.storable(source.description),
            "owners": tables.plain(source.owners),
            "refresh_type": source.refresh.type,
            "timezone": source.discovery.timezone,
        }
        definition = tables.plain(source.model_dump(mode="json", include=_CONTRACT, exclude=_WITHOUT_DESCRIPTIONS))
        attempted = f"registering source {source.name!r}"
        with self._database.read(attempted) as connection:
            version = _unchanged_version(connection, source, declared, definition)
        if version is not None:
            return version
        with self._database.write(attempted) as connection:
            _require_same_zone(connection, source)
            # this takes a row lock, so processes that register the same change agree on one version
            upsert(
                connection,
                tables.sources,
                [{"source": source.name, **declared, "registered_at": utc_now(), "updated_at": utc_now()}],
                Existing(keep=("registered_at",)),
            )
            version, known = newest_contract(connection, source.name)
            definition = _with_evolved(source, definition, known)
            if known != definition:
                version += 1
                connection.execute(
                    tables.contracts.insert(),
                    {"source": source.name, "version": version, "definition": definition, "registered_at": utc_now()},
                )
        return version

    def require_same_zone(self, source: Source) -> None:
        """Raise ConfigError if inputs have extract times that were read in another time zone than the declared one."""
        with self._database.read(f"reading the time zone of source {source.name!r}") as connection:
            _require_same_zone(connection, source)

    def evolve(self, source: str, columns: Mapping[str, Sequence[str]], nullable: Sequence[str]) -> int:
        """Record columns that inputs added to a source's contract, and return the contract version.

        `columns` are undeclared columns by name, with their names in the raw data; `nullable` are columns that were
        missing although they are not nullable. Earlier additions stay until they are declared. The version increases
        if anything is new.
        """
        with self._database.write(f"evolving the contract of source {source!r}") as connection:
            _lock_source(connection, source)
            version, known = newest_contract(connection, source)
            before = (known or {}).get(_EVOLVED, {})
            names = {item["name"]: set(item["raw_names"]) for item in before.get("columns", [])}
            for name, raw_names in columns.items():
                names.setdefault(name, set()).update(raw_names)
            after = {
                "columns": [
                    {"name": name, "type": "text", "raw_names": sorted(raw)} for name, raw in sorted(names.items())
                ],
                "nullable": sorted({*before.get("nullable", []), *nullable}),
            }
            if not version:
                contract_version(connection, source)
            if before != after:
                version += 1
                definition = {**known, _EVOLVED: tables.plain(after)}
                connection.execute(
                    tables.contracts.insert(),
                    {"source": source, "version": version, "definition": definition, "registered_at": utc_now()},
                )
        return version


def _require_same_zone(connection: sa.Connection, source: Source) -> None:
    table, zone = tables.sources, source.discovery.timezone
    if not source.reads_times_in_zone:
        return
    known = connection.execute(sa.select(table.c.timezone).where(table.c.source == source.name)).scalar_one_or_none()
    if known is None or known == zone:
        return
    of_source = sa.exists().where(tables.inputs.c.source == source.name)
    if connection.execute(sa.select(of_source)).scalar_one():
        raise ConfigError(
            f"reading extract times of source {source.name!r} in another time zone",
            received=f"discovery.timezone {zone}, but its inputs have extract times that were read in {known}",
            next_step=f"set discovery.timezone to {known} again; or declare a source with another name in {zone}, and "
            "deliver the files to it",
        )


def _unchanged_version(
    connection: sa.Connection, source: Source, declared: Mapping[str, Any], definition: Any
) -> int | None:
    table = tables.sources
    statement = sa.select(*[table.c[name] for name in declared]).where(table.c.source == source.name)
    known = connection.execute(statement).mappings().one_or_none()
    if known is None or dict(known) != dict(declared):
        return None
    version, known_definition = newest_contract(connection, source.name)
    return version if known_definition == _with_evolved(source, definition, known_definition) else None


def _with_evolved(source: Source, definition: Any, known: Any) -> Any:
    """Return a declaration with the earlier additions by inputs that are not declared yet."""
    before = (known or {}).get(_EVOLVED)
    if before is None:
        return definition
    taken = {name.lower() for name in (*source.column_names, *(rule.name for rule in source.rules))}
    declared = {name for item in source.columns for name in item.raw_names}
    strict = {item.name for item in source.columns if not item.nullable and item.default is None}
    adds, relaxes = source.drift.new_column == "evolve", source.drift.missing_column == "evolve"
    after = {
        "columns": [
            item
            for item in before["columns"]
            if adds and item["name"] not in taken and not declared.issuperset(item["raw_names"])
        ],
        "nullable": [name for name in before["nullable"] if relaxes and name in strict],
    }
    return {**definition, _EVOLVED: after} if any(after.values()) else definition


def _lock_source(connection: sa.Connection, source: str) -> None:
    """Lock a source's row, so that processes that change the same contract wait for each other."""
    table = tables.sources
    connection.execute(table.update().where(table.c.source == source).values(updated_at=utc_now()))
