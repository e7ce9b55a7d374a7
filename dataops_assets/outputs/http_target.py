"""Delivers to an address of an API: batches of rows and deleted keys, each with an idempotency key.

The position is recorded in the metadata: before the first batch which version is begun, after the last one that it is
done. A delivery that is killed sends its batches again, with the same keys as long as the table is the same. So a
receiver that knows the keys takes each batch once. If the table has moved since, all rows are sent.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

from sqlglot import exp

from dataops_assets.config.limits import Limits
from dataops_assets.config.outputs import HttpTarget
from dataops_assets.connections.databases.opening import require_api
from dataops_assets.connections.rest.client import Content, Patience, RestClient
from dataops_assets.connections.rest.signing import signing_of
from dataops_assets.engines.duckdb import DuckDBSession
from dataops_assets.errors import ConfigError, InputError
from dataops_assets.outputs.context import OutputContext
from dataops_assets.outputs.delivery import Delivered, Target, told_outcome
from dataops_assets.outputs.json_rows import json_row, refuse_not_finite
from dataops_assets.outputs.mapping import Compiled
from dataops_assets.outputs.position import Position
from dataops_assets.outputs.wanted_rows import Wanted, batches, count, wanted
from dataops_assets.sql import Relation, alias, columns, query

_HEADER = "Idempotency-Key"


def deliver_to_api(context: OutputContext, target: HttpTarget, opened: Target) -> Delivered:
    """Send the rows that the API lacks, and return what was done. Raises ConfigError, InputError, StorageError."""
    api = require_api(target.api, context.databases)
    patience = Patience(api.longest_wait.total_seconds())
    client = RestClient(api, signing_of(api, os.environ), patience, Limits().document_bytes)
    with client.session:
        return _Delivery(context, target, client, opened).run()


@dataclass(frozen=True)
class _Delivery:
    """One delivery: the batches in their order, and then the position."""

    context: OutputContext
    target: HttpTarget
    client: RestClient
    opened: Target

    def run(self) -> Delivered:
        """Deliver the table as it is now, if it is another version than the last delivery had."""
        output, positions = self.context.output, self.context.metadata.output_positions
        name = f"{output.name}/{self.target.api}/{self.target.path}"
        last = positions.last(name)
        before, begun = _position(last.position.get("done")), _position(last.position.get("begun"))
        with self.opened.rows() as (session, table):
            now, read = self.opened.position(table, before), self.opened.read(table)
            if before is not None and before.is_at(now) and begun is None:
                checked = (told_outcome(self.context, "the API was given this version already"),)
                return Delivered(before, 0, {"rows": before.rows}, checked, False, read)
            is_known = before is not None and (before.source, before.mapping) == (now.source, now.mapping)
            # the API may have a part of another version: its keys are in no difference, so it gets all rows
            is_known = is_known and (begun is None or begun.is_at(now))
            incremental = is_known and output.mode == "incremental"
            found = wanted(session, self.item, table, before if incremental else None)
            now = replace(now, rows=found.total)
            refuse_not_finite(session, query("SELECT * FROM $rows AS t", rows=found.rows), self.item.columns)
            gone = found.gone if output.deletes == "hard" else None
            deleted = 0 if gone is None else count(session, gone)
            done = before.to_json() if before is not None else None
            positions.record(name, last.changes, {"done": done, "begun": now.to_json()}, dt.datetime.now(dt.UTC))
            sent = self._send(session, found, now, found.count + deleted)
        positions.record(name, last.changes + 1, {"done": now.to_json(), "begun": None}, dt.datetime.now(dt.UTC))
        counts = {"rows": found.total, "rows sent": found.count, "deleted": deleted, "batches": sent}
        told = f"the API took {sent:,} batches: {found.count:,} rows and {deleted:,} deleted keys"
        checked = (told_outcome(self.context, told, rows=found.total, compared=found.count),)
        return Delivered(now, found.count + deleted, counts, checked, True, read)

    @property
    def item(self) -> Compiled:
        """Return the output over the columns of its table."""
        return self.opened.compiled

    def _send(self, session: DuckDBSession, found: Wanted, now: Position, members: int) -> int:
        """Send all batches, and return their number. A whole delivery of no rows is one batch, too."""
        url = f"{self.client.api.url.rstrip('/')}/{self.target.path.lstrip('/')}"
        size = self.target.batch_rows
        total = max(math.ceil(members / size), 1 if found.is_whole else 0)
        remaining = self._members(session, found)
        for number in range(1, total + 1):
            some = list(islice(remaining, size))
            rows, deleted = ([text for is_row, text in some if is_row is wanted_] for wanted_ in (True, False))
            head = {
                "output": self.context.output.name,
                "delivery": now.delivery,
                "mode": "full" if found.is_whole else "incremental",
                "batch": number,
                "batches": total,
            }
            body = f'{json.dumps(head)[:-1]}, "rows": [{",".join(rows)}], "deleted": [{",".join(deleted)}]}}'.encode()
            key = hashlib.sha256(body).hexdigest()
            try:
                self.client.send(url, Content(self.target.method, body, {_HEADER: key}))
            except ConfigError as error:
                raise InputError(
                    f"delivering batch {number:,} of {total:,} of output {self.context.output.name!r}",
                    received=error.received,
                    next_step=f"{error.next_step}; the batches before it were taken, and are sent again with the same "
                    f"{_HEADER} as long as the table is the same",
                ) from error
        return total

    def _members(self, session: DuckDBSession, found: Wanted) -> Iterator[tuple[bool, str]]:
        """Yield the JSON of rows (True) and of deleted keys, each by the key."""
        rows = self._texts(session, found.rows, self.item.columns)
        if found.gone is None or self.context.output.deletes != "hard":
            return ((True, text) for text in rows)
        gone = self._texts(session, found.gone, {name: self.item.columns[name] for name in self.item.key})
        return chain(((True, text) for text in rows), ((False, text) for text in gone))

    def _texts(self, session: DuckDBSession, rows: Relation, types: Mapping[str, str]) -> Iterator[str]:
        order = list(self.item.key) or list(types)
        found: exp.Select = query("SELECT $text FROM $rows AS t", text=alias(json_row(types, "t"), "s_sent"), rows=rows)
        for batch in batches(session, found.order_by(*columns(order, "t"))):
            yield from map(str, batch.column(0).to_pylist())


def _position(found: Mapping[str, Any] | None) -> Position | None:
    return Position.from_json(found) if found is not None else None
