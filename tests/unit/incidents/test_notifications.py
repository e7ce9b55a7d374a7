"""Messages about incidents: who gets them and when; none is lost. Sent to a real SMTP server and a real web hook."""

from __future__ import annotations

import asyncio
import datetime as dt
import email
import threading
from collections.abc import Iterator
from email.message import Message as Mail
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP
from web_hook import web_hook

from dataops_assets.config.incidents import Hours, Incidents
from dataops_assets.incidents.apprise_channel import AppriseChannel
from dataops_assets.incidents.decisions import Seen
from dataops_assets.incidents.delivery import Channel, deliver
from dataops_assets.incidents.grouping import Lineage
from dataops_assets.incidents.looking import Decision, look, record_decision
from dataops_assets.incidents.problem import Problem
from dataops_assets.metadata.incident_store import IncidentStore, Recording
from dataops_assets.metadata.store import MetadataStore

START = dt.datetime(2024, 1, 1, 9, tzinfo=dt.UTC)  # a Monday
LINEAGE = Lineage({f"lake/{name}": [] for name in "abcdefgh"})
SECRET = "s3cr3t-t0ken"


def minute(number: float) -> dt.datetime:
    return START + dt.timedelta(minutes=number)


def problem(name: str = "a", at: float = 0, **changes: Any) -> Problem:
    values = {"source": name, "area": "shop", "owners": ("team:shop",), "inputs": ("20240101T000000Z-1",), **changes}
    values = {"severity": "fail", "summary": f"parse of {name}.csv: bad", **values}
    return Problem(asset=f"lake/{name}", kind="failed", began=minute(at), last=minute(at), **values)


def settings(*routes: dict[str, Any], **changes: Any) -> Incidents:
    channels = {name: {"url": f"${{{name.upper()}_URL}}"} for name in ("hook", "mail", "boss")}
    return Incidents.model_validate({"channels": channels, "routes": routes or ({"to": ["hook"]},), **changes})


class Taken:
    """A channel that keeps what it is given, and fails as often as told."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.sent: list[tuple[str, str]] = []

    def send(self, title: str, body: str, severity: str) -> str:  # noqa: ARG002
        if self.failures:
            self.failures -= 1
            return "no answer"
        self.sent.append((title, body))
        return ""


class Desk:
    """The incidents of one deployment, and its channels."""

    def __init__(self, url: str, declared: Incidents) -> None:
        self.store = IncidentStore(url)
        self.declared = declared
        self.channels: dict[str, Channel] = {name: Taken() for name in declared.channels}

    def look(self, at: float, *problems: Problem) -> list[str]:
        look(self.store, lambda: Seen(problems), LINEAGE, self.declared, minute(at), None)
        return deliver(self.store, self.channels, self.declared, minute(at))

    def person(self, kind: Any, at: float, number: int = 1, until: float | None = None) -> None:
        end = None if until is None else minute(until)
        record_decision(self.store, [number], Decision(kind, "ann", "on it", end), minute(at))

    def titles(self, channel: str = "hook") -> list[str]:
        taken = self.channels[channel]
        assert isinstance(taken, Taken)
        return [title for title, _ in taken.sent]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A migrated database: to migrate one for each test would take longer than the tests."""
    path = tmp_path_factory.mktemp("metadata") / "metadata.db"
    MetadataStore(f"sqlite:///{path}").migrate()
    MetadataStore(f"sqlite:///{path}")._database._engine.dispose()
    return path.read_bytes()


@pytest.fixture
def url(empty: bytes, tmp_path: Path) -> str:
    (tmp_path / "metadata.db").write_bytes(empty)
    return f"sqlite:///{tmp_path / 'metadata.db'}"


def test_each_change_of_state_is_told_once(url: str) -> None:
    desk = Desk(url, settings())
    for at in range(3):
        desk.look(at, problem())
    desk.person("acknowledged", 3)
    desk.look(4, problem())
    desk.look(5)
    desk.look(6, problem(at=6))
    assert desk.titles() == [
        f"[fail] Incident 1 {change}: lake/a failed" for change in ("opened", "acknowledged", "resolved", "reopened")
    ]


def test_a_message_says_what_where_since_when_how_bad_and_what_to_do(url: str) -> None:
    desk = Desk(url, settings(link="https://dagster.example.com/"))
    desk.look(5, problem(next_step="send the file again", rows=3, columns=("amount",), downstream=("hub/a",)))
    ((_, body),) = desk.channels["hook"].sent  # type: ignore[attr-defined]
    assert body.splitlines()[:-1] == [
        "What: parse of a.csv: bad",
        "Where: lake/a (source a, area shop); owners: team:shop",
        "Since: 2024-01-01 09:00 UTC; found 2024-01-01 09:05 UTC",
        "How bad: fail; 1 inputs: 20240101T000000Z-1; 3 rows; columns: amount; 1 tables below: hub/a",
        "What to do: send the file again",
        "Take it: dataops incidents ack 1",
        "Table: https://dagster.example.com/assets/lake/a",
        "Job: https://dagster.example.com/locations/dataops_assets/jobs/incidents/playground",
    ]


