"""Drafts of files that a test writes."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from drafting import Drafting

from dataops_assets.config.environment import environment_from
from dataops_assets.declaring.draft import Draft, Request, Taken, draft, files_of
from dataops_assets.engines.duckdb import DuckDBEngine

NOW = dt.datetime(2024, 6, 1, tzinfo=dt.UTC)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    home = tmp_path_factory.mktemp("home")
    return DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))


@pytest.fixture
def drafted(engine: DuckDBEngine, tmp_path: Path) -> Drafting:
    """Write files, by name, into a folder of the landing area, and draft the source `orders` from it."""

    def made(files: Mapping[str, str | bytes], explode: tuple[str, ...] = (), record_type: str = "") -> Draft:
        folder = tmp_path / "landing" / "shop"
        # an example of a property has its own files
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        landing = str(tmp_path / "landing")
        return draft(
            engine,
            Request("orders", "shop", files_of([folder]), landing, NOW, taken=Taken(explode, record_type)),
        )

    return made
