"""From an empty database to the newest schema: the migrations give exactly the tables that the code works with."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from metadata_examples import source
from sqlalchemy import event
from sqlalchemy.engine import Engine

from dataops_assets.errors import ConfigError, StorageError
from dataops_assets.metadata import tables
from dataops_assets.metadata.database import HEAD, VERSION_TABLE
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.metadata.upgrade import configuration, upgrade


def _engine(url: str) -> sa.Engine:
    return sa.create_engine(url, poolclass=sa.NullPool)


def _by_migrations(url: str) -> None:
    """Make the tables by all migrations, as those of a deployment that has been there from the first one."""
    with _engine(url).begin() as connection:
        upgrade(connection, HEAD)


def _version(connection: sa.Connection) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(sa.text("SELECT * FROM dataops_schema_version")).mappings()]


def _index(found: Any) -> dict[str, Any]:
    options = {name: str(value) for name, value in found.get("dialect_options", {}).items()}
    return {**found, "dialect_options": options}


def _structure(url: str) -> dict[str, Any]:
    """All that a database tells about our tables."""
    inspector = sa.inspect(_engine(url))
    return {
        name: {
            "comment": inspector.get_table_comment(name) if inspector.dialect.supports_comments else None,
            # by name: a migration adds a column behind the others
            "columns": {item["name"]: {**item, "type": str(item["type"])} for item in inspector.get_columns(name)},
            "key": inspector.get_pk_constraint(name),
            "foreign": sorted(inspector.get_foreign_keys(name), key=str),
            "unique": sorted(inspector.get_unique_constraints(name), key=str),
            "checks": sorted(inspector.get_check_constraints(name), key=str),
            "indexes": sorted((_index(index) for index in inspector.get_indexes(name)), key=str),
        }
        for name in inspector.get_table_names()
        if name in tables.metadata.tables
    }


def test_the_newest_migration_is_the_version_the_code_asks_for() -> None:
    assert ScriptDirectory.from_config(configuration()).get_heads() == [HEAD]


def test_migrating_from_empty_leaves_nothing_that_autogenerate_would_change(empty_url: str) -> None:
    _by_migrations(empty_url)
    with _engine(empty_url).connect() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), tables.metadata) == []


def test_migrated_tables_are_those_of_a_new_database_down_to_checks_indexes_and_comments(empty_url: str) -> None:
    _by_migrations(empty_url)
    migrated = _structure(empty_url)
    with _engine(empty_url).begin() as connection:
        version = _version(connection)
        tables.metadata.drop_all(connection)
        sa.Table(VERSION_TABLE, sa.MetaData()).drop(connection)
    MetadataStore(empty_url).migrate()
    assert migrated == _structure(empty_url)
    with _engine(empty_url).connect() as connection:
        assert _version(connection) == version
    assert migrated.keys() == tables.metadata.tables.keys()
    assert all(found["checks"] for name, found in migrated.items() if name in ("processes", "check_results"))


def test_migrating_again_is_one_look_and_keeps_every_row(url: str) -> None:
    store = MetadataStore(url)
    store.contracts.register(source())
    seen: list[str] = []

    def listen(_connection, _cursor, statement, *_rest) -> None:
        seen.append(statement)

    event.listen(Engine, "before_cursor_execute", listen)
    try:
        store.migrate()
    finally:
        event.remove(Engine, "before_cursor_execute", listen)
    assert [text for text in seen if text.startswith(("CREATE", "ALTER", "INSERT", "UPDATE", "BEGIN IMMEDIATE"))] == []
    assert store.contracts.register(source()) == 1


def test_a_schema_from_newer_software_is_refused_and_left_alone(empty_url: str) -> None:
    store = MetadataStore(empty_url)
    store.migrate()
    with _engine(empty_url).begin() as connection:
        connection.execute(sa.text("UPDATE dataops_schema_version SET version_num = '9999'"))
    with pytest.raises(ConfigError, match=r"9999.*known: .*next: run the newest version"):
        store.migrate()
    with _engine(empty_url).connect() as connection:
        assert connection.execute(sa.text("SELECT version_num FROM dataops_schema_version")).scalars().all() == ["9999"]


def test_other_software_with_alembic_in_the_same_database_is_left_alone(empty_url: str) -> None:
    # Dagster's own storage has a table of this name
    with _engine(empty_url).begin() as connection:
        connection.execute(sa.text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        connection.execute(sa.text("INSERT INTO alembic_version VALUES ('of-dagster')"))
    MetadataStore(empty_url).migrate()
    with _engine(empty_url).connect() as connection:
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars().all() == ["of-dagster"]
    assert MetadataStore(empty_url).contracts.register(source()) == 1


def test_tables_of_an_older_version_are_migrated(empty_url: str) -> None:
    with _engine(empty_url).begin() as connection:
        upgrade(connection, "0001")
    MetadataStore(empty_url).migrate()
    assert _structure(empty_url).keys() == tables.metadata.tables.keys()
    assert MetadataStore(empty_url).contracts.register(source()) == 1


def test_a_migration_that_fails_leaves_nothing_behind(empty_url: str) -> None:
    with _engine(empty_url).begin() as connection:
        connection.execute(sa.text("CREATE TABLE processes (of_other_software INTEGER)"))
    with pytest.raises(StorageError, match="processes"):
        MetadataStore(empty_url).migrate()
    assert sa.inspect(_engine(empty_url)).get_table_names() == ["processes"]
    with _engine(empty_url).begin() as connection:
        connection.execute(sa.text("DROP TABLE processes"))
    MetadataStore(empty_url).migrate()
    assert MetadataStore(empty_url).contracts.register(source()) == 1
