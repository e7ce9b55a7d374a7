"""The jobs approve_inputs, repair_rows and remove_inputs: what they list, what they change, what they tell Dagster."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from code_location import CodeLocation, failures, loaded, standalone

from dataops_assets.components.person_jobs import person_jobs
from dataops_assets.components.status import source_status
from dataops_assets.config.source import Source
from dataops_assets.operations.rerun import reset
from dataops_assets.steps.source_context import SourceContext

GUARDED = standalone() | {
    "refresh": {"type": "full", "key": ["id"]},
    "validations": [{"name": "sane", "expression": "amount < 1000", "severity": "quarantine"}],
}
HEADER = "id,customer,amount\n"
MANY = "".join(f"{number},1,1\n" for number in range(100))


def day(number: int) -> str:
    return f"orders_2024-01-{number:02}.csv"


class Person:
    """Who launches the jobs of a code location with one source."""

    def __init__(self, here: CodeLocation) -> None:
        self.here = here
        self.sources = {"orders": Source.model_validate(GUARDED)}
        self.jobs = {job.name: job for job in person_jobs(self.sources)}

    @property
    def context(self) -> SourceContext:
        return self.here.platform.source_context(self.sources["orders"], self.sources)

    def launches(self, name: str, config: dict[str, Any] | None = None) -> dg.ExecuteInProcessResult:
        """The job with the configuration that the launchpad shows, or with this one."""
        return self.jobs[name].execute_in_process(
            run_config={"ops": {name.split("_")[0]: {"config": config}}} if config is not None else None,
            instance=self.here.instance,
            resources={"platform": self.here.platform},
            raise_on_error=False,
        )

    def choices(self, name: str) -> list[dict[str, Any]]:
        """What the job lists when it is launched as it is: the configuration behind each link."""
        result = self.launches(name)
        assert result.success, failures(result)
        (event,) = (event for event in result.all_events if event.is_successful_output)
        text = str(event.step_output_data.metadata["to choose"].value)
        links = re.findall(r"\((/locations/[^)]+)\)", text)
        assert len(links) == len(text.splitlines()) or text == "There is nothing to choose."
        found = []
        for link in links:
            address = urllib.parse.urlsplit(link)
            assert address.path == f"/locations/dataops_assets/jobs/{name}/playground/setup"
            (config,) = urllib.parse.parse_qs(address.query)["config"]
            found.append(yaml.safe_load(config)["ops"][name.split("_")[0]]["config"])
        return found


@pytest.fixture(scope="module")
def guarded() -> Iterator[dg.Definitions]:
    with loaded(GUARDED) as definitions:
        yield definitions


@pytest.fixture
def person(guarded: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path) -> Person:
    """A hub of 100 rows, a row that is rejected, one that fails a validation, and a truncated extract that is held."""
    here = CodeLocation(guarded, instance, tmp_path)
    here.land("orders", day(1), HEADER + MANY + "100,1,9999\n101,x,1\n")
    here.land("orders", day(2), HEADER + "1,1,1\n")
    here.settle("orders")
    assert len(here.rows("hub/orders", "id")) == 100
    return Person(here)


def test_a_held_input_is_approved_from_the_list(person: Person) -> None:
    first, second = person.here.partitions("orders")
    (choice,) = person.choices("approve_inputs")
    assert choice == {"source": "orders", "inputs": [second], "by": ""}
    assert not person.context.metadata.decisions.approved("orders"), "listing changes nothing"

    refused = person.launches("approve_inputs", {"source": "orders", "inputs": [second, first]})
    assert f"{first}, which are not held; nothing was approved" in failures(refused)[0]
    refused = person.launches("approve_inputs", {"inputs": [second]})
    assert "name the source that they belong to" in failures(refused)[0]
    assert not person.context.metadata.decisions.approved("orders")

    done = person.launches("approve_inputs", choice)
    assert done.success, failures(done)
    assert person.context.metadata.decisions.approved("orders") == {second}
    assert all(result.success for result in person.here.settle("orders"))
    assert person.here.rows("hub/orders", "id") == [(1,)]
    assert source_status(person.context).count("held") == 0
    assert person.choices("approve_inputs") == []


def test_rows_are_repaired_from_the_list(person: Person) -> None:
    first, _ = person.here.partitions("orders")
    choices = person.choices("repair_rows")
    assert [choice["rows"] for choice in choices] == [
        [{"input": first, "row": 100, "set": {"amount": "9999.0"}}],
        [{"input": first, "row": 101, "set": {"customer": "***"}}],
    ]
    both = [choice["rows"][0] for choice in choices]
    refused = person.launches("repair_rows", {"source": "orders", "rows": both})
    assert "*** is what is shown of it, not a value" in failures(refused)[0]
    assert "nothing was recorded" in failures(refused)[0]

    rows = [both[0] | {"set": {"amount": "9998"}}, both[1] | {"set": {"customer": "7"}}]
    half = person.launches("repair_rows", {"source": "orders", "rows": rows, "by": "ann"})
    assert failures(half)[0].splitlines()[-1] == f"still kept out: row 100 of input {first}"
    assert (101, 7) in person.here.rows("hub/orders", "id", "customer")

    done = person.launches(
        "repair_rows", {"source": "orders", "rows": [both[0] | {"set": {"amount": "9"}}], "by": "ann"}
    )
    assert done.success, failures(done)
    assert {(100, 9.0), (101, 1.0)} <= set(person.here.rows("hub/orders", "id", "amount"))
    assert person.choices("repair_rows") == []
    # the event of a repair is reported outside of the run, as the command does
    found = person.here.instance.fetch_materializations(dg.AssetKey(["hub", "orders"]), limit=1)
    assert (found.records[0].run_id, found.records[0].partition_key) == ("", first)

    withdrawn = [{"input": first, "row": 100, "withdraw": True}]
    back = person.launches("repair_rows", {"source": "orders", "rows": withdrawn})
    assert failures(back)[0].splitlines()[-1] == f"still kept out: row 100 of input {first}"
    assert len(person.choices("repair_rows")) == 1


def test_an_input_is_removed_from_the_list(person: Person) -> None:
    first, second = person.here.partitions("orders")
    person.launches("approve_inputs", {"source": "orders", "inputs": [second]})
    person.here.settle("orders")
    assert [choice["inputs"] for choice in person.choices("remove_inputs")] == [[first], [second]]
    done = person.launches("remove_inputs", {"source": "orders", "inputs": [second]})
    assert done.success, failures(done)
    assert len(person.here.rows("hub/orders", "id")) == 100
    assert person.here.materialized("hub/orders")[second].metadata["removed"].value == 1
    assert person.here.settle("orders") == [], "a removed input is not taken again"
    assert not reset(person.context, "refresh", [second], lambda _: None).errors, "the way back"
    assert person.here.rows("hub/orders", "id") == [(1,)]
    refused = person.launches("remove_inputs", {"source": "orders", "inputs": ["nothing"]})
    assert "nothing" in failures(refused)[0]


def test_the_launchpad_offers_the_sources_and_says_what_each_field_is(person: Person) -> None:
    for name, job in person.jobs.items():
        with pytest.raises(dg.DagsterInvalidConfigError, match="not in enum"):
            job.execute_in_process(
                run_config={"ops": {name.split("_")[0]: {"config": {"source": "nothing"}}}},
                instance=person.here.instance,
                resources={"platform": person.here.platform},
            )
        schema = job.graph.node_defs[0].config_schema.config_type
        assert all(field.description for field in schema.fields.values()), name
