"""Delivers files: they are written under a staging name, compared, and then get their name by one rename.

A delivery is complete when its manifest is there. For one file, the file gets its name first and the manifest second;
several files and their manifest are in a folder that gets its name at once. The position of the output is that of its
newest manifest, so a delivery that was killed is either complete and known, or invisible and made again.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from sqlglot import exp

from dataops_assets.config.outputs import FilesTarget
from dataops_assets.engines.duckdb import DuckDBSession
from dataops_assets.errors import ConfigError, InputError, StorageError
from dataops_assets.outputs.contents import content_of
from dataops_assets.outputs.context import OutputContext
from dataops_assets.outputs.delivery import Delivered, Target, outcome
from dataops_assets.outputs.file_formats import content_in, ending_of, write_file
from dataops_assets.outputs.manifest import (
    ENDING,
    IN_FOLDER,
    DeliveredFile,
    Manifest,
    described,
    manifest_of,
    manifests_in,
)
from dataops_assets.outputs.position import Position
from dataops_assets.outputs.wanted_rows import Wanted, wanted
from dataops_assets.sql import alias, column, columns, query
from dataops_assets.storage import durable

_STATE = ".dataops"
_MOST_PARTITIONS = 1_000
_NO_VALUE = "__null__"


def deliver_to_files(context: OutputContext, target: FilesTarget, opened: Target) -> Delivered:
    """Deliver the table as it is now, if it is another version than the last delivery has; return what was done.

    If the comparison fails, nothing was delivered, and the outcome in the result says so. Raises ConfigError,
    InputError and StorageError.
    """
    folder = _folder(context, target)
    try:
        with _alone(folder, context.output.name) as state:
            return _Delivery(context, target, opened, folder, state).run()
    except OSError as error:
        raise StorageError(
            f"delivering output {context.output.name!r} to {folder}",
            received=f"{type(error).__name__}: {error}",
            next_step="check that the folder can be written and has room; what was delivered before is untouched",
        ) from error


def _folder(context: OutputContext, target: FilesTarget) -> Path:
    path = Path(target.path)
    if path.is_absolute():
        return path
    if "://" in target.path or not context.environment.outputs:
        raise ConfigError(
            f"delivering output {context.output.name!r}",
            received=f"path {target.path!r}",
            known=["an absolute path of a folder", "a path below DATAOPS_OUTPUTS"],
            next_step="set DATAOPS_OUTPUTS to a folder, such as a mounted share",
        )
    return Path(context.environment.outputs) / path


@contextmanager
def _alone(folder: Path, output: str) -> Iterator[Path]:
    """Lock an output's state in a folder, and return the path of its last manifest there."""
    hidden = folder / _STATE
    hidden.mkdir(parents=True, exist_ok=True)
    with (hidden / f"{output}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield hidden / f"{output}.json"


@dataclass(frozen=True)
class _Staged:
    """Staged files with their control totals; `problem` says what a reader found wrong in them."""

    files: list[DeliveredFile]
    problem: str


class _Delivery:
    """One delivery of files."""

    def __init__(self, context: OutputContext, target: FilesTarget, opened: Target, folder: Path, state: Path) -> None:
        self._context = context
        self._output = context.output
        self._target = target
        self._opened = opened
        self._item = opened.compiled
        self._folder = folder
        self._state = state
        self._staging = state.with_name(f"{context.output.name}.staging")

    def run(self) -> Delivered:
        """Write, compare, swap, and let older deliveries go."""
        shutil.rmtree(self._staging, ignore_errors=True)
        last = self._last()
        before = last.position if last is not None else None
        with self._opened.rows() as (session, table):
            now, read = self._opened.position(table, before), self._opened.read(table)
            if last is not None and before is not None and before.is_at(now) and self._is_there(last):
                return Delivered(before, 0, {"rows": before.rows}, (outcome(self._context, ""),), False, read)
            is_known = before is not None and (before.source, before.mapping) == (now.source, now.mapping)
            incremental = self._output.mode == "incremental" and is_known
            found = wanted(session, self._item, table, before if incremental else None)
            now = replace(now, rows=found.total)
            rows, types = self._rows(session, found)
            staged = self._stage(session, rows, types)
        sent = sum(item.rows for item in staged.files)
        total = sum(item.bytes for item in staged.files)
        counts: dict[str, int | str] = {
            "rows": found.total,
            "rows written": sent,
            "files": len(staged.files),
            "bytes": total,
        }
        checked = (outcome(self._context, staged.problem, rows=sent, compared=sent),)
        if staged.problem:
            shutil.rmtree(self._staging)
            return Delivered(now, sent, counts, checked, False)
        name = self._name(now)
        manifest = manifest_of(
            (self._output.name, "full" if found.is_whole else "incremental"), name, now, staged.files, types
        )
        place = self._publish(manifest)
        self._keep_newest()
        return Delivered(now, sent, counts, checked, True, read, {"delivered": str(place)})

    def _last(self) -> Manifest | None:
        """Return the last complete delivery: that of the state, or a newer one whose run was killed before it."""
        found = [manifest for _, manifest in manifests_in(self._folder, self._output.name)]
        stored = Manifest.read(self._state)
        newest = max([*found, *([stored] if stored else [])], key=lambda item: item.position.delivery, default=None)
        if newest is not None and newest != stored:
            _replace_text(self._state, newest.to_text())
        return newest

    def _is_there(self, last: Manifest) -> bool:
        """Return whether the files of a full delivery still are where they were put; readers take changes away."""
        if self._output.mode == "incremental":
            return True
        place = self._folder / last.name if self._is_folder else self._folder
        return all((place / item.path).is_file() for item in last.files)

    @property
    def _is_folder(self) -> bool:
        return bool(self._target.partition_by)

    def _name(self, position: Position) -> str:
        now = dt.datetime.now(dt.UTC)
        return self._target.name.format(
            output=self._output.name,
            date=f"{now:%Y-%m-%d}",
            time=f"{now:%H%M%S}",
            version="model" if position.version is None else position.version,
            delivery=position.delivery,
        )

    # --- staging -----------------------------------------------------------------------------------------------------

    def _rows(self, session: DuckDBSession, found: Wanted) -> tuple[exp.Query, dict[str, str]]:
        """Return the rows to write, ordered by their key, with their columns and types."""
        types = dict(self._item.columns)
        rows: exp.Query = query("SELECT $names FROM $rows AS t", names=columns(types, "t"), rows=found.rows)
        if self._output.deletes == "soft":
            flag = self._output.deleted_column
            rows = query("SELECT t.*, $flag FROM $rows AS t", flag=alias(exp.false(), flag), rows=rows)
            if found.gone is not None:
                empty = [
                    alias(
                        column(name, "g") if name in self._item.key else exp.cast(exp.null(), kind, dialect="duckdb"),
                        name,
                    )
                    for name, kind in types.items()
                ]
                gone = query(
                    "SELECT $values, $flag FROM $gone AS g", values=empty, flag=alias(exp.true(), flag), gone=found.gone
                )
                rows = exp.union(rows, gone, distinct=False)
            types[flag] = "BOOLEAN"
        order = list(self._item.key) or list(types)
        made = session.create(rows)
        ordered: exp.Select = query("SELECT * FROM $rows AS t", rows=made)
        return ordered.order_by(*columns(order, "t")), types

    def _stage(self, session: DuckDBSession, rows: exp.Query, types: dict[str, str]) -> _Staged:
        """Write the files below the staging name, and read each of them back."""
        self._staging.mkdir(parents=True)
        files: list[DeliveredFile] = []
        for path, part, kinds in self._parts(session, rows, types):
            file = self._staging / path
            file.parent.mkdir(parents=True, exist_ok=True)
            write_file(session, part, kinds, self._target, file)
            should, there = content_of(session, part, kinds), content_in(session, kinds, self._target, file)
            if there.rows != should.rows:
                return _Staged(files, f"{path.name} has {there.rows:,} rows and should have {should.rows:,}")
            if there != should:
                return _Staged(files, f"values in {path.name} are not read as they were written")
            _sync(file)
            files.append(described(self._staging, file, there.rows))
        written, expected = sum(item.rows for item in files), content_of(session, rows, types).rows
        return _Staged(files, "" if written == expected else f"{written:,} of {expected:,} rows are in the files")

    def _parts(
        self, session: DuckDBSession, rows: exp.Query, types: dict[str, str]
    ) -> Iterator[tuple[Path, exp.Query, dict[str, str]]]:
        """Yield for each file its path, its rows, and its columns with their types."""
        ending = ending_of(self._target)
        by = self._target.partition_by
        if not by:
            yield Path(f"rows{ending}"), rows, types
            return
        unknown = [name for name in by if name not in types]
        if unknown:
            raise ConfigError(
                f"partition_by of output {self._output.name!r}", received=repr(unknown[0]), known=list(types)
            )
        texts = [alias(exp.cast(column(name, "t"), "VARCHAR"), name) for name in by]
        found = session.fetch(
            query("SELECT DISTINCT $texts FROM $rows AS t ORDER BY ALL", texts=texts, rows=rows)
        ).to_pylist()
        if len(found) > _MOST_PARTITIONS:
            raise InputError(
                f"dividing output {self._output.name!r} by {', '.join(by)}",
                received=f"{len(found):,} files",
                known=[f"at most {_MOST_PARTITIONS:,}"],
                next_step="choose columns with fewer values, or an expression for them",
            )
        kinds = {name: kind for name, kind in types.items() if name not in by}
        for values in found:
            of_part = [
                query("CAST($value AS VARCHAR) IS NOT DISTINCT FROM $text", value=column(name, "t"), text=values[name])
                for name in by
            ]
            part: exp.Select = query("SELECT $names FROM $rows AS t", names=columns(kinds, "t"), rows=rows)
            folders = [f"{quote(name, safe='')}={_folder_name(values[name])}" for name in by]
            yield Path(*folders, f"rows{ending}"), part.where(*of_part), kinds

    # --- publishing --------------------------------------------------------------------------------------------------

    def _publish(self, manifest: Manifest) -> Path:
        """Give the staged files their name, remember the manifest, and return the place."""
        if self._is_folder:
            place = self._folder / manifest.name
            _write_text(self._staging / IN_FOLDER, manifest.to_text())
            for folder in [self._staging, *(item for item in self._staging.rglob("*") if item.is_dir())]:
                durable.sync_folders(folder)
            self._staging.replace(place)
        else:
            (file,) = manifest.files
            place = self._folder / f"{manifest.name}{ending_of(self._target)}"
            manifest = replace(manifest, files=(replace(file, path=place.name),))
            self._set_aside(place)
            (self._staging / file.path).replace(place)
            shutil.rmtree(self._staging)
            _replace_text(self._folder / f"{place.name}{ENDING}", manifest.to_text())
        durable.sync_folders(self._folder)
        _replace_text(self._state, manifest.to_text())
        return place

    def _set_aside(self, place: Path) -> None:
        """Keep a copy of a file whose name the next delivery takes, where older deliveries are archived."""
        if not (self._target.archive and place.exists()):
            return
        manifest = Manifest.read(place.with_name(f"{place.name}{ENDING}"))
        if manifest is None or manifest.output != self._output.name:
            return
        number, ending = manifest.position.delivery, ending_of(self._target)
        copy = self._archive / f"{place.name.removesuffix(ending)}_{number}{ending}"
        if not copy.exists():
            staged = copy.with_name(f".{copy.name}")
            shutil.copy2(place, staged)
            staged.replace(copy)
            kept = replace(manifest, files=(replace(manifest.files[0], path=copy.name),))
            _replace_text(copy.with_name(f"{copy.name}{ENDING}"), kept.to_text())

    @property
    def _archive(self) -> Path:
        path = Path(self._target.archive)
        archive = path if path.is_absolute() else self._folder / path
        archive.mkdir(parents=True, exist_ok=True)
        return archive

    def _keep_newest(self) -> None:
        """Archive or remove older deliveries, if more are there than declared. The manifest leaves first."""
        if self._target.keep is None:
            return
        found = sorted(manifests_in(self._folder, self._output.name), key=lambda item: -item[1].position.delivery)
        for path, manifest in found[self._target.keep :]:
            if path.name == IN_FOLDER:
                if self._target.archive:
                    path.parent.replace(self._archive / path.parent.name)
                else:
                    path.unlink()
                    shutil.rmtree(path.parent)
                continue
            places = [path, *(self._folder / item.path for item in manifest.files)]
            for place in places:
                if self._target.archive and place.exists():
                    place.replace(self._archive / place.name)
                place.unlink(missing_ok=True)


def _folder_name(value: str | None) -> str:
    return _NO_VALUE if value is None else quote(value, safe=" ") or "__empty__"


def _sync(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())


def _write_text(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def _replace_text(path: Path, text: str) -> None:
    """Replace a small file at once."""
    staged = path.with_name(f".{path.name}.staging")
    _write_text(staged, text)
    staged.replace(path)
    durable.sync_folders(path.parent)
