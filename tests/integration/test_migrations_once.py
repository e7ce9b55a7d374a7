"""The migration scripts of a database are read once in a process, and mean the same."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
from alembic.config import Config
from alembic.script import ScriptDirectory

from dataops_assets.components.migrations_once import read_migrations_once


def scripts(folder: Path, head: str) -> Config:
    """The configuration of a folder with one migration."""
    (folder / "versions").mkdir(parents=True)
    (folder / "versions" / f"{head}.py").write_text(f"revision = {head!r}\ndown_revision = None\n")
    made = Config()
    made.set_main_option("script_location", str(folder))
    return made


def test_each_folder_is_read_once(tmp_path: Path) -> None:
    read_migrations_once()
    read_migrations_once()
    one, other = scripts(tmp_path / "one", "a1"), scripts(tmp_path / "other", "b2")
    assert ScriptDirectory.from_config(one).as_revision_number("head") == "a1"
    assert ScriptDirectory.from_config(other).as_revision_number("head") == "b2"
    assert ScriptDirectory.from_config(one) is ScriptDirectory.from_config(one)


def test_a_new_instance_of_dagster_has_its_tables() -> None:
    read_migrations_once()
    for _ in range(2):
        with dg.DagsterInstance.local_temp() as instance:
            instance.add_dynamic_partitions("of_a_source", ["one"])
            assert instance.get_dynamic_partitions("of_a_source") == ["one"]
