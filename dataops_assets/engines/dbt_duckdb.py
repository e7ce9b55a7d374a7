"""The dbt-duckdb plugin of this project: lets dbt's DuckDB connection read hub tables, without a download.

`dbt_project/profiles.yml` names it, so `dbt build` in that folder and runs of Dagster use it in the same way.
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

    dbt runs in the folder `dbt_project`, so the deployment is the folder above it.
    """

    def initialize(self, plugin_config: dict[str, Any]) -> None:  # noqa: ARG002  the signature is dbt-duckdb's
        """Find the deployment's settings. Raises ConfigError where one is missing."""
        self._storage = environment_from(os.environ, Path.cwd().parent).storage

    def update_connection_config(self, creds: DuckDBCredentials, config: dict[str, Any]) -> None:  # noqa: ARG002
        """Set the options that let extensions load quickly, as in the steps."""
        config.update(TRUSTING)

    def configure_connection(self, conn: DuckDBPyConnection) -> None:
        """Load the extensions, and sign in to the object store if the hub is there."""
        load_extensions(conn, remote=is_remote(self._storage))

    def configure_cursor(self, cursor: DuckDBPyConnection) -> None:
        """Set the variable with the hub's location; each cursor has its own variables."""
        cursor.execute("SET VARIABLE dataops_storage = ?", [self._storage])
