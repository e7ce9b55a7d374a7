"""What may happen to a Delta table of this project, drawn at random, beside a model of what is in it then."""

from __future__ import annotations

import copy
import datetime as dt
import decimal
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
from delta_readers import Row, plain

from dataops_assets.engines.base import Engine
from dataops_assets.sql import column, query
from dataops_assets.storage import publish
from dataops_assets.storage.delta import Table, TableChange, TableVersion
from dataops_assets.storage.retyping import rows_cast_exactly
from dataops_assets.storage.vacuum import vacuum

Values = dict[str, Any]

NOON = dt.datetime(2024, 5, 17, 12, 30, 15, 123456, dt.UTC)
ARROW: Mapping[str, pa.DataType] = {
    "VARCHAR": pa.string(),
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "BLOB": pa.binary(),
    "DATE": pa.date32(),
    "DECIMAL(10,2)": pa.decimal128(10, 2),
    "DECIMAL(38,4)": pa.decimal128(38, 4),
    "DECIMAL(38,0)": pa.decimal128(38, 0),
    "TIMESTAMP": pa.timestamp("us"),
    "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", "UTC"),
}
VALUES: Mapping[str, Sequence[Any]] = {
    "VARCHAR": ("", "a", "ä€😀", "x" * 100, 'it\'s "so"'),
    "INTEGER": (0, -1, 2**31 - 1),
    "BIGINT": (0, -(2**63), 2**53 + 1),
    "DOUBLE": (0.1, -1e300, 5e-324, float("inf")),
    "BOOLEAN": (True, False),
    "BLOB": (b"", b"\x00\xff"),
    "DATE": (dt.date(1, 1, 1), dt.date(9999, 12, 31), dt.date(2024, 2, 29)),
    "DECIMAL(10,2)": (decimal.Decimal("0.01"), decimal.Decimal("-99999999.99")),
    "DECIMAL(38,4)": (
        decimal.Decimal("1234567890123456789012345678901234.5678"),
        decimal.Decimal("0.0001"),
        decimal.Decimal("-90071992547409.93"),
    ),
    "DECIMAL(38,0)": (decimal.Decimal(2**100 + 1), decimal.Decimal(-(10**37) - 1), decimal.Decimal(7)),
    "TIMESTAMP": (NOON.replace(tzinfo=None), NOON.replace(tzinfo=None, year=1700)),
    "TIMESTAMP WITH TIME ZONE": (NOON, dt.datetime(1969, 12, 31, 23, 59, 59, 999999, dt.UTC)),
}
WIDER = {
    "INTEGER": ("BIGINT", "DOUBLE", "VARCHAR"),
    "BIGINT": ("DECIMAL(38,4)", "VARCHAR"),
    "DECIMAL(10,2)": ("DECIMAL(38,4)", "VARCHAR"),
    "DATE": ("TIMESTAMP",),
}
NAMES = ("größe", "a b", 'qu"ote', "value", "at", "x.y", "N%41")
SETTLED = "s_settled_key"
NONE = dt.timedelta(0)
OPERATIONS = (
    "append",
    "repeat",
    "remove",
    "evolve",
    "retype",
    "change",
    "settle",
    "compact",
    "vacuum",
    "rebuild",
    "restore",
)


