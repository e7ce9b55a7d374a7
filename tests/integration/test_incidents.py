"""Incidents from the landing folder to a web hook: a bad file, one incident, one message, a repair, and it closes."""

from __future__ import annotations

import datetime as dt
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from code_location import CodeLocation, checks, failures, loaded, standalone
from command_line import Ended, dataops
from web_hook import web_hook

from dataops_assets.components import incident_sensor as sensor_module
from dataops_assets.components.incident_job import incident_job
from dataops_assets.components.incident_sensor import incident_sensor, lineage_of, tick
from dataops_assets.components.warehouse_problems import warehouse_problems
from dataops_assets.config.incidents import Incidents
from dataops_assets.config.source import Source
from dataops_assets.metadata.incident_store import IncidentStore
from dataops_assets.operations import project
from dataops_assets.operations.completion import incident_numbers
from dataops_assets.storage.links import PRIVATE

ORDERS = standalone() | {
    "refresh": {"type": "full", "key": ["id"]},
    "rules": [{"name": "doubled", "expression": "amount * 2"}],
    "checks": {"volume": {"min_rows": 2, "severity": "warn"}},
}
HEADER = "id,customer,amount\n"
GOOD = HEADER + "".join(f"{number},1,{number}\n" for number in range(100))


def day(number: int) -> str:
    return f"orders_2024-01-{number:02}.csv"


class Team:
    """A code location with its incident sensor, its web hook, and a person at the command line."""

    def __init__(
        self, here: CodeLocation, hook: str, messages: list[dict[str, Any]], declared: Mapping[str, Any] = ORDERS
    ) -> None:
        self.here = here
        self.messages = messages
        self.sources = {"orders": Source.model_validate(declared)}
        self.settings = Incidents.model_validate(
            {"channels": {"hook": {"url": "${TEAM_HOOK}"}}, "routes": [{"to": ["hook"], "owners": ["team:shop"]}]}
        )
        self.sensor = incident_sensor(self.sources, self.settings)
        self.cursor: str | None = None
        self.hook = hook

    def looks(self) -> Any:
        context = dg.build_sensor_context(
            instance=self.here.instance,
            cursor=self.cursor,
            repository_def=self.here.repository,
            resources={"platform": self.here.platform},
        )
        with context, pytest.MonkeyPatch.context() as patched:
            patched.setenv("TEAM_HOOK", self.hook)
            answer = self.sensor.evaluate_tick(context)
        self.cursor = answer.cursor
        for event in answer.asset_events:
            self.here.instance.report_runless_asset_event(event)
        return answer

    def commands(self, *words: str) -> Ended:
        context = self.here.platform.source_context(self.sources["orders"], self.sources)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(project, "environment", lambda: self.here.environment)
            return dataops([context], "incidents", *words)

    @property
    def rows(self) -> list[tuple[int, str, str, str]]:
        store = IncidentStore(self.here.environment.metadata_url)
        found = store.incidents(also_resolved=True)
        return [(row["incident_id"], row["state"], row["asset"], row["kind"]) for row in reversed(found)]

    @property
    def titles(self) -> list[str]:
        return [message["title"] for message in self.messages]


@pytest.fixture(scope="module")
def definitions() -> Iterator[dg.Definitions]:
    with loaded(ORDERS) as found:
        yield found


@pytest.fixture
def team(definitions: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path) -> Iterator[Team]:
    with web_hook() as (address, received):
        yield Team(CodeLocation(definitions, instance, tmp_path), address, received)


