"""Write the demonstration's files to the landing folder, stage by stage, as a feed would.

A file gets its name only when it is complete (written elsewhere below the landing folder, then renamed). A repeated
stage writes nothing: existing files keep their bytes and modification time, also files of other people.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from os import utime
from pathlib import Path
from tempfile import TemporaryDirectory

from dataops_assets.demo import bad_inputs, flights, rossmann
from dataops_assets.demo.landing import ARRIVED, LandingFile, Stage
from dataops_assets.errors import ConfigError

PUBLIC_SALES = "rossmann/sales/train.csv"
PUBLIC_STORES = "rossmann/stores/store.csv"


@dataclass(frozen=True)
class Delivered:
    """The files that a stage wrote to the landing folder: paths below it, in the order of their names.

    `kept` are files that existed before. `public_files` is true if the public Rossmann files are there: then no files
    are generated for that area.
    """

    stage: Stage
    written: tuple[str, ...]
    kept: tuple[str, ...]
    public_files: bool


def deliver(landing: Path, stage: Stage) -> Delivered:
    """Write every file of `stage` that is missing in `landing`.

    Files without an extract time in their name have a declared one, so nothing depends on modification times. These are
    set to the stage's time anyway, so that they are the same in every run. Raises ConfigError if only one of the two
    public Rossmann files is there, and OSError if the folder cannot be written.
    """
    public_files = has_public_files(landing)
    files = flights.stage_files(stage)
    if not public_files:
        files += rossmann.stage_files(stage)
        files += bad_inputs.stage_files() if stage == "bad" else []
    kept: list[LandingFile] = []
    missing: list[LandingFile] = []
    for file in sorted(files, key=lambda file: file.path):
        (kept if (landing / file.path).exists() else missing).append(file)
    _write(landing, missing, ARRIVED[stage])
    return Delivered(stage, tuple(file.path for file in missing), tuple(file.path for file in kept), public_files)


def has_public_files(landing: Path) -> bool:
    """Return whether a person put the public Rossmann files into `landing`, so that this module did not make them.

    Raises ConfigError if that is true for only one of the two files.
    """
    foreign = {name: _is_foreign(landing / name) for name in (PUBLIC_SALES, PUBLIC_STORES)}
    if any(foreign.values()) and not all(foreign.values()):
        brought = next(name for name, is_foreign in foreign.items() if is_foreign)
        wanted = next(name for name, is_foreign in foreign.items() if not is_foreign)
        raise ConfigError(
            "delivering the Rossmann files",
            received=f"a {brought} that the demonstration did not make, without its companion",
            next_step=f"put the public {wanted} beside it, or remove it",
        )
    return all(foreign.values())


def _is_foreign(path: Path) -> bool:
    # files of the demonstration have their stage's time as modification time from the moment they get their name
    return path.exists() and path.stat().st_mtime != ARRIVED["history"].timestamp()


def _write(landing: Path, files: Sequence[LandingFile], modified: dt.datetime) -> None:
    landing.mkdir(parents=True, exist_ok=True)
    # beside the targets, so that a rename is atomic; hidden, so that no connection reads an incomplete file
    with TemporaryDirectory(dir=landing, prefix=".unfinished-") as workshop:
        for file in files:
            target = landing / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            unfinished = Path(workshop) / target.name
            unfinished.write_bytes(file.content())
            utime(unfinished, (modified.timestamp(), modified.timestamp()))
            unfinished.rename(target)
