"""A database source in a whole code location: from a table to the hub, by the sensor; and the command that tests it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from code_location import CodeLocation, declaration, told_by
from command_line import dataops
from dagster.components.testing import create_defs_folder_sandbox
from database_place import Server

from dataops_assets.errors import ConfigError
from dataops_assets.operations import project

SOURCE: dict[str, Any] = {
    "name": "customers",
    "area": "shop",
    "connection": {
        "type": "database",
        "database": "shop",
        "table": "public.customers",
        "every": "PT0S",
        "incremental": {"cursor": "xmin", "full_every": "PT0S", "deleted": "is_deleted"},
    },
    "columns": [
        {"name": "id", "type": "integer", "nullable": False},
        {"name": "credit", "type": "decimal(18,4)"},
        {"name": "seen", "type": "date"},
        {"name": "is_deleted", "type": "boolean"},
    ],
    "refresh": {"type": "key", "key": ["id"], "delete_when": "is_deleted"},
    "gates": {"deletes": {"max_share": 1.0}},
}


def declared_in(folder: Path, database: dict[str, Any], source: dict[str, Any]) -> None:
    connections = {"type": "dataops_assets.components.ConnectionsComponent", "attributes": {"connections": database}}
    for name, text in (("databases", yaml.safe_dump(connections)), ("customers", declaration(source))):
        (folder / name).mkdir(parents=True)
        (folder / name / "defs.yaml").write_text(text)


def test_from_a_table_to_the_hub(postgres: Server, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    postgres.run(
        "CREATE TABLE customers (id integer PRIMARY KEY, credit numeric(18,4), seen date)",
        "INSERT INTO customers VALUES (1, 12345678901234.5678, '2024-01-01'), (2, 0.1, NULL), (3, 'NaN', 'infinity')",
    )
    with create_defs_folder_sandbox() as sandbox:
        declared_in(sandbox.defs_folder_path, {"shop": postgres.declared}, SOURCE)
        with sandbox.build_all_defs() as definitions:
            here = CodeLocation(definitions, instance, tmp_path)
            first = here.tick("customers").run_requests or []
            assert all(here.run(request).success for request in first)
            rows = [tuple(map(str, row)) for row in here.rows("hub/customers", "id", "credit")]
            assert rows == [("1", "12345678901234.5678"), ("2", "0.1000")]
            reasons = here.rows("lake/customers_quarantine", "s_reason")
            assert len(reasons) == 1, "the row with NaN and an infinite date, and no other"
            postgres.run("DELETE FROM customers WHERE id = 2", "UPDATE customers SET credit = 7 WHERE id = 3")
            postgres.run("UPDATE customers SET seen = '2024-02-02' WHERE id = 3")
            here.restart()
            for request in here.tick("customers").run_requests or []:
                assert here.run(request).success
            rows = [tuple(map(str, row)) for row in here.rows("hub/customers", "id", "credit")]
            assert rows == [("1", "12345678901234.5678"), ("3", "7.0000")]
            told = [str(entry) for run in instance.get_runs() for entry in instance.all_logs(run.run_id)]
            assert told
            assert not [text for text in told if postgres.password in text]
    stored = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in stored if postgres.password.encode() in path.read_bytes()]


def test_an_unknown_database_is_an_error_with_file_and_line(tmp_path: Path) -> None:
    with create_defs_folder_sandbox() as sandbox:
        declared_in(sandbox.defs_folder_path, {"shops": {"type": "sqlite", "path": "x"}}, SOURCE)
        with pytest.raises(Exception, match="customers") as failed, sandbox.build_all_defs():
            pass
        told = told_by(failed.value)
        assert re.search(r"defs.yaml:\d+ attributes.connection.database: .*did you mean 'shops'", told)


def test_the_command_says_what_works_and_what_to_do(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.run("CREATE TABLE customers (id integer)", "CREATE TABLE hidden (id integer)")
    monkeypatch.setenv("DATAOPS_ENV", "test")
    monkeypatch.setenv("DATAOPS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(project, "DEFS", tmp_path / "defs")
    gone = {**postgres.declared, "port": 1}
    unset = {**postgres.declared, "password": {"env": "NOT_SET_ANYWHERE"}}
    source = {**SOURCE, "connection": {**SOURCE["connection"], "table": "public.custmers"}}
    declared_in(tmp_path / "defs", {"shop": postgres.declared, "gone": gone, "unset": unset}, source)
    ended = dataops([], "connections", "test", "--json")
    assert ended.code == 1
    away, shop, secret = ended.data
    assert shop["tables"] == ["public.customers", "public.hidden"]
    assert shop["server"].startswith("PostgreSQL ")
    assert "public.custmers" in shop["sources"][0]["problem"]
    assert (away["works"], secret["works"]) == (False, False)
    assert "NOT_SET_ANYWHERE" in secret["next_step"]
    assert postgres.password not in ended.out + ended.err
    (tmp_path / "defs" / "customers" / "defs.yaml").write_text(declaration(SOURCE))
    ended = dataops([], "connections", "test", "shop")
    assert (ended.code, "no look yet" in ended.out) == (0, True)
    assert dataops([], "connections", "test", "shopp").code == 2


def test_two_declarations_of_one_name_are_refused(tmp_path: Path) -> None:
    from dataops_assets.components.declarations import declared_sources

    declared_in(tmp_path / "a", {"shop": {"type": "sqlite", "path": "x"}}, SOURCE)
    declared_in(tmp_path / "b", {"shop": {"type": "sqlite", "path": "y"}}, {**SOURCE, "name": "others"})
    with pytest.raises(ConfigError, match="declared twice"):
        declared_sources(tmp_path)


@pytest.mark.parametrize("secret", [{}, {"env": "A", "file": "b"}, {"env": "my pass"}, "plain"])
def test_a_secret_is_a_reference_and_an_error_does_not_show_it(secret: Any, tmp_path: Path) -> None:
    from dataops_assets.components.declarations import declared_sources

    server = {"type": "postgres", "host": "h", "database": "d", "user": "u", "password": secret}
    declared_in(tmp_path, {"shop": server}, SOURCE)
    with pytest.raises(ConfigError, match="password"):
        declared_sources(tmp_path)
