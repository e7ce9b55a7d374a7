"""Other tools changing a table by key, each a process of its own that takes requests on standard input.

`python peers.py WAY HOME KIND` answers each line `load FILE`, `change FILE` and `read` with one line. It runs in the
environment of peers.txt, because SQLMesh needs another sqlglot than the project. A change is what a user of the tool
runs, in a process that is warm.
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
    """A SQLMesh model by unique key; for full extracts SCD type 2 by column, which knows of deletes.

    Its first run makes the table by a plan, and each change is a run a day later.
    """

    def __init__(self, home: Path, is_full: bool) -> None:
        from sqlmesh import Context
        from sqlmesh.core.config import Config, DuckDBConnectionConfig, GatewayConfig, ModelDefaultsConfig

        self._home = home
        self._is_full = is_full
        self._number = 0
        (home / "models").mkdir()
        state = DuckDBConnectionConfig(database=str(home / "state.duckdb"))
        data = DuckDBConnectionConfig(database=str(home / "table.duckdb"))
        config = Config(
            gateways={"": GatewayConfig(connection=data, state_connection=state)},
            model_defaults=ModelDefaultsConfig(dialect="duckdb", start="2024-01-01"),
            disable_anonymized_analytics=True,
        )
        self._context = Context(paths=str(home), config=config)

    def _deliver(self, parquet: str) -> None:
        rows = f"SELECT * FROM read_parquet('{parquet}')"
        self._context.engine_adapter.execute(f"CREATE OR REPLACE VIEW main.incoming AS {rows}")
        self._number += 1

    def load(self, parquet: str) -> None:
        self._deliver(parquet)
        types = dict(duckdb.sql(f"SELECT column_name, column_type FROM (DESCRIBE FROM '{parquet}')").fetchall())
        typed = ", ".join(f"CAST({name} AS {kind}) AS {name}" for name, kind in types.items())
        compared = ", ".join(name for name in types if name != "id")
        kind = "INCREMENTAL_BY_UNIQUE_KEY (unique_key id)"
        if self._is_full:
            kind = f"SCD_TYPE_2_BY_COLUMN (unique_key id, columns [{compared}], invalidate_hard_deletes true)"
        (self._home / "models" / "things.sql").write_text(
            f"MODEL (name d.things, kind {kind}, cron '@daily'); SELECT {typed} FROM main.incoming"
        )
        self._context.load()
        self._context.plan(auto_apply=True, no_prompts=True, execution_time="2024-01-02")

    def change(self, parquet: str) -> None:
        self._deliver(parquet)
        result = self._context.run(execution_time=dt.datetime(2024, 1, 1 + self._number, tzinfo=dt.UTC))
        if not result.is_success:
            raise SystemExit(f"SQLMesh: {result}")
        # as where the process ends, which it does after each run
        self._context.engine_adapter.execute("CHECKPOINT")

    def read(self) -> tuple[int, int]:
        only = " WHERE valid_to IS NULL" if self._is_full else ""
        self._context.engine_adapter.execute(COUNT + "d.things" + only)
        return _counted(self._context.engine_adapter.cursor)


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
