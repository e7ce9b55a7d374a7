"""Databases of real servers, an empty one for each test."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from database_place import Server, by_sqlalchemy

_numbers = itertools.count()
_PROJECT = Path(__file__).resolve().parents[3]
_PASSWORD = "pass word/@:%"


def _server(kind: str, port: int, user: str, password: str, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("SHOP_DB_PASSWORD", password)
    name = f"shop_{next(_numbers)}"
    reference = {"host": "127.0.0.1", "port": port, "user": user, "password": {"env": "SHOP_DB_PASSWORD"}}
    first = Server({"type": kind, "database": "mysql" if kind == "mysql" else "postgres", **reference}, password)
    first.run(f"CREATE DATABASE {name}")
    return Server({**first.declared, "database": name}, password)


@pytest.fixture
def postgres(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Server:
    url = urlsplit(postgres_url)
    return _server("postgres", url.port or 0, url.username or "", unquote(url.password or ""), monkeypatch)


@pytest.fixture
def mysql(mariadb: Any, monkeypatch: pytest.MonkeyPatch) -> Server:
    return _server("mysql", mariadb.port, mariadb.user, mariadb.password, monkeypatch)


@pytest.fixture
def postgres_by_sqlalchemy(postgres: Server) -> Server:
    return by_sqlalchemy(postgres)


@pytest.fixture
def mysql_by_sqlalchemy(mysql: Server) -> Server:
    return by_sqlalchemy(mysql)


@pytest.fixture(scope="session")
def fakesnow() -> Iterator[int]:
    """The port of an emulator of Snowflake. Its packages do not fit the platform's: they have an environment."""
    program = Path(os.environ.get("FAKESNOW", _PROJECT / ".venv-fakesnow")) / "bin" / "fakesnow"
    if not program.exists():
        pytest.skip("no emulator of Snowflake here (make fakesnow)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(program), "--server", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while True:
            assert process.poll() is None, "the emulator ended"
            assert time.monotonic() < deadline
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield port
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def snowflake(fakesnow: int, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A database of the emulator. It takes any password, and ignores the case of names."""
    from dataops_assets.connections.databases import snowflake as driver

    # it answers what it does not know with a fault of the server, which the driver tries again
    monkeypatch.setattr(driver, "PATIENCE_SECONDS", 20)
    monkeypatch.setenv("SHOP_DB_PASSWORD", _PASSWORD)
    where = {"account": "emulated", "host": "127.0.0.1", "port": fakesnow, "protocol": "http", "schema": "PUBLIC"}
    login = {"user": "dataops", "password": {"env": "SHOP_DB_PASSWORD"}}
    return Server({"type": "snowflake", "database": f"SHOP_{next(_numbers)}", **where, **login}, _PASSWORD)