@pytest.mark.parametrize(
    ("route", "is_told"),
    [
        ({"owners": ["team:shop"]}, True),
        ({"owners": ["team:bank"]}, False),
        ({"areas": ["shop"]}, True),
        ({"areas": ["bank"]}, False),
        ({"severities": ["fail"]}, True),
        ({"severities": ["warn"]}, False),
        ({"tell": ["resolved"]}, False),
    ],
)
def test_routes_choose_by_owner_area_severity_and_change(url: str, route: dict[str, Any], is_told: bool) -> None:
    desk = Desk(url, settings({"to": ["hook"], **route}))
    desk.look(0, problem())
    assert bool(desk.titles()) == is_told


def test_quiet_times_wait_until_the_next_hour_that_is_declared(url: str) -> None:
    hours = {"timezone": "Europe/Berlin", "days": ["monday", "tuesday"], "begin": "08:00", "end": "10:30"}
    desk = Desk(url, settings({"to": ["hook"], "hours": hours}))
    desk.look(0, problem())  # 10:00 in Berlin
    assert len(desk.titles()) == 1
    desk.look(31, problem(), problem("b"))  # 10:31: it waits for Tuesday, 08:00
    assert len(desk.titles()) == 1
    desk.look(22 * 60 - 1, problem(), problem("b"))
    assert len(desk.titles()) == 1
    desk.look(22 * 60, problem(), problem("b"))
    assert len(desk.titles()) == 2


def test_hours_are_read_as_yaml_gives_them() -> None:
    # YAML reads 18:30 without quotes as a number in base 60
    assert Hours.model_validate({"begin": "08:00", "end": 18 * 60 + 30}).end == dt.time(18, 30)
    assert Hours.model_validate({"end": 24 * 60}).end == dt.time.max
    with pytest.raises(ValueError, match=r"begin .* must be before end"):
        Hours.model_validate({"begin": "20:00", "end": "08:00"})
    with pytest.raises(ValueError, match="is no time zone"):
        Hours.model_validate({"timezone": "Mars/Olympus"})


def test_nobody_acknowledges_so_it_is_escalated_once(url: str) -> None:
    desk = Desk(url, settings({"to": ["hook"], "escalate_after": "2 hours", "escalate_to": ["boss"]}))
    desk.look(0, problem(), problem("b"))
    desk.person("acknowledged", 60, number=2)
    for at in (119, 120, 121, 600):
        desk.look(at, problem(), problem("b"))
    assert desk.titles("boss") == ["[fail] Incident 1 nobody acknowledged it: lake/a failed"]


def test_a_muted_incident_is_silent_and_told_again_at_the_end(url: str) -> None:
    desk = Desk(url, settings({"to": ["hook"], "escalate_after": "2 hours"}))
    desk.look(0, problem())
    desk.person("muted", 1, until=600)
    desk.look(130, problem())
    desk.look(200, problem(severity="warn"))
    assert len(desk.titles()) == 1
    desk.look(600, problem(severity="warn"))
    desk.look(601, problem(severity="warn"))
    assert desk.titles()[1:] == ["[warn] Incident 1 is still there: lake/a failed"]
    desk.look(720, problem(severity="warn"))
    assert desk.titles()[2:] == ["[warn] Incident 1 nobody acknowledged it: lake/a failed"]


def test_many_messages_are_one_digest(url: str) -> None:
    desk = Desk(url, settings(digest_above=5))
    desk.look(0, *(problem(name) for name in "abcdefgh"))
    ((title, body),) = desk.channels["hook"].sent  # type: ignore[attr-defined]
    assert title == "[fail] 8 messages about incidents"
    assert [f"lake/{name} failed" in body for name in "abcdefgh"] == [True] * 8
    assert body.count("Message id: ") == 8
    desk.look(1, *(problem(name) for name in "abcdefgh"))
    assert len(desk.titles()) == 1


def test_a_channel_that_fails_is_tried_again_later_and_loses_nothing(url: str) -> None:
    desk = Desk(url, settings())
    desk.channels["hook"] = Taken(failures=3)
    tries = [at for at in range(20) if desk.look(at, problem())]
    assert tries == [0, 1, 3], "after 1, 2 and 4 minutes"
    assert desk.titles() == ["[fail] Incident 1 opened: lake/a failed"]
    assert desk.store.waiting_messages() == []


