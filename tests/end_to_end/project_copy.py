"""The project in another folder, to change what is declared there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from live_dagster import PROJECT


def project_copy(target: Path) -> Path:
    """The project's files without anything that git does not know."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (PROJECT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, target / name)
    return target
