"""Tokens: a consumer, such as the training of a model, takes the newest approved version of a table.

Approved is what a release has: all gates, checks and inputs were good when it was made. A rollback takes the approval
from later releases, so that a model which was trained on them is known.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from pathlib import Path

import duckdb
from sqlglot import exp

from dataops_assets.config.environment import Environment
from dataops_assets.engines.warehouse_copies import copies_of
from dataops_assets.errors import ConfigError, GateFailed, InputError, StorageError, nearest
from dataops_assets.metadata.release_store import DONE, Release, ReleaseTable
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.metadata.token_store import Token
from dataops_assets.sql import DIALECT
from dataops_assets.steps.upkeep.releases import WAREHOUSE, problems_of


def take(environment: Environment, metadata: MetadataStore, asset: str, consumer: str, by: str) -> Token:
    """Return the token of the newest approved version of a table for a consumer, and record that it took it.

    The same version gives the same token. Raises ConfigError for an empty consumer, InputError for a table that no
    approved release has, StorageError during a rollback, or if the version cannot be read.
    """
    attempted = f"taking the newest approved version of {asset!r}"
    if not consumer.strip():
        raise ConfigError(attempted, received="no consumer", next_step="name it, such as --consumer churn_model")
    release, table = _newest_approved(environment, metadata, asset, attempted)
    problems = list(problems_of(environment, table))
    if problems:
        raise StorageError(attempted, received="; ".join(problems), next_step="dataops doctor")
    text = "\n".join((consumer, asset, release.release, table.commit_id or table.pin))
    return metadata.tokens.give(
        Token(
            token=hashlib.sha256(text.encode()).hexdigest()[:16],
            consumer=consumer,
            asset=asset,
            source=table.source,
            release=release.release,
            released_at=release.created_at,
            version=table.version,
            commit_id=table.commit_id,
            given_at=dt.datetime.now(dt.UTC),
            given_by=by,
        )
    )


def require_approved(metadata: MetadataStore, token: str) -> Token:
    """Return a token that is still approved. Raises InputError for an unknown one, GateFailed for a revoked one."""
    found = metadata.tokens.token(token)
    if found.revoked_at is not None:
        raise GateFailed(
            f"using version {found.version} of {found.asset} for {found.consumer!r}",
            received=f"a token that was revoked at {found.revoked_at:%Y-%m-%d %H:%M:%S} UTC: {found.reason}",
            next_step=f"train again on: dataops tokens take {found.asset} --consumer {found.consumer}",
        )
    return found


def _newest_approved(
    environment: Environment, metadata: MetadataStore, asset: str, attempted: str
) -> tuple[Release, ReleaseTable]:
    known: set[str] = set()
    for release in metadata.releases.releases():
        for table in metadata.releases.tables_of(release.release):
            names = _names(environment, table)
            known |= names
            if asset not in names:
                continue
            for source in [table.source] if table.source else sorted(release.contracts):
                metadata.releases.require_no_rollback(source, attempted)
            if not _is_revoked(metadata, release, table.source):
                return release, table
    if asset in known:
        raise InputError(
            attempted,
            received="only releases whose approval a rollback has revoked",
            next_step="make a release of the present tables: dataops release NAME",
        )
    hint = nearest(asset, sorted(known)) or "make a release first: dataops release NAME"
    raise InputError(attempted, known=sorted(known), next_step=hint)


def _names(environment: Environment, table: ReleaseTable) -> set[str]:
    """Return the asset keys that a table of a release stands for: the copy of the warehouse has many tables."""
    if table.asset != WAREHOUSE:
        return {table.asset}
    copy = copies_of(Path(environment.warehouse)) / table.pin
    if not copy.is_file():
        return set()
    wanted = exp.select("table_name").from_(exp.table_("tables", db="information_schema")).sql(DIALECT)
    with duckdb.connect(str(copy), read_only=True) as connection:
        return {f"{WAREHOUSE}/{name}" for (name,) in connection.execute(wanted).fetchall()}


def _is_revoked(metadata: MetadataStore, release: Release, source: str | None) -> bool:
    """Return whether a rollback went back behind this release."""
    made = {item.release: item.created_at for item in metadata.releases.releases()}
    for rollback in metadata.releases.rollbacks():
        if rollback.state != DONE or rollback.begun_at < release.created_at or rollback.release == release.release:
            continue
        # a release that is dropped since may have been older
        target = made.get(rollback.release)
        if (source is None or source in rollback.sources) and (target is None or target < release.created_at):
            return True
    return False
