"""Outputs as assets: delivered after their table by `dataops run` and automation, refused while it is not ready."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
import yaml
from code_location import SOURCE_TYPE, CodeLocation, checks, failures, standalone
from dagster.components.testing import create_defs_folder_sandbox

from dataops_assets.components.declarations import declared_sources
from dataops_assets.components.load_checks import faults
from dataops_assets.components.local import LocalRunner
from dataops_assets.components.output import blocking_checks, output_asset, require_models
from dataops_assets.errors import ConfigError

TYPE = "dataops_assets.components.OutputComponent"
OUTPUT: dict[str, Any] = {
    "name": "orders_for_crm",
    "area": "crm",
    "from": "hub/orders",
    "columns": [
        {"name": "order_no", "of": "id", "description": "Number."},
        {"name": "cents", "expression": "amount * 100"},
    ],
    "to": {"type": "files", "path": "crm"},
}


def written(folder: Path, *declared: tuple[str, dict[str, Any]]) -> None:
    for kind, attributes in declared:
        place = folder / str(attributes.get("name", "connections"))
        place.mkdir(parents=True)
        (place / "defs.yaml").write_text(yaml.safe_dump({"type": kind, "attributes": attributes}))


def guarded() -> dict[str, Any]:
    return standalone() | {
        "refresh": {"type": "full", "key": ["id"]},
        "gates": {"deletes": {"max_share": 0.4, "min_rows": 1}},
    }


def test_an_output_follows_its_table_and_waits_while_an_input_is_held(tmp_path: Path) -> None:
    file = tmp_path / "outputs" / "crm" / "orders_for_crm.csv"
    with create_defs_folder_sandbox() as sandbox:
        written(sandbox.defs_folder_path, (SOURCE_TYPE, guarded()), (TYPE, OUTPUT))
        with sandbox.build_all_defs() as definitions, dg.DagsterInstance.ephemeral() as instance:
            here = CodeLocation(definitions, instance, tmp_path)

            def run() -> list[str]:
                # as `dataops run` does, but for what it does to the connections of its process
                runner = LocalRunner(here.definitions, instance, tmp_path / "cursor", lambda _: None)
                done = [*runner.run_new_inputs(), *runner.run_automation()]
                return [item.what for item in done if item.succeeded]

            here.land("orders", "orders_2024-01-01.csv", "id,customer,amount\n1,7,1\n2,7,2.5\n")
            assert "output/orders_for_crm" in run()
            assert file.read_text() == "order_no,cents\n1,100.0\n2,250.0\n"
            assert run() == []
            made = here.materialized("output/orders_for_crm")[""].metadata
            assert made["dagster/row_count"].value == 2
            assert made["hub_versions"].value == {"hub/orders": 0}
            lineage = here.declared("output/orders_for_crm")["dagster/column_lineage"].deps_by_column
            assert [(item.asset_key.path, item.column_name) for item in lineage["cents"]] == [
                (["hub", "orders"], "amount")
            ]

            # "Execute" on its check: the delivery is compared again, and there is nothing new to deliver
            graph = here.repository.asset_graph
            wanted = graph.get(dg.AssetKey(["output", "orders_for_crm"])).check_keys
            job = here.repository.get_implicit_global_asset_job_def().get_subset(asset_check_selection=wanted)
            executed = job.execute_in_process(instance=instance, raise_on_error=False)
            assert executed.success, failures(executed)
            assert {item.check_name for item in executed.get_asset_check_evaluations()} == {"volume", "delivery"}
            assert all(item.passed for item in executed.get_asset_check_evaluations())
            assert file.read_text() == "order_no,cents\n1,100.0\n2,250.0\n"

            # too many rows would go: the input is held, and so is the delivery, also by hand
            here.land("orders", "orders_2024-01-02.csv", "id,customer,amount\n1,7,9\n")
            run()
            by_hand = here.materialize(["output/orders_for_crm"], {})
            assert not by_hand.success
            assert "is held" in failures(by_hand)[0]
            assert file.read_text().count("\n") == 3
            (held,) = here.platform.metadata.decisions.held("orders")
            here.platform.metadata.decisions.approve("orders", [held], "a person")
            assert "output/orders_for_crm" in run()
            assert file.read_text() == "order_no,cents\n1,900.0\n"


def test_an_output_feeds_a_source_with_lineage(tmp_path: Path) -> None:
    back: dict[str, Any] = {
        "name": "returned",
        "area": "crm",
        "connection": {"type": "files", "path": str(tmp_path / "outputs" / "crm" / "*.csv"), "settle_seconds": 0},
        "fed_by": ["output/orders_for_crm", "warehouse/of_another_site"],
        "columns": [{"name": "order_no", "type": "integer"}, {"name": "cents", "type": "double"}],
        "refresh": {"type": "full", "key": ["order_no"]},
    }
    with create_defs_folder_sandbox() as sandbox:
        written(sandbox.defs_folder_path, (SOURCE_TYPE, guarded()), (TYPE, OUTPUT), (SOURCE_TYPE, back))
        declared = declared_sources(sandbox.defs_folder_path)
        with sandbox.build_all_defs() as definitions, dg.DagsterInstance.ephemeral() as instance:
            here = CodeLocation(definitions, instance, tmp_path)
            graph = here.repository.asset_graph
            parents = graph.get(dg.AssetKey(["raw", "returned"])).parent_keys
            assert {"/".join(key.path) for key in parents} == set(back["fed_by"])
            require_models(declared, list(graph.get_all_asset_keys()))
            here.land("orders", "orders_2024-01-01.csv", "id,customer,amount\n1,7,1\n2,7,2.5\n")
            runner = LocalRunner(here.definitions, instance, tmp_path / "cursor", lambda _: None)
            done = [*runner.run_new_inputs(), *runner.run_automation(), *runner.run_new_inputs()]
            assert all(item.succeeded for item in done), done
            (made,) = here.materialized("hub/returned").values()
            assert made.metadata["dagster/row_count"].value == 2
    with pytest.raises(ConfigError, match=r"fed_by.*no such asset.*did you mean 'output/orders_for_crn'"):
        require_models(declared, [dg.AssetKey(["output", "orders_for_crn"]), dg.AssetKey(["hub", "orders"])])


def test_an_output_of_a_table_whose_blocking_check_failed_is_refused(tmp_path: Path) -> None:
    source = standalone() | {"checks": {"volume": {"min_rows": 2, "severity": "fail"}}}
    with create_defs_folder_sandbox() as sandbox:
        written(sandbox.defs_folder_path, (SOURCE_TYPE, source), (TYPE, OUTPUT))
        with sandbox.build_all_defs() as definitions, dg.DagsterInstance.ephemeral() as instance:
            here = CodeLocation(definitions, instance, tmp_path)
            here.platform.blocking_checks = blocking_checks(definitions.assets or ())
            assert "volume" in here.platform.blocking_checks["hub/orders"]
            here.land("orders", "orders_2024-01-01.csv", "id,customer,amount\n1,7,1\n2,7,1\n")
            here.settle("orders")
            # as if a later version of the table had failed it
            table = dg.AssetKey(["hub", "orders"])
            failed = dg.AssetCheckEvaluation(
                table, "volume", False, {}, None, dg.AssetCheckSeverity.ERROR, "too few rows"
            )
            instance.report_runless_asset_event(failed)
            run = here.materialize(["output/orders_for_crm"], {})
            assert "its blocking check volume failed: too few rows" in failures(run)[0]
            assert not (tmp_path / "outputs").exists()


def test_a_failed_comparison_is_a_failed_check_and_delivers_nothing(tmp_path: Path) -> None:
    target = tmp_path / "target.duckdb"
    with duckdb.connect(str(target)) as connection:
        connection.execute("CREATE TABLE orders (order_no BIGINT, cents FLOAT)")
    connections = {"connections": {"office": {"type": "duckdb", "path": str(target)}}}
    to = {"type": "table", "database": "office", "table": "orders"}
    with create_defs_folder_sandbox() as sandbox:
        kinds = "dataops_assets.components.ConnectionsComponent"
        written(
            sandbox.defs_folder_path, (SOURCE_TYPE, standalone()), (kinds, connections), (TYPE, OUTPUT | {"to": to})
        )
        with sandbox.build_all_defs() as definitions, dg.DagsterInstance.ephemeral() as instance:
            here = CodeLocation(definitions, instance, tmp_path)
            here.land("orders", "orders_2024-01-01.csv", "id,customer,amount\n1,7,167772.17\n")
            here.settle("orders")
            run = here.materialize(["output/orders_for_crm"], {})
            assert not run.success
            check = checks(run)["output/orders_for_crm:delivery"]
            assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
            assert "values in the target differ" in (check.description or "")
            assert here.materialized("output/orders_for_crm") == {}
            with duckdb.connect(str(target)) as connection:
                assert connection.execute("SELECT count(*) FROM orders").fetchall() == [(0,)]
                connection.execute("ALTER TABLE orders ALTER cents TYPE DOUBLE")
            run = here.materialize(["output/orders_for_crm"], {})
            assert run.success
            assert checks(run)["output/orders_for_crm:delivery"].passed


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"from": "hub/order"}, "did you mean 'hub/orders'"),
        ({"columns": [{"name": "amuont"}]}, "did you mean 'amount'"),
        ({"columns": [{"name": "x", "expression": "sum(amount) over ()"}]}, "an output computes each row alone"),
        ({"columns": [{"name": "x", "expression": "read_csv('/etc/passwd')"}]}, "reads nothing outside its row"),
        ({"keep_when": "amonut > 1"}, "did you mean 'amount'"),
        ({"versions": "all"}, "keeps no history"),
        ({"key": ["id"]}, "'id' is no column of the output"),
        ({"to": {"type": "table", "database": "nowhere", "table": "t"}}, "looking for the database 'nowhere'"),
        ({"to": {"type": "files", "path": "x", "name": "{day}"}}, "unknown token {day}"),
        ({"mode": "incremental"}, "files with changes cannot delete"),
        ({"from": "lake/orders"}, "known: hub/<source>"),
    ],
)
def test_a_wrong_declaration_is_refused_with_its_place(changes: dict[str, Any], told: str, tmp_path: Path) -> None:
    written(tmp_path, (SOURCE_TYPE, standalone()), (TYPE, OUTPUT | changes))

    def load() -> None:
        declared = declared_sources(tmp_path)
        output_asset(declared.outputs["orders_for_crm"], declared)

    with pytest.raises(ConfigError) as caught:
        load()
    assert told in str(caught.value)
    assert f"orders_for_crm{os.sep}defs.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("one", "other", "is_refused"),
    [
        ({"name": "daily"}, {"name": "daily", "path": "crm/"}, True),
        ({"name": "daily"}, {"name": "daily", "format": "parquet"}, False),
        ({"name": "daily"}, {"name": "daily", "path": "erp"}, False),
        ({"name": "{output}"}, {"name": "{output}"}, False),
        ({"name": "{date}"}, {"name": "{date}"}, True),
    ],
)
def test_two_outputs_of_one_file_are_refused(
    one: dict[str, Any], other: dict[str, Any], is_refused: bool, tmp_path: Path
) -> None:
    """Each would replace the file of the other."""
    written(
        tmp_path,
        (SOURCE_TYPE, standalone()),
        (TYPE, OUTPUT | {"to": OUTPUT["to"] | one}),
        (TYPE, OUTPUT | {"name": "again", "to": OUTPUT["to"] | other}),
    )
    found = faults(declared_sources(tmp_path))
    assert len(found) == 2 * is_refused
    assert all("has the same place" in fault and f"again{os.sep}defs.yaml" in fault for fault in found)


def test_a_model_that_nothing_makes_is_refused(tmp_path: Path) -> None:
    written(tmp_path, (SOURCE_TYPE, standalone()), (TYPE, OUTPUT | {"from": "warehouse/ordres"}))
    with pytest.raises(ConfigError, match="did you mean 'warehouse/orders'"):
        require_models(declared_sources(tmp_path), [dg.AssetKey(["warehouse", "orders"])])
