"""One code location whose sources run on different engines, driven as the daemon drives it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from code_location import CUSTOMERS, CodeLocation, loaded, orders
from test_quarantine import SANE, Person

from dataops_assets.components import platform
from dataops_assets.engines.spark import SparkEngine, SparkSqlSession
from dataops_assets.steps.refresh import remove


def kept_out_and_repaired(home: Path, source: dict[str, Any]) -> list[Any]:
    """An input waits for another source; two of its rows are kept out, and a person gives them right."""
    with loaded(CUSTOMERS, source) as definitions, dg.instance_for_test() as instance:
        here = CodeLocation(definitions, instance, home)
        here.land("orders", "orders_2024-01-01.csv", "id,customer,amount\n1,1,9999\nx,2,2\n3,1,0.1\n")
        here.settle("orders")
        # what was told is forgotten: the look tells again what was told before
        here.forget_told("orders")
        waiting = str(here.tick("orders").skip_message)
        here.land("customers", "customers_2024-01-01.csv", "id,name\n1,Ada\n2,\u00c5sa\n")
        here.settle("customers")
        here.land("orders", "orders_2024-01-02.csv", "id,customer,amount\n3,1,7\n1,2,4\n")
        assert all(result.success for result in here.settle("orders"))
        first, second = here.partitions("orders")
        person = Person(here, source, CUSTOMERS)
        seen: list[Any] = [waiting, person.lists(), here.rows("hub/orders", *SEEN)]
        assert here.materialize(["hub/orders_current"], {}).success
        seen += [
            here.rows("hub/orders_current", "id", "of_customer"),
            here.rows("lake/orders_quarantine", "s_row_id", "s_reason", "s_value", "s_record"),
        ]
        right = home / "right.json"
        values = [{"row": 0, "column": "amount", "value": "5"}, {"row": 1, "column": "id", "value": "2"}]
        right.write_text(json.dumps([{"input": first, **value} for value in values]))
        assert person.does("repair", "--from", str(right)) == 0
        seen += [person.lists(), here.rows("hub/orders", *SEEN)]
        remove(person.context, [second])
        return [*seen, here.rows("hub/orders", *SEEN)]


SEEN = ("id", "amount", "cents", "week_day", "customer_name", "s_input_id", "s_row_id", "s_row_hash", "s_status")


def test_a_source_on_spark_beside_one_that_is_embedded(
    spark: SparkEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It waits for the other one and looks up its rows; rows that are kept out are repaired."""
    computed = [
        {"name": "cents", "type": "integer", "expression": "cast(amount * 100 as decimal(20,1))"},
        {"name": "week_day", "expression": "lower(strftime(s_extract_time, '%A')) || coalesce(cents, 0)"},
    ]
    waits = {
        "waits_for": [{"source": "customers", "within": "1 day"}],
        "validations": [SANE],
        "columns": [*orders()["columns"], *computed],
    }
    embedded = kept_out_and_repaired(tmp_path / "one", orders(**waits))
    written: list[str] = []
    write = SparkSqlSession.write

    def recorded(session, query, uri, columns):
        written.append(uri.rpartition("/storage/")[2])
        return write(session, query, uri, columns)

    monkeypatch.setattr(SparkSqlSession, "write", recorded)
    # the one that runs already
    monkeypatch.setattr(platform, "SparkEngine", lambda *_: spark)
    distributed = kept_out_and_repaired(tmp_path / "other", orders(**waits, engine="spark"))
    here, there = str(tmp_path / "one"), str(tmp_path / "other")
    assert repr(distributed).replace(there, here) == repr(embedded)
    waiting, kept_out, _, current, rejected, mended, repaired, alone = embedded
    assert "hub/customers has no input" in waiting
    assert ([row["row"] for row in kept_out], mended) == ([0, 1], [])
    assert current
    assert len(rejected) == 1
    assert [row[:5] for row in repaired] == [
        (1, 4.0, 400, "tuesday400", "\u00c5sa"),
        (2, 2.0, 200, "monday200", "\u00c5sa"),
        (3, 7.0, 700, "tuesday700", "Ada"),
    ]
    assert [row[:3] for row in alone] == [(1, 5.0, 500), (2, 2.0, 200), (3, 0.1, 10)]
    assert set(written) == {
        *("lake/orders", "lake/orders_quarantine", "lake/orders_changes"),
        *("hub/orders_enriched", "hub/orders", "hub/orders_current"),
    }
