"""Databases of real servers, an empty one for each test."""

from __future__ import annotations

import itertools
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from database_place import Server

_numbers = itertools.count()


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
