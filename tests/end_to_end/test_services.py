"""Compose's services as processes of this machine: their commands, instance file and settings, on a real PostgreSQL."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml
from live_dagster import PROJECT, LiveDagster, environment, free_port, running, wait_until

from dataops_assets.demo import flights

DEPLOY = PROJECT / "deploy"


@pytest.fixture
def database(postgres_url: str) -> str:
    """The URL of a database of this deployment alone."""
    engine = sa.create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text("CREATE DATABASE services"))
    engine.dispose()
    return sa.make_url(postgres_url).set(database="services").render_as_string(hide_password=False)


@pytest.mark.postgres
def test_the_services_work_together(tmp_path: Path, database: str) -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    (image_command,) = re.findall(r"^CMD (\[.+\])$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    code_port, web_port = free_port(), free_port()
    # what differs from the network of containers: where services listen, where data and the database are
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text((DEPLOY / "production" / "dagster.yaml").read_text())
    workspace = tmp_path / "workspace.yaml"
    workspace.write_text(
        (DEPLOY / "production" / "workspace.yaml")
        .read_text()
        .replace("host: code", "host: 127.0.0.1")
        .replace("port: 4000", f"port: {code_port}")
    )
    here = {"0.0.0.0": "127.0.0.1", "4000": str(code_port), "3000": str(web_port), "workspace.yaml": str(workspace)}
    variables = environment(tmp_path / "data", DAGSTER_HOME=str(home), DAGSTER_POSTGRES_URL=database)
    for name, value in services["code"]["environment"].items():
        if name.endswith("_URL"):
            variables[name] = database
        else:
            # ${NAME:-default}
            variables[name] = value.partition(":-")[2].rstrip("}").replace("/data", str(tmp_path / "data"))
    assert variables["DATAOPS_ENV"] == "staging"

    landing = Path(variables["DATAOPS_LANDING"])
    landing.mkdir(parents=True)
    server = LiveDagster(f"http://127.0.0.1:{web_port}", landing, tmp_path / "webserver.log")
    with ExitStack() as started:
        for name in ("code", "webserver", "daemon"):
            command = services[name].get("command") or json.loads(image_command)
            log = tmp_path / f"{name}.log"
            process = started.enter_context(running([here.get(word, word) for word in command], variables, log))

            def up(process=process, log=log, name=name) -> bool:
                assert process.poll() is None, log.read_text(errors="replace")[-4000:]
                if name == "code":
                    return "Started Dagster code server" in log.read_text()
                return name == "daemon" or server.answers()

            wait_until(up, f"{name} is up", 120)

        files = {file.path: file.content for file in flights.stage_files("history")}
        path = "flights/airlines/airlines_2013-01-01.csv"
        server.land(path, files[path]())
        wait_until(lambda: server.materializations("hub/airlines"), "the daemon runs what the sensor finds", 240)

    engine = sa.create_engine(database)
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM inputs")).scalar_one() == 1
    engine.dispose()
