"""Reads the secrets that declarations refer to, and knows the variables that hold them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel

from dataops_assets.config.secrets import Secret
from dataops_assets.connections.secret_stores import stored_secret
from dataops_assets.errors import ConfigError
from dataops_assets.masking import is_secret_name, remember

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
"""A variable in the option of a store."""


def secret_of(reference: Secret | None, variables: Mapping[str, str]) -> str | None:
    """Return the secret of a reference, and mask it from now on.

    Raises ConfigError if it is not there, and StorageError if its store does not answer.
    """
    if reference is None:
        return None
    found = _read(reference, variables)
    remember([found])
    return found


def _read(reference: Secret, variables: Mapping[str, str]) -> str:
    if reference.env:
        if reference.env not in variables:
            raise ConfigError(
                f"reading the secret in the environment variable {reference.env}",
                received="no such variable",
                next_step=f"set {reference.env} in the environment of the daemon and of the code location",
            )
        return variables[reference.env]
    if not reference.file:
        return stored_secret(reference, variables)
    try:
        return Path(reference.file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"reading the secret in the file {reference.file}",
            received=type(error).__name__,
            next_step="correct the path, and let this user read the file",
        ) from None


def secrets_in(declared: BaseModel) -> Iterator[tuple[str, Secret]]:
    """Yield the references to secrets in a declaration, at any depth, each with the dotted path of its field."""
    for name in type(declared).model_fields:
        value = getattr(declared, name)
        if isinstance(value, Secret):
            yield name, value
        elif isinstance(value, BaseModel):
            yield from ((f"{name}.{path}", found) for path, found in secrets_in(value))
        elif isinstance(value, Mapping):
            yield from ((f"{name}.{key}", found) for key, found in value.items() if isinstance(found, Secret))


def secret_variables(declared: BaseModel) -> Iterator[str]:
    """Yield the names of the environment variables that a declaration refers to as secrets, at any depth."""
    yield from (found.env for _, found in secrets_in(declared) if found.env)


def is_secret_option(name: str, value: str) -> bool:
    """Return whether an option of a store holds a secret, as its name or that of its variable says."""
    return is_secret_name(name) or any(is_secret_name(used) for used in VARIABLE.findall(value))


def secret_options(options: Mapping[str, str | Secret]) -> Iterator[str]:
    """Yield the names of the environment variables in the options of a store that are secrets."""
    for name, value in options.items():
        if isinstance(value, str) and is_secret_option(name, value):
            yield from VARIABLE.findall(value)
