"""Readers of a publication see one moment, while what writes its tables is killed again and again."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import time
from pathlib import Path

import duckdb
from story import begin

from dataops_assets.config.environment import Environment, environment_from
from dataops_assets.config.publications import Publication
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.operations.publications import connect
from dataops_assets.sql import query
from dataops_assets.steps.upkeep.publishing import PublishingContext, copy_of, publish_all
from dataops_assets.storage import publish
from dataops_assets.storage.delta import Table
from dataops_assets.storage.moments import Moment, Moments

TABLES = ("hub/sales", "hub/sales_current", "hub/stores", "warehouse/fact", "warehouse/dim")
DECLARED = {"shop": Publication(tables=TABLES)}
READS = 10_000
KILLS = 10
RECORDS = (
    "CREATE SCHEMA IF NOT EXISTS dataops",
    "CREATE TABLE IF NOT EXISTS dataops.built (model VARCHAR, build_id VARCHAR, is_view BOOLEAN, versions VARCHAR, "
    "parents VARCHAR)",
    "CREATE TABLE IF NOT EXISTS dataops.pinned (asset VARCHAR, version BIGINT)",
)


def deployment(root: Path) -> Environment:
    return environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(root)}, root)


def write_for_ever(root: Path) -> None:
    """Stand for runs: each round writes every table once more, one commit each, and then publishes."""
    environment = deployment(root)
    metadata = MetadataStore(environment.metadata_url)
    metadata.migrate()
    context = PublishingContext(environment, metadata, {})
    with DuckDBEngine(environment).session() as session:

        def write(asset: str, round_: int, **info: object) -> None:
            table = Table(f"{environment.storage}/{asset}")
            rows = query("SELECT CAST($round AS BIGINT) AS round", round=round_)
            known = {"round": round_, **info}
            change = publish.RowChange({"round": "BIGINT"}, insert=rows, info=known, replaced=table.snapshot())
            publish.apply(session, table, change.replaced, change)

        def known_as(asset: str) -> list[int | str]:
            head = Table(f"{environment.storage}/{asset}").newest()
            assert head is not None
            return [head.version, head.commit_id]

        first = Table(f"{environment.storage}/hub/sales").newest()
        for round_ in itertools.count(first.info["round"] + 1 if first else 1):
            write("hub/sales", round_)
            write("hub/stores", round_)
            made_of = {"hub": known_as("hub/sales"), "related": {"stores": known_as("hub/stores")}}
            write("hub/sales_current", round_, computed_from=made_of)
            build(environment, "fact", "hub/sales_current", round_)
            build(environment, "dim", "hub/stores", round_)
            publish_all(context, DECLARED)


def build(environment: Environment, model: str, reads: str, round_: int) -> None:
    """Stand for dbt: a table and the record of what it was built of, in one transaction."""
    head = Table(f"{environment.storage}/{reads}").newest()
    assert head is not None
    with duckdb.connect(environment.warehouse) as warehouse:
        for statement in RECORDS:
            warehouse.execute(statement)
        warehouse.execute("BEGIN")
        warehouse.execute(f"CREATE OR REPLACE TABLE {model} AS SELECT {round_} AS round")
        warehouse.execute("DELETE FROM dataops.built WHERE model = ?", [f"warehouse/{model}"])
        told = [f"warehouse/{model}", str(round_), False, json.dumps({reads: head.version}), "{}"]
        warehouse.execute("INSERT INTO dataops.built VALUES (?, ?, ?, ?, ?)", told)
        warehouse.execute("COMMIT")


def heads(environment: Environment) -> list[int]:
    """The rounds that a reader without a publication finds."""
    found = [Table(f"{environment.storage}/{asset}").newest() for asset in TABLES[:3]]
    return [head.info["round"] if head is not None else 0 for head in found]


def rounds_of(environment: Environment, moment: Moment) -> set[int]:
    """The rounds that a reader of a moment finds in its tables."""
    hubs = [item for item in moment.tables if item.version is not None]
    snapshots = [Table(f"{environment.storage}/{item.asset}").snapshot(item.version) for item in hubs]
    copy = copy_of(environment, moment)
    assert copy is not None
    with duckdb.connect(str(copy), read_only=True) as reader:
        models = [reader.table(name).fetchall()[0][0] for name in ("fact", "dim")]
    return {*(found.info["round"] for found in snapshots if found is not None), *models}


def rounds_as_users_read(environment: Environment) -> set[int]:
    """The same by the connection that users have."""
    names = ("hub.sales", "hub.sales_current", "hub.stores", "warehouse.main.fact", "warehouse.main.dim")
    with connect(environment, "shop") as reader:
        return {reader.sql(f"FROM {name}").fetchall()[0][0] for name in names}


def test_no_reader_sees_two_moments_while_writers_are_killed(tmp_path: Path) -> None:
    environment, chance = deployment(tmp_path), random.Random(21)
    moments = Moments(environment.storage)
    reads = torn = torn_without = killed = 0
    seen: dict[int, set[int]] = {}
    while reads < READS or killed < KILLS:
        writer, before, left = begin(write_for_ever, tmp_path), heads(environment), chance.randint(1, 10)
        while left and writer.is_alive():
            now = heads(environment)
            torn_without += len(set(now)) > 1
            # how long a commit takes is not known, so the end is given in commits
            left, before = left - (now != before), now
            moment = moments.newest("shop")
            for _ in range(0 if moment is None else 100):
                moment = moments.newest("shop")
                assert moment is not None
                # a moment, its versions and its copy never change, so each is read in full once
                if moment.number not in seen:
                    seen[moment.number] = rounds_of(environment, moment)
                torn += len(seen[moment.number]) != 1
                reads += 1
            time.sleep(0.01)
        assert writer.is_alive()
        time.sleep(chance.uniform(0, 0.1))
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        killed += 1
        if killed % 10 == 0 and moments.newest("shop") is not None:
            torn += len(rounds_as_users_read(environment)) != 1
    assert torn == 0
    # the writers did move the tables one by one, and the publication moved
    assert torn_without > 0
    assert len(seen) > 3
