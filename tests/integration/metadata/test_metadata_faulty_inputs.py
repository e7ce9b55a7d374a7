"""Which inputs a person took for faults, by the incidents that were acknowledged."""

from __future__ import annotations

import datetime as dt

from metadata_examples import START

from dataops_assets.config.incidents import Incidents
from dataops_assets.incidents.decisions import Seen
from dataops_assets.incidents.grouping import Lineage
from dataops_assets.incidents.looking import Decision, look, record_decision
from dataops_assets.incidents.problem import Problem
from dataops_assets.metadata.incident_store import IncidentStore
from dataops_assets.metadata.store import MetadataStore


def problem(source: str, kind: str, *inputs: str) -> Problem:
    return Problem(f"lake/{source}", kind, "warn", START, START, "odd", source=source, area="shop", inputs=inputs)


def test_inputs_of_acknowledged_incidents_of_volume_and_distribution_are_faulty(store: MetadataStore, url: str) -> None:
    incidents = IncidentStore(url)
    found = [
        problem("sales", "volume", "2024-05-04_5f54de", "2024-05-05_1a2b3c"),
        problem("sales", "contract", "2024-05-06_aaaaaa"),
        problem("stores", "volume", "2024-05-04_bbbbbb"),
    ]
    look(incidents, lambda: Seen(found), Lineage({item.asset: [] for item in found}), Incidents(), START, None)
    assert store.decisions.faulty_inputs("sales") == frozenset()
    for number in incidents.numbers():
        record_decision(incidents, [number], Decision("acknowledged", "ann", ""), START + dt.timedelta(minutes=number))
    faulty = store.decisions.faulty_inputs("sales")
    assert {"2024-05-04_5f54de", "2024-05-05_1a2b3c"} <= faulty
    assert store.decisions.faulty_inputs("stores") == {"2024-05-04_bbbbbb"}
    assert store.decisions.faulty_inputs("others") == frozenset()
