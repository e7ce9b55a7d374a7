"""The dbt-duckdb plugin of this project: dbt's DuckDB connection can read hub tables, without a download.

Named in `dbt_project/profiles.yml`, so it works alike for `dbt build` in that folder and for a run started by Dagster.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dbt.adapters.duckdb.credentials import DuckDBCredentials
from dbt.adapters.duckdb.plugins import BasePlugin
from duckdb import DuckDBPyConnection

from dataops_assets.config.environment import environment_from
from dataops_assets.engines.duckdb import TRUSTING, load_extensions
from dataops_assets.storage.objects import is_remote


class Plugin(BasePlugin):
    """Loads the extensions that hub tables need.

    dbt works in the project folder `dbt_project`, so the deployment is the one of the folder above it.
    """

    def initialize(self, plugin_config: dict[str, Any]) -> None:  # noqa: ARG002  the signature is dbt-duckdb's
        """Find the deployment's settings. Raises ConfigError where one is missing."""
        self._storage = environment_from(os.environ, Path.cwd().parent).storage

    def update_connection_config(self, creds: DuckDBCredentials, config: dict[str, Any]) -> None:  # noqa: ARG002
        """Let extensions load as quickly as those of the steps."""
        config.update(TRUSTING)

    def configure_connection(self, conn: DuckDBPyConnection) -> None:
        """Load them, and sign in to the object store where the hub is on one."""
        load_extensions(conn, remote=is_remote(self._storage))

    def configure_cursor(self, cursor: DuckDBPyConnection) -> None:
        """Tell the macros where the hub is: variables are a cursor's own."""
        cursor.execute("SET VARIABLE dataops_storage = ?", [self._storage])
