"""Stores on each of the two databases."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import sqlalchemy as sa

from dataops_assets.metadata import tables
from dataops_assets.metadata.store import MetadataStore

BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]
_numbers = itertools.count()


def _empty(request: pytest.FixtureRequest, folder: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{folder}/metadata.db"
    cluster = sa.make_url(request.getfixturevalue("postgres_url"))
    name = f"metadata_{next(_numbers)}"
    engine = sa.create_engine(cluster, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    return cluster.set(database=name).render_as_string(hide_password=False)


@pytest.fixture(params=BOTH)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without any table."""
    return _empty(request, tmp_path)


@pytest.fixture(scope="session", params=BOTH)
def migrated_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a migrated database."""
    url = _empty(request, tmp_path_factory.mktemp("metadata"))
    MetadataStore(url).migrate()
    return url


@pytest.fixture
def url(migrated_url: str) -> str:
    """The URL of a migrated database without any row."""
    with sa.create_engine(migrated_url, poolclass=sa.NullPool).begin() as connection:
        for table in reversed(tables.metadata.sorted_tables):
            connection.execute(table.delete())
    return migrated_url


@pytest.fixture
def store(url: str) -> MetadataStore:
    """A store on a migrated database without any row."""
    return MetadataStore(url)
