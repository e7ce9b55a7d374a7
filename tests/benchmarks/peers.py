"""Other tools changing a table by key, each a process of its own that takes requests on standard input.

`python peers.py WAY HOME KIND` answers each line `load FILE`, `change FILE` and `read` with one line. It runs in the
environment of peers.txt, because SQLMesh needs another sqlglot than the project. Of dbt and dlt a change is what a user
runs, in a process that is warm; of SQLMesh it is the merge alone, without its plans.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import duckdb

COUNT = "SELECT count(*), sum(n0) FROM "
CONTENT = "concat_ws('|', *COLUMNS(*))"


class DbtSnapshot:
    """A dbt snapshot by `check_cols: all`; for full extracts it invalidates hard deletes."""

    def __init__(self, home: Path, is_full: bool) -> None:
        from dbt.cli.main import dbtRunner

        self._run = dbtRunner()
        self._home = home
        (home / "snapshots").mkdir()
        output = {"type": "duckdb", "path": str(home / "table.duckdb"), "threads": 2}
        flags = {"send_anonymous_usage_stats": False}
        (home / "dbt_project.yml").write_text(json.dumps({"name": "peer", "profile": "peer", "flags": flags}))
        (home / "profiles.yml").write_text(json.dumps({"peer": {"target": "d", "outputs": {"d": output}}}))
        gone = ", hard_deletes='invalidate'" if is_full else ""
        (home / "snapshots" / "things.sql").write_text(
            "{% snapshot things %}{{ config(unique_key='id', strategy='check', check_cols='all', target_schema='main'"
            + gone
            + ") }} SELECT * FROM read_parquet('{{ var(\"parquet\") }}') {% endsnapshot %}"
        )

    def load(self, parquet: str) -> None:
        self.change(parquet)

    def change(self, parquet: str) -> None:
        folder = str(self._home)
        told = ["--project-dir", folder, "--profiles-dir", folder, "--quiet", "--no-use-colors"]
        result = self._run.invoke(["snapshot", *told, "--vars", f"{{parquet: {parquet}}}"])
        if not result.success:
            raise SystemExit(f"dbt: {result.exception or result.result}")

    def read(self) -> tuple[int, int]:
        with duckdb.connect(str(self._home / "table.duckdb")) as connection:
            return _counted(connection.execute(COUNT + "things WHERE dbt_valid_to IS NULL"))


class SqlMesh:
    """SQLMesh's merge by unique key; for full extracts its SCD type 2 by column, which knows of deletes."""

    def __init__(self, home: Path, is_full: bool) -> None:
        from sqlmesh.core.engine_adapter.duckdb import DuckDBEngineAdapter

        self._connection = duckdb.connect(str(home / "table.duckdb"))
        self._adapter = DuckDBEngineAdapter(lambda: self._connection.cursor())
        self._is_full = is_full
        self._number = 0

    def load(self, parquet: str) -> None:
        run = self._connection.execute
        validity = ", CAST('2024-01-01' AS TIMESTAMP) AS valid_from, CAST(NULL AS TIMESTAMP) AS valid_to"
        run(f"CREATE TABLE things AS SELECT *{validity if self._is_full else ''} FROM read_parquet('{parquet}')")

    def change(self, parquet: str) -> None:
        from sqlglot import exp, parse_one

        self._number += 1
        rows = parse_one(f"SELECT * FROM read_parquet('{parquet}')", dialect="duckdb")
        types = self._adapter.columns("things")
        if self._is_full:
            self._adapter.scd_type_2_by_column(
                "things",
                rows,
                unique_key=[exp.column("id")],
                valid_from_col=exp.column("valid_from"),
                valid_to_col=exp.column("valid_to"),
                execution_time=dt.datetime(2024, 1, 1, tzinfo=dt.UTC) + dt.timedelta(days=self._number),
                check_columns=[exp.column(name) for name in types if name not in ("id", "valid_from", "valid_to")],
                target_columns_to_types=types,
                truncate=False,
            )
        else:
            self._adapter.merge("things", rows, types, unique_key=[exp.column("id")])
        # as where the process ends, which it does after each run
        self._connection.execute("CHECKPOINT")

    def read(self) -> tuple[int, int]:
        only = " WHERE valid_to IS NULL" if self._is_full else ""
        return _counted(self._connection.execute(COUNT + "things" + only))


class Dlt:
    """dlt's merge: delete-insert by primary key; for full extracts its scd2 strategy, which knows of deletes."""

    def __init__(self, home: Path, is_full: bool) -> None:
        import dlt

        os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
        self._path = home / "table.duckdb"
        destination = dlt.destinations.duckdb(str(self._path))
        folder = str(home / "dlt")
        self._pipeline = dlt.pipeline("peer", pipelines_dir=folder, destination=destination, dataset_name="d")
        merge: dict[str, Any] = {"disposition": "merge", "strategy": "delete-insert"}
        key = {"primary_key": "id"}
        if is_full:
            merge, key = {"disposition": "merge", "strategy": "scd2", "row_version_column_name": "row_hash"}, {}
        self._put = functools.partial(self._pipeline.run, table_name="things", write_disposition=merge, **key)
        self._is_full = is_full

    def load(self, parquet: str) -> None:
        self.change(parquet)

    def change(self, parquet: str) -> None:
        row_hash = f", md5({CONTENT}) AS row_hash" if self._is_full else ""
        self._put(duckdb.sql(f"SELECT *{row_hash} FROM read_parquet('{parquet}')").to_arrow_table())

    def read(self) -> tuple[int, int]:
        only = " WHERE _dlt_valid_to IS NULL" if self._is_full else ""
        with duckdb.connect(str(self._path)) as connection:
            return _counted(connection.execute(COUNT + "d.things" + only))


PEERS = {"dbt snapshot": DbtSnapshot, "SQLMesh": SqlMesh, "dlt merge": Dlt}


def _counted(found: Any) -> tuple[int, int]:
    count, total = found.fetchone()
    return int(count), int(total)


def main() -> None:
    """Answer requests until there are no more; what the tools print does not get into the answers."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    name, home, kind = sys.argv[1:]
    with contextlib.redirect_stdout(io.StringIO()):
        peer = PEERS[name](Path(home), kind == "full")
        for line in sys.stdin:
            what, _, parquet = line.strip().partition(" ")
            found = peer.read() if what == "read" else getattr(peer, what)(parquet)
            print(*(found or ["done"]), file=answers, flush=True)


if __name__ == "__main__":
    main()
