"""A source whose inputs are written in the test, one a day, taken through change capture, enrichment and refresh."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from declared import arrived

from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.report import Input
from dataops_assets.sql import query
from dataops_assets.steps.cdc import cdc
from dataops_assets.steps.enrich import enrich
from dataops_assets.steps.merging.held_inputs import held_inputs
from dataops_assets.steps.merging.manifest import HubManifest
from dataops_assets.steps.refresh import rebuild, refresh, remove
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage.delta import Table
from dataops_assets.storage.publish import replace_inputs

_ARROW = {
    "text": pa.string(),
    "integer": pa.int64(),
    "double": pa.float64(),
    "timestamptz": pa.timestamp("us", "UTC"),
    "decimal(38,0)": pa.decimal128(38, 0),
    "date": pa.date32(),
}
_START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


def day(number: int) -> dt.datetime:
    """The extract time of day `number`."""
    return _START + dt.timedelta(days=number)


class Scenario:
    """One source and its hub, below `home`."""

    def __init__(self, home: Path, settings: Mapping[str, Any], columns: Mapping[str, str], **more: Any) -> None:
        self._columns = columns
        environment = environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home)
        source = Source.model_validate(
            {
                "name": "things",
                "area": "tests",
                "connection": {"type": "files", "path": "things_*.csv"},
                "columns": [{"name": name, "type": kind} for name, kind in columns.items()],
                "refresh": settings,
                **more,
            }
        )
        metadata = MetadataStore(environment.metadata_url)
        metadata.migrate()
        metadata.contracts.register(source)
        self.context = SourceContext(environment, source, {source.name: source}, DuckDBEngine(environment), metadata)

    def input(self, number: int) -> Input:
        """The input of day `number`."""
        return arrived(day(number), f"day-{number}", f"{number:064}", "written in the test", 0)

    def parsed(self, number: int, rows: Sequence[Sequence[Any]], item: Input | None = None) -> Input:
        """Put the rows of day `number`, or of another input, into the lake."""
        arrays = {
            name: pa.array([row[index] for row in rows], _ARROW[kind])
            for index, (name, kind) in enumerate(self._columns.items())
        }
        item = item or self.input(number)
        table = pa.table(
            {
                **arrays,
                "s_input_id": pa.array([item.input_id] * len(rows), pa.string()),
                "s_row_id": pa.array(range(len(rows)), pa.int64()),
            }
        )
        self.context.metadata.register_inputs("things", [item])
        with self.context.engine.session() as session:
            landed = session.register(table)
            replace_inputs(
                session, self.context.lake, query("SELECT l.* FROM $landed AS l", landed=landed), [item.input_id]
            )
        return item

    def arrives(self, number: int, rows: Sequence[Sequence[Any]]) -> list[str]:
        """The input of day `number` goes through all steps; the result are the errors that stopped it."""
        self.parsed(number, rows)
        return self.runs(number)

    def runs(self, *numbers: int) -> list[str]:
        """One run of the parsed inputs of these days; the result are the errors that stopped any."""
        return self.runs_of([self.input(number) for number in numbers])

    def runs_of(self, inputs: Sequence[Input]) -> list[str]:
        """One run of these parsed inputs; the result are the errors that stopped any."""
        errors = []
        for step in (cdc, enrich, refresh):
            report = step(self.context, inputs)
            errors += [str(failure.error) for failure in report.failures]
            stopped = {failure.input_id for failure in report.failures}
            inputs = [item for item in inputs if item.input_id not in stopped]
        return errors

    def due(self) -> list[str]:
        """The held inputs that are to be judged again."""
        held = held_inputs(self.context)
        hub = self.context.hub.snapshot()
        taken = HubManifest.read(hub.info if hub else None).inputs
        return [input_id for input_id, item in held.items() if item.again and input_id not in taken]

    def refreshes(self, number: int) -> list[str]:
        """Only the last step; the result are the errors that stopped it."""
        return [str(failure.error) for failure in refresh(self.context, [self.input(number)]).failures]

    def rebuilds(self) -> None:
        """Make the hub anew from the lake."""
        rebuild(self.context)

    def removes(self, number: int) -> None:
        """Take the input of day `number` out of the hub."""
        remove(self.context, [self.input(number).input_id])

    def rows(self, *columns: str) -> list[tuple[Any, ...]]:
        """The hub's rows, sorted."""
        return self._rows(self.context.hub, columns)

    def changes(self, *columns: str) -> list[tuple[Any, ...]]:
        """The rows of the change sets, sorted."""
        return self._rows(self.context.changes, columns)

    def _rows(self, table: Table, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        snapshot = table.snapshot()
        assert snapshot is not None
        with self.context.engine.session() as session:
            found = session.fetch(query("SELECT * FROM $rows AS r", rows=session.scan(snapshot))).to_pylist()
        return sorted((tuple(row[name] for name in columns) for row in found), key=repr)

    def versions(self, *columns: str) -> list[tuple[Any, ...]]:
        """The hub's versions, sorted, with the days from which and to which they are valid."""

        def number(value: dt.datetime | None) -> int | None:
            return None if value is None else (value - _START).days

        found = self.rows(*columns, "s_valid_from", "s_valid_to")
        return sorted(((*row[:-2], number(row[-2]), number(row[-1])) for row in found), key=repr)
