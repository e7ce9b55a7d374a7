"""A fresh, migrated store on each of the two databases."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import sqlalchemy as sa

from dataops_assets.metadata.store import MetadataStore

BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]
_numbers = itertools.count()


@pytest.fixture(params=BOTH)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without any table."""
    if request.param == "sqlite":
        # a folder that is not there, and a name that a careless URL would cut off
        return f"sqlite:///{tmp_path}/not yet there/metadata.db"
    cluster = sa.make_url(request.getfixturevalue("postgres_url"))
    name = f"metadata_{next(_numbers)}"
    engine = sa.create_engine(cluster, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    return cluster.set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def url(empty_url: str) -> str:
    """The URL of a migrated database."""
    MetadataStore(empty_url).migrate()
    return empty_url


@pytest.fixture
def store(url: str) -> MetadataStore:
    """A store on a migrated database."""
    return MetadataStore(url)