def test_a_channel_that_fails_is_told_without_its_secret(url: str) -> None:
    desk = Desk(url, settings())
    environment = {"HOOK_URL": f"json://user:{SECRET}@127.0.0.1:1/{SECRET}"}
    desk.channels["hook"] = AppriseChannel("HOOK_URL", environment)
    (told,) = desk.look(0, problem())
    assert told.startswith("channel hook does not take messages, which wait: ")
    assert SECRET not in told + repr(desk.channels) + str(desk.store.waiting_messages())
    assert "HOOK_URL is not set" in AppriseChannel("HOOK_URL", {}).send("a", "b", "warn")
    unknown = AppriseChannel("HOOK_URL", {"HOOK_URL": f"nothing-{SECRET}"}).send("a", "b", "warn")
    assert unknown == "the value of HOOK_URL is no URL that Apprise knows"


def test_a_url_is_only_declared_by_its_variable() -> None:
    with pytest.raises(ValueError, match="environment variable") as refused:
        settings(channels={"hook": {"url": f"json://user:{SECRET}@example.com"}})
    assert "write the name of an environment variable" in str(refused.value)
    with pytest.raises(ValueError, match=r"unknown channel 'hok', did you mean 'hook'\?; known: hook, mail, boss"):
        settings({"to": ["hok"]})


class _Killed(BaseException):
    pass


def test_a_kill_between_any_two_writes_loses_and_repeats_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is killed at each write in turn; after it, the same look goes on."""
    desk = Desk(url, settings({"to": ["hook", "mail"]}))
    left = 0

    def dying(write: Any) -> Any:
        def maybe(*given: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise _Killed
            done = write(*given, **named)
            left -= 1
            if left == 0:
                raise _Killed
            return done

        return maybe

    for kind, name in (
        (Recording, "save"),
        (Recording, "mark_told"),
        (IncidentStore, "claim"),
        (IncidentStore, "sent"),
        (Taken, "send"),
    ):
        monkeypatch.setattr(kind, name, dying(getattr(kind, name)))
    at = 0.0
    for number in range(1, 30):
        left = number
        there = [problem(at=at)] if number % 2 else []
        try:
            desk.look(at, *there)
        except _Killed:
            left = 0
            desk.look(at, *there)
        left = 0
        at += 600
        desk.look(at, *there)
    changes = ["opened", *(change for _ in range(14) for change in ("resolved", "reopened"))]
    (row,) = desk.store.incidents(also_resolved=True)
    assert (row["state"], row["reopened"]) == ("open", 14)
    assert desk.store.waiting_messages() == []
    for channel in ("hook", "mail"):
        ids = [body.rpartition("Message id: ")[2] for _, body in desk.channels[channel].sent]  # type: ignore[attr-defined]
        assert len(set(ids)) == len(changes), "each message arrived, and a repeated one has the same id"


# --- real receivers --------------------------------------------------------------------------------------------------


@pytest.fixture
def hook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    with web_hook() as found:
        yield found


class _Mailbox:
    def __init__(self) -> None:
        self.mails: list[Mail] = []

    async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:  # noqa: N802
        self.mails.append(email.message_from_bytes(envelope.content))
        return "250 OK"


@pytest.fixture
def mail_server() -> Iterator[tuple[str, list[Mail]]]:
    """The Apprise URL of an SMTP server, and what it received."""
    box, loop = _Mailbox(), asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(lambda: SMTP(box, loop=loop), "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    port = server.sockets[0].getsockname()[1]
    yield f"mailto://127.0.0.1:{port}?from=dataops@example.com&to=team@example.com&mode=insecure", box.mails
    loop.call_soon_threadsafe(server.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_a_web_hook_and_a_mailbox_get_the_message(
    url: str, hook: tuple[str, list[dict[str, Any]]], mail_server: tuple[str, list[Mail]]
) -> None:
    desk = Desk(url, settings({"to": ["hook", "mail"]}))
    environment = {"HOOK_URL": hook[0], "MAIL_URL": mail_server[0]}
    for name in ("hook", "mail"):
        desk.channels[name] = AppriseChannel(f"{name.upper()}_URL", environment)
    assert desk.look(0, problem(summary="<b>amount</b> is\nüber 9")) == []
    assert desk.look(1, problem(summary="<b>amount</b> is\nüber 9")) == []
    (posted,), (mail,) = hook[1], mail_server[1]
    assert posted["title"] == str(email.header.make_header(email.header.decode_header(mail["Subject"])))
    assert posted["title"] == "[fail] Incident 1 opened: lake/a failed"
    assert "What: <b>amount</b> is\nüber 9\nWhere: lake/a" in posted["message"]
    part = next(one for one in mail.walk() if one.get_content_type() == "text/plain")
    text = part.get_payload(decode=True).decode()  # type: ignore[union-attr]
    # each message has an id of its own channel
    assert text.split("Message id")[0].split() == posted["message"].split("Message id")[0].split()
