"""Compares a bundle with the declarations of a folder, and writes it there: all of it or nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from dataops_assets.components.declarations import Declarations, declared_sources
from dataops_assets.components.declared_state import declared_parts
from dataops_assets.components.load_checks import faults
from dataops_assets.errors import ConfigError, StorageError
from dataops_assets.operations.moving.all_or_nothing import alone_in, is_half_changed, undone_on_error
from dataops_assets.operations.moving.bundle import Bundle
from dataops_assets.operations.planning.changes import Change, changes
from dataops_assets.storage import durable

Action = Literal["insert", "update", "delete", "unchanged"]
_HALF = "another import is under way or was killed: with --write, what a killed one wrote is first taken back"
ACTIONS: Sequence[Action] = ("insert", "update", "delete", "unchanged")


@dataclass(frozen=True)
class Moved:
    """One declaration and what the import does with it; `changes` say how an updated one differs."""

    kind: str
    name: str
    action: Action
    changes: Sequence[Change] = ()


@dataclass(frozen=True)
class Preview:
    """The changes that an import makes to declarations and files, by path below the folder of declarations.

    `written` says whether they were made.
    """

    moved: Sequence[Moved]
    files: Mapping[str, Action]
    notes: Sequence[str] = ()
    written: bool = False

    @property
    def differs(self) -> bool:
        """Return whether the import would change anything."""
        return any(action != "unchanged" for action in self.files.values())


def preview(defs: Path, bundle: Bundle, *, delete: bool) -> Preview:
    """Return what importing a bundle into the folder `defs` would do; nothing is written there.

    With `delete`, what the scope of the bundle has no more is deleted. Raises ConfigError if the declarations would not
    be valid together.
    """
    files = dict(_actions(defs, bundle, delete=delete))
    before = _parts(declared_sources(defs))
    with TemporaryDirectory(prefix="declarations-") as folder:
        staged = Path(folder) / "defs"
        shutil.copytree(defs, staged, ignore=shutil.ignore_patterns("__pycache__"))
        _apply(staged, bundle, files)
        try:
            declared = declared_sources(staged)
            for name in declared.by_name:
                declared.rules(name)
        except ConfigError as error:
            text = str(error).replace(str(staged), str(defs))
            raise ConfigError(f"importing declarations: they would not load: {text}") from error
        after = _parts(declared)
    differing: dict[tuple[str, str], list[Change]] = {}
    for change in changes(before, after):
        known = (change.kind, change.name) in before or (change.kind, change.name) in after
        owner = (change.kind, change.name) if known else ("source", change.subject)
        differing.setdefault(owner, []).append(change)
    touched = _touched(defs, bundle)
    moved = [
        Moved(*key, _action(key, before, after), differing.get(key, ()))
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key) or key in touched
    ]
    notes = [*bundle.notes, *([_HALF] if is_half_changed(defs) else [])]
    return Preview(sorted(moved, key=lambda item: ACTIONS.index(item.action)), files, notes)


def write(defs: Path, bundle: Bundle, *, delete: bool) -> Preview:
    """Import a bundle into the folder `defs`, and return what was done.

    Raises ConfigError if the load would refuse the declarations; then the folder is as it was. What a killed import
    wrote is taken back by the next one, before it begins.
    """
    with alone_in(defs):
        seen = preview(defs, bundle, delete=delete)
        known = set(faults(declared_sources(defs)))
        # without a text the file is deleted
        texts = {path: bundle.files.get(path) for path, action in seen.files.items() if action != "unchanged"}
        with undone_on_error(defs, texts):
            try:
                _apply(defs, bundle, seen.files)
                found = [fault for fault in faults(declared_sources(defs)) if fault not in known]
            except (ConfigError, StorageError) as error:
                raise ConfigError(f"importing declarations: nothing was changed: {error}") from error
            if found:
                raise ConfigError(
                    "importing declarations",
                    received="; ".join(found),
                    next_step="correct these errors; nothing was changed",
                )
    return Preview(seen.moved, seen.files, seen.notes, written=True)


def _parts(declared: Declarations) -> dict[tuple[str, str], object]:
    return {(item.kind, item.name): item.content for item in declared_parts(declared)}


def _action(
    key: tuple[str, str], before: Mapping[tuple[str, str], object], after: Mapping[tuple[str, str], object]
) -> Action:
    if key not in before:
        return "insert"
    if key not in after:
        return "delete"
    return "unchanged" if before[key] == after[key] else "update"


def _touched(defs: Path, bundle: Bundle) -> set[tuple[str, str]]:
    """Return the sources whose file is in the bundle, also if they do not differ."""
    declared = declared_sources(defs).by_name.items()
    places = {name: str(item.file.relative_to(defs)) for name, item in declared}
    return {("source", name) for name, place in places.items() if place in bundle.files}


def _actions(defs: Path, bundle: Bundle, *, delete: bool) -> Iterator[tuple[str, Action]]:
    for path, text in sorted(bundle.files.items()):
        there = defs / path
        if not there.exists():
            yield path, "insert"
        else:
            yield path, "unchanged" if there.read_text() == text else "update"
    if not delete:
        return
    for scope in bundle.scope:
        for there in sorted((defs / scope).rglob("defs.y*ml")):
            path = str(there.relative_to(defs))
            if path not in bundle.files:
                yield path, "delete"


def _apply(folder: Path, bundle: Bundle, files: Mapping[str, Action]) -> None:
    for path, action in files.items():
        place = folder / path
        try:
            if action == "delete":
                place.unlink()
            elif action != "unchanged":
                durable.replace_file(place, bundle.files[path].encode())
        except OSError as error:
            raise StorageError(
                f"writing {place}",
                received=f"{type(error).__name__}: {error}",
                next_step="check that the disk has room and the folder can be written, then import again",
            ) from error
