"""Landing areas on real servers: SFTP, FTP over TLS and plain without MLSD, and listings of HTTP."""

from __future__ import annotations

import datetime as dt
import io
import json
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from command_line import dataops
from file_servers import SECRET, FileServer, certificate_in, ftp_server, http_server, sftp_server
from free_ports import free_ports

from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.connections.discovery import discover
from dataops_assets.connections.look import FoundInputs
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.errors import ConfigError, DataOpsError, InputError, StorageError
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.operations import project
from dataops_assets.steps.ingest import ingest
from dataops_assets.steps.source_context import SourceContext

# paramiko asks for the next bytes in a thread, which fails, too, when the connection is cut
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

KINDS = ("sftp", "ftp over TLS", "ftp without MLSD", "http")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, FileServer]]:
    home = tmp_path_factory.mktemp("servers")
    for number in range(len(KINDS)):
        (home / str(number)).mkdir()
    with ExitStack() as stack:
        yield {
            "sftp": stack.enter_context(sftp_server(home / "0", home / "keys")),
            "ftp over TLS": stack.enter_context(ftp_server(home / "1", certificate_in(home))),
            "ftp without MLSD": stack.enter_context(ftp_server(home / "2", None)),
            "http": stack.enter_context(http_server(home / "3")),
        }


@pytest.fixture(params=KINDS)
def server(
    servers: dict[str, FileServer], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> FileServer:
    found = servers[request.param]
    found.cut_after = None
    for name, value in found.secrets.items():
        monkeypatch.setenv(name, value)
    return found


def a_source(server: FileServer, home: Path, path: str, **connection: Any) -> SourceContext:
    environment = environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home)
    source = Source.model_validate(
        {
            "name": "sales",
            "area": "shop",
            "connection": {"type": "files", "path": f"{server.url}/{path}", "storage_options": server.options}
            | connection,
            "columns": [{"name": "a"}],
            "refresh": {"type": "append"},
        }
    )
    metadata = MetadataStore(environment.metadata_url)
    metadata.migrate()
    return SourceContext(environment, source, {"sales": source}, DuckDBEngine(environment), metadata)


def look(context: SourceContext) -> FoundInputs:
    return discover(context.source, context.environment, context.metadata, now=dt.datetime.now(dt.UTC))


def told(error: DataOpsError | BaseException) -> str:
    assert SECRET not in f"{error} {error.__cause__}"
    return str(error)


def test_a_folder_on_a_server_is_read_like_one_here(server: FileServer, tmp_path: Path) -> None:
    large = bytes(range(256)) * 4096 * 3
    server.deliver("read/deep/er/a b#1.csv", b"a\n1\n")
    server.deliver("read/large.csv", large)
    server.deliver("read/other.txt", b"a\n2\n")
    server.deliver("read/c.csv.tmp", b"")
    server.deliver("read/new.csv", b"a\n3\n", age=0)
    server.deliver("elsewhere/d.csv", b"a\n4\n")
    context = a_source(server, tmp_path, "read/**/*.csv", settle_seconds=600)
    found = look(context)
    names = {item.origin for item in found.new}
    assert names == {f"{server.url}/read/deep/er/a b#1.csv", f"{server.url}/read/large.csv"}
    assert (found.problems, found.settling) == ([], [f"{server.url}/read/new.csv"])
    assert ingest(context, found.new).failures == ()
    by_name = {item.origin.rpartition("/")[2]: context.raw.local_path(item).read_bytes() for item in found.new}
    assert by_name == {"a b#1.csv": b"a\n1\n", "large.csv": large}

    # nothing is taken twice; what is replaced in place is a new version of it, also with the same size
    assert look(context).new == []
    server.deliver("read/deep/er/a b#1.csv", b"a\n7\n", age=1800)
    replaced = look(context).new
    assert ingest(context, replaced).failures == ()
    assert [context.raw.local_path(item).read_bytes() for item in replaced] == [b"a\n7\n"]


