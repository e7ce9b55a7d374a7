"""Reads publications, loaded rows, check results and costs for the report, and stores its results."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import sqlalchemy as sa

from dataops_assets.metadata import tables
from dataops_assets.metadata.database import Database
from dataops_assets.metadata.statements import count_in, insert

Row = Mapping[str, Any]


class ReportStore:
    """The metadata as the report reads it, and the results of reports."""

    def __init__(self, url: str) -> None:
        self._database = Database(url)

    def published(self) -> dict[str, list[dt.datetime]]:
        """Return by source when inputs reached its hub, in order."""
        table = tables.processes
        statement = (
            sa.select(table.c.source, table.c.finished_at)
            .where(table.c.step == "refresh", table.c.status == "done", table.c.finished_at.is_not(None))
            .order_by(table.c.finished_at)
        )
        found: dict[str, list[dt.datetime]] = {}
        for row in self._rows(statement, "reading publications"):
            found.setdefault(row["source"], []).append(row["finished_at"])
        return found

    def loaded(self, since: dt.datetime) -> list[Row]:
        """Return for each input that was parsed since a time its rows, and the rows of it that are kept out."""
        parse, enrich = tables.processes.alias("parse"), tables.processes.alias("enrich")
        quarantined = sa.func.coalesce(count_in(enrich.c.counts, "quarantined"), 0)
        same = sa.and_(
            enrich.c.source == parse.c.source, enrich.c.input_id == parse.c.input_id, enrich.c.step == "enrich"
        )
        rejected = sa.func.coalesce(parse.c.rejected, 0)
        statement = (
            sa.select(
                parse.c.source,
                parse.c.input_id,
                parse.c.finished_at.label("at"),
                (sa.func.coalesce(parse.c.rows, 0) + rejected).label("rows"),
                rejected.label("rejected"),
                (rejected + quarantined).label("kept_out"),
            )
            .select_from(parse.outerjoin(enrich, same))
            .where(parse.c.step == "parse", parse.c.status == "done", parse.c.finished_at >= since)
            .order_by(parse.c.finished_at)
        )
        return self._rows(statement, "reading loaded rows")

    def results(self, since: dt.datetime) -> list[Row]:
        """Return the check results since a time, in the order of recording."""
        table = tables.check_results
        statement = sa.select(table).where(table.c.checked_at >= since).order_by(table.c.check_result_id)
        return self._rows(statement, "reading check results")

    def costs(self) -> dict[str, Row]:
        """Return by source the seconds of all its steps, and the bytes and number of its inputs."""
        processes, inputs = tables.processes, tables.inputs
        seconds = sa.select(processes.c.source, sa.func.sum(processes.c.seconds).label("seconds"))
        size = sa.select(inputs.c.source, sa.func.sum(inputs.c.size).label("bytes"), sa.func.count().label("inputs"))
        found: dict[str, dict[str, Any]] = {}
        for statement in (seconds.group_by(processes.c.source), size.group_by(inputs.c.source)):
            for row in self._rows(statement, "adding up costs"):
                blank = {"seconds": 0.0, "bytes": 0, "inputs": 0}
                found.setdefault(row["source"], blank).update({k: v or 0 for k, v in row.items() if k != "source"})
        return dict(found)

    def loads(self, since: dt.datetime) -> list[Row]:
        """Return the deployments since a time, oldest first: `load_id`, `at`, and kind and name of what each `changed`.

        The first one of all changed nothing that ran before, so it is left out.
        """
        loads, members, known = tables.loads, tables.load_declarations, tables.declarations
        newest_before = sa.select(sa.func.max(loads.c.load_id)).where(loads.c.loaded_at < since).scalar_subquery()
        statement = (
            sa.select(loads.c.load_id, loads.c.loaded_at, known.c.kind, known.c.name, known.c.digest)
            .select_from(
                loads.outerjoin(members, members.c.load_id == loads.c.load_id).outerjoin(
                    known, known.c.digest == members.c.digest
                )
            )
            .where(sa.or_(loads.c.loaded_at >= since, loads.c.load_id == newest_before))
            .order_by(loads.c.load_id)
        )
        by_load: dict[int, tuple[dt.datetime, dict[str, tuple[str, str]]]] = {}
        for row in self._rows(statement, "reading deployments"):
            _, declared = by_load.setdefault(row["load_id"], (row["loaded_at"], {}))
            if row["digest"] is not None:
                declared[row["digest"]] = (row["kind"], row["name"])
        found: list[Row] = []
        for (_, (_, before)), (load_id, (at, now)) in pairwise(by_load.items()):
            changed = {(before | now)[digest] for digest in before.keys() ^ now.keys()}
            found.append({"load_id": load_id, "at": at, "changed": sorted(changed)})
        return found

    def save(self, levels: Sequence[Row], scores: Sequence[Row]) -> None:
        """Record the results of one report: rows of `service_levels` and of `quality_scores`."""
        with self._database.write("recording the results of a report") as connection:
            for table, rows in ((tables.service_levels, levels), (tables.quality_scores, scores)):
                insert(connection, table, rows)

    def save_days(self, product: str, since: dt.datetime, days: Sequence[Row]) -> None:
        """Record the daily counts of a data product's indicators. They replace all recorded days since `since`."""
        table = tables.service_level_days
        with self._database.write("recording what service levels counted") as connection:
            connection.execute(table.delete().where(table.c.product == product, table.c.day >= since))
            insert(connection, table, days)

    def missed(self) -> list[Row]:
        """Return the objectives that the newest report found missed, with their products."""
        table = tables.service_levels
        newest = sa.select(sa.func.max(table.c.reported_at)).scalar_subquery()
        statement = sa.select(table).where(table.c.reported_at == newest, table.c.budget_left < 0)
        return self._rows(statement.order_by(table.c.product, table.c.objective), "reading missed objectives")

    def scores(self, scope: str, since: dt.datetime) -> list[Row]:
        """Return the scores of the earlier reports since a time, oldest first."""
        table = tables.quality_scores
        statement = sa.select(table).where(table.c.scope == scope, table.c.reported_at >= since)
        return self._rows(statement.order_by(table.c.reported_at, table.c.name), "reading earlier scores")

    def _rows(self, statement: sa.Select[Any], what: str) -> list[Row]:
        with self._database.read(what) as connection:
            return [dict(row) for row in connection.execute(statement).mappings()]
