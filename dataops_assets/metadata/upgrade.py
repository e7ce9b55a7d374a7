"""Run the migrations of the package on an open connection."""

from __future__ import annotations

import threading

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util import CommandError

from dataops_assets.errors import ConfigError

# Alembic has one environment for the whole process, but threads may migrate different databases
_ONE_AT_A_TIME = threading.Lock()


def configuration() -> Config:
    """Return Alembic's configuration for the migrations beside this module."""
    config = Config()
    config.set_main_option("script_location", "dataops_assets.metadata:migrations")
    return config


def upgrade(connection: sa.Connection, revision: str) -> None:
    """Upgrade the schema to a revision, inside the connection's transaction; the caller commits.

    Raises ConfigError if the schema has a version that this code does not know.
    """
    config = configuration()
    config.attributes["connection"] = connection
    try:
        with _ONE_AT_A_TIME:
            command.upgrade(config, revision)
    except CommandError as error:
        raise ConfigError(
            "upgrading the metadata structure",
            received=str(error),
            known=[revision],
            next_step="run the newest version of this software that has used the database",
        ) from error
