"""What all tests share: a real PostgreSQL, one Spark for all workers, and no skipping in CI."""

from __future__ import annotations

import gc
import os
import pwd
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pymysql
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from xdist.scheduler.loadfile import LoadFileScheduling

from dataops_assets.components.statements_once import compile_statements_once
from dataops_assets.engines import duckdb

if TYPE_CHECKING:
    from kafka_broker import Broker

# as each process of a deployment does; tests have an engine for each of their files
compile_statements_once()

# Machines are shared, so no example is timed, and neither is drawing one. What fixtures of a test give is the same for
# all its examples: an engine, an empty database. CI looks at the same examples every time, so that it fails for a
# change and not by chance, and shows a failing example as it was found: to make it smaller takes minutes for each test.
# More examples, of the tests that do not say how many: HYPOTHESIS_PROFILE=long.
_ANY_MACHINE = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
settings.register_profile("local", _ANY_MACHINE)
settings.register_profile(
    "ci",
    _ANY_MACHINE,
    derandomize=True,
    phases=[phase for phase in Phase if phase not in (Phase.shrink, Phase.explain)],
)
settings.register_profile("long", _ANY_MACHINE, max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("DATAOPS_CI") else "local"))

# Every character that a URL must escape
_PASSWORD = "pass word/@:%"
_SBIN = f"{os.environ['PATH']}:/usr/sbin"
# Debian keeps the server's programs outside PATH, by major version
_DEBIAN = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)


def _program(name: str) -> str | None:
    return next((str(folder / name) for folder in _DEBIAN if (folder / name).exists()), None) or shutil.which(name)


def _run(command: Sequence[str]) -> None:
    """Run a server program, as the postgres user if we are root: PostgreSQL refuses to run as root."""
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    # pg_ctl leaves the server behind with inherited pipes, so the output goes to a file
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run([*prefix, *command], stdout=output, stderr=output, cwd="/", timeout=1200)
        output.seek(0)
        assert done.returncode == 0, f"{' '.join(command)}: {output.read()}"


def pytest_collection_finish() -> None:
    """Never look for garbage among the modules and tests: that took a twelfth of the time of the tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _quick_disk() -> Iterator[None]:
    """No test of this process cuts the power, so none waits for the disk; what is synced when has tests of its own."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda _descriptor: None)
        sa.event.listen(sa.Pool, "checkout", _without_sync)
        yield
        sa.event.remove(sa.Pool, "checkout", _without_sync)


def _without_sync(connection: Any, _record: Any, _proxy: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=OFF")


@pytest.fixture(scope="module", autouse=True)
def _secrets_of_this_file() -> Iterator[None]:
    """What a test gives as a secret is masked in its own file alone: another file may say such a word in an error."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("dataops_assets.masking._remembered", {})
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_thread_a_worker() -> Iterator[None]:
    """The tables of tests are small: more threads than the workers have cores only cost their start.

    Processes that tests start have as many threads as in production.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(duckdb, "TRUSTING", {**duckdb.TRUSTING, "threads": "1"})
        yield


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of an empty database in a private cluster; a session's tests make databases of their own in it."""
    programs = [_program("initdb"), _program("pg_ctl")]
    if None in programs:
        pytest.skip("no PostgreSQL server programs here (Debian: apt-get install postgresql)")
    initdb, pg_ctl = [str(program) for program in programs]
    folder = Path(tempfile.mkdtemp(prefix="dataops-postgres-"))
    try:
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(folder, user.pw_uid, user.pw_gid)
        data = str(folder / "data")
        passwords = folder / "password"
        passwords.write_text(_PASSWORD)
        login = ["--username", "dataops", "--auth", "scram-sha-256", "--pwfile", str(passwords)]
        _run([initdb, "--pgdata", data, *login, "--encoding", "UTF8", "--no-sync"])
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        settings = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off"
        # its log can be read by row, as production's is for change feeds
        settings += " -c wal_level=logical -c max_replication_slots=40"
        _run([pg_ctl, "--pgdata", data, "--log", str(folder / "log"), "--options", settings, "--wait", "start"])
        try:
            yield f"postgresql://dataops:{quote(_PASSWORD, safe='')}@127.0.0.1:{port}/postgres"
        finally:
            _run([pg_ctl, "--pgdata", data, "--mode", "immediate", "--wait", "stop"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class MariaDB:
    """A private MariaDB server. The user may do everything."""

    port: int
    user: str = "dataops"
    password: str = _PASSWORD


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """A private server; a session's tests make databases of their own in it."""
    server, install = (shutil.which(name, path=_SBIN) for name in ("mariadbd", "mariadb-install-db"))
    if server is None or install is None:
        pytest.skip("no MariaDB server here (Debian: apt-get install mariadb-server)")
    folder = Path(tempfile.mkdtemp(prefix="dataops-mariadb-"))
    as_root = os.geteuid() == 0
    try:
        if as_root:
            user = pwd.getpwnam("mysql")
            os.chown(folder, user.pw_uid, user.pw_gid)
        as_user: dict[str, Any] = {"user": "mysql", "group": "mysql", "extra_groups": []} if as_root else {}
        data, socket_file = f"--datadir={folder / 'data'}", folder / "socket"
        with (folder / "log").open("w") as log:
            made = [install, "--no-defaults", data, "--auth-root-authentication-method=normal", "--skip-test-db"]
            subprocess.run(made, stdout=log, stderr=log, cwd="/", timeout=1200, check=True, **as_user)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            settings = [f"--port={port}", f"--socket={socket_file}", "--bind-address=127.0.0.1", "--skip-name-resolve"]
            quick = ["--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M", "--pid-file=pid"]
            # its log is a source, too
            logged = ["--log-bin=log", "--server-id=1", "--binlog-format=ROW", "--binlog-row-metadata=FULL"]
            command = [server, "--no-defaults", data, *settings, *quick, *logged]
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **as_user)
        try:
            found = MariaDB(port)
            with _as_root(socket_file, process) as connection, connection.cursor() as cursor:
                cursor.execute("CREATE USER %s@'127.0.0.1' IDENTIFIED BY %s", (found.user, found.password))
                cursor.execute("GRANT ALL ON *.* TO %s@'127.0.0.1' WITH GRANT OPTION", (found.user,))
            yield found
        finally:
            # nobody needs its data any more
            process.kill()
            process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def kafka() -> Iterator[Broker]:
    """A private Kafka broker; tests make topics of their own in it."""
    # its client is needed by these tests alone
    from kafka_broker import broker

    with broker() as found:
        yield found


def _as_root(socket_file: Path, process: subprocess.Popen[bytes]) -> Any:
    """A connection to a server that is starting."""
    while process.poll() is None:
        try:
            return pymysql.connect(unix_socket=str(socket_file), user="root")
        except pymysql.OperationalError:
            time.sleep(0.1)
    raise AssertionError(f"MariaDB ended with {process.returncode}")


# the tests of a folder are for one worker, which starts one Spark, one broker, or one MariaDB
_OF_ONE_WORKER = ("tests/differential/", "tests/integration/kafka/", "tests/integration/databases/")


class _OneOfEach(LoadFileScheduling):
    """Gives a worker the tests of a file, or of a folder that shares what takes long to start."""

    def _split_scope(self, nodeid: str) -> str:
        found = next((folder for folder in _OF_ONE_WORKER if nodeid.startswith(folder)), None)
        return found or super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    return _OneOfEach(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI every part is installed, so a test that skips itself for a missing one has found a fault."""
    report = yield
    if os.environ.get("DATAOPS_CI") == "1" and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be missing: {report.longreprtext}"
    return report
