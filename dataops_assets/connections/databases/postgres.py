"""PostgreSQL: one read-only snapshot, and rows by COPY, in the text of the server."""

from __future__ import annotations

import binascii
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from sqlglot import exp

from dataops_assets.config.databases import PostgresDatabase
from dataops_assets.connections.databases.in_order import Portion, Reader, Regrouped, in_order
from dataops_assets.connections.databases.postgres_ranges import ranges_of
from dataops_assets.connections.databases.reading import (
    ARROW,
    Begin,
    CursorKind,
    Field,
    Kind,
    Snapshot,
    Statement,
    Transactions,
    unfit,
)
from dataops_assets.errors import ConfigError, InputError, StorageError

if TYPE_CHECKING:
    from psycopg2 import extensions

# object ids of types, fixed in every server; all other types are text
_KINDS: dict[int, Kind] = {16: "boolean", 17: "binary", 20: "integer", 21: "integer", 23: "integer", 701: "double"}
_CURSORS: dict[int, CursorKind] = {
    **dict.fromkeys((20, 21, 23, 1700), "number"),
    1082: "date",
    **dict.fromkeys((1114, 1184), "time"),
}
PORTION_BYTES = 8 << 20
"""Rows are handed over when the server sent so many bytes."""

# classes of error: connection, transaction rollback, resources, operator intervention, system
_MAY_PASS = ("08", "40", "53", "57", "58")
_CONNECT_SECONDS = 15
LONGEST_LOCK_WAIT = "10s"
"""One of several connections must not wait for somebody who waits for another of them: no server sees that circle."""
# the text of a value depends on these; rows in the order in which they are stored, at each look the same
SETTINGS = {
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "synchronize_seqscans": "off",
    "max_parallel_workers_per_gather": "0",
    "row_security": "on",
}
"""With these the server prints values, and gives rows, in one way."""


