"""How examined connections are shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from dataops_assets.masking import mask
from dataops_assets.operations.answer import Column, Shown, Table
from dataops_assets.operations.connections import ConnectionReport, SourceUse
from dataops_assets.operations.file_areas import FilesReport

_SHOWN = 20


Report = ConnectionReport | FilesReport


def reports(found: Sequence[Report]) -> Iterator[Shown]:
    """Return each connection with what it found, and the next step."""
    if not found:
        yield "no connection is declared; see docs/databases.md, docs/apis.md, docs/kafka.md and docs/file-servers.md"
        return
    columns = (Column("connection"), Column("state"), Column("found"), Column("next"))
    yield Table(
        columns, [[item.name, _state(item), mask(_found(item)), item.next_step] for item in found], is_prose=True
    )


def as_data(found: Sequence[Report]) -> list[dict[str, Any]]:
    """Return the reports as values of JSON."""
    return [
        {
            **(_of_connection(item) if isinstance(item, ConnectionReport) else _of_files(item)),
            "works": item.is_well,
            "error": mask(item.error),
        }
        for item in found
    ]


def _of_connection(item: ConnectionReport) -> dict[str, Any]:
    uses = [{**asdict(use), "last_look": use.last_look.isoformat() if use.last_look else None} for use in item.sources]
    return {**asdict(item), "sources": uses}


def _of_files(item: FilesReport) -> dict[str, Any]:
    return {**asdict(item), "newest_at": item.newest_at.isoformat() if item.newest_at else None}


def _state(item: Report) -> str:
    return "works" if item.is_well else "fails"


def _found(item: Report) -> str:
    return _tables_in(item) if isinstance(item, ConnectionReport) else _files_in(item)


def _files_in(item: FilesReport) -> str:
    files = "no file so far"
    if item.newest_at is not None:
        name = item.newest.rpartition("/")[2]
        number = "1 file" if item.files == 1 else f"{item.files:,} files"
        files = (
            f"may read {number} ({item.size:,} bytes), {item.waiting:,} not taken yet; newest {name} of "
            f"{item.newest_at:%Y-%m-%d %H:%M} UTC"
        )
    queue = ""
    if item.messages is not None:
        number = "1 message waits" if item.messages == 1 else f"{item.messages:,} messages wait"
        queue = f"about {number} in the queue"
    files = "" if item.error and not item.files else files
    return "; ".join(part for part in (item.place, item.error, files, queue) if part)


def _tables_in(item: ConnectionReport) -> str:
    if item.error:
        return item.error
    more = f" and {len(item.tables) - _SHOWN:,} more" if len(item.tables) > _SHOWN else ""
    names = ", ".join(item.tables[:_SHOWN]) or "nothing"
    reads = "" if item.type == "rest" else f"; may read {names}{more}"
    writes = "".join(f"; output {name}" for name in item.outputs)
    uses = "".join(f"; {_use(use)}" for use in item.sources)
    return f"{item.server}{reads}{uses}{writes}"


def _use(use: SourceUse) -> str:
    look = f"last look {use.last_look:%Y-%m-%d %H:%M} UTC" if use.last_look else "no look yet"
    lag = "" if use.behind is None else f", {use.behind:,} offsets behind"
    return f"source {use.source} ({use.reads}): {use.problem or f'{look}{lag}'}"
