"""Compose's services as processes of this machine: their commands, instance file and settings, on a real PostgreSQL.

Secrets are planted wherever a deployment has one, and everything that uses one fails; none is told anywhere.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import planted
import pytest
import sqlalchemy as sa
import yaml
from live_dagster import PROJECT, LiveDagster, environment, free_port, running, wait_until
from project_copy import project_copy
from rest_server import RestServer, rest_server

from dataops_assets.demo import flights

DEPLOY = PROJECT / "deploy"
FAILING_LOOKS = ("p_wrong", "p_file", "p_mysql", "p_key", "p_basic", "p_bearer", "p_oauth", "p_store")
FAILING_LOOKS += ("p_log", "p_queue", "p_server")
FAILING_OUTPUTS = ("p_out", "p_push", "p_topic")


@pytest.fixture
def databases(postgres_url: str) -> dict[str, str]:
    """The URL of this deployment's database for each of two users, whose passwords are planted."""
    engine = sa.create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text("CREATE DATABASE services"))
        for user in ("metadata", "dagster"):
            connection.execute(sa.text(f"CREATE ROLE {user} LOGIN SUPERUSER PASSWORD '{planted.secret(user)}'"))
    engine.dispose()
    url = sa.make_url(postgres_url).set(database="services")
    return {
        user: url.set(username=user, password=planted.secret(user)).render_as_string(hide_password=False)
        for user in ("metadata", "dagster")
    }


@pytest.fixture
def api() -> Iterator[RestServer]:
    with rest_server() as found:
        found.answer = planted.answer
        yield found


@pytest.mark.postgres
def test_the_services_work_together_and_tell_no_secret(
    tmp_path: Path, databases: dict[str, str], api: RestServer
) -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    (image_command,) = re.findall(r"^CMD (\[.+\])$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    code_port, web_port = free_port(), free_port()
    project = project_copy(tmp_path / "project")
    database_port = sa.make_url(databases["metadata"]).port or 0
    planted.plant(project, planted.declared(api.url, database_port, tmp_path))
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
    data = tmp_path / "data"
    variables = environment(data, DAGSTER_HOME=str(home), PYTHONPATH=str(project)) | planted.variables(tmp_path)
    for name, value in services["code"]["environment"].items():
        if name.endswith("_URL"):
            variables[name] = databases["dagster" if name.startswith("DAGSTER") else "metadata"]
        else:
            # ${NAME:-default}
            variables[name] = value.partition(":-")[2].rstrip("}").replace("/data", str(data))
    assert variables["DATAOPS_ENV"] == "staging"

    landing = Path(variables["DATAOPS_LANDING"])
    landing.mkdir(parents=True)
    server = LiveDagster(f"http://127.0.0.1:{web_port}", landing, tmp_path / "webserver.log")
    with ExitStack() as started:
        for name in ("code", "webserver", "daemon"):
            command = services[name].get("command") or json.loads(image_command)
            log = tmp_path / f"{name}.log"
            program = [here.get(word, word) for word in command]
            process = started.enter_context(running(program, variables, log, project))

            def up(process=process, log=log, name=name) -> bool:
                assert process.poll() is None, log.read_text(errors="replace")[-4000:]
                if name == "code":
                    return "Started Dagster code server" in log.read_text()
                return name == "daemon" or server.answers()

            wait_until(up, f"{name} is up", 120)
            if name == "webserver":
                # the models of the warehouse are built in other tests
                planted.stop(server, "automation")

        files = {file.path: file.content for file in flights.stage_files("history")}
        path = "flights/airlines/airlines_2013-01-01.csv"
        server.land(path, files[path]())
        wait_until(lambda: server.materializations("hub/airlines"), "the daemon runs what the sensor finds", 240)
        run = server.launch([f"output/{name}" for name in FAILING_OUTPUTS])
        texts = {f"look of {name}": planted.look(server, f"{name}_inputs") for name in FAILING_LOOKS}
        assert [name for name, answer in texts.items() if "Error" not in answer] == []
        assert server.finished(run) == "FAILURE"
        texts["look for incidents"] = planted.look(server, "incidents", "sensor")
        assert planted.unsent(databases["metadata"]) == 3
        wait_until(lambda: "p_hook" in (tmp_path / "daemon.log").read_text(), "the daemon looks at the hook", 60)
        command = [str(Path(planted.PYTHON).parent / "dataops"), "connections", "test", "--json"]
        shown = subprocess.run(command, cwd=project, env=variables, capture_output=True, text=True)
        assert shown.returncode == 1, shown.stderr
        texts |= dict(planted.answers_of(server))
        texts["dataops connections test"] = shown.stdout + shown.stderr

    texts |= dict(planted.tables_of(databases["metadata"]))
    for folder in (home, data):
        texts |= dict(planted.files_of(folder))
    texts |= dict(planted.files_of(project / "dbt_project")) | {
        log.name: log.read_text(errors="replace") for log in tmp_path.glob("*.log")
    }
    known = planted.forms()
    assert {name: found for name, text in texts.items() if (found := planted.told(text, known))} == {}
    # nothing was left out: what is not secret is there
    for name, part in {"table inputs": "airlines_2013", "table event_logs": "p_out", "daemon.log": "***"}.items():
        assert part in texts[name], name
