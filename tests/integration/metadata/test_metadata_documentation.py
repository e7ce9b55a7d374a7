"""The page about the metadata structure: its diagram is the tables, and its queries run on both databases."""

from __future__ import annotations

import datetime as dt
import decimal
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from metadata_examples import START, an_input, source

from dataops_assets.config.incidents import Incidents
from dataops_assets.config.rules import Rule
from dataops_assets.errors import GateFailed
from dataops_assets.incidents.decisions import Seen
from dataops_assets.incidents.grouping import Lineage
from dataops_assets.incidents.looking import Decision, look, record_decision
from dataops_assets.incidents.problem import Problem
from dataops_assets.metadata import tables
from dataops_assets.metadata.database import HEAD
from dataops_assets.metadata.incident_store import IncidentStore
from dataops_assets.metadata.moment_store import RecordedMoment
from dataops_assets.metadata.report_store import ReportStore
from dataops_assets.metadata.store import Arrival, MetadataStore
from dataops_assets.metadata.token_store import Token
from dataops_assets.profiles import ColumnProfile, Profile
from dataops_assets.report import CheckOutcome, InputReport, RuleReceipt, StepReport

PROJECT = Path(__file__).parents[3]
PAGE = (PROJECT / "docs" / "metadata.md").read_text()
QUERIES = dict(re.findall(r"^### (.+?)\n.*?```sql\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE))
FIRST, SECOND, THIRD = INPUTS = [an_input(number) for number in range(3)]
TYPES = {"TIMESTAMP": "timestamptz", "BIGINT": "bigint", "JSON": "json"}

EXPECTED = {
    "Who took a version that is not approved any more": [
        ("churn", "hub/sales", "v1", 7, f"{START:%Y-%m-%d %H:%M}", "rollback 1 to v0")
    ],
    "What readers of a publication saw, and for how long": [
        ("shop", 2, f"{START:%Y-%m-%d %H:%M}", None),
        ("shop", 1, f"{START:%Y-%m-%d %H:%M}", f"{START:%Y-%m-%d %H:%M}"),
    ],
    "What each source holds": [("shop", "sales", "append", 3, 33, "2013-01-01 00:00", "2013-01-03 00:00")],
    "What the newest inputs change": [
        ("2013-01-02 00:00", SECOND.origin, 1, 2, 3, 0, 0),
        ("2013-01-01 00:00", FIRST.origin, 10, 0, 0, 0, 0),
    ],
    "Where the time goes": [
        ("sales", "parse", 2, 3, 15, 4.0, 2.0),
        ("sales", "cdc", 2, 2, None, 3.0, 1.5),
        ("sales", "refresh", 2, 2, 2, 1.0, 1.0),
    ],
    "What failed, and why": [
        (
            "sales",
            "parse",
            SECOND.input_id,
            SECOND.origin,
            1,
            "GateFailed",
            "checking lake/sales; received: 3 nulls",
            "run 2",
        )
    ],
    "What is running, or was killed": [("sales", "refresh", SECOND.input_id, 1, "run 4", "now")],
    "Inputs that are not in the hub yet": [
        ("sales", SECOND.input_id, SECOND.origin, "now"),
        ("sales", THIRD.input_id, THIRD.origin, "now"),
    ],
    "The share of rows that were rejected": [("sales", 15, 5, 25.0)],
    "Files that made no new input": [
        ("sales", "/landing/again.csv", 10, "2013-01-01 00:00", FIRST.input_id, "already known")
    ],
    "Checks that fail now": [("sales", "lake/sales", FIRST.input_id, "volume", "warn", "10 rows, at least 100", "now")],
    "Incidents that are not resolved": [
        (1, "acknowledged", "fail", "shop", "lake/sales", "failed", "bad file", "mend it", "2013-01-01 00:00", "ann")
    ],
    "How fast incidents are found, taken and resolved": [("shop", 1, 0.0, 60.0, None, 0)],
    "What data products promise, and what is left of it": [("shop", "completeness", 0.99, 0.995, 0.5, 2.0)],
    "How the quality scores of data products developed": [("2013-01-01 00:00", "shop", 99.5)],
    "What happened to each incident": [
        (1, "2013-01-01 00:00", "found", "lake/sales failed", "", ""),
        (1, "2013-01-01 00:01", "acknowledged", "", "ann", "on it"),
    ],
    "Messages that wait to be sent": [("chat", "opened", 1, 0, "2013-01-01 00:00", "")],
    "How a column developed": [
        ("2013-01-02 00:00", 5, 20.0, 5, "0.50", "9.00", 5.5, 1.25),
        ("2013-01-01 00:00", 10, 10.0, 10, "0.50", "9.00", 5.5, 1.25),
    ],
    "Inputs that were processed under an older contract": [
        ("sales", "parse", FIRST.input_id, 1, 2),
        ("sales", "parse", SECOND.input_id, 1, 2),
    ],
    "What recalculating rules cost and changed": [
        ("sales", "lake/sales", "half", "v1", 2, 12, 3, "now"),
        ("sales", "lake/sales", "twice", "v7", 1, 10, 10, "now"),
    ],
    "A count that has no column": [("sales", "refresh", FIRST.input_id, 4)],
}


def _history(store: MetadataStore) -> None:
    """Three inputs at different points of their way."""

    def report(step: str, *inputs: InputReport, seconds: float) -> StepReport:
        return StepReport(step, "lake/sales", inputs, 1, 1, {}, seconds)

    ids = [FIRST.input_id, SECOND.input_id]
    store.contracts.register(source())
    store.register_inputs("sales", INPUTS)
    taken = Arrival(FIRST.origin, 10, START, FIRST.digest, FIRST.input_id, START)
    store.remember_arrivals("sales", [taken, replace(taken, origin="/landing/again.csv", note="already known")])

    check = CheckOutcome("lake/sales", "volume", False, "fail", "0 rows", FIRST.input_id)
    few = replace(check, severity="warn", explanation="10 rows, at least 100")
    mended = replace(check, input_id=SECOND.input_id, passed=True)
    gate = GateFailed("checking lake/sales", received="3 nulls")
    parsed = InputReport(ids[0], {"rows": 10, "rejected": 0}, checks=(few,))
    refused = InputReport(ids[1], {"rows": 5, "rejected": 5}, error=gate, checks=(mended,))
    for run, reports in (("run 1", [InputReport(ids[0], checks=(check,))]), ("run 2", [parsed, refused])):
        store.start("sales", "parse", [item.input_id for item in reports], run)
        store.finish("sales", report("parse", *reports, seconds=4.0), run)
    amount = ColumnProfile("amount", "DECIMAL(10,2)", 1, 10, "0.50", "9.00", 5.5, 1.25)
    profiles = [
        Profile("lake/sales", ids[0], 10, (amount,)),
        Profile("lake/sales", ids[1], 5, (replace(amount, distinct=5),)),
    ]
    store.profiles.save("sales", "lake/sales", profiles)

    store.contracts.register(source(rules=(Rule(name="twice", expression="2 * amount"),)))
    first = {"new": 10, "changed": 0, "unchanged": 0, "old": 0, "deleted": 0}
    second = {**first, "new": 1, "changed": 2, "unchanged": 3}
    store.start("sales", "cdc", ids, "run 3")
    store.finish("sales", report("cdc", InputReport(ids[0], first), InputReport(ids[1], second), seconds=3.0), "run 3")
    store.start("sales", "refresh", ids, "run 4")
    store.finish("sales", report("refresh", InputReport(ids[0], {"rows": 2, "files": 4}), seconds=1.0), "run 4")
    half, twice = RuleReceipt("half", "v1", 10, 1), RuleReceipt("twice", "v7", 10, 10)
    store.save_receipts("sales", replace(report("recalculate", seconds=1.0), receipts=(half, twice)))
    store.save_receipts(
        "sales", replace(report("recalculate", seconds=1.0), receipts=(replace(half, rows_seen=2, rows_changed=2),))
    )


def _incident(store: IncidentStore) -> None:
    """An incident that a person has taken, with a message that waits."""
    problem = Problem("lake/sales", "failed", "fail", START, START, "bad file", "mend it", "sales", "shop")
    told = Incidents.model_validate(
        {"channels": {"chat": {"url": "${CHAT}"}}, "routes": [{"to": ["chat"], "tell": ["opened"]}]}
    )
    look(store, lambda: Seen([problem]), Lineage({"lake/sales": []}), told, START, None)
    record_decision(store, [1], Decision("acknowledged", "ann", "on it"), START + dt.timedelta(minutes=1))


def _comparable(value: object) -> object:
    """A value as both databases give it: minutes of a time ('now' for one of this test), floats for decimals."""
    if isinstance(value, decimal.Decimal):
        return float(value)
    time = None
    if isinstance(value, dt.datetime):
        time = value.astimezone(dt.UTC)
    elif isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.", value):
        time = dt.datetime.fromisoformat(value).replace(tzinfo=dt.UTC)
    if time is None:
        return value
    return "now" if dt.datetime.now(dt.UTC) - time < dt.timedelta(hours=1) else f"{time:%Y-%m-%d %H:%M}"


def test_every_ready_query_gives_the_same_answer_on_both_databases(store: MetadataStore, url: str) -> None:
    _history(store)
    _incident(IncidentStore(url))
    level = {"product": "shop", "objective": "completeness", "target": 0.99, "good": 0.995}
    ReportStore(url).save(
        [{"reported_at": START, **level, "budget_left": 0.5, "burn_rate": 2.0}],
        [{"reported_at": START, "scope": "product", "name": "shop", "score": 99.5, "losses": []}],
    )
    token = Token("t1", "churn", "hub/sales", "sales", "v2", START, 7, "c", START, "ann")
    store.tokens.give(token)
    store.tokens.give(replace(token, token="t2", release="v1", revoked_at=START, reason="rollback 1 to v0"))
    moment = RecordedMoment("shop", 1, START, [{"asset": "hub/sales", "version": 7}], "")
    store.moments.record([moment])
    store.moments.record([moment, replace(moment, number=2)])
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        answers = {
            title: [tuple(_comparable(value) for value in row) for row in connection.exec_driver_sql(text)]
            for title, text in QUERIES.items()
        }
    assert answers == EXPECTED


def _type(column: sa.Column[object]) -> str:
    kind = column.type.impl if isinstance(column.type, sa.types.TypeDecorator) else column.type
    return {sa.DateTime: "timestamptz"}.get(type(kind), str(kind).lower())


def _diagram() -> str:
    lines = ["erDiagram"]
    for table in tables.metadata.sorted_tables:
        for constraint in sorted(table.foreign_key_constraints, key=lambda item: item.referred_table.name):
            # a table that names the input names its source too: one line is enough
            if (
                constraint.referred_table is tables.sources
                and "input_id" in table.columns
                and table is not tables.inputs
            ):
                continue
            optional = any(column.nullable for column in constraint.columns)
            lines.append(f"    {constraint.referred_table.name} {'|o' if optional else '||'}--o{{ {table.name} : has")
    for table in tables.metadata.sorted_tables:
        lines.append(f"    {table.name} {{")
        for column in table.columns:
            keys = ["PK"] * column.primary_key + ["FK"] * bool(column.foreign_keys)
            lines.append("        " + " ".join([_type(column), column.name, *([", ".join(keys)] if keys else [])]))
        lines.append("    }")
    return "\n".join(lines)


def test_the_diagram_shows_the_tables_as_they_are() -> None:
    (shown,) = re.findall(r"```mermaid\n(.*?)\n```", PAGE, re.DOTALL)
    assert shown == _diagram()


@pytest.mark.parametrize("command", ["check", "current"])
def test_people_who_write_migrations_can_use_alembics_command(url: str, command: str) -> None:
    line = next(text for text in PAGE.splitlines() if text.startswith("alembic "))
    program, option, file, *_ = line.split()
    done = subprocess.run(
        [sys.executable, "-m", program, option, file, command],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "DATAOPS_METADATA_URL": url},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert ("No new upgrade operations detected." if command == "check" else f"{HEAD} (head)") in done.stdout
