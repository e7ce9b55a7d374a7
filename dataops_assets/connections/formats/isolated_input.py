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

    A fault of the machine becomes a StorageError, any other exception an InputError. Only ConfigError is raised,
    because a wrong declaration is not the fault of an input. This is the only place that catches all exceptions: the
    libraries that read formats (workbooks, archives, engines) raise undocumented exceptions, and none of them may stop
    the other inputs of a run.
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
