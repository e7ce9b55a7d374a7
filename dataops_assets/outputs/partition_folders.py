"""Names the folders of files by partition: each combination of values has one of its own, as in `country=DE`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from urllib.parse import quote

_NULL = "__null__"
_EMPTY = "__empty__"
_UNDERSCORE = "%5F"


def partition_folder(by: Iterable[str], values: Mapping[str, str | None]) -> PurePosixPath:
    """Return the folder of the rows that have these values in the columns `by`.

    Names and values are percent-encoded. A null is `__null__` and an empty text `__empty__`. A text that equals one of
    these two has `%5F` as its first character. So a reader compares with the two first, and decodes then.
    """
    return PurePosixPath(*(f"{quote(name, safe='')}={_named(values[name])}" for name in by))


def _named(value: str | None) -> str:
    if value is None:
        return _NULL
    if value in (_NULL, _EMPTY):
        return _UNDERSCORE + value[1:]
    return quote(value, safe=" ") or _EMPTY
