"""Finds the effect of a statement in MariaDB's log on the rows of a table, because the log has no rows for it.

Only what is known to keep rows as they are counts as harmless. Anything else that names the table is `unknown`.
"""

from __future__ import annotations

import re
from typing import Literal

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

Effect = Literal["none", "emptied", "unknown"]

_DIALECT = "mysql"
# the server executes what stands in such a comment
_VERSIONED = re.compile(r"/\*M?!\d*(.*?)\*/", re.DOTALL)
_COMMENTS = re.compile(r"^(\s+|/\*.*?\*/|--[^\n]*\n|#[^\n]*\n)+", re.DOTALL)
_DATABASE = re.compile(r"DROP\s+(DATABASE|SCHEMA)\s+(IF\s+EXISTS\s+)?`?(?P<name>[^`\s;]+)", re.IGNORECASE)
_HARMLESS = ("ANALYZE", "CHECK", "FLUSH", "GRANT", "OPTIMIZE", "REVOKE")
# what is no table: the log has the rows that it changes when it is used
_NO_TABLE = re.compile(
    r"(CREATE|ALTER|DROP)\s+(OR\s+REPLACE\s+)?((ALGORITHM|DEFINER)\s*=\s*\S+\s+|SQL\s+SECURITY\s+\w+\s+|AGGREGATE\s+)*"
    r"(EVENT|FUNCTION|PROCEDURE|ROLE|TRIGGER|USER|VIEW)\b",
    re.IGNORECASE,
)
_KEEPS_NULLS = (exp.CommentColumnConstraint, exp.ColumnPosition)


def effect_of(text: str, database: str, table: tuple[str, str]) -> Effect:
    """Return the effect of a statement on a table (database and name). `database` is the statement's default."""
    words = _COMMENTS.sub("", _VERSIONED.sub(r" \1 ", text))
    dropped = _DATABASE.match(words)
    if dropped is not None:
        return "unknown" if dropped["name"].casefold() == table[0].casefold() else "none"
    if not _names(words, table[1]):
        return "none"
    if words.split(maxsplit=1)[0].upper() in _HARMLESS or _NO_TABLE.match(words):
        return "none"
    try:
        found = sqlglot.parse_one(words, dialect=_DIALECT)
    except SqlglotError:
        return "unknown"
    return _effect(found, database, table)


def _effect(found: exp.Expr, database: str, table: tuple[str, str]) -> Effect:
    named = [item for item in found.find_all(exp.Table) if _is(item, database, table)]
    if isinstance(found, exp.TruncateTable):
        return "emptied" if named else "none"
    if isinstance(found, exp.Command):
        return "unknown"
    if isinstance(found, exp.Drop | exp.Create):
        # a table that can be made was not there: that it went was told before
        is_new = isinstance(found, exp.Create) and not found.args.get("replace")
        is_table = found.args.get("kind") == "TABLE" and not found.args.get("temporary")
        return "unknown" if named and is_table and not is_new else "none"
    if not named:
        return "none"
    if isinstance(found, exp.Alter):
        actions = found.args.get("actions") or [found]
        return "none" if _is(found.this, database, table) and all(map(_keeps_rows, actions)) else "unknown"
    return "unknown"


def _keeps_rows(action: exp.Expr) -> bool:
    """Return whether a part of ALTER TABLE changes no value of a row that is there."""
    if isinstance(action, exp.ColumnDef):
        # a timestamp without a default gets one, unless the server is told otherwise
        is_time = action.args.get("kind") is not None and action.args["kind"].this in _TIMES
        return not is_time and all(map(_leaves_nulls, action.args.get("constraints") or []))
    if isinstance(action, exp.Drop):
        return action.args.get("kind") in ("COLUMN", "INDEX", "CONSTRAINT", "KEY")
    return isinstance(action, exp.AddConstraint)


_TIMES = {exp.DataType.Type.TIMESTAMP, exp.DataType.Type.TIMESTAMPTZ, exp.DataType.Type.TIMESTAMPLTZ}


def _leaves_nulls(constraint: exp.Expr) -> bool:
    kind = constraint.args.get("kind") if isinstance(constraint, exp.ColumnConstraint) else constraint
    if isinstance(kind, exp.NotNullColumnConstraint):
        return bool(kind.args.get("allow_null"))
    return isinstance(kind, _KEEPS_NULLS)


def _names(text: str, name: str) -> bool:
    """Return whether a text may name a table; it may be part of a longer name, too."""
    return name.casefold() in text.casefold() or name.replace("`", "``").casefold() in text.casefold()


def _is(item: exp.Expr | None, database: str, table: tuple[str, str]) -> bool:
    # names count in any case: some servers take them so, and a look too many is no harm
    return (
        isinstance(item, exp.Table)
        and item.name.casefold() == table[1].casefold()
        and (item.db or database).casefold() == table[0].casefold()
    )
