"""`dataops plan` and `dataops apply` as a person uses them: read, refused, applied, continued after a failure."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from code_location import CUSTOMERS, orders
from command_line import Ended
from declared_home import declare, does, running

from dataops_assets.components import plan_job
from dataops_assets.components.dbt_catalogue import Catalogue, ColumnEntry, ModelEntry, SourceEntry
from dataops_assets.components.dbt_lineage import LineageReader
from dataops_assets.components.declarations import declared_sources
from dataops_assets.components.other_locations import CONDITIONS, other_tables, row_conditions
from dataops_assets.components.platform import Platform
from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.errors import StorageError
from dataops_assets.metadata.declaration_store import Declaration
from dataops_assets.operations.planning import source_work
from dataops_assets.operations.planning.changes import changes
from dataops_assets.operations.planning.reach import add_others, graph_of

SHOP = orders(
    rules=[
        {"name": "customer_name", "expression": "who.name"},
        {"name": "of_customer", "expression": "sum(amount) over (partition by customer)", "mode": "keep_current"},
    ]
)
HEAD = "id,customer,amount\n"


def test_a_plan_is_read_and_then_applied_or_refused(
    home: Path, instance_of_commands: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = instance_of_commands
    then = [CUSTOMERS, SHOP]
    declare(home, *then)
    with running(home, instance, *then) as here:
        here.land("customers", "customers_2024-01-01.csv", "id,name\n7,Ann\n")
        here.land("orders", "orders_2024-01-01.csv", f"{HEAD}1,7,5\n2,7,400\n")
        first = does(here, then, "plan", "--json")
        assert (first.code, first.data["effect"], first.data["load_id"]) == (1, "nothing", None)
        assert does(here, then, "apply", first.data["plan_id"]).code == 0
        assert here.rows("hub/orders_current", "id", "customer_name", "of_customer") == [
            (1, "Ann", 405.0),
            (2, "Ann", 405.0),
        ]
        assert does(here, then, "release", "v1").code == 0
        # nothing differs and nothing is to do
        assert does(here, then, "plan").code == 0
        told = does(here, then, "apply", first.data["plan_id"])
        assert (told.code, "a plan that was applied already" in told.err) == (2, True)

    # another code location, of which nothing is known here but its events
    dg.materialize(
        [_elsewhere("finance/copy", ["hub/orders_current"]), _elsewhere("finance/own", [])], instance=instance
    )
    now = copy.deepcopy(then)
    now[1]["rules"][1]["expression"] = "max(amount) over (partition by customer)"
    now[1]["columns"][2]["description"] = "In euros."
    now[1]["validations"][0]["severity"] = "fail"
    declare(home, *now)
    with running(home, instance, *now) as here:
        read = does(here, now, "plan", "--json")
        assert read.code == 1
        weights = {item["name"]: item["weight"] for item in read.data["changes"]}
        assert weights == {"orders.of_customer": "breaking", "orders.positive": "breaking", "orders.amount": "words"}
        work = {(item["kind"], item["table"]): item["rows"] for item in read.data["work"]}
        assert work == {("apply rules", "hub/orders"): 2, ("recalculate", "hub/orders_current"): 2}
        assert all(item["seconds"] is not None for item in read.data["work"]), "the steps have been timed"
        assert read.data["owners"] == ["team:shop"]
        reached = {item["table"]: item["columns"] for item in read.data["reached"]}
        assert "of_customer" in reached["hub/orders_current"]
        assert [item["table"] for item in read.data["reached"] if item["elsewhere"]] == ["finance/copy"]
        plan = read.data["plan_id"]
        shown = does(here, now, "plan")
        assert "finance/copy: all rows:  (not declared here)" in shown.out
        assert f"next: dataops apply {plan}" in shown.out, "the same state gives the same plan"
        pull_request = does(here, now, "plan", "--markdown").out
        assert f"## Plan `{plan}`" in pull_request
        assert "| breaking | changed rule | `orders.of_customer` |" in pull_request
        before = here.rows("hub/orders_current", "id", "of_customer")
        tried = does(here, now, "plan", "--data", "--json")
        assert (tried.data["plan_id"], tried.data["data"]["errors"]) == (plan, []), tried.err
        (current,) = [item for item in tried.data["data"]["tables"] if item["table"] == "hub/orders_current"]
        assert [current[key] for key in ("rows_before", "rows_after", "added", "removed", "changed")] == [2, 2, 0, 0, 2]
        (column,) = current["columns"]
        assert (column["name"], column["changed"], len(column["examples"])) == ("of_customer", 2, 2)
        assert {item["before"] for item in column["examples"]} <= {"405.0", "hidden"}
        assert here.rows("hub/orders_current", "id", "of_customer") == before
        assert not list((home / "environments").iterdir())
        shown = does(here, now, "plan", "--data").out
        assert "of_customer: 2 values differ; such as" in shown
        bad = copy.deepcopy(now)
        bad[1]["validations"][0]["expression"] = "amount > 100"
        declare(home, *bad)
        (error,) = does(here, bad, "plan", "--data", "--json").data["data"]["errors"]
        assert "positive does not hold in 1 rows" in error
        declare(home, *now)
        assert "### Data" in does(here, now, "plan", "--data", "--markdown").out
        against = does(here, now, "plan", "--against", "v1", "--json")
        assert {item["name"]: item["weight"] for item in against.data["changes"]} == weights
        refused = does(here, now, "apply", against.data["plan_id"])
        assert (refused.code, "can only be read" in refused.err) == (2, True)
        assert does(here, now, "plan", "--against", "v2").code == 2
        assert "did you mean" in does(here, now, "apply", plan[:-1]).err

        # the tables moved, the tree moved
        here.land("orders", "orders_2024-01-02.csv", f"{HEAD}3,7,8\n")
        here.settle("orders")
        assert "tables that changed since the plan: lake/orders" in does(here, now, "apply", plan).err
        plan = does(here, now, "plan", "--json").data["plan_id"]
        other = copy.deepcopy(now)
        other[1]["rules"][0]["expression"] = "upper(who.name)"
        declare(home, *other)
        assert "declarations of this folder that changed" in does(here, now, "apply", plan).err
        declare(home, *now)

        # the job of the UI shows the same plan; it starts the command in another process
        with monkeypatch.context() as patched:
            patched.setattr(plan_job, "run_command", lambda words: in_process(does(here, now, *words)))
            job = plan_job.plan_job().execute_in_process(instance=instance)
            refused = plan_job.plan_job().execute_in_process(
                {"ops": {"plan": {"config": {"against": "v0"}}}}, instance, raise_on_error=False
            )
        (shown,) = (event for event in job.all_events if event.is_successful_output)
        told = shown.step_output_data.metadata
        assert (told["plan id"].value, told["effect"].value, told["work"].value) == (plan, "recalculates", 1)
        assert f"## Plan `{plan}`" in str(told["plan"].value)
        assert not refused.success

        # its process is killed, or storage fails: the same plan is continued
        with monkeypatch.context() as patched:

            def failing(_context: object) -> None:
                raise StorageError("recalculating", received="no room")

            patched.setattr(source_work, "recalculated", failing)
            patched.setattr("dataops_assets.operations.planning.apply.recalculated", failing)
            failed = does(here, now, "apply", plan, "--json")
        assert (failed.code, [item["error"] for item in failed.data["work"]][-1]) == (
            1,
            "recalculating; received: no room",
        )
        done = does(here, now, "apply", plan, "--json")
        assert done.code == 0, done.err
        assert [item["changed"] for item in done.data["work"]][-1] == 3
        assert [row[1] for row in here.rows("hub/orders_current", "id", "of_customer")] == [400.0, 400.0, 400.0]
        assert does(here, now, "plan").code == 0


def in_process(ended: Ended) -> tuple[int, str, str]:
    return ended.code, ended.out, ended.err


def test_the_job_starts_the_command_of_this_package() -> None:
    code, out, err = plan_job.run_command(["plan", "--help"])
    assert (code, "--sample" in out) == (0, True), err


def test_nothing_is_compared_with_a_deployment_that_never_said_what_it_runs(home: Path) -> None:
    declare(home, CUSTOMERS)
    with dg.DagsterInstance.ephemeral() as instance, running(home, instance, CUSTOMERS) as here:
        here.platform.metadata.contracts.register(Source.model_validate(CUSTOMERS))
        told = does(here, [CUSTOMERS], "plan")
    assert (told.code, "run `dataops run` once" in told.err) == (2, True)


def test_the_sensors_of_a_deployment_record_once_what_it_runs(tmp_path: Path) -> None:
    asked = []

    def declared() -> list[Declaration]:
        asked.append(1)
        return [Declaration("source", "a", {"x": 1})]

    platform = Platform(
        environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(tmp_path)}, tmp_path), declared=declared
    )
    platform.record_declarations()
    platform.record_declarations()
    load = platform.metadata.declarations.in_force()
    assert load is not None
    assert (asked, [(item.kind, item.name) for item in load.declarations]) == ([1], [("source", "a")])


def test_a_change_reaches_through_models_to_the_column(home: Path) -> None:
    declare(home, CUSTOMERS, SHOP)
    known = Catalogue(
        dialect="duckdb", models=(_model("daily", "hub/orders_current"),), sources=(_hub("orders_current"),)
    )
    compiled = "select customer, max(of_customer) as most from hub.orders_current where amount > 0 group by customer"
    lineage = {known.models[0].unique_id: LineageReader(known).read(compiled)}
    graph = graph_of(declared_sources(home / "defs"), [(known, lineage)])
    assert graph.reached([("hub/orders", "of_customer"), ("hub/orders_current", "of_customer")])["warehouse/daily"] == [
        "most"
    ]
    # a column of the condition decides which rows there are
    assert graph.reached([("lake/orders", "amount")])["warehouse/daily"] == ["*", "customer", "most"]
    assert "warehouse/daily" not in graph.reached([("lake/customers", "name")])


def _elsewhere(name: str, reads: Sequence[str]) -> dg.AssetsDefinition:
    """An asset of another code location."""

    @dg.asset(key=name.split("/"), deps=[dg.AssetKey(key.split("/")) for key in reads])
    def made() -> None: ...

    return made


def test_a_change_reaches_columns_of_another_code_location(
    home: Path, instance_of_commands: dg.DagsterInstance
) -> None:
    declare(home, CUSTOMERS, SHOP)
    hub = dg.AssetKey(["hub", "orders_current"])
    per_customer = dg.AssetKey(["finance", "per_customer"])

    def lineage(**origins: tuple[dg.AssetKey, str]) -> dg.TableColumnLineage:
        return dg.TableColumnLineage({name: [dg.TableColumnDep(*origin)] for name, origin in origins.items()})

    @dg.asset(key=per_customer, deps=[hub])
    def made() -> dg.MaterializeResult[None]:
        known = {
            "dagster/column_lineage": lineage(most=(hub, "of_customer"), who=(hub, "customer_name")),
            CONDITIONS: row_conditions({(("hub", "orders_current"), "amount")}),
        }
        return dg.MaterializeResult(metadata=known)

    @dg.asset(key=["finance", "names"], deps=[per_customer])
    def names() -> dg.MaterializeResult[None]:
        known = {"dagster/column_lineage": lineage(name=(per_customer, "who")), CONDITIONS: row_conditions(set())}
        return dg.MaterializeResult(metadata=known)

    @dg.asset(key=["finance", "untold"], deps=[per_customer])
    def untold() -> None: ...

    instance_of_commands.report_runless_asset_event(dg.AssetMaterialization(hub))
    dg.materialize([made, names, untold], instance=instance_of_commands)
    graph = graph_of(declared_sources(home / "defs"), [])
    add_others(graph, other_tables(graph.columns.keys()))

    def reached(column: str) -> dict[str, Sequence[str]]:
        found = graph.reached([("hub/orders_current", column)])
        return {table: columns for table, columns in found.items() if table.startswith("finance/")}

    # an event that tells of no columns is taken as one that reads all of them
    assert reached("of_customer") == {"finance/per_customer": ["most"], "finance/untold": ["*"]}
    assert reached("customer_name")["finance/names"] == ["name"]
    assert reached("amount")["finance/names"] == ["*", "name"]
    assert reached("s_status") == {}


def _model(name: str, reads: str) -> ModelEntry:
    return ModelEntry(
        key=("warehouse", name),
        relation=f"main.{name}",
        columns=(),
        name=name,
        unique_id=f"model.{name}",
        selector=f"fqn:{name}",
        reads=(tuple(reads.split("/")),),
        description="",
        group="shop",
        owners=(),
        tags={},
        kinds=(),
        code_version="1",
        materialized="table",
        tests=(),
    )


def _hub(table: str) -> SourceEntry:
    columns = tuple(
        ColumnEntry(name=name, type="bigint", description="") for name in ("customer", "of_customer", "amount")
    )
    return SourceEntry(key=("hub", table), relation=f"hub.{table}", columns=columns, file="sources.yml")


def test_changes_of_models_checks_and_contracts_have_their_weight() -> None:
    model = {
        "columns": [{"name": "a", "type": "text", "description": ""}],
        "reads": ["hub/x"],
        "description": "",
        "group": "g",
        "owners": [],
        "tags": {},
        "code": "1",
        "macros": {"m": "1"},
        "settings": {"materialized": "table"},
        "tests": {},
    }
    edits: dict[str, tuple[dict[str, Any], list[tuple[str, str, str]]]] = {
        "code": ({"code": "2"}, [("model", "m", "breaking")]),
        "macro": ({"macros": {"m": "2"}}, [("model", "m", "breaking")]),
        "words": ({"description": "x"}, [("model", "m (words)", "words")]),
        "tests": ({"tests": {"unique": {"blocking": True}}}, [("test", "m", "operational")]),
        "column": ({"columns": []}, [("model column", "m.a", "breaking")]),
    }
    for edit, expected in edits.values():
        found = changes({("model", "m"): model}, {("model", "m"): {**model, **edit}})
        assert [(item.kind, item.name, item.weight) for item in found] == expected
    assert [item.weight for item in changes({}, {("contract", "c"): {}})] == ["operational"]
    assert [item.weight for item in changes({("model", "m"): model}, {})] == ["breaking"]
