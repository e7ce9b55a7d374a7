"""From a topic to a topic and to an API, as the daemon drives it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from code_location import SOURCE_TYPE, CodeLocation
from dagster.components.testing import create_defs_folder_sandbox
from kafka_broker import Broker
from kafka_place import COLUMNS
from rest_server import Reply, rest_server

from dataops_assets.components.local import LocalRunner

CONNECTIONS_TYPE = "dataops_assets.components.ConnectionsComponent"
OUTPUT_TYPE = "dataops_assets.components.OutputComponent"


def test_messages_flow_to_a_topic_and_an_api(tmp_path: Path, kafka: Broker) -> None:
    taken: list[Any] = []
    topic = kafka.topic()
    kafka.send(topic, [{"key": str(number), "value": f'{{"city": "c{number}"}}'} for number in range(3)])
    with rest_server() as server, create_defs_folder_sandbox() as sandbox:
        server.answer = lambda request: taken.append(json.loads(request.body)) or Reply(b"", status=204)
        connection = {"type": "kafka", "cluster": "main", "topic": topic}
        source = {"name": "orders", "area": "shop", "connection": connection, "columns": COLUMNS}
        output = {"area": "shop", "from": "hub/orders", "columns": [{"name": "id"}, {"name": "city"}]}
        to_topic = {"type": "topic", "cluster": "main", "topic": f"{topic}_out", "positions": f"{topic}_positions"}
        declared = {
            "connections": (
                CONNECTIONS_TYPE,
                {
                    "connections": {
                        "main": {"type": "kafka", "bootstrap_servers": [kafka.address], "timeout_seconds": 60},
                        "shop": {"type": "rest", "url": server.url},
                    }
                },
            ),
            "orders": (SOURCE_TYPE, {**source, "refresh": {"type": "key", "key": ["id"], "delete_when": "gone"}}),
            "sent": (OUTPUT_TYPE, {**output, "name": "sent", "to": to_topic}),
            "told": (OUTPUT_TYPE, {**output, "name": "told", "to": {"type": "http", "api": "shop", "path": "orders"}}),
        }
        for name, (kind, attributes) in declared.items():
            folder = sandbox.defs_folder_path / name
            folder.mkdir(parents=True)
            (folder / "defs.yaml").write_text(yaml.safe_dump({"type": kind, "attributes": attributes}))
        with sandbox.build_all_defs() as definitions, dg.DagsterInstance.ephemeral() as instance:
            here = CodeLocation(definitions, instance, tmp_path)
            runner = LocalRunner(here.definitions, instance, tmp_path / "cursor", lambda _: None)
            done = [*runner.run_new_inputs(), *runner.run_automation()]
            assert all(item.succeeded for item in done)
            sent = here.materialized("output/sent")[""].metadata
            assert sent["run: messages"].value == 3
            assert [row["city"] for row in taken[0]["rows"]] == ["c0", "c1", "c2"]
            (partition,) = here.partitions("orders")
            made = here.materialized("raw/orders")[partition].metadata
            assert (made["messages"].value, made["lag"].value) == (3, 0)
            assert "kafka" in here.repository.asset_graph.get(dg.AssetKey(["raw", "orders"])).kinds
