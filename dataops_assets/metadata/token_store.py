"""Records which version of a table a consumer took, and whether it is still approved.

A token names a version of a table that is in a release. A rollback revokes the tokens of later releases in the
transaction that ends it; dropping a release revokes its tokens.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import sqlalchemy as sa

from dataops_assets.errors import InputError, nearest
from dataops_assets.metadata import tables
from dataops_assets.metadata.database import Database
from dataops_assets.metadata.statements import insert_of


@dataclass(frozen=True)
class Token:
    """A version of a table that a consumer, such as a model, took. `source` is None for a table of the warehouse.

    `revoked_at` and `reason` say since when and why it is not approved any more.
    """

    token: str
    consumer: str
    asset: str
    source: str | None
    release: str
    released_at: dt.datetime
    version: int | None
    commit_id: str
    given_at: dt.datetime
    given_by: str
    revoked_at: dt.datetime | None = None
    reason: str = ""


class TokenStore:
    """The tokens in the metadata. Its methods raise StorageError if the database cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def give(self, token: Token) -> Token:
        """Record a token, unless the consumer has it already; return what is recorded."""
        new = insert_of(self._database.dialect)(tables.tokens).on_conflict_do_nothing()
        with self._database.write(f"giving the token {token.token}") as connection:
            connection.execute(new, asdict(token))
        return self.token(token.token)

    def token(self, token: str) -> Token:
        """Return a token. Raises InputError for an unknown one."""
        found = {item.token: item for item in self.tokens()}
        if token not in found:
            hint = nearest(token, list(found)) or "take one: dataops tokens take TABLE --consumer NAME"
            raise InputError(f"finding the token {token!r}", next_step=hint)
        return found[token]

    def tokens(self) -> list[Token]:
        """Return all tokens, the newest first."""
        table = tables.tokens
        wanted = sa.select(*(table.c[item.name] for item in fields(Token)))
        with self._database.read("reading the tokens") as connection:
            return [Token(*row) for row in connection.execute(wanted.order_by(table.c.given_at.desc(), table.c.token))]


def revoke_later(connection: sa.Connection, release: str, sources: Sequence[str], reason: str) -> None:
    """Revoke the tokens of releases made after `release`: of tables of these sources, and of the warehouse."""
    table, releases = tables.tokens, tables.releases
    made = sa.select(releases.c.created_at).where(releases.c.release == release).scalar_subquery()
    _revoke(connection, reason, table.c.released_at > made, table.c.source.in_(sources) | table.c.source.is_(None))


def revoke_dropped(connection: sa.Connection, release: str) -> None:
    """Revoke the tokens of a release that is dropped."""
    _revoke(connection, f"the release {release} was dropped", tables.tokens.c.release == release)


def _revoke(connection: sa.Connection, reason: str, *conditions: sa.ColumnElement[bool]) -> None:
    table = tables.tokens
    these = table.update().where(table.c.revoked_at.is_(None), *conditions)
    connection.execute(these.values(revoked_at=dt.datetime.now(dt.UTC), reason=reason))
