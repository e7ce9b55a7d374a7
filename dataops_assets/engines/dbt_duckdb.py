"""The dbt-duckdb plugin of this project: dbt's DuckDB connection reads hub tables and the metadata with it.

`dbt_project/profiles.yml` names it, so `dbt build` in that folder and runs of Dagster use it in the same way.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from dbt.adapters.duckdb.credentials import DuckDBCredentials
from dbt.adapters.duckdb.plugins import BasePlugin
from duckdb import DuckDBPyConnection

from dataops_assets.config.environment import environment_from
from dataops_assets.engines.duckdb import TRUSTING, load_extensions
from dataops_assets.metadata.table_files import write_table
from dataops_assets.storage.objects import is_remote


class Plugin(BasePlugin):
    """Loads the extensions that hub tables need, and gives SQL the function `metadata_file`.

    dbt runs in the folder `dbt_project`, so the deployment is the folder above it.
    """

    def initialize(self, plugin_config: dict[str, Any]) -> None:  # noqa: ARG002  the signature is dbt-duckdb's
        """Find the deployment's settings. Raises ConfigError where one is missing."""
        environment = environment_from(os.environ, Path.cwd().parent)
        self._storage = environment.storage
        self._metadata_url = environment.metadata_url
        # removed with this object
        self._files = tempfile.TemporaryDirectory(prefix="dataops-metadata-")

    def update_connection_config(self, creds: DuckDBCredentials, config: dict[str, Any]) -> None:  # noqa: ARG002
        """Set the options that let extensions load quickly, as in the steps."""
        config.update(TRUSTING)

    def configure_connection(self, conn: DuckDBPyConnection) -> None:
        """Load the extensions, and sign in to the object store if the hub is there."""
        load_extensions(conn, remote=is_remote(self._storage))
        # its answer differs from call to call, because the metadata change
        conn.create_function("metadata_file", self._metadata_file, side_effects=True)

    def configure_cursor(self, cursor: DuckDBPyConnection) -> None:
        """Set the variable with the hub's location; each cursor has its own variables."""
        cursor.execute("SET VARIABLE dataops_storage = ?", [self._storage])

    def _metadata_file(self, table: str) -> str:
        """Return the path of a file of Parquet with a metadata table as it is now; '' if there is none yet."""
        path = Path(self._files.name) / f"{table}.parquet"
        return str(path) if write_table(self._metadata_url, table, path) else ""
