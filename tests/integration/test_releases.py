"""Releases and rollbacks as a person makes them, and what Dagster and the sensors then do."""

from __future__ import annotations

import datetime as dt
import subprocess
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import dagster as dg
import duckdb
import polars as pl
import pyarrow as pa
import pytest
from code_location import CodeLocation, failures, loaded, orders
from command_line import Ended, dataops
from deltalake import DeltaTable, QueryBuilder

from dataops_assets.components.automation import when_published
from dataops_assets.components.local import LocalRunner
from dataops_assets.config.source import Source
from dataops_assets.errors import ConfigError
from dataops_assets.metadata.report_store import ReportStore
from dataops_assets.operations import code_version, project
from dataops_assets.operations.commands import daily
from dataops_assets.operations.releases import connect
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep import rollback
from dataops_assets.steps.upkeep.rollback import Wanted

DECLARED = orders(
    relations={},
    rules=[
        {"name": "doubled", "expression": "amount * 2"},
        {"name": "of_customer", "expression": "sum(amount) over (partition by customer)", "mode": "keep_current"},
    ],
)
HEAD = "id,customer,amount\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CodeLocation]:
    """Two inputs in the hub, and the release v1 of them."""
    monkeypatch.setattr(project, "PROJECT", tmp_path / "code")
    monkeypatch.setenv(code_version.VARIABLE, "abc")
    with loaded(DECLARED) as definitions, dg.instance_for_test() as instance:
        made = CodeLocation(definitions, instance, tmp_path)
        made.land("orders", "orders_2024-01-01.csv", f"{HEAD}1,7,5\n2,7,400\n")
        made.land("orders", "orders_2024-01-02.csv", f"{HEAD}3,7,8\n")
        go_on(made)
        with duckdb.connect(made.environment.warehouse) as warehouse:
            warehouse.execute("CREATE TABLE fct_orders AS SELECT 'then' AS built")
        released = does(made, "release", "v1", "--note", "before the new prices", "--by", "a person")
        assert (released.code, released.data["code_version"]) == (0, "abc")
        yield made


def context_of(here: CodeLocation) -> SourceContext:
    source = Source.model_validate(DECLARED)
    return here.platform.source_context(source, {source.name: source})


def does(here: CodeLocation, *words: str) -> Ended:
    return dataops([context_of(here)], *words, "--json")


def go_on(here: CodeLocation) -> None:
    results = [*here.settle("orders"), here.materialize(["hub/orders_current"], {})]
    assert all(result.success for result in results), [failures(result) for result in results]


def ids(here: CodeLocation) -> list[int]:
    assert here.rows("hub/orders", "id") == here.rows("hub/orders_current", "id")
    return sorted(row[0] for row in here.rows("hub/orders", "id"))


def built(here: CodeLocation) -> str:
    with duckdb.connect(here.environment.warehouse, read_only=True) as warehouse:
        return str(warehouse.execute("FROM fct_orders").fetchall()[0][0])


