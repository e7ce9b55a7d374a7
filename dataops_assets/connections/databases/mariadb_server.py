"""Asks a MariaDB server for what reading its log needs: settings, the end of the log, and the table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pymysql
from sqlglot import exp

from dataops_assets.config.replication import ReplicationConnection
from dataops_assets.errors import ConfigError

_NEEDED = {"log_bin": "ON", "binlog_format": "ROW", "binlog_row_image": "FULL", "binlog_row_metadata": "FULL"}
_CASCADE = re.compile(r"^ *CONSTRAINT (\S+) FOREIGN KEY .* ON (?:DELETE|UPDATE) (?:CASCADE|SET )", re.MULTILINE)


@dataclass(frozen=True)
class LogServer:
    """The state of a server that can be read.

    * `number`: its server_id. `file`: the number of the newest file of its log. `position`: the end of the log.
    * `columns`: the types of the table's columns by their names, in their order.
    * `charsets`: the character sets by the numbers of their collations.
    """

    number: int
    file: int
    position: str
    columns: Mapping[str, str]
    charsets: Mapping[int, str]

    @property
    def end(self) -> dict[int, str]:
        """Return the last transaction of each domain."""
        return domains_of(self.position)

    def gone_since(self, gtid: str, server: int, file: int) -> str:
        """Return why the log does not continue a position; empty if the server may have what follows it."""
        if server == self.number and self.file < file:
            return f"the log of the server begins anew with file {self.file}, after file {file} (RESET MASTER)"
        for domain, known in domains_of(gtid).items():
            end = self.end.get(domain)
            if end is None or _number(end) < _number(known):
                return f"the log of the server ends at {end or 'no transaction'}, before {known}"
        return ""


def domains_of(gtid: str) -> dict[int, str]:
    """Return the last transaction of each domain."""
    return {int(item.split("-")[0]): item for item in gtid.split(",") if item}


def _number(gtid: str) -> int:
    return int(gtid.rsplit("-", 1)[1])


def log_server(connection: pymysql.Connection, declared: ReplicationConnection, attempted: str) -> LogServer:
    """Return the state of a server. Raises ConfigError if its log cannot tell the changes of the table exactly."""
    with connection.cursor() as cursor:
        _require_product(cursor, attempted)
        _require_settings(cursor, attempted)
        file = _require_logged(cursor, declared, attempted)
        _require_table(cursor, declared, attempted)
        _require_no_cascades(cursor, declared, attempted)
        ((number, position),) = _rows(cursor, "SELECT @@server_id, @@gtid_binlog_pos")
        return LogServer(int(number), file, position, columns_of(cursor, declared), _charsets(cursor))


def columns_of(cursor: Any, declared: ReplicationConnection) -> dict[str, str]:
    """Return the types of the table's columns by their names, in their order, also of invisible columns."""
    return dict(
        _rows(
            cursor,
            "SELECT column_name, data_type FROM information_schema.columns "
            "WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position",
            declared.names,
        )
    )


def _rows(cursor: Any, query: str, values: Sequence[Any] | None = None) -> Sequence[Any]:
    cursor.execute(query, values)
    found: Sequence[Any] = cursor.fetchall()
    return found


def _require_product(cursor: Any, attempted: str) -> None:
    ((version,),) = _rows(cursor, "SELECT version()")
    if "mariadb" not in version.lower():
        raise ConfigError(
            attempted,
            received=f"a server of version {version}, which is not MariaDB",
            known=["MariaDB 10.5 and later"],
            next_step="read the table as type database, with incremental",
        )


