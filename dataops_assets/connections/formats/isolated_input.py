"""Isolates errors: any error while reading an input stops that input alone, and the others are read."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import duckdb

from dataops_assets.errors import ConfigError, DataOpsError, InputError, StorageError

_P = ParamSpec("_P")
_T = TypeVar("_T")

# an error of the machine and not of the input, so it may pass
_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE}


def attempt(name: str, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T | DataOpsError:
    """Return the result of `call`, or the error of the input called `name` for any exception.

    A fault of the machine becomes a StorageError, anything else an InputError. Raises only ConfigError: a wrong
    declaration is no input's fault. No other place takes every exception: readers of formats that they do not own
    (workbooks, archives, engines) raise what they like, and none of it may stop the other inputs of a run.
    """
    try:
        return call(*args, **kwargs)
    except ConfigError:
        raise
    except DataOpsError as error:
        return error
    except Exception as error:  # noqa: BLE001  see above
        is_machine = isinstance(error, MemoryError | duckdb.OutOfMemoryException) or (
            isinstance(error, OSError) and error.errno in _MACHINE
        )
        told = f"{type(error).__name__}: {str(error).split(_PARAGRAPH)[0]}"
        if is_machine:
            return _caused(
                StorageError(f"reading {name}", received=told, next_step="make room for it, then run again"), error
            )
        return _caused(
            InputError(
                f"reading {name}",
                received=f"content that the reader of its format cannot read: {told}",
                next_step="deliver it again, or correct its declared format",
            ),
            error,
        )


_PARAGRAPH = "\n\n"


def _caused(error: DataOpsError, cause: Exception) -> DataOpsError:
    error.__cause__ = cause
    return error
