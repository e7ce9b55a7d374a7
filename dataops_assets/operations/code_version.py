"""The version of the code: its git commit, and digests of the dbt project and of the locked packages."""

from __future__ import annotations

import hashlib
import os
import shutil
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
_ATTEMPTED = "finding the version of the code"


def code_version(project: Path) -> str:
    """Return the git commit of the project; without a git repository, the value of DATAOPS_CODE_VERSION.

    Raises ConfigError if code, declarations or models differ from the commit, if there is neither, or if git cannot
    read its repository.
    """
    commit = _commit(project)
    if commit is None:
        version = os.environ.get(VARIABLE, "")
        if not version:
            raise ConfigError(
                _ATTEMPTED,
                received=f"no git repository in {project}, or no git, and no {VARIABLE}",
                next_step=f"set {VARIABLE} where the image is built, for example to the git commit",
            )
        return version
    changed = _changed(project)
    if changed:
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        raise ConfigError(
            _ATTEMPTED,
            received=f"files that differ from commit {commit[:12]}: "
            f"{', '.join(line[3:] for line in changed[:_SHOWN])}{more}",
            next_step="commit them, or take them back, so that the release names the code that made the tables",
        )
    return commit


def present_code(project: Path) -> str:
    """Return the version of the code, with the number of files that differ from its commit; empty if it is unknown.

    Raises ConfigError if git cannot read its repository.
    """
    commit = _commit(project)
    if commit is None:
        return os.environ.get(VARIABLE, "")
    changed = _changed(project)
    return commit + (f" with {len(changed)} changed files" if changed else "")


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


def _commit(project: Path) -> str | None:
    """Return the commit of the project; None if it has no git repository, or this machine no git."""
    if not (project / ".git").exists() or shutil.which("git") is None:
        return None
    return _git(project, "rev-parse", "HEAD").strip()


def _changed(project: Path) -> list[str]:
    """Return the lines of git about files of the code that differ from the commit."""
    return _git(project, "status", "--porcelain", "--", *_CODE).splitlines()


def _git(project: Path, *arguments: str) -> str:
    """Return what git says. Raises ConfigError if it fails: then nothing is known, also not that nothing changed."""
    done = subprocess.run(  # noqa: S603
        ["git", "-C", str(project), *arguments],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ConfigError(
            _ATTEMPTED,
            received=f"git {arguments[0]} failed: {' '.join(done.stderr.split())}",
            next_step=f"mend the repository until this works: git -C {project} {' '.join(arguments[:2])}",
        )
    return done.stdout
