"""Statements are written without a copy, so writing one must not change what it says, in this dialect or another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from law import arrive, at, leave, workspace_for
from law_cases import KINDS, MERGED, source_for
from reference import GivenInput
from sqlglot import exp

from dataops_assets.config.environment import environment_from
from dataops_assets.engines.duckdb import DuckDBEngine, DuckDBSession

ROW = {"part": "0", "at": 1, "v": "a", "n": 0.5, "ignored": "x", "op": "U", "number": 3}


def given(name: str, day: int, *keys: str) -> GivenInput:
    rows = tuple({**ROW, "k": key, "seen": at(day), "at": day} for key in keys)
    return GivenInput(at(day), name, rows)


@pytest.mark.parametrize("kind", ["key_deletes", "key_groups", "full_keyless", "timestamp", "custom", "key_merged"])
def test_a_written_statement_says_the_same(kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    execute, seen = DuckDBSession.execute, 0

    def texts(statement: exp.Expr) -> list[str]:
        return [statement.sql(dialect) for dialect in ("duckdb", "spark")]

    def checked(self: DuckDBSession, statement: exp.Expr) -> Any:
        nonlocal seen
        before = texts(statement)
        found = execute(self, statement)
        assert texts(statement) == before
        seen += 1
        return found

    monkeypatch.setattr(DuckDBSession, "execute", checked)
    engine = DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(tmp_path)}, tmp_path))
    source = source_for({**(KINDS | MERGED)[kind].refresh, "history": True})
    context = workspace_for(source, tmp_path / "home", engine)
    context.metadata.migrate()
    for item in (given("2-b", 2, "a", "b"), given("1-a", 1, "b", "c")):
        arrive(context, [item])
    leave(context, ["2-b"])
    assert seen > 20
