"""Puts the demonstration's files into the landing folder, stage by stage, as a feed would.

A file appears under its name only when it is whole (written elsewhere below the landing folder, then renamed). Doing a
stage again writes nothing: a file that is there stays as it is, bytes and modification time, whoever put it there.
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
    """What a stage put into the landing folder: paths below it, in order of their names.

    `kept` were there already. `public_files` tells that someone brought the public Rossmann files: then nothing is made
    up for that area.
    """

    stage: Stage
    written: tuple[str, ...]
    kept: tuple[str, ...]
    public_files: bool


def deliver(landing: Path, stage: Stage) -> Delivered:
    """Make sure that every file of `stage` is in `landing`.

    Files whose extract time is not in their name have a declared one, so nothing depends on the modification times;
    they are set to the stage's time all the same, to be the same in every run. Raises ConfigError when only one of the
    two public Rossmann files is there, and OSError when the folder cannot be written.
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
    """Whether the Rossmann files in `landing` were put there by someone else than this module.

    Raises ConfigError when one of the two is someone else's and the other one is not.
    """
    foreign = {name: _is_foreign(landing / name) for name in (PUBLIC_SALES, PUBLIC_STORES)}
    if any(foreign.values()) and not all(foreign.values()):
        brought = next(name for name, is_foreign in foreign.items() if is_foreign)
        wanted = next(name for name, is_foreign in foreign.items() if not is_foreign)
        raise ConfigError(
            "delivering the Rossmann files",
            received=f"a {brought} that the demonstration did not make, without its companion",
            next_step=f"put the public {wanted} beside it, or take it away",
        )
    return all(foreign.values())


def _is_foreign(path: Path) -> bool:
    # a file of the demonstration carries its stage's time from the moment it has its name
    return path.exists() and path.stat().st_mtime != ARRIVED["history"].timestamp()


def _write(landing: Path, files: Sequence[LandingFile], modified: dt.datetime) -> None:
    landing.mkdir(parents=True, exist_ok=True)
    # beside the targets, so that a rename is atomic; hidden, so that no connection takes a file that is not whole
    with TemporaryDirectory(dir=landing, prefix=".unfinished-") as workshop:
        for file in files:
            target = landing / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            unfinished = Path(workshop) / target.name
            unfinished.write_bytes(file.content())
            utime(unfinished, (modified.timestamp(), modified.timestamp()))
            unfinished.rename(target)
