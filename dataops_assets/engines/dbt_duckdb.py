"""tmp"""
from __future__ import annotations
import os, duckdb
from dbt.adapters.duckdb.plugins import BasePlugin
from pathlib import Path
class Plugin(BasePlugin):
    def configure_connection(self, conn):
        d=Path(os.environ.get('DATAOPS_HOME','../.dataops')).absolute()/'duckdb_extensions'
        conn.execute(f"set extension_directory='{d}'")
        try: conn.load_extension('delta')
        except duckdb.IOException:
            from dataops_assets.engines.duckdb import prepare_extensions
            prepare_extensions(d); conn.load_extension('delta')
