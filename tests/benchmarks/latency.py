"""How long a file takes to the hub and to the warehouse under the daemon. Run by hand: `make benchmark-latency`.

Grain of the output: one line a figure, with the median and all values in seconds. The daemon, the webserver and the
code location are real, with the settings of one machine (`deploy/local/dagster.yaml`), in a copy of the project. The
seconds include all waiting: for the sensor, the queue and the start of a process. Nothing else should run beside it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from first_delivery import DAYS, history_file, landing_files
from live_dagster import LiveDagster, environment, live_dagster, wait_until
from project_copy import project_copy

TICKS = {
    "name": "ticks",
    "area": "bench",
    "connection": {
        "type": "files",
        "path": "ticks/*.csv",
        "extract_time": {"pattern": "ticks_%Y-%m-%d_%H%M.csv"},
        "settle_seconds": 0,
    },
    "columns": [{"name": "id", "type": "integer", "nullable": False}, {"name": "v"}],
    "refresh": {"type": "key", "key": ["id"]},
}
IDLE_SECONDS = 60
LONGEST = 1200
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def show(what: str, seconds: Sequence[float]) -> None:
    """Print a figure."""
    values = ", ".join(f"{value:.1f}" for value in seconds) if len(seconds) > 1 else ""
    print(f"{what:<58}{statistics.median(seconds):>8.1f}  {values}", flush=True)


def cpu_of(session: int) -> float:
    """The CPU seconds of all processes of a session, and of those that ended and were children of these."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            # own and of children that ended: user, system
            total += sum(map(int, fields[11:15]))
    return total / _CLOCK_TICKS


def event_time(server: LiveDagster, asset: str, after: float, partition: str = "") -> float:
    """When an asset was materialized first after a moment; 0.0 if it was not yet."""
    times = [
        int(event["timestamp"]) / 1000
        for event in server.materializations(asset)
        if (event["partition"] or "").startswith(partition)
    ]
    return min((moment for moment in times if moment > after), default=0.0)


def one_file(server: LiveDagster, day: str) -> tuple[float, float]:
    """Seconds until a day of flights is in the hub, and in the warehouse."""
    path = f"flights/flights/flights_{day}.csv"
    content = history_file(path)
    began = time.time()
    server.land(path, content)
    hub = wait_until(lambda: event_time(server, "hub/flights", began, day), "the file is in the hub", LONGEST)
    warehouse = wait_until(lambda: event_time(server, "warehouse/fct_flights", hub), "the warehouse has it", LONGEST)
    wait_until(server.is_quiet, "the last run ends", LONGEST)
    return hub - began, warehouse - began


def many_files(server: LiveDagster, number: int) -> float:
    """Seconds until files that are dropped at once are in the hub."""
    began = time.time()
    for index in range(number):
        name = f"ticks/ticks_2024-01-{1 + index // 1000:02}_{index % 1000 // 60:02}{index % 60:02}.csv"
        server.land(name, f"id,v\n{index},x\n".encode())

    def newest() -> dict[str, Any]:
        return (server.materializations("hub/ticks", 1) or [{}])[0]

    def is_done() -> float:
        found = newest()
        rows = found.get("metadata", {}).get("dagster/row_count", {}).get("intValue")
        return int(found["timestamp"]) / 1000 if rows == number else 0.0

    return wait_until(is_done, "all files are in the hub", LONGEST) - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--files", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        project = project_copy(Path(place) / "project")
        declared = project / "dataops_assets" / "defs" / "bench" / "ticks" / "defs.yaml"
        declared.parent.mkdir(parents=True)
        declared.write_text(yaml.safe_dump({"type": "dataops_assets.components.SourceComponent", "attributes": TICKS}))
        started = time.monotonic()
        with live_dagster(Path(place) / "home", project=project) as server:
            show("the UI answers after", [time.monotonic() - started])
            for path, content in landing_files().items():
                server.land(path, content)
            wait_until(lambda: server.materializations("warehouse/fct_flights"), "the first delivery is in", LONGEST)
            wait_until(server.is_quiet, "the last run ends", LONGEST)
            days = [f"2013-01-{number:02}" for number in range(len(DAYS) + 1, len(DAYS) + 1 + options.times)]
            measured = [one_file(server, day) for day in days]
            show("a new file is in the hub after", [hub for hub, _ in measured])
            show("a new file is in the warehouse after", [warehouse for _, warehouse in measured])
            show(f"{options.files} files dropped at once are in the hub after", [many_files(server, options.files)])
            wait_until(server.is_quiet, "the last run ends", LONGEST)
            before = cpu_of(server.session)
            time.sleep(IDLE_SECONDS)
            share = (cpu_of(server.session) - before) / IDLE_SECONDS
            show("idle CPU, per cent of a core", [100 * share])
        variables = environment(Path(place) / "home", PYTHONPATH=str(project))
        loads = []
        for _ in range(options.times):
            started = time.monotonic()
            command = [str(Path(sys.executable).parent / "dg"), "check", "defs"]
            subprocess.run(command, cwd=project, env=variables, check=True, capture_output=True)
            loads.append(time.monotonic() - started)
        show("dg check defs", loads)


if __name__ == "__main__":
    main()
