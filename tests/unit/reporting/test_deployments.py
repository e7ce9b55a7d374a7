"""Deployments, and the incidents that count as their failures."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from dataops_assets.metadata.database import Database
from dataops_assets.metadata.declaration_store import Declaration, DeclarationStore
from dataops_assets.metadata.report_store import ReportStore
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.reporting.deployments import deployments, failure_share
from dataops_assets.reporting.facts import Facts
from dataops_assets.reporting.page import Report, page

FIRST = dt.datetime(2024, 5, 1, 9, tzinfo=dt.UTC)


def load(number: int, hours: float, *names: str) -> dict[str, Any]:
    at = FIRST + dt.timedelta(hours=hours)
    return {"load_id": number, "at": at, "changed": [("source", name) for name in names]}


def incident(number: int, hours: float, asset: str = "lake/orders", **more: Any) -> dict[str, Any]:
    began = FIRST + dt.timedelta(hours=hours)
    found = {"incident_id": number, "severity": "fail", "kind": "failed", "source": "orders", "asset": asset}
    return found | {"began_at": began, "resolved_at": began + dt.timedelta(hours=1)} | more


@pytest.mark.parametrize(
    ("found", "failed"),
    [
        (incident(7, 2), [1]),
        (incident(7, 0), [1]),
        # before it, and more than a day after it
        (incident(7, -1), []),
        (incident(7, 25), []),
        # of what another deployment changed, and of no deployment
        (incident(7, 2, source="stores", asset="lake/stores"), []),
        (incident(7, 2, source=None, asset="warehouse/orders"), [1]),
        # after the second one
        (incident(7, 31), [2]),
        (incident(7, 2, severity="warn"), []),
        (incident(7, 2, kind="late"), []),
    ],
)
def test_a_deployment_failed_if_what_it_changed_fails_soon_after(found: dict[str, Any], failed: list[int]) -> None:
    told = deployments([load(1, 0, "orders"), load(2, 30, "orders", "stores")], [found])
    assert [item.number for item in told] == [2, 1]
    assert [item.number for item in told if item.failed] == failed
    assert failure_share(told) == len(failed) / 2
    assert [item.seconds_to_repair for item in told if item.failed] == [
        (found["resolved_at"] - item.at).total_seconds() for item in told if item.failed
    ]


def test_what_a_deployment_changed_is_what_differs_from_the_one_before(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'metadata.db'}"
    MetadataStore(url).migrate()
    store = DeclarationStore(Database(url))
    orders, stores = Declaration("source", "orders", {"a": 1}), Declaration("source", "stores", {"a": 1})
    for declared in ([orders], [orders, stores], [Declaration("source", "orders", {"a": 2}), stores], [stores]):
        store.record(declared)
    started = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    loads = ReportStore(url).loads(started)
    named = [[("source", "stores")], [("source", "orders")], [("source", "orders")]]
    assert [[tuple(item) for item in row["changed"]] for row in loads] == named
    assert ReportStore(url).loads(dt.datetime.now(dt.UTC)) == []
    text = page(Report(Facts(dt.datetime.now(dt.UTC), loads=loads)))
    assert "0% of 3 deployments were followed by a failure" in text
    assert failure_share(deployments([], [])) is None
