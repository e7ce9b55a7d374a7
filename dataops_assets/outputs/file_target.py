"""Delivers files: they are written under a staging name, compared, and then published in their place.

A delivery is complete when its manifest is there. The position of the output is that of its newest manifest, so a
delivery that was killed is either complete and known, or invisible and made again.
"""

from __future__ import annotations

import datetime as dt
import errno
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from sqlglot import exp

from dataops_assets.config.outputs import FilesTarget
from dataops_assets.config.places import place_of
from dataops_assets.connections.stores import scheme_of, store_errors
from dataops_assets.engines.duckdb import DuckDBSession
from dataops_assets.errors import ConfigError, InputError, StorageError
from dataops_assets.outputs.contents import content_of
from dataops_assets.outputs.context import OutputContext
from dataops_assets.outputs.delivery import Delivered, Target, outcome
from dataops_assets.outputs.file_formats import write_and_read
from dataops_assets.outputs.file_place import FilePlace
from dataops_assets.outputs.local_place import LocalPlace
from dataops_assets.outputs.manifest import DeliveredFile, Manifest, described, manifest_of
from dataops_assets.outputs.partition_folders import partition_folder
from dataops_assets.outputs.position import Position
from dataops_assets.outputs.store_place import StorePlace
from dataops_assets.outputs.wanted_rows import Wanted, wanted
from dataops_assets.sql import alias, column, columns, query
from dataops_assets.storage import durable

_MOST_PARTITIONS = 1_000
_SHOWN_CHARACTERS = 60


def deliver_to_files(context: OutputContext, target: FilesTarget, opened: Target) -> Delivered:
    """Deliver the table as it is now, if it is another version than the last delivery has; return what was done.

    If the comparison fails, nothing was delivered, and the outcome in the result says so. Raises ConfigError,
    InputError and StorageError.
    """
    place = _place(context, target)
    try:
        with place.alone():
            return _Delivery(context, target, opened, place).run()
    except store_errors() as error:
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            raise _too_long(context, error) from error
        raise StorageError(
            f"delivering output {context.output.name!r} to {place.shown}",
            received=f"{type(error).__name__}: {error}",
            next_step="check that the place can be written and has room; what was delivered before is untouched",
        ) from error


def _place(context: OutputContext, target: FilesTarget) -> FilePlace:
    path, name = target.path, context.output.name
    if "://" not in path and not Path(path).is_absolute():
        if not context.environment.outputs:
            raise ConfigError(
                f"delivering output {name!r}",
                received=f"path {path!r}",
                known=["an absolute path of a folder", "a URL of a store", "a path below DATAOPS_OUTPUTS"],
                next_step="set DATAOPS_OUTPUTS to a folder, such as a mounted share, or to a URL",
            )
        path = f"{context.environment.outputs.rstrip('/')}/{path}"
    path = place_of(path, f"delivering output {name!r}")
    if not scheme_of(path):
        return LocalPlace(Path(path), name, target)
    return StorePlace(path, name, target, context.environment.home / "outputs")


@dataclass(frozen=True)
class _Staged:
    """Staged files with their control totals; `problem` says what a reader found wrong in them."""

    files: list[DeliveredFile]
    problem: str


class _Delivery:
    """One delivery of files."""

    def __init__(self, context: OutputContext, target: FilesTarget, opened: Target, place: FilePlace) -> None:
        self._context = context
        self._output = context.output
        self._target = target
        self._opened = opened
        self._item = opened.compiled
        self._place = place
        self._staging = place.staging

    def run(self) -> Delivered:
        """Write, compare, swap, and let older deliveries go."""
        shutil.rmtree(self._staging, ignore_errors=True)
        last = self._place.newest()
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
            tokens = self._tokens(now)
            staged = self._stage(session, rows, types, tokens)
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
        name = self._target.name.format(**tokens)
        manifest = manifest_of(
            (self._output.name, "full" if found.is_whole else "incremental"), name, now, staged.files, types
        )
        place = self._place.publish(manifest)
        if self._target.keep is not None:
            self._place.keep_newest(self._target.keep)
        return Delivered(now, sent, counts, checked, True, read, {"delivered": place})

    def _is_there(self, last: Manifest) -> bool:
        """Return whether the files of a full delivery still are where they were put; readers take changes away."""
        return self._output.mode == "incremental" or self._place.has(last)

    def _tokens(self, position: Position) -> dict[str, str]:
        """Return what the tokens of file names and of whole files stand for."""
        now = dt.datetime.now(dt.UTC)
        return {
            "output": self._output.name,
            "date": f"{now:%Y-%m-%d}",
            "time": f"{now:%H%M%S}",
            "version": "model" if position.version is None else str(position.version),
            "delivery": str(position.delivery),
        }

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

    def _stage(self, session: DuckDBSession, rows: exp.Query, types: dict[str, str], tokens: dict[str, str]) -> _Staged:
        """Write the files below the staging name, and read each of them back."""
        self._staging.mkdir(parents=True)
        files: list[DeliveredFile] = []
        for path, part, kinds in self._parts(session, rows, types):
            file = self._staging / path
            if file.exists():
                raise InputError(
                    f"dividing output {self._output.name!r} by {', '.join(self._target.partition_by)}",
                    received=f"the folder {path.parent} is that of two partitions: the disk ignores case",
                    next_step="choose an expression that writes such values alike; nothing was delivered",
                )
            file.parent.mkdir(parents=True, exist_ok=True)
            number, problem = write_and_read(session, part, kinds, self._target, file, tokens)
            if problem:
                return _Staged(files, problem)
            durable.sync_file(file)
            files.append(described(self._staging, file, number))
        written, expected = sum(item.rows for item in files), content_of(session, rows, types).rows
        return _Staged(files, "" if written == expected else f"{written:,} of {expected:,} rows are in the files")

    def _parts(
        self, session: DuckDBSession, rows: exp.Query, types: dict[str, str]
    ) -> Iterator[tuple[Path, exp.Query, dict[str, str]]]:
        """Yield for each file its path, its rows, and its columns with their types."""
        ending = self._target.ending
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
            yield Path(partition_folder(by, values), f"rows{ending}"), part.where(*of_part), kinds


def _too_long(context: OutputContext, error: OSError) -> InputError:
    paths = [Path(str(path)) for path in (error.filename, error.filename2) if path]
    part = max((part for path in paths for part in path.parts), key=len, default="")
    return InputError(
        f"delivering output {context.output.name!r}",
        received=f"a name of {len(part):,} characters, which is too long for a file or a folder: "
        f"{part[:_SHOWN_CHARACTERS]}...",
        next_step="divide by columns (partition_by) with shorter values, or shorten to.name; what was delivered before "
        "is untouched",
    )