def test_a_connection_that_is_lost_gives_an_error_and_no_half_input(server: FileServer, tmp_path: Path) -> None:
    content = b"a\n" + b"1\n" * 400_000
    path = server.deliver("cut/a.csv", content)
    context = a_source(server, tmp_path, "cut/*.csv")
    server.cut_after = 100_000
    found = look(context)
    assert (found.new, [type(item.error) for item in found.problems]) == ([], [StorageError])
    assert server.url.partition("//")[0] in told(found.problems[0].error)

    server.cut_after = None
    (item,) = look(context).new
    server.cut_after = 100_000
    (failure,) = ingest(context, [item]).failures
    assert isinstance(failure.error, StorageError)
    assert context.raw.inputs() == []

    server.cut_after = None
    assert ingest(context, [item]).failures == ()
    assert context.raw.local_path(item).read_bytes() == content
    path.unlink()
    assert look(context).new == []


def test_an_archive_on_a_server_is_read(server: FileServer, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in ("1.csv", "2.csv"):
            archive.writestr(name, f"a\n{name}\n")
    server.deliver("packed/day.zip", packed.getvalue())
    context = a_source(server, tmp_path, "packed", members="*.csv")
    found = look(context)
    assert ingest(context, found.new).failures == ()
    assert {context.raw.local_path(item).read_bytes() for item in found.new} == {b"a\n1.csv\n", b"a\n2.csv\n"}


def test_what_is_not_there_is_told(server: FileServer, tmp_path: Path) -> None:
    (problem,) = look(a_source(server, tmp_path / "1", "nowhere/*.csv")).problems
    assert "does not exist" in told(problem.error)

    path = server.deliver("gone/a.csv", b"a\n1\n")
    context = a_source(server, tmp_path / "2", "gone")
    (item,) = look(context).new
    path.unlink()
    (failure,) = ingest(context, [item]).failures
    assert isinstance(failure.error, InputError)
    assert "the file is gone" in told(failure.error)

    context = a_source(server, tmp_path / "3", "gone")
    url = f"{server.url.partition('://')[0]}://127.0.0.1:{free_ports(1)[0]}/gone"
    connection = context.source.connection.model_copy(update={"path": url})
    lost = context.source.model_copy(update={"connection": connection})
    with pytest.raises(StorageError, match="listing /gone"):
        discover(lost, context.environment, context.metadata, now=dt.datetime.now(dt.UTC))


def test_who_may_not_read_is_told_without_the_secret(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if server.kind == "http":
        context = a_source(server, tmp_path, "a", storage_options={"user": "me"})
        with pytest.raises(ConfigError, match="username"):
            look(context)
        return
    monkeypatch.setenv("FEEDS_PASSWORD", "wr0ng-password")
    with pytest.raises(StorageError, match=r"password|passphrase") as refused:
        look(a_source(server, tmp_path, "a"))
    assert "wr0ng-password" not in f"{refused.value} {refused.value.__cause__}"


def test_an_unknown_or_changed_host_key_is_refused(
    servers: dict[str, FileServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = servers["sftp"]
    for name, value in {**server.secrets, "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    without = {name: value for name, value in server.options.items() if name != "host_key"}
    with pytest.raises(StorageError, match=r"is not known: ssh-ed25519 SHA256:.*storage_options\.host_key"):
        look(a_source(server, tmp_path / "1", "a", storage_options=without))
    other = "ssh-ed25519 " + "AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
    with pytest.raises(StorageError, match="not the one that is known"):
        look(a_source(server, tmp_path / "2", "a", storage_options=without | {"host_key": other}))


def test_a_link_on_a_server_is_followed_only_where_declared(
    servers: dict[str, FileServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = servers["sftp"]
    for name, value in server.secrets.items():
        monkeypatch.setenv(name, value)
    aim = server.deliver("aim/a.csv", b"a\n1\n")
    (server.folder / "links").mkdir()
    (server.folder / "links/b.csv").symlink_to(aim)
    found = look(a_source(server, tmp_path / "1", "links"))
    assert (found.new, [item.error.received for item in found.problems]) == ([], ["a link"])
    context = a_source(server, tmp_path / "2", "links", follow_links=True)
    (item,) = look(context).new
    assert ingest(context, [item]).failures == ()
    assert context.raw.local_path(item).read_bytes() == b"a\n1\n"
    assert time.time() - item.arrival.timestamp() > 3000


def test_the_command_says_what_may_be_read_and_what_to_do(
    servers: dict[str, FileServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sftp, ftp, http = servers["sftp"], servers["ftp over TLS"], servers["http"]
    for variables in (sftp.secrets, ftp.secrets, {"DATAOPS_ENV": "test", "DATAOPS_HOME": str(tmp_path / "home")}):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("DATAOPS_LANDING", str(tmp_path / "landing"))
    monkeypatch.setattr(project, "DEFS", tmp_path / "defs")
    places = {"sftp": f"{sftp.url}/told", "ftp": f"{ftp.url}/told", "http": f"{http.url}/told", "local": "told"}
    options = {"sftp": sftp.options, "ftp": ftp.options}
    sources: dict[str, tuple[str, dict[str, Any]]] = {}
    for kind, place in places.items():
        here = FileServer("", "", tmp_path / "landing", {})
        for name, age in (("a_2024-01-01.csv", 7200), ("a_2024-01-02.csv", 3600), ("b.txt", 60)):
            {"sftp": sftp, "ftp": ftp, "http": http, "local": here}[kind].deliver(f"told/{name}", b"a\n1\n", age)
        given = {"storage_options": options.get(kind, {})}
        dated = {"extract_time": {"pattern": "a_%Y-%m-%d.csv"}}
        sources |= {
            f"{kind}_well": (f"{place}/a_*.csv", given | dated),
            f"{kind}_misnamed": (f"{place}/b_*.csv", given),
            f"{kind}_misplaced": (f"{place.removesuffix('told')}tolt/*.csv", given),
            f"{kind}_undated": (f"{place}/*.*", given | dated),
        }
    unknown = "ssh-ed25519 " + "AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
    sources["other_host"] = (places["sftp"], {"storage_options": sftp.options | {"host_key": unknown}})
    sources["wrong_password"] = (places["ftp"], {"storage_options": ftp.options | {"password": "wr0ng"}})
    for name, (path, connection) in sources.items():
        (tmp_path / "defs" / name).mkdir(parents=True)
        declared = {"type": "dataops_assets.components.SourceComponent", "attributes": {"name": name, "area": "shop"}}
        declared["attributes"] |= {"connection": {"type": "files", "path": path} | connection}  # type: ignore[operator]
        declared["attributes"] |= {"columns": [{"name": "a"}], "refresh": {"type": "append"}}  # type: ignore[operator]
        (tmp_path / "defs" / name / "defs.yaml").write_text(json.dumps(declared))

    ended = dataops([], "connections", "test", "--json")
    assert ended.code == 1
    assert SECRET not in ended.out + ended.err
    told = {item["name"]: item for item in ended.data}
    for kind in places:
        well = told[f"{kind}_well"]
        assert (well["works"], well["files"], well["size"], well["waiting"]) == (True, 2, 8, 2), well
        assert well["newest"].endswith("told/a_2024-01-02.csv")
        age = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(well["newest_at"])
        assert dt.timedelta(minutes=59) < age < dt.timedelta(minutes=70)
        assert well["next_step"] == f"dataops run {kind}_well"
        misnamed, misplaced, undated = (told[f"{kind}_{fault}"] for fault in ("misnamed", "misplaced", "undated"))
        assert (misnamed["works"], misplaced["works"], undated["works"]) == (False, False, False)
        assert "has 3 files, and none matches b_*.csv: a_2024-01-01.csv" in misnamed["error"]
        assert "/tolt; " in misplaced["error"]
        assert "told" in misplaced["next_step"], misplaced
        assert "b.txt is refused" in undated["error"]
    assert "not the one that is known" in told["other_host"]["error"]
    assert "host key in connection.storage_options" in told["other_host"]["next_step"]
    assert "password" in told["wrong_password"]["next_step"] + told["wrong_password"]["error"]
    one = dataops([], "connections", "test", "local_well")
    assert (one.code, "2 not taken yet; newest a_2024-01-02.csv" in " ".join(one.out.split())) == (0, True), one.out
    assert dataops([], "connections", "test", "local_wel").code == 2