class Story:
    """A table, and by input the rows that a reader must find in it."""

    def __init__(self, uri: str, engine: Engine) -> None:
        self.table, self._engine = Table(uri), engine
        self.columns: dict[str, str] = {"s_input_id": "VARCHAR", "k": "BIGINT"}
        self.inputs: dict[str, list[Values]] = {}
        self._next = 0
        # by version that vacuum left: columns and rows
        self._before: dict[int, tuple[dict[str, str], dict[str, list[Values]]]] = {}

    def do(self, operation: str, seed: int) -> None:
        """One operation; what it does in detail follows from the seed."""
        if self.table.snapshot() is None and operation != "append":
            return
        does: Callable[[random.Random], None] = getattr(self, f"_{operation}")
        does(random.Random(seed))
        newest = self._newest()
        self._before[newest.version] = copy.deepcopy((self.columns, self.inputs))

    def rows(self) -> list[Row]:
        """What a reader must find."""
        return [
            tuple(_cast(row.get(name), kind) for name, kind in self.columns.items())
            for rows in self.inputs.values()
            for row in rows
        ]

    def shown(self) -> list[Row]:
        """The same, with times as text."""
        return [tuple(plain(value) for value in row) for row in self.rows()]

    def a_value(self, chance: random.Random) -> tuple[str, Any] | None:
        """A column and a value in it, of those that readers look for."""
        told = [
            (name, value)
            for row in self.rows()
            for name, value in zip(self.columns, row, strict=True)
            if value is not None and self.columns[name] not in ("BLOB", "DOUBLE") and not _is_far(value)
        ]
        return chance.choice(told) if told else None

    def _newest(self) -> TableVersion:
        found = self.table.snapshot()
        assert found is not None
        return found

    def _append(self, chance: random.Random) -> None:
        self._replace(f"input-{self._next}", self._drawn(chance))
        self._next += 1

    def _repeat(self, chance: random.Random) -> None:
        self._replace(chance.choice(sorted(self.inputs) or ["input-0"]), self._drawn(chance))

    def _remove(self, chance: random.Random) -> None:
        self._replace(chance.choice(sorted(self.inputs) or ["input-0"]), [])

    def _evolve(self, chance: random.Random) -> None:
        further = [name for name in NAMES if name not in self.columns]
        if further:
            self.columns[chance.choice(further)] = chance.choice(sorted(ARROW))
        self._append(chance)

    def _retype(self, chance: random.Random) -> None:
        able = [name for name, kind in self.columns.items() if kind in WIDER and name != "k"]
        if able:
            name = chance.choice(able)
            self.columns[name] = chance.choice(WIDER[self.columns[name]])
            for rows in self.inputs.values():
                for row in rows:
                    row[name] = _cast(row.get(name), self.columns[name])
        self._append(chance)

    def _change(self, chance: random.Random) -> None:
        """Single rows go and others come, as in a hub."""
        base, gone = self._newest(), chance.randrange(6)
        fresh = [{**row, "s_input_id": "single"} for row in self._drawn(chance)]
        with self._engine.session() as session:
            new = session.register(self._arrow(fresh))
            places = query("SELECT t.s_file, t.s_position FROM $t AS t", t=session.scan(base, positions=True))
            publish.apply(
                session,
                self.table,
                base,
                publish.RowChange(
                    columns=self.columns,
                    remove=places.where(column("k", "t").eq(gone)),
                    insert=query("SELECT n.* FROM $new AS n", new=new) if fresh else None,
                    info=base.info,
                ),
            )
        self.inputs = {name: [row for row in rows if row["k"] != gone] for name, rows in self.inputs.items()}
        self.inputs.setdefault("single", []).extend(fresh)

    def _settle(self, chance: random.Random) -> None:
        """Some rows of several inputs stay, with a column of their own, as when retention settles inputs."""
        old = sorted(name for name in self.inputs if chance.random() < 0.7)
        self.columns.setdefault(SETTLED, "BIGINT")
        for name in old:
            kept = [row for row in self.inputs[name] if chance.random() < 0.5]
            self.inputs[name] = [{**row, SETTLED: row["k"]} for row in kept]
        with self._engine.session() as session:
            rows = session.register(self._arrow([row for name in old for row in self.inputs[name]]))
            publish.replace_inputs(
                session,
                self.table,
                query("SELECT r.* FROM $rows AS r", rows=rows),
                old,
                lambda info: {**info, "settled": {"before": NOON.isoformat()}},
            )

    def _compact(self, _chance: random.Random) -> None:
        with self._engine.session() as session:
            publish.compact(session, self.table, self._newest())

    def _vacuum(self, _chance: random.Random) -> None:
        vacuum(self.table, retention=NONE, young=NONE, now=dt.datetime.now(dt.UTC) + dt.timedelta(days=1))
        self._before.clear()

    def _rebuild(self, chance: random.Random) -> None:
        """All rows are written anew; sometimes a column goes, and may come again as another."""
        base = self._newest()
        if chance.random() < 0.5 and (there := [name for name in self.columns if name in NAMES]):
            gone = chance.choice(there)
            del self.columns[gone]
            for row in (row for rows in self.inputs.values() for row in rows):
                row.pop(gone, None)
        with self._engine.session() as session:
            rows = query(
                "SELECT $names FROM $t AS t",
                names=[column(name, "t") for name in self.columns],
                t=rows_cast_exactly(session, base, self.columns),
            )
            publish.apply(
                session,
                self.table,
                None,
                publish.RowChange(columns=self.columns, insert=rows, info=base.info, replaced=base),
            )

    def _restore(self, chance: random.Random) -> None:
        """The files of an earlier version are the table's again, by a commit like any other."""
        if not self._before:
            return
        version = chance.choice(sorted(self._before))
        newest, wanted = self._newest(), self.table.snapshot(version)
        assert wanted is not None
        here = {file.identity() for file in newest.files}
        there = {file.identity() for file in wanted.files}
        change = TableChange(
            operation="RESTORE",
            columns=wanted.columns,
            remove=[file for file in newest.files if file.identity() not in there],
            add=[file for file in wanted.files if file.identity() not in here],
            info=wanted.info,
        )
        self.table.commit(newest, change)
        self.columns, self.inputs = copy.deepcopy(self._before[version])

    def _replace(self, input_id: str, drawn: list[Values]) -> None:
        rows = [{**row, "s_input_id": input_id} for row in drawn]
        with self._engine.session() as session:
            given = session.register(self._arrow(rows))
            publish.replace_inputs(session, self.table, query("SELECT g.* FROM $given AS g", given=given), [input_id])
        # the columns of what is written come first
        self.inputs[input_id] = rows

    def _drawn(self, chance: random.Random) -> list[Values]:
        return [
            {
                "k": chance.randrange(6),
                **{
                    name: chance.choice((None, *VALUES[kind]))
                    for name, kind in self.columns.items()
                    if name not in ("k", "s_input_id")
                },
            }
            for _ in range(chance.randrange(5))
        ]

    def _arrow(self, rows: Sequence[Values]) -> pa.Table:
        return pa.table(
            {name: pa.array([row.get(name) for row in rows], ARROW[kind]) for name, kind in self.columns.items()}
        )


def _cast(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind == "VARCHAR":
        return str(value)
    if kind == "DOUBLE":
        return float(value)
    if kind == "DECIMAL(38,4)":
        return decimal.Decimal(value).quantize(decimal.Decimal("0.0001"), context=decimal.Context(prec=38))
    if kind == "TIMESTAMP" and not isinstance(value, dt.datetime):
        return dt.datetime.combine(value, dt.time())
    return value


def _is_far(value: Any) -> bool:
    return isinstance(value, dt.date) and not 1900 < value.year < 2100