def test_a_bad_file_is_one_incident_told_once_and_a_good_one_closes_it(team: Team) -> None:
    team.here.land("orders", day(1), GOOD)
    team.here.settle("orders")
    assert team.looks().skip_message == "no incident changed"
    assert team.looks().skip_message == "nothing is new"

    team.here.land("orders", day(2), "not,what,was,agreed\n1,2,3,4\n")
    team.here.settle("orders")
    first = team.looks()
    assert team.rows == [(1, "open", "lake/orders", "failed")]
    assert first.skip_message.startswith("incident 1 opened: parse of ")
    # the table of the cause shows the incident, with a link to the launchpad
    (event,) = first.asset_events
    assert event.asset_key == dg.AssetKey(["lake", "orders"])
    assert "/jobs/incidents/playground/setup?config=" in str(event.metadata["acknowledge"].value)
    for _ in range(2):
        assert team.looks().skip_message in ("no incident changed", "nothing is new")
    # a repeat joins the open one
    team.here.land("orders", day(3), "not,what,was,agreed\n1,2,3,4\n")
    team.here.settle("orders")
    team.looks()
    assert team.titles == ["[fail] Incident 1 opened: lake/orders failed"]
    shown = team.commands("show", "1", "--json").data
    assert len(shown["inputs"]) == 2
    assert {"lake/orders_changes", "hub/orders"} <= set(shown["downstream"])
    assert (shown["owners"], shown["area"]) == (["team:shop"], "shop")
    assert shown["seconds_to_detect"] >= 0

    # the files are sent again under their own names
    for number in (2, 3):
        team.here.land("orders", day(number), GOOD)
    team.here.settle("orders")
    team.looks()
    assert team.rows == [(1, "resolved", "lake/orders", "failed")]
    assert team.titles[1:] == ["[fail] Incident 1 resolved: lake/orders failed"]
    assert len(team.here.rows("hub/orders", "id")) == 100


def test_a_held_extract_is_an_incident_until_it_is_approved(team: Team) -> None:
    team.here.land("orders", day(1), GOOD)
    team.here.land("orders", day(2), HEADER + "1,1,1\n2,1,1\n")
    team.here.settle("orders")
    team.looks()
    # the failed check of deletes has the same cause
    assert team.rows == [(1, "open", "lake/orders_changes", "held")]
    shown = team.commands("show", "1").out
    context = team.here.platform.source_context(team.sources["orders"], team.sources)
    (held,) = context.metadata.decisions.held("orders")
    assert f"next: look at it, then run: dataops approve orders {held}\n" in shown
    assert dataops([context], "approve", "orders", held, "--by", "ann").code == 0
    team.here.settle("orders")
    team.looks()
    assert [state for _, state, _, _ in team.rows] == ["resolved"], team.commands("show", "1").out


def test_a_failed_check_links_to_its_incident_which_closes_when_it_passes(team: Team) -> None:
    def landed(number: int, rows: int) -> dg.AssetCheckEvaluation:
        team.here.land("orders", day(number), HEADER + "".join(f"{row},1,{number}\n" for row in range(rows)))
        (result,) = team.here.settle("orders")
        team.looks()
        return checks(result)["lake/orders:volume"]

    # the first failure opens it
    first = str(landed(1, 1).metadata["incident"].value)
    assert first.startswith("[the next look opens one: list them](/locations/dataops_assets/jobs/incidents/playground/")
    assert team.rows == [(1, "open", "lake/orders", "volume")]
    link = str(landed(2, 1).metadata["incident"].value)
    assert link.startswith("[incident 1, open](/locations/dataops_assets/jobs/incidents/playground/setup?config=")
    assert landed(3, 2).passed
    assert team.rows == [(1, "resolved", "lake/orders", "volume")]
    assert team.titles == [
        "[warn] Incident 1 opened: lake/orders volume",
        "[warn] Incident 1 resolved: lake/orders volume",
    ]


def test_a_person_acknowledges_mutes_and_resolves(team: Team) -> None:
    assert team.commands("list").code == 0
    team.here.land("orders", day(1), "not,what,was,agreed\n1,2,3,4\n")
    team.here.settle("orders")
    team.looks()
    listed = team.commands("list", "--json")
    assert (listed.code, [row["incident_id"] for row in listed.data["incidents"]]) == (1, [1])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(project, "environment", lambda: team.here.environment)
        patched.setattr(project, "metadata", lambda: team.here.platform.metadata)
        assert (incident_numbers(""), incident_numbers("2")) == (["1"], [])
    assert team.commands("ack", "1", "--note", "asked the shop", "--by", "ann").code == 0
    assert team.commands("mute", "1", "--hours", "2", "--by", "ann").out.startswith("muted until ")
    shown = team.commands("show", "1", "--json").data
    assert (shown["state"], shown["acknowledged_by"]) == ("acknowledged", "ann")
    assert shown["seconds_to_acknowledge"] >= 0
    refused = team.commands("ack", "7")
    assert (refused.code, "no incident with this number" in refused.err) == (2, True)
    assert team.commands("resolve", "1", "--by", "ann").code == 0
    # the file is still bad, and nothing new was seen of it
    team.looks()
    assert team.rows == [(1, "resolved", "lake/orders", "failed")]
    assert team.commands("list", "--all").code == 0
    kinds = [event["kind"] for event in team.commands("show", "1", "--json").data["events"]]
    assert kinds == ["found", "acknowledged", "muted", "resolved"]


