"""Secrets planted in a deployment, more than twenty; declarations that fail where each is used; where one is told."""

from __future__ import annotations

import base64
import io
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
import yaml
from live_dagster import LOCATION, REPOSITORY, LiveDagster
from rest_server import Reply, Request

AREA = "planted"
_ERROR = "message stack className cause { message stack } errorChain { error { message stack } }"
PYTHON = sys.executable
# what no text may have, but for the passwords of the test's own database: they have it, too
MARK = "pl4nted"


def secret(name: str) -> str:
    """The secret of this name, with every kind of character that is written otherwise in a URL."""
    return f"{MARK}-{name}/+&=%x9"


NAMES = (
    *("metadata", "dagster", "aws-key", "aws-token", "snowflake", "spark-conf"),
    *("postgres", "mysql", "file", "output", "store-key", "store-token"),
    *("api-key", "basic", "bearer", "client", "access-token", "chat", "mail", "hook", "kafka", "registry"),
    *("replica", "server"),
)


def variables(folder: Path) -> dict[str, str]:
    """The environment variables with secrets; the secret in a file is written."""
    (folder / "password").write_text(f"{secret('file')}\n")
    chat, mail = quote(secret("chat"), safe=""), quote(secret("mail"), safe="")
    return {
        "AWS_ACCESS_KEY_ID": "planted",
        "AWS_SECRET_ACCESS_KEY": secret("aws-key"),
        "AWS_SESSION_TOKEN": secret("aws-token"),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_MAX_ATTEMPTS": "1",
        "SNOWFLAKE_PASSWORD": secret("snowflake"),
        "DATAOPS_SPARK_CONF": f'{{"spark.hadoop.fs.s3a.secret.key": "{secret("spark-conf")}"}}',
        "PLANTED_POSTGRES": secret("postgres"),
        "PLANTED_MYSQL": secret("mysql"),
        "PLANTED_FILE": str(folder / "password"),
        "PLANTED_OUTPUT": secret("output"),
        "PLANTED_STORE_KEY": secret("store-key"),
        "PLANTED_STORE": secret("store-token"),
        "PLANTED_API": secret("api-key"),
        "PLANTED_BASIC": secret("basic"),
        "PLANTED_BEARER": secret("bearer"),
        "PLANTED_CLIENT": secret("client"),
        "PLANTED_REPLICA": secret("replica"),
        "PLANTED_SERVER": secret("server"),
        "PLANTED_KAFKA": secret("kafka"),
        "PLANTED_REGISTRY": secret("registry"),
        "PLANTED_CHAT_URL": f"json://someone:{chat}@127.0.0.1:9/chat",
        "PLANTED_MAIL_URL": f"mailto://127.0.0.1:9/?user=someone&pass={mail}&from=a@example.com&to=b@example.com",
        "PLANTED_HOOK_URL": f"nosuch://{secret('hook')}",
    }


def answer(request: Request) -> Reply:
    """An API that gives a token and refuses everything else, with all that it was sent."""
    if request.path.endswith("/token"):
        return Reply({"access_token": secret("access-token"), "expires_in": 3600})
    return Reply({"refused": [request.query, dict(request.headers)]}, status=403)


# a hook of the deployment, which fails as code of other people does: with everything in the text
CODE = '''"""Code of this deployment that tells its secrets when it fails."""
import logging
import os

def extracts(previous):
    logging.getLogger(__name__).warning("asking with %s", os.environ["PLANTED_STORE"])
    try:
        raise OSError(f"401 for http://x/?k={os.environ['PLANTED_STORE_KEY']}")
    except OSError as error:
        told = " ".join(os.environ[name] for name in ("PLANTED_CLIENT", "SNOWFLAKE_PASSWORD", "DATAOPS_METADATA_URL"))
        raise RuntimeError(f"could not sign in with {told} and {os.environ['AWS_SECRET_ACCESS_KEY']}") from error
    yield
'''


