"""Reads the secrets that declarations refer to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dataops_assets.config.secrets import Secret
from dataops_assets.errors import ConfigError
from dataops_assets.masking import remember


def secret_of(reference: Secret | None, variables: Mapping[str, str]) -> str | None:
    """Return the secret that is referred to, and mask it from now on. Raises ConfigError if it is not there."""
    if reference is None:
        return None
    if reference.env:
        if reference.env not in variables:
            raise ConfigError(
                f"reading the secret in the environment variable {reference.env}",
                received="no such variable",
                next_step=f"set {reference.env} in the environment of the daemon and of the code location",
            )
        found = variables[reference.env]
    else:
        try:
            found = Path(reference.file).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"reading the secret in the file {reference.file}",
                received=type(error).__name__,
                next_step="correct the path, and let this user read the file",
            ) from None
    remember([found])
    return found
