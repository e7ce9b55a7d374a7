"""Names that several declarations have: of sources and outputs, subject areas, owners, and encodings."""

from __future__ import annotations

import codecs
import re
from typing import Annotated

from pydantic import AfterValidator

NAME = re.compile(r"^[a-z][a-z0-9_]{0,62}$")
# names that Dagster accepts for a group
AREA = re.compile(r"^[A-Za-z0-9_]+(/[A-Za-z0-9_]+)*$")
_OWNER = re.compile(r"^(team:[A-Za-z0-9_.-]+|[^@\s]+@[^@\s]+\.[^@\s]+)$")


def _safe_name(value: str) -> str:
    if not NAME.match(value):
        raise ValueError(f"name {value!r} must match {NAME.pattern}")
    return value


def _known_area(value: str) -> str:
    if not AREA.match(value):
        raise ValueError(f"area {value!r} must match {AREA.pattern}")
    return value


def _known_owner(value: str) -> str:
    if not _OWNER.match(value):
        raise ValueError(f"owner {value!r} is neither an e-mail address nor 'team:name'")
    return value


def _known_encoding(value: str) -> str:
    try:
        codecs.lookup(value)
    except (LookupError, ValueError) as error:
        raise ValueError(f"unknown encoding {value!r}; known: those of Python, such as utf-8 or latin-1") from error
    return value


Name = Annotated[str, AfterValidator(_safe_name)]
"""A name that is safe in paths, asset keys and SQL."""
Area = Annotated[str, AfterValidator(_known_area)]
"""A subject area, which is a group in the Dagster UI."""
Owner = Annotated[str, AfterValidator(_known_owner)]
"""An e-mail address, or `team:` with the name of a team."""
Encoding = Annotated[str, AfterValidator(_known_encoding)]
"""The name of a text encoding that Python knows."""