class Postgres:
    """A PostgreSQL database, read with psycopg2."""

    dialect = "postgres"

    def __init__(self, declared: PostgresDatabase, password: str | None) -> None:
        """Opens nothing yet."""
        self.place = f"PostgreSQL {declared.database} at {declared.host}:{declared.port}"
        self._declared = declared
        self._password = password

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Open a read-only transaction that sees one moment. Raises StorageError and ConfigError."""
        with self.connected() as connection:
            with told(f"beginning a snapshot of {self.place}"):
                connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
                with connection.cursor() as cursor:
                    set_texts(cursor)
                    cursor.execute(
                        "SELECT pg_snapshot_xmin(s)::text, pg_snapshot_xmax(s)::text FROM pg_current_snapshot() AS s"
                    )
                    settled, following = cursor.fetchone()
            yield PostgresSnapshot(connection, self.place, Transactions(int(settled), int(following)), self._beside)

    @contextmanager
    def _beside(self, snapshot: str) -> Iterator[PostgresSnapshot]:
        """Open another connection that sees the moment of a snapshot that is exported under this name."""
        with self.connected() as connection:
            with told(f"joining a snapshot of {self.place}"):
                connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
                with connection.cursor() as cursor:
                    cursor.execute("SET TRANSACTION SNAPSHOT %s", (snapshot,))
                    set_texts(cursor, {**SETTINGS, "lock_timeout": LONGEST_LOCK_WAIT})
            yield PostgresSnapshot(connection, self.place)

    @contextmanager
    def connected(self, *, is_replication: bool = False) -> Iterator[extensions.connection]:
        """Open a connection, or one that takes the commands of replication. Raises StorageError and ConfigError."""
        import psycopg2
        from psycopg2 import extras

        kind = {"connection_factory": extras.LogicalReplicationConnection} if is_replication else {}
        with told(f"connecting to {self.place}"):
            connection = psycopg2.connect(
                host=self._declared.host,
                port=self._declared.port,
                dbname=self._declared.database,
                user=self._declared.user,
                password=self._password,
                sslmode=self._declared.tls,
                connect_timeout=_CONNECT_SECONDS,
                application_name="dataops",
                client_encoding="UTF8",
                **kind,
            )
        try:
            yield connection
        finally:
            connection.close()


def set_texts(cursor: extensions.cursor, settings: Mapping[str, str] = SETTINGS) -> None:
    """Let the server print values in one form until the transaction ends."""
    for name, value in settings.items():
        cursor.execute("SELECT set_config(%s, %s, true)", (name, value))


class PostgresSnapshot:
    """Reads in a transaction of a connection."""

    def __init__(
        self,
        connection: extensions.connection,
        place: str,
        transactions: Transactions | None = None,
        beside: Callable[[str], AbstractContextManager[PostgresSnapshot]] | None = None,
    ) -> None:
        """Take a connection in whose transaction `set_texts` was called; `beside` opens another one of its moment."""
        self.transactions = transactions
        self._connection = connection
        self._place = place
        self._beside = beside

    def read(self, statement: Statement, table: str, begin: Begin) -> None:
        """See `Snapshot`."""
        attempted = f"reading {table or 'the query'} in {self._place}"
        with self._cursor(attempted) as cursor:
            if table:
                # an index that has all columns would give them in its own order
                cursor.execute("SET LOCAL enable_indexonlyscan = off")
            rows = self._text(cursor, statement)
            fields = self._fields(cursor, rows)
            take = begin(fields)
            self._copy(cursor, rows, _Portions(fields, lambda portion: take(portion.rows), attempted))

    def read_parallel(self, rows: exp.Select, table: exp.Table, connections: int, begin: Begin) -> None:
        """See `ParallelSnapshot`: ranges of pages, under one exported snapshot."""
        attempted = f"reading {table.sql('postgres')} in {self._place} by {connections} connections"
        with self._cursor(attempted) as cursor:
            # the columns stay, because this transaction now holds a lock on the table
            fields = self._fields(cursor, self._text(cursor, Statement(rows.sql("postgres"))))
            ranges = ranges_of(cursor, table, attempted)
            cursor.execute("SELECT pg_export_snapshot()")
            (name,) = cursor.fetchone()
        regrouped = Regrouped(begin(fields), PORTION_BYTES)
        with ExitStack() as opened:
            if self._beside is None:
                raise TypeError("this snapshot has no connections beside it")
            sessions = [opened.enter_context(self._beside(name)) for _ in range(min(connections, len(ranges)))]
            free: SimpleQueue[PostgresSnapshot] = SimpleQueue()
            for session in sessions:
                free.put(session)

            def reader(condition: exp.Expr) -> Reader:
                def read(give: Callable[[Portion], None]) -> None:
                    session = free.get()
                    try:
                        session.read_range(rows.where(condition), fields, give, attempted)
                    finally:
                        free.put(session)

                return read

            def interrupt() -> None:
                for session in sessions:
                    session.interrupt()

            in_order(map(reader, ranges), len(sessions), regrouped.add, interrupt)
        regrouped.flush()

    def read_range(
        self, rows: exp.Select, fields: Sequence[Field], give: Callable[[Portion], None], attempted: str
    ) -> None:
        """Read some rows of a table whose columns are known."""
        with self._cursor(attempted) as cursor:
            text = self._text(cursor, Statement(rows.sql("postgres")))
            self._copy(cursor, text, _Portions(fields, give, attempted))

    def interrupt(self) -> None:
        """End the statement that runs in another thread, if one does."""
        import psycopg2

        # a server that is gone runs nothing
        with suppress(psycopg2.Error):
            self._connection.cancel()

    def _fields(self, cursor: extensions.cursor, rows: Any) -> list[Field]:
        from psycopg2 import sql

        # a subquery: the server looks at the columns and reads no row
        cursor.execute(sql.SQL("SELECT * FROM ({rows}\n) AS s_rows LIMIT 0").format(rows=rows))
        return [
            Field(item.name, _KINDS.get(item.type_code, "text"), _CURSORS.get(item.type_code, ""))
            for item in cursor.description
        ]

    def _copy(self, cursor: extensions.cursor, rows: Any, portions: _Portions) -> None:
        from psycopg2 import sql

        cursor.copy_expert(sql.SQL("COPY ({rows}\n) TO STDOUT (FORMAT csv)").format(rows=rows), portions)
        portions.flush()

    def tables(self) -> list[str]:
        """See `Snapshot`."""
        with self._cursor(f"listing the tables of {self._place}") as cursor:
            cursor.execute(
                "SELECT n.nspname || '.' || c.relname FROM pg_class AS c JOIN pg_namespace AS n "
                "ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'v', 'm', 'f', 'p') "
                "AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_' "
                "AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')"
            )
            return sorted(row[0] for row in cursor.fetchall())

    def server(self) -> str:
        """See `Snapshot`."""
        with self._cursor(f"asking {self._place} for its version") as cursor:
            cursor.execute("SHOW server_version")
            return f"PostgreSQL {cursor.fetchone()[0]}"

    def _text(self, cursor: extensions.cursor, statement: Statement) -> Any:
        from psycopg2 import sql

        # a COPY takes no parameters: the driver writes the values as literals, with its own quoting
        text, values = statement.bound("%s", lambda part: part.replace("%", "%%"))
        return sql.SQL(cursor.mogrify(text, values).decode() if values else statement.text)

    @contextmanager
    def _cursor(self, attempted: str) -> Iterator[extensions.cursor]:
        with told(attempted, self._known):
            cursor = self._connection.cursor()
            try:
                yield cursor
            finally:
                cursor.close()

    def _known(self) -> list[str]:
        """Return the tables that may be read, after a statement failed."""
        self._connection.rollback()
        return self.tables()


class _Portions:
    """Takes the rows of a COPY, one at a time, and hands them over as tables."""

    def __init__(self, fields: Sequence[Field], give: Callable[[Portion], None], attempted: str) -> None:
        self._fields = fields
        self._give = give
        self._attempted = attempted
        self._rows: list[bytes] = []
        self._size = 0

    def write(self, row: bytes) -> None:
        """Take one row; the driver calls it."""
        self._rows.append(row)
        self._size += len(row)
        if self._size >= PORTION_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand over the rows taken so far."""
        if self._rows:
            text, sizes = b"".join(self._rows), np.fromiter(map(len, self._rows), np.int64, len(self._rows))
            self._rows, self._size = [], 0
            self._give(Portion(_table_of(text, self._fields, self._attempted), sizes))


