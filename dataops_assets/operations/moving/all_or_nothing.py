"""Changes several files of a folder so that all changes are made or none, also if the process is killed.

The files as they were are kept beside the folder until the change has ended. If the process is killed, they are still
there, and the next change of the folder puts them back first. A file that somebody has edited since then stays.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dataops_assets.errors import ConfigError, StorageError
from dataops_assets.storage import durable
from dataops_assets.storage.file_lock import locked

_LIST = "changed.json"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Let no other process change the folder meanwhile, and take back what a killed one changed.

    Raises ConfigError while another process changes it, StorageError if the disk fails.
    """
    with locked(folder.with_name(f".{folder.name}.lock")) as got:
        if not got:
            raise ConfigError(
                f"changing the files of {folder}",
                received="another process changes them",
                next_step="wait until it has ended, then run the command again",
            )
        if is_half_changed(folder):
            _put_back(folder)
        yield


def is_half_changed(folder: Path) -> bool:
    """Return whether the files of the folder are being changed, or a process was killed that changed them."""
    return (_kept(folder) / _LIST).exists()


@contextmanager
def undone_on_error(folder: Path, texts: Mapping[str, str | None]) -> Iterator[None]:
    """Put files below the folder back as they are now if the block raises; call it in `alone_in`.

    `texts` are what the block writes, by path; None for a file that it deletes.

    Raises StorageError if the disk fails.
    """
    with ExitStack() as undo:
        _keep(folder, texts)
        undo.callback(_put_back, folder)
        yield
        undo.pop_all()
    _forget(folder)


def _kept(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.before")


def _keep(folder: Path, texts: Mapping[str, str | None]) -> None:
    kept = _kept(folder)
    try:
        # without its list it was forgotten by half, or kept by half
        shutil.rmtree(kept, ignore_errors=True)
        present = {path: uuid.uuid4().hex for path in texts if (folder / path).exists()}
        for path, name in present.items():
            durable.replace_file(kept / name, (folder / path).read_bytes())
        listed = {path: (present.get(path), text) for path, text in texts.items()}
        durable.replace_file(kept / _LIST, json.dumps(listed).encode())
    except OSError as error:
        raise _failed(f"keeping the files of {folder}", error, "nothing was changed") from error


def _put_back(folder: Path) -> None:
    kept = _kept(folder)
    try:
        for path, (name, text) in json.loads((kept / _LIST).read_bytes()).items():
            place = folder / path
            there = place.read_bytes() if place.exists() else None
            if there != (text.encode() if text is not None else None):
                # not written yet, or edited since
                continue
            if name is None:
                place.unlink(missing_ok=True)
            else:
                durable.replace_file(place, (kept / name).read_bytes())
    except OSError as error:
        raise _failed(f"putting back the files of {folder} from {kept}", error, "the next import does it") from error
    _forget(folder)


def _forget(folder: Path) -> None:
    (_kept(folder) / _LIST).unlink(missing_ok=True)
    shutil.rmtree(_kept(folder), ignore_errors=True)


def _failed(attempted: str, error: OSError, state: str) -> StorageError:
    return StorageError(
        attempted,
        received=f"{type(error).__name__}: {error}",
        next_step=f"check that the disk is there and has room, then run the command again; {state}",
    )
