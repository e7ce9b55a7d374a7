"""A statement for SQLite is compiled once in a process, and each engine keeps its own file and settings."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import CacheStats

from dataops_assets.components.statements_once import compile_statements_once

NOTES = sa.Table("notes_of_this_test", sa.MetaData(), sa.Column("text", sa.String))


def test_engines_of_different_files_share_compiled_statements(tmp_path: Path) -> None:
    compile_statements_once()
    compile_statements_once()
    hits = []
    for number in range(3):
        engine = sa.create_engine(f"sqlite:///{tmp_path}/{number}.db", connect_args={"timeout": 5})
        with engine.begin() as connection:
            NOTES.create(connection)
            connection.execute(NOTES.insert().values(text=str(number)))
            read = connection.execute(sa.select(NOTES))
            assert read.all() == [(str(number),)]
            hits.append(read.context.cache_hit)
    assert hits == [CacheStats.CACHE_MISS, CacheStats.CACHE_HIT, CacheStats.CACHE_HIT]


def test_an_engine_with_settings_of_its_own_keeps_its_dialect() -> None:
    compile_statements_once()
    usual, other = sa.create_engine("sqlite://"), sa.create_engine("sqlite://", json_serializer=lambda _: "'x'")
    assert usual.dialect is sa.create_engine("sqlite://").dialect
    assert other.dialect is not usual.dialect
    with usual.connect() as connection, other.connect() as differs:
        assert connection.scalar(sa.select(sa.literal({"a": 1}, sa.JSON))) == {"a": 1}
        assert differs.scalar(sa.select(sa.cast(sa.literal({"a": 1}, sa.JSON), sa.String))) == "'x'"
