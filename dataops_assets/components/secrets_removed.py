"""Removes secrets from the errors that Dagster shows: it shows the texts of an error and of all its causes."""

from __future__ import annotations

from types import TracebackType

from dataops_assets.errors import DataOpsError, StorageError
from dataops_assets.masking import cut_secrets, has_secret


class SecretsRemoved:
    """Removes secrets from errors that are raised in its block.

    An unexpected error that has a secret, such as one of a library or of a hook, becomes a StorageError.
    """

    def __init__(self, attempted: str) -> None:
        self._attempted = attempted

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        cut_secrets(error)
        if isinstance(error, Exception) and not isinstance(error, DataOpsError) and has_secret(f"{error} {error!r}"):
            raise StorageError(
                self._attempted,
                received=f"{type(error).__name__}: {error}",
                next_step="correct the cause that the error names; the next tick or run tries again",
            ) from None
