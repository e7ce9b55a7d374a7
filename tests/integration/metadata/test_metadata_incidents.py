"""Incidents on both databases: looks at the same time make one incident, and one process sends a message."""

from __future__ import annotations

import datetime as dt
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from metadata_examples import START

from dataops_assets.config.incidents import Incidents
from dataops_assets.errors import InputError
from dataops_assets.incidents.decisions import Seen
from dataops_assets.incidents.delivery import deliver
from dataops_assets.incidents.grouping import Lineage
from dataops_assets.incidents.looking import Decision, look, record_decision
from dataops_assets.incidents.problem import Problem
from dataops_assets.metadata.incident_store import IncidentStore

LOOKS = 6
LINEAGE = Lineage({"lake/sales": [], "hub/sales": ["lake/sales"]})
TOLD = Incidents.model_validate({"channels": {"chat": {"url": "${CHAT}"}}, "routes": [{"to": ["chat"]}]})


class Chat:
    """A channel that keeps the titles it is sent."""

    def __init__(self) -> None:
        self.titles: list[str] = []

    def send(self, title: str, body: str, severity: str) -> str:  # noqa: ARG002
        self.titles.append(title)
        return ""


def test_looks_at_the_same_time_make_one_incident_and_one_message(url: str) -> None:
    store, chat, together = IncidentStore(url), Chat(), threading.Barrier(LOOKS)
    problems = [Problem(asset, "failed", "fail", START, START, "bad") for asset in ("hub/sales", "lake/sales")]

    def works(seen: Seen, at: dt.datetime) -> None:
        together.wait()
        look(IncidentStore(url), lambda: seen, LINEAGE, TOLD, at, None)
        deliver(IncidentStore(url), {"chat": chat}, TOLD, at)

    for minutes, seen in ((0, Seen(problems)), (5, Seen())):
        with ThreadPoolExecutor(LOOKS) as pool:
            list(pool.map(lambda _, s=seen, m=minutes: works(s, START + dt.timedelta(minutes=m)), range(LOOKS)))
    (row,) = store.incidents(also_resolved=True)
    assert (row["state"], row["asset"], row["present"]) == ("resolved", "lake/sales", 0)
    assert round(row["seconds_to_resolve"]) == 300
    assert chat.titles == [f"[fail] Incident 1 {change}: lake/sales failed" for change in ("opened", "resolved")]


def test_a_decision_is_recorded_for_all_incidents_or_none(url: str) -> None:
    store = IncidentStore(url)
    look(
        store, lambda: Seen([Problem("lake/sales", "failed", "fail", START, START, "bad")]), LINEAGE, TOLD, START, None
    )
    mute = Decision("muted", "ann", "till tomorrow", START + dt.timedelta(days=1))
    with pytest.raises(InputError, match="no incident with this number"):
        record_decision(store, [1, 2], mute, START)
    assert store.incidents()[0]["muted_until"] is None
    record_decision(store, [1], mute, START)
    assert store.incidents()[0]["muted_until"] == START + dt.timedelta(days=1)