def _table_of(text: bytes, fields: Sequence[Field], attempted: str) -> pa.Table:
    """Return rows in the CSV of COPY as a table. A null has no quotes there, and an empty text has."""
    places = [str(place) for place in range(len(fields))]
    read_as = {
        place: pa.string() if item.kind == "binary" else ARROW[item.kind]
        for place, item in zip(places, fields, strict=True)
    }
    try:
        found = pacsv.read_csv(
            io.BytesIO(text),
            # one block: a row is never cut
            pacsv.ReadOptions(column_names=places, block_size=len(text) + 1),
            pacsv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            pacsv.ConvertOptions(
                column_types=read_as,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                true_values=["t"],
                false_values=["f"],
            ),
        )
    except pa.ArrowInvalid as error:
        raise InputError(
            attempted,
            received=str(error),
            next_step="let a query convert the column that the error names to text; nothing of this extract was taken",
        ) from error
    columns = [
        _bytes_of(found.column(place), item, attempted) if item.kind == "binary" else found.column(place)
        for place, item in enumerate(fields)
    ]
    return pa.Table.from_arrays(columns, names=[item.name for item in fields])


def _bytes_of(column: pa.ChunkedArray, item: Field, attempted: str) -> pa.Array:
    """Return the bytes of values in the form of the server, in hexadecimal digits after a prefix of two characters."""
    digits = pc.utf8_slice_codeunits(column, 2).combine_chunks()
    _, offsets, data = digits.buffers()
    ends = np.frombuffer(offsets, np.int32)[digits.offset : digits.offset + len(digits) + 1]
    text = b"" if data is None else data[ends[0] : ends[-1]].to_pybytes()
    try:
        values = pa.py_buffer(binascii.unhexlify(text))
    except binascii.Error as error:
        raise unfit(attempted, item, error) from error
    new_ends = pa.py_buffer(((ends - ends[0]) // 2).astype(np.int32).tobytes())
    valid = None if not digits.null_count else digits.is_valid()
    found = pa.Array.from_buffers(pa.binary(), len(digits), [None, new_ends, values])
    return found if valid is None else pc.if_else(valid, found, pa.scalar(None, pa.binary()))


@contextmanager
def told(attempted: str, known: Callable[[], list[str]] | None = None) -> Iterator[None]:
    """Turn errors of the driver into StorageError, if another try can help, and into ConfigError otherwise."""
    import psycopg2
    from psycopg2 import errorcodes

    try:
        yield
    except psycopg2.Error as error:
        text = " ".join(str(error).split())
        code = error.pgcode or ""
        if code == errorcodes.UNDEFINED_TABLE and known is not None:
            names = known()
            raise ConfigError(
                attempted, received=text, known=names, next_step="correct the name; write it as in the database"
            ) from None
        # without a code the connection failed; then a wrong password looks like a server that is not there
        may_pass = not code or code[:2] in _MAY_PASS or code == errorcodes.LOCK_NOT_AVAILABLE
        kind = StorageError if may_pass else ConfigError
        next_step = (
            "check that the server runs, and the connection's host, user and password"
            if may_pass
            else ("correct the declaration, or give the user the right to it")
        )
        raise kind(attempted, received=text, next_step=next_step) from None