def declared(api: str, postgres_port: int, folder: Path) -> dict[str, tuple[str, dict[str, Any]]]:
    """The declarations by name: each is wrong where one of the secrets is used."""
    server = {"type": "postgres", "host": "127.0.0.1", "port": postgres_port, "database": "postgres"}
    rest = {"type": "rest", "url": api, "tries": 1}

    def env(name: str) -> dict[str, str]:
        return {"env": f"PLANTED_{name}"}

    connections = {
        "p_wrong": {**server, "user": "dataops", "password": env("POSTGRES")},
        "p_file": {**server, "user": "nobody", "password": {"file": str(folder / "password")}},
        "p_output": {**server, "user": "dataops", "password": env("OUTPUT")},
        "p_replica": {**server, "user": "dataops", "password": env("REPLICA")},
        "p_mysql": {
            "type": "mysql",
            "host": "127.0.0.1",
            "port": 9,
            "database": "d",
            "user": "u",
            "password": env("MYSQL"),
        },
        "p_kafka": {
            "type": "kafka",
            "bootstrap_servers": ["127.0.0.1:9"],
            "sasl": {"mechanism": "PLAIN", "user": "me", "password": env("KAFKA")},
            "schema_registry": {"url": api, "auth": {"type": "bearer", "token": env("REGISTRY")}},
            "timeout_seconds": 1,
        },
        "p_key": rest | {"auth": {"type": "api_key", "name": "k", "place": "query", "key": env("API")}},
        "p_basic": rest | {"auth": {"type": "basic", "user": "me", "password": env("BASIC")}},
        "p_bearer": rest | {"auth": {"type": "bearer", "token": env("BEARER")}},
        "p_oauth": rest
        | {"auth": {"type": "oauth2", "token_url": f"{api}/token", "client_id": "me", "client_secret": env("CLIENT")}},
    }
    store = {
        "type": "files",
        "path": "s3://bucket/in/*.csv",
        "storage_options": {
            "key": "planted",
            "secret": "${PLANTED_STORE_KEY}",
            "token": "${PLANTED_STORE}",
            "endpoint_url": "http://127.0.0.1:9",
        },
    }
    inputs: dict[str, dict[str, Any]] = {
        **{name: {"type": "database", "database": name, "table": "t"} for name in ("p_wrong", "p_file", "p_mysql")},
        **{
            name: {"type": "rest", "api": name, "path": "orders"}
            for name in ("p_key", "p_basic", "p_bearer", "p_oauth")
        },
        "p_log": {"type": "replication", "database": "p_replica", "table": "public.t"},
        "p_queue": {"type": "kafka", "cluster": "p_kafka", "topic": "t"},
        "p_store": store,
        "p_server": {
            "type": "files",
            "path": "ftp://127.0.0.1:9/in/*.csv",
            "storage_options": {"username": "me", "password": "${PLANTED_SERVER}"},
        },
        "p_hook": {"type": "python", "function": "dataops_assets.defs.planted.code:extracts"},
    }
    sources = {
        name: (
            "SourceComponent",
            {
                "name": name,
                "area": AREA,
                "connection": connection,
                "columns": [{"name": "id"}],
                "refresh": {"type": "full"},
                # the daemon looks at the hook alone: its failed ticks are in the log and in the database
                **({} if name == "p_hook" else {"discovery": {"schedule": "0 0 1 1 *"}}),
            },
        )
        for name, connection in inputs.items()
    }
    targets = {
        "p_out": {"type": "table", "database": "p_output", "table": "t"},
        "p_push": {"type": "http", "api": "p_bearer", "path": "push"},
        "p_topic": {"type": "topic", "cluster": "p_kafka", "topic": "t"},
    }
    outputs = {
        name: (
            "OutputComponent",
            {"name": name, "area": AREA, "from": "hub/airlines", "columns": [{"name": "carrier"}], "to": target},
        )
        for name, target in targets.items()
    }
    names = ("chat", "mail", "hook")
    channels = {name: {"url": f"${{PLANTED_{name.upper()}_URL}}"} for name in names}
    return {
        **sources,
        "connections": ("ConnectionsComponent", {"connections": connections}),
        **outputs,
        "incidents": ("IncidentsComponent", {"channels": channels, "routes": [{"to": list(names)}]}),
    }


def plant(project: Path, declarations: Mapping[str, tuple[str, dict[str, Any]]]) -> None:
    """Write the declarations and their code into a copy of the project."""
    folder = project / "dataops_assets" / "defs" / AREA
    for name, (kind, attributes) in declarations.items():
        (folder / name).mkdir(parents=True)
        text = yaml.safe_dump({"type": f"dataops_assets.components.{kind}", "attributes": attributes})
        (folder / name / "defs.yaml").write_text(text)
    (folder / "code.py").write_text(CODE)


def forms() -> dict[str, str]:
    """Every form of every secret, with its name."""
    found = {}
    for name in NAMES:
        text = secret(name)
        found |= {text: name, quote(text, safe=""): name, f"{MARK}-{name}": name}
    for user, name in (("me", "basic"), ("me", "client")):
        for password in (secret(name), quote(secret(name), safe="")):
            found[base64.b64encode(f"{user}:{password}".encode()).decode()] = f"{name} in base64"
    return found


