"""A deployment of its own for each test: folders, a declared source, and a real metadata structure."""

from __future__ import annotations

import datetime as dt
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dataops_assets.config.environment import Environment, environment_from
from dataops_assets.config.source import Source
from dataops_assets.connections.discovery import discover
from dataops_assets.connections.look import FoundInputs, ReadingTime
from dataops_assets.metadata.store import MetadataStore

NOON = dt.datetime(2013, 6, 1, 12, tzinfo=dt.UTC)


@dataclass
class Place:
    """One source in one deployment, with a wall clock that stands still."""

    environment: Environment
    source: Source
    metadata: MetadataStore
    now: dt.datetime = NOON

    @property
    def folder(self) -> Path:
        return Path(self.environment.landing) / "sales"

    def deliver(self, name: str, content: bytes | str = b"a\n1\n", age: float = 60.0) -> Path:
        """A file in the landing folder, last changed `age` seconds before now."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        changed = (self.now - dt.timedelta(seconds=age)).timestamp()
        os.utime(path, (changed, changed))
        return path

    def look(self, after: float = 0.0, **options: Any) -> FoundInputs:
        """Look for new inputs, `after` seconds from now; no time passes during a look unless a `clock` says so."""
        options.setdefault("clock", lambda: 0.0)
        self.now += dt.timedelta(seconds=after)
        return discover(self.source, self.environment, self.metadata, now=self.now, limit=ReadingTime(**options))


@pytest.fixture(scope="session")
def empty_metadata(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("metadata") / "metadata.db"
    MetadataStore(f"sqlite:///{path}").migrate()
    return path


@pytest.fixture
def make_place(tmp_path: Path, empty_metadata: Path) -> Any:
    """Makes a `Place`; keyword arguments are fields of the declared source or its connection."""

    def make(
        home: Path = tmp_path, refresh: Any = None, discovery: Any = None, landing: str = "", **connection: Any
    ) -> Place:
        home.mkdir(exist_ok=True)
        environment = environment_from(
            {"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home), "DATAOPS_LANDING": landing}, home
        )
        shutil.copy(empty_metadata, home / "metadata.db")
        source = Source.model_validate(
            {
                "name": "sales",
                "area": "shop",
                "connection": {"type": "files", "path": "sales"} | connection,
                "columns": [{"name": "a", "type": "integer"}, {"name": "at", "type": "timestamp"}],
                "refresh": refresh or {"type": "full"},
                "discovery": discovery or {},
            }
        )
        if "://" not in environment.landing:
            (Path(environment.landing) / "sales").mkdir(parents=True, exist_ok=True)
        return Place(environment, source, MetadataStore(environment.metadata_url))

    return make


@pytest.fixture
def place(make_place: Any) -> Place:
    """A full-refresh source over the folder `sales`, dated by modification time."""
    return make_place()
