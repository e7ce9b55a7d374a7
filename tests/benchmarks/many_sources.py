"""How a deployment of many sources answers under the daemon. Run by hand: `make benchmark-many-sources`.

Grain of the output: one line a figure, with the median and all values in seconds. The daemon, the webserver, the code
location and Chromium are real, with the settings of one machine (`deploy/local/dagster.yaml`), in a copy of the project
in which only the generated sources are declared. Nothing else should run beside it.
"""

from __future__ import annotations

import argparse
import datetime as dt
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import yaml
from latency import LONGEST, cpu_of, event_time, show
from live_dagster import LOCATION, LiveDagster, live_dagster, wait_until
from pages import page_of
from playwright.sync_api import sync_playwright
from project_copy import project_copy
from scale import FIRST_DAY, SOURCE_TYPE, declared

IDLE_SECONDS = 60


def project_of(sources: int, place: Path) -> Path:
    """A copy of the project that declares this number of sources in twenty areas, and nothing else."""
    project = project_copy(place)
    defs = project / "dataops_assets" / "defs"
    shutil.rmtree(defs)
    for source in (declared(number) for number in range(sources)):
        file = defs / source["area"] / source["name"] / "defs.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(yaml.safe_dump({"type": SOURCE_TYPE, "attributes": source}))
    return project


def start_of_run(server: LiveDagster, asset: str) -> float:
    """Seconds from the creation of the newest run of an asset until its process began with the steps."""
    run = server.materializations(asset, 1)[0]["runId"]
    data = server.ask(
        "query($run: ID!) { runOrError(runId: $run) { ... on Run { creationTime startTime } } }", run=run
    )["runOrError"]
    return float(data["startTime"] - data["creationTime"])


def one_file(server: LiveDagster, source: int, day: int) -> tuple[float, float]:
    """Seconds until a file of a source is in its hub, and until its run began."""
    began = time.time()
    date = FIRST_DAY + dt.timedelta(days=day)
    header = ",".join(["id", *(f"value_{index}" for index in range(9))])
    server.land(f"things_{source}/things_{date}.csv", f"{header}\n{day},{',1' * 8}\n".encode())
    asset = f"hub/things_{source}"
    in_hub = wait_until(lambda: event_time(server, asset, began), "the file is in the hub", LONGEST)
    wait_until(server.is_quiet, "the run ends", LONGEST)
    return in_hub - began, start_of_run(server, asset)


def graph_page(url: str, times: int) -> Sequence[float]:
    """Seconds until the page of the asset graph shows its areas."""
    found = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for _ in range(times):
            with page_of(browser, url) as page:
                began = time.monotonic()
                page.goto("/asset-groups")
                page.get_by_text("area_0", exact=True).first.wait_for()
                found.append(time.monotonic() - began)
        browser.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=int, default=500)
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        project = project_of(options.sources, Path(place) / "project")
        began = time.monotonic()
        with live_dagster(Path(place) / "home", project=project) as server:
            wait_until(lambda: server.locations()[LOCATION]["locationOrLoadError"], "the location loads", LONGEST)
            show(f"the location of {options.sources} sources is loaded after", [time.monotonic() - began])
            files = [one_file(server, 7 * number, number) for number in range(options.times + 1)]
            show("the first file is in the hub after", [files[0][0]])
            show("its run began after", [files[0][1]])
            show("a new file is in the hub after", [hub for hub, _ in files[1:]])
            show("its run began after", [start for _, start in files[1:]])
            show("the page of the asset graph shows its areas after", graph_page(server.url, options.times))
            before = cpu_of(server.session)
            time.sleep(IDLE_SECONDS)
            show("idle CPU, per cent of a core", [100 * (cpu_of(server.session) - before) / IDLE_SECONDS])
            locked = server.log.read_text(errors="replace").count("database is locked")
            print(f"'database is locked' in the log: {locked} times")


if __name__ == "__main__":
    main()