def told(text: str, known: Mapping[str, str]) -> set[str]:
    """The names of the secrets in a text."""
    return {name for form, name in known.items() if form in text}


def files_of(folder: Path) -> Iterator[tuple[str, str]]:
    """Path and content of every file below a folder."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "password":
            yield str(path.relative_to(folder)), path.read_bytes().decode("utf-8", "replace")


def tables_of(url: str) -> Iterator[tuple[str, str]]:
    """Name and content of every table of a database."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        raw = connection.connection.dbapi_connection
        assert raw is not None
        for table in sa.inspect(connection).get_table_names():
            text = io.StringIO()
            with raw.cursor() as cursor:
                cursor.copy_expert(f'COPY "{table}" TO STDOUT', text)
            yield f"table {table}", text.getvalue()
    engine.dispose()


def look(server: LiveDagster, name: str, kind: str = "schedule") -> str:
    """The answer to "Test schedule" or "Test sensor" in the UI: it looks at once."""
    question = f"""mutation($selector: {kind.title()}Selector!) {{ {kind}DryRun(selectorData: $selector) {{
        ... on DryRunInstigationTick {{ evaluationResult {{ skipReason error {{ {_ERROR} }} }} }}
        ... on PythonError {{ {_ERROR} }} }} }}"""
    more = "timestamp: 1700000000" if kind == "schedule" else 'cursor: ""'
    question = question.replace("selectorData: $selector", f"selectorData: $selector, {more}")
    selector = {
        "repositoryLocationName": LOCATION,
        "repositoryName": REPOSITORY,
        f"{kind}Name": name,
    }
    return str(server.ask(question, selector=selector))


def stop(server: LiveDagster, sensor: str) -> None:
    """Switch a sensor off, as the UI does."""
    data = server.ask(
        """query($sensor: SensorSelector!) { sensorOrError(sensorSelector: $sensor) { ... on Sensor { id } } }""",
        sensor={"repositoryLocationName": LOCATION, "repositoryName": REPOSITORY, "sensorName": sensor},
    )
    stopped = "mutation($id: String!) { stopSensor(id: $id) { ... on StopSensorMutationResult { __typename } } }"
    assert server.ask(stopped, id=data["sensorOrError"]["id"])["stopSensor"], "it is stopped"


def unsent(url: str) -> int:
    """The number of channels that did not take a message."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        query = "SELECT count(DISTINCT channel) FROM notifications WHERE error <> ''"
        found = int(connection.execute(sa.text(query)).scalar_one())
    engine.dispose()
    return found


_QUERIES = (
    f"""query {{ workspaceOrError {{ ... on Workspace {{ locationEntries {{ name displayMetadata {{ key value }}
        locationOrLoadError {{ ... on PythonError {{ {_ERROR} }} }} }} }} }} }}""",
    "query { assetNodes { id description metadataEntries { label description ... on TextMetadataEntry { text }"
    " ... on JsonMetadataEntry { jsonString } } } }",
    f"""query {{ instance {{ info daemonHealth {{ allDaemonStatuses {{ daemonType
        lastHeartbeatErrors {{ {_ERROR} }} }} }} }} }}""",
    f"""query {{ sensorsOrError(repositorySelector: {{repositoryLocationName: "{LOCATION}",
        repositoryName: "{REPOSITORY}"}}) {{ ... on Sensors {{ results {{ name description sensorState {{
        ticks(limit: 20) {{ status skipReason cursor error {{ {_ERROR} }} logEvents {{ events {{ message }} }}
        }} }} }} }} }} }}""",
    """query { runsOrError(limit: 100) { ... on Runs { results { runId runConfigYaml tags { key value } } } } }""",
)
_EVENTS = f"""query($run: ID!) {{ logsForRun(runId: $run, limit: 1000) {{ ... on EventConnection {{ events {{ __typename
    ... on MessageEvent {{ message }} ... on ErrorEvent {{ error {{ {_ERROR} }} }}
    ... on ExecutionStepFailureEvent {{ failureMetadata {{ metadataEntries {{ label description
      ... on TextMetadataEntry {{ text }} }} }} }} }} }} }} }}"""


def answers_of(server: LiveDagster) -> Iterator[tuple[str, str]]:
    """What the UI gets over the network: each answer with its question."""
    for question in _QUERIES:
        yield f"answer to {re.sub(' +', ' ', question)[:60]}", str(server.ask(question))
    for run in server.runs():
        yield f"events of {run['runId']}", str(server.ask(_EVENTS, run=run["runId"]))
