"""Let SQLAlchemy compile a statement for SQLite once in a process.

Dagster's storage on one machine makes a new engine for each access to its event log. Each engine has a dialect of its
own and compiles all statements again, for each event: a sixth of the CPU time of a run.
"""

from __future__ import annotations

import types
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.util import LRUCache

_MOST_STATEMENTS = 2_000
_SIMPLE = (str, int, float, types.NoneType, types.FunctionType)


class _SharedDialect:
    """Gives new engines the dialect of the first one, and the statements that are compiled for it.

    Engines whose dialect has other settings keep their own.
    """

    def __init__(self) -> None:
        first = sa.create_engine("sqlite://")
        self._settings = _settings(first.dialect)
        # connecting completes a dialect
        first.connect().close()
        self._dialect = first.dialect
        self._compiled: LRUCache[Any, Any] = LRUCache(_MOST_STATEMENTS)

    def __call__(self, engine: sa.Engine) -> None:
        if _settings(engine.dialect) == self._settings:
            engine.dialect = self._dialect
            engine.update_execution_options(compiled_cache=self._compiled)


def _settings(dialect: sa.Dialect) -> tuple[type, dict[str, Any]]:
    return type(dialect), {name: value for name, value in vars(dialect).items() if isinstance(value, _SIMPLE)}


def compile_statements_once() -> None:
    """Do so from now on in this process; a second call changes nothing."""
    if not isinstance(vars(SQLiteDialect_pysqlite).get("engine_created"), _SharedDialect):
        # what SQLAlchemy calls with each new engine
        SQLiteDialect_pysqlite.engine_created = _SharedDialect()  # type: ignore[method-assign]
