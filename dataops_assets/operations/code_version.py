"""The version of the code: its git commit, and digests of the dbt project and of the locked packages."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from dataops_assets.config.environment import Environment
from dataops_assets.config.warehouse import Warehouse
from dataops_assets.errors import ConfigError

VARIABLE = "DATAOPS_CODE_VERSION"
"""The variable that names the version where there is no git repository, as in an image."""

_CODE = ("dataops_assets", "dbt_project", "requirements.lock", "pyproject.toml")
_LOCK = "requirements.lock"
_SHOWN = 5


def code_version(project: Path) -> str:
    """Return the git commit of the project; without a git repository, the value of DATAOPS_CODE_VERSION.

    Raises ConfigError if code, declarations or models differ from the commit, or if there is neither.
    """
    attempted = "finding the version of the code"
    commit = _git(project, "rev-parse", "HEAD") if (project / ".git").exists() else None
    if commit is None:
        version = os.environ.get(VARIABLE, "")
        if not version:
            raise ConfigError(
                attempted,
                received=f"no git repository in {project}, and no {VARIABLE}",
                next_step=f"set {VARIABLE} where the image is built, for example to the git commit",
            )
        return version
    changed = (_git(project, "status", "--porcelain", "--", *_CODE) or "").splitlines()
    if changed:
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        raise ConfigError(
            attempted,
            received=f"files that differ from commit {commit.strip()[:12]}: "
            f"{', '.join(line[3:] for line in changed[:_SHOWN])}{more}",
            next_step="commit or revert them, so that the release names the code that made the tables",
        )
    return commit.strip()


def present_code(project: Path) -> str:
    """Return the version of the code as it is, with the number of files that differ from it; empty if it is unknown."""
    commit = _git(project, "rev-parse", "HEAD") if (project / ".git").exists() else None
    if commit is None:
        return os.environ.get(VARIABLE, "")
    changed = (_git(project, "status", "--porcelain", "--", *_CODE) or "").splitlines()
    return commit.strip() + (f" with {len(changed)} changed files" if changed else "")


def lock_digest(project: Path) -> str:
    """Return the SHA-256 of the locked packages; empty if the project has no lock."""
    lock = project / _LOCK
    return hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else ""


def dbt_digest(project: Path, environment: Environment) -> str:
    """Return the SHA-256 of dbt's manifest, without what differs at each parse; empty if there is no dbt project.

    Raises ConfigError with dbt's message if the project is not valid.
    """
    folder = project / Warehouse().project
    if not (folder / "dbt_project.yml").is_file():
        return ""
    from dataops_assets.components.dbt_catalogue import prepare

    _, catalogue = prepare(folder, environment)
    return hashlib.sha256(catalogue.model_dump_json().encode()).hexdigest()


def _git(project: Path, *arguments: str) -> str | None:
    """Return what git says; None if there is no git or it refuses."""
    try:
        done = subprocess.run(  # noqa: S603
            ["git", "-C", str(project), *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None