def test_later_inputs_are_replayed_or_left_out_as_the_person_says(here: CodeLocation) -> None:
    here.land("orders", "orders_2024-01-03.csv", f"{HEAD}1,7,9\n4,7,1\n")
    go_on(here)
    with duckdb.connect(here.environment.warehouse) as warehouse:
        warehouse.execute("UPDATE fct_orders SET built = 'since'")
    third = here.partitions("orders")[-1]
    asked = does(here, "rollback", "v1")
    assert (asked.code, asked.data["later_inputs"]) == (1, {"orders": [third]})
    assert ids(here) == [1, 2, 3, 4]
    replayed = does(here, "rollback", "v1", "--later-inputs", "replay")
    assert (replayed.code, replayed.data["inputs"]) == (0, {"orders": [third]})
    assert (ids(here), built(here)) == ([1, 2, 3], "then")
    go_on(here)
    assert ids(here) == [1, 2, 3, 4]
    # its process is killed, and a person resumes it
    context = context_of(here)
    begun = rollback.begin(context.metadata, context.sources, Wanted("v1", "leave-out", "a person"))
    left_out = does(here, "rollback", "--resume")
    assert (left_out.code, left_out.data["rollback_id"]) == (0, begun.rollback_id)
    assert ids(here) == [1, 2, 3]
    (event,) = here.instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey(["hub", "orders"]), asset_partitions=[third]), limit=1
    ).records
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["removed"].value == 1
    assert not here.tick("orders").run_requests
    assert does(here, "status", "orders").code == 0
    here.land("orders", "orders_2024-01-04.csv", f"{HEAD}5,7,1\n")
    go_on(here)
    assert ids(here) == [1, 2, 3, 5]
    assert does(here, "doctor").data == []
    assert does(here, "reset", "orders", "ingest", third).code == 0
    assert does(here, "recalculate", "orders").code == 0
    assert ids(here) == [1, 2, 3, 4, 5]
    assert here.rows("hub/orders", "id", "amount")[0] == (1, 9.0)