def _require_settings(cursor: Any, attempted: str) -> None:
    found: dict[str, str] = dict(_rows(cursor, "SHOW GLOBAL VARIABLES WHERE variable_name IN %s", [tuple(_NEEDED)]))
    wrong = {name: found.get(name, "not there") for name, value in _NEEDED.items() if found.get(name) != value}
    if not wrong:
        return
    settings = ", ".join(f"{name} = {_NEEDED[name]}" for name in wrong if name != "log_bin")
    next_step = (
        "let its administrator set log_bin, binlog_format = ROW and binlog_row_metadata = FULL in the configuration, "
        "and restart it"
        if "log_bin" in wrong
        else f"let its administrator set {settings} in the configuration, and by SET GLOBAL; sessions that are open "
        "keep what they have"
    )
    raise ConfigError(
        attempted,
        received="a server with " + ", ".join(f"{name} = {value}" for name, value in wrong.items()),
        known=[f"{name} = {value}" for name, value in _NEEDED.items()],
        next_step=next_step,
    )


def _require_logged(cursor: Any, declared: ReplicationConnection, attempted: str) -> int:
    """Return the number of the newest file of the log."""
    ((file, _, only, ignored),) = _rows(cursor, "SHOW MASTER STATUS")
    schema = declared.names[0]
    listed = [item.strip() for item in (only or "").split(",") if item.strip()]
    if (listed and schema not in listed) or schema in (ignored or "").split(","):
        raise ConfigError(
            attempted,
            received=f"a server that writes no changes of {schema} into its log",
            known=listed,
            next_step="let its administrator correct binlog_do_db or binlog_ignore_db and restart it",
        )
    return int(file.rsplit(".", 1)[1])


def _require_table(cursor: Any, declared: ReplicationConnection, attempted: str) -> None:
    found = _rows(
        cursor,
        "SELECT t.table_type, t.engine, e.transactions, t.table_schema, t.table_name "
        "FROM information_schema.tables AS t LEFT JOIN information_schema.engines AS e ON e.engine = t.engine "
        "WHERE t.table_schema = %s AND t.table_name = %s",
        declared.names,
    )
    if not found:
        raise ConfigError(
            attempted,
            received="no such table, or no right to read it",
            next_step="correct connection.table, written as 'database.name', or grant SELECT on it",
        )
    ((kind, engine, is_safe, *names),) = found
    if tuple(names) != declared.names:
        # a server may take names in any case, and its log has them in one
        raise ConfigError(
            attempted,
            received=declared.table,
            known=[".".join(names)],
            next_step="write connection.table as in the database",
        )
    if kind != "BASE TABLE" or is_safe != "YES":
        what = f"a table of the engine {engine}" if kind == "BASE TABLE" else f"a {kind.lower()} table or view"
        raise ConfigError(
            attempted,
            received=f"{what}: the log does not have its changes as transactions of whole rows",
            known=["tables of InnoDB without system versioning"],
            next_step="read it as type database",
        )


def _require_no_cascades(cursor: Any, declared: ReplicationConnection, attempted: str) -> None:
    schema, name = declared.names
    # the schema of information shows constraints only to a user who may change the table
    asked = exp.Show(this="CREATE TABLE", target=exp.table_(name, db=schema, quoted=True))
    ((_, text, *_),) = _rows(cursor, asked.sql("mysql"))
    cascading = _CASCADE.findall(text)
    if cascading:
        raise ConfigError(
            attempted,
            received=f"the foreign key {cascading[0]} changes rows by cascade, and the log has no such changes",
            next_step="let the application delete these rows itself and declare the key with RESTRICT, or read the "
            "table as type database",
        )


def _charsets(cursor: Any) -> dict[int, str]:
    # since 10.10 a name of a collation belongs to several character sets, and only this view has their numbers
    has_numbers = _rows(
        cursor,
        "SELECT 1 FROM information_schema.columns WHERE table_schema = 'information_schema' "
        "AND table_name = 'COLLATION_CHARACTER_SET_APPLICABILITY' AND column_name = 'ID'",
    )
    query = (
        "SELECT id, character_set_name FROM information_schema.collation_character_set_applicability"
        if has_numbers
        else "SELECT id, character_set_name FROM information_schema.collations"
    )
    return {int(number): name for number, name in _rows(cursor, query) if number is not None}