def test_the_job_does_it_from_its_list(team: Team) -> None:
    team.here.land("orders", day(1), "not,what,was,agreed\n1,2,3,4\n")
    team.here.settle("orders")
    team.looks()

    def launched(config: dict[str, Any] | None = None) -> dg.ExecuteInProcessResult:
        return incident_job().execute_in_process(
            run_config=config,
            instance=team.here.instance,
            resources={"platform": team.here.platform},
            raise_on_error=False,
        )

    (event,) = (event for event in launched().all_events if event.is_successful_output)
    links = re.findall(r"\((/locations/[^)]+)\)", str(event.step_output_data.metadata["to choose"].value))
    assert len(links) == 3
    (filled,) = urllib.parse.parse_qs(urllib.parse.urlsplit(links[0]).query)["config"]
    done = launched(yaml.safe_load(filled))
    assert done.success, failures(done)
    assert team.rows == [(1, "acknowledged", "lake/orders", "failed")]
    filled = filled.replace("- 1", "- 9")
    assert "no incident with this number" in failures(launched(yaml.safe_load(filled)))[0]


def test_a_source_without_new_inputs_is_late(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    team.here.land("orders", day(1), GOOD)
    team.here.settle("orders")
    monkeypatch.setenv("TEAM_HOOK", team.hook)

    def at(hours: float, cursor: str) -> str:
        now = dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours)
        declared = (team.sources, team.settings)
        found = tick(team.here.repository, team.here.platform, team.here.instance, declared, cursor, now)
        return found.cursor

    cursor = at(0, "")
    assert at(0.5, cursor) == cursor, "nothing is new, so nothing is read"
    cursor = at(23, cursor)
    assert team.rows == []
    cursor = at(25, cursor)
    assert team.rows == [(1, "open", "raw/orders", "late")]
    # what a person resolved stays resolved while nothing but time goes by, until it is worse
    assert team.commands("resolve", "1", "--by", "ann").code == 0
    cursor = at(26, cursor)
    cursor = at(30, cursor)
    assert team.rows == [(1, "resolved", "raw/orders", "late")]
    at(49, cursor)
    assert team.titles == [
        "[warn] Incident 1 opened: raw/orders late",
        "[warn] Incident 1 resolved: raw/orders late",
        "[fail] Incident 2 opened: raw/orders late",
    ]


def test_a_table_of_the_warehouse_that_fails_is_stale_and_so_is_what_lies_below(instance: dg.DagsterInstance) -> None:
    fails = True

    @dg.asset(key=["warehouse", "sales"], group_name="shop", owners=["team:bi"])
    def sales() -> None:
        if fails:
            raise dg.Failure("no such column")

    @dg.asset(key=["warehouse", "weekly"], deps=[sales], group_name="shop")
    def weekly() -> None:
        pass

    @dg.asset_check(asset=sales)
    def complete() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, description="3 rows are missing")

    definitions = dg.Definitions(assets=[sales, weekly], asset_checks=[complete])
    repository = definitions.get_repository_def()
    lineage = lineage_of(repository.asset_graph)

    def seen() -> dict[str, tuple[str, tuple[str, ...]]]:
        job = repository.get_implicit_global_asset_job_def()
        job.execute_in_process(instance=instance, raise_on_error=False)
        found = warehouse_problems(repository.asset_graph, instance, lineage)
        return {item.key: (item.severity, item.owners) for item in found.problems}

    assert seen() == {"warehouse/sales stale": ("fail", ("team:bi",)), "warehouse/weekly stale": ("fail", ())}
    fails = False
    assert seen() == {"warehouse/sales complete": ("warn", ("team:bi",))}
    assert sensor_module.SENSOR == "incidents"


def test_no_message_leaves_a_private_environment(team: Team) -> None:
    (team.here.environment.home / PRIVATE).write_text("{}")
    team.here.land("orders", day(1), "not,what,was,agreed\n1,2,3,4\n")
    team.here.settle("orders")
    team.looks()
    assert [state for _, state, _, _ in team.rows] == ["open"]
    assert team.messages == []