def test_a_rollback_waits_for_no_run_and_excludes_those_to_come(
    here: CodeLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.land("orders", "orders_2024-01-03.csv", f"{HEAD}4,7,1\n")
    go_on(here)
    job = here.repository.get_implicit_global_asset_job_def()
    hub = frozenset([dg.AssetKey(["hub", "orders"])])
    run = here.instance.create_run_for_job(job, asset_selection=hub, status=dg.DagsterRunStatus.STARTED)
    refused = does(here, "rollback", "v1", "--later-inputs", "replay")
    assert (refused.code, refused.out) == (2, "")
    assert f"1 runs under way, such as {run.run_id}" in refused.err
    here.instance.delete_run(run.run_id)
    # a rollback whose process was killed
    context = context_of(here)
    begun = rollback.begin(context.metadata, context.sources, Wanted("v1", "replay", "a person"))
    here.land("orders", "orders_2024-01-05.csv", f"{HEAD}6,7,1\n")
    told = here.tick("orders")
    assert not told.run_requests
    assert "nothing is requested during the rollback to 'v1'" in (told.skip_message or "")
    for words in (("rebuild", "orders"), ("remove", "orders", here.partitions("orders")[0]), ("vacuum", "orders")):
        stopped = does(here, *words)
        assert stopped.code == 2
        assert "dataops rollback --resume" in stopped.err
    (finding,) = does(here, "doctor").data
    assert finding["place"] == "rollback to v1"
    assert begun.state == "begun"
    # the next run resumes it, and then does what is due
    runner = LocalRunner(here.definitions, here.instance, here.environment.home / "automation.json", str)
    monkeypatch.setattr(daily, "open_runner", lambda: nullcontext(runner))
    monkeypatch.setattr(project, "metadata", lambda: context.metadata)
    done = dataops([context], "run", "orders")
    assert done.code == 0, done.err
    assert "rolled back to v1" in done.out
    # automation, which recalculates, begins with what changes after its first look
    assert sorted(here.rows("hub/orders", "id")) == [(1,), (2,), (3,), (4,), (6,)]
    assert does(here, "rollback", "--resume").data is None


def test_a_release_is_read_in_several_ways_and_dropped(here: CodeLocation) -> None:
    here.land("orders", "orders_2024-01-03.csv", f"{HEAD}1,7,9\n4,7,1\n")
    go_on(here)
    with duckdb.connect(here.environment.warehouse) as warehouse:
        warehouse.execute("UPDATE fct_orders SET built = 'since'")
    context = context_of(here)
    with connect(context.environment, context.metadata, "v1") as then:
        assert then.sql("SELECT id, doubled FROM hub.orders ORDER BY ALL").fetchall() == [
            (1, 10.0),
            (2, 800.0),
            (3, 16.0),
        ]
        assert then.sql("SELECT count(*) FROM hub.orders_current").fetchall() == [(3,)]
        assert then.sql("SELECT built FROM warehouse.main.fct_orders").fetchall() == [("then",)]
    versions = does(here, "releases", "versions", "v1").data["table_versions"]
    hub = f"{context.environment.storage}/hub/orders"
    assert sorted(pl.read_delta(hub, version=versions["hub/orders"])["id"].to_list()) == [1, 2, 3]
    at_release = QueryBuilder().register("t", DeltaTable(hub, version=versions["hub/orders"]))
    assert sorted(pa.table(at_release.execute("SELECT id FROM t").read_all())["id"].to_pylist()) == [1, 2, 3]
    (listed,) = does(here, "releases", "list").data
    shown = does(here, "releases", "show", "v1")
    assert (shown.code, shown.data["problems"]) == (0, [])
    pinned = {item["asset"]: item for item in shown.data["tables"] if item["source"]}
    # dbt reads a table without rows as one that is not there
    assert {asset: item["version"] if item["rows"] else None for asset, item in pinned.items()} == versions
    assert (listed["note"], listed["created_by"]) == ("before the new prices", "a person")
    assert does(here, "releases", "show", "v2").code == 2
    assert does(here, "rollback", "v1", "--later-inputs", "away").code == 2
    assert does(here, "rollback", "v1", "--area", "nowhere").code == 2
    assert does(here, "release", "v1").code == 2
    assert does(here, "releases", "drop", "v1").code == 0
    assert does(here, "releases", "list").data == []


def test_the_version_of_the_code_is_a_commit_without_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(code_version.VARIABLE, raising=False)
    with pytest.raises(ConfigError, match="no git repository"):
        code_version.code_version(tmp_path)
    (tmp_path / "dbt_project").mkdir()
    (tmp_path / "dbt_project" / "model.sql").write_text("select 1")
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    commit = code_version.code_version(tmp_path)
    assert len(commit) == 40
    (tmp_path / "notes.md").write_text("not code")
    assert code_version.code_version(tmp_path) == commit
    (tmp_path / "dbt_project" / "other.sql").write_text("select 2")
    with pytest.raises(ConfigError, match=r"dbt_project/other\.sql"):
        code_version.code_version(tmp_path)
    assert code_version.present_code(tmp_path) == f"{commit} with 1 changed files"
    # what git cannot read is not unchanged
    (tmp_path / ".git" / "index").write_bytes(b"broken")
    for version in (code_version.code_version, code_version.present_code):
        with pytest.raises(ConfigError, match=r"git status failed: .*index"):
            version(tmp_path)


def test_a_consumer_takes_the_newest_approved_version_and_a_rollback_revokes_it(
    here: CodeLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project, "environment", lambda: here.environment)
    first = does(here, "tokens", "take", "hub/orders", "--consumer", "churn")
    assert (first.code, first.data["release"], first.data["is_approved"]) == (0, "v1", True), first.err
    model = does(here, "tokens", "take", "warehouse/fct_orders", "--consumer", "churn").data
    assert (model["release"], model["version"], model["source"]) == ("v1", None, None)
    # what came since is not approved until a release has it
    here.land("orders", "orders_2024-01-03.csv", f"{HEAD}4,7,1\n")
    go_on(here)
    again = does(here, "tokens", "take", "hub/orders", "--consumer", "churn").data
    assert again == first.data
    # objectives of data products hold, or are accepted by name; only the newest report counts
    level = {"product": "shop", "objective": "completeness", "target": 0.99, "good": 0.95, "burn_rate": 1.0}
    reports = ReportStore(here.environment.metadata_url)
    reports.save([{**level, "reported_at": dt.datetime(2024, 1, 3, tzinfo=dt.UTC), "budget_left": -4.0}], [])
    refused = does(here, "release", "v2")
    assert (refused.code, "objective completeness is missed, 95.00% of 99.00%" in refused.err) == (2, True)
    accepted = does(here, "release", "v2", "--note", "still", "--accept-missed").data
    assert accepted["note"].startswith("still; accepted: shop: objective completeness is missed")
    reports.save([{**level, "reported_at": dt.datetime(2024, 1, 4, tzinfo=dt.UTC), "budget_left": 0.5}], [])
    second = does(here, "tokens", "take", "hub/orders", "--consumer", "churn").data
    assert second["release"] == "v2"
    assert second["version"] > first.data["version"]
    newer = does(here, "tokens", "take", "warehouse/fct_orders", "--consumer", "churn").data
    assert does(here, "tokens", "check", second["token"]).code == 0

    done = does(here, "rollback", "v1", "--later-inputs", "leave-out")
    assert set(done.data["revoked_tokens"]) == {second["token"], newer["token"]}
    refused = does(here, "tokens", "check", second["token"])
    assert (refused.code, "rollback 1 to v1" in refused.err) == (2, True)
    listed = does(here, "tokens", "list")
    assert listed.code == 1
    approved = {item["token"]: item["is_approved"] for item in listed.data}
    assert approved == {first.data["token"]: True, model["token"]: True, second["token"]: False, newer["token"]: False}
    # the newest approved version is that of the release which it returned to, and then that of the next release
    assert does(here, "tokens", "take", "hub/orders", "--consumer", "churn").data == first.data
    assert does(here, "release", "v3").code == 0
    assert does(here, "tokens", "take", "hub/orders", "--consumer", "churn").data["release"] == "v3"
    # a dropped release revokes, too
    assert does(here, "releases", "drop", "v1").code == 0
    assert "was dropped" in does(here, "tokens", "check", first.data["token"]).err

    assert does(here, "tokens", "take", "hub/orders", "--consumer", " ").code == 2
    assert "did you mean" in does(here, "tokens", "take", "hub/order", "--consumer", "churn").err
    assert "dataops tokens take" in does(here, "tokens", "check", "x").err
    context = context_of(here)
    rollback.begin(context.metadata, context.sources, Wanted("v3", "replay", "a person"))
    assert "dataops rollback --resume" in does(here, "tokens", "take", "hub/orders", "--consumer", "churn").err


def test_a_rollback_of_one_area_makes_at_once_what_follows_its_hubs(
    here: CodeLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy of the warehouse has the models of all areas, so those of one area are made of its restored hubs."""

    def model(name: str, reads: list[str]) -> dg.AssetsDefinition:
        @dg.asset(
            key=["warehouse", name],
            deps=[dg.AssetKey(read.split("/")) for read in reads],
            automation_condition=when_published(),
        )
        def made() -> None:
            if name == "broken":
                raise dg.Failure("it reads a column that is gone")
            text = " ".join(map(str, ids(here)))
            with duckdb.connect(here.environment.warehouse) as warehouse:
                warehouse.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT ? AS seen", [text])

        return made

    models = [model("of_hub", ["hub/orders_current"]), model("of_model", ["warehouse/of_hub"]), model("other", [])]
    models.append(model("broken", ["hub/orders"]))
    definitions = dg.Definitions.merge(here.definitions, dg.Definitions(assets=models))
    runner = LocalRunner(definitions, here.instance, here.environment.home / "automation.json", str)
    monkeypatch.setattr(daily, "open_runner", lambda: nullcontext(runner))
    here.land("orders", "orders_2024-01-03.csv", f"{HEAD}4,7,1\n")
    go_on(here)
    done = does(here, "rollback", "v1", "--area", "shop", "--later-inputs", "leave-out")
    assert done.code == 1, done.err
    made = {name: bool(error) for name, error in done.data["made_again"].items()}
    assert made == {"warehouse/broken": True, "warehouse/of_hub": False, "warehouse/of_model": False}
    with duckdb.connect(here.environment.warehouse, read_only=True) as warehouse:
        assert warehouse.execute("SELECT a.seen, b.seen FROM of_hub AS a, of_model AS b").fetchall() == [("1 2 3",) * 2]
