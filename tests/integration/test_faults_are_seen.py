"""The tests of the tests: known faults are put into deliveries, and all that should follow is asserted.

For each fault: which check or gate fires, that nothing bad is published, that exactly one incident opens (or comes
back) and closes, who is told, and that the repair brings the hub to what it is without the fault. The faults come one
after the other, each on a day of its own, into one home: each repair is the clean history of the next fault.
"""

from __future__ import annotations

import datetime as dt
import math
import os
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import dagster as dg
import pandera.pandas as pa
import pytest
import sqlalchemy as sa
from code_location import CodeLocation, checks, day_of, failures, loaded, standalone
from test_incidents import Team
from web_hook import web_hook

from dataops_assets.components.by_hand import remove
from dataops_assets.components.quality_report import report_asset
from dataops_assets.config.data_products import DataProducts
from dataops_assets.metadata import tables
from dataops_assets.reporting.making import make_report, save_results
from dataops_assets.reporting.page import page
from dataops_assets.reporting.scores import mean_score

UNIQUE = pa.DataFrameSchema({"id": pa.Column(int, coerce=False)}, unique=["id"])
DECLARED = standalone() | {
    "columns": [*standalone()["columns"], {"name": "state"}, {"name": "minute", "type": "integer"}],
    "rules": [{"name": "doubled", "expression": "amount * 2"}],
    "gates": {"lake": {"contract": f"{__name__}:UNIQUE"}, "on_anomaly": "hold"},
    # their mean grows each day, so it would tell of an older file before the change set does
    "checks": {"distribution": {"ignore": ["id"]}},
}
PRODUCTS = DataProducts.model_validate(
    {
        "products": {
            "shop": {
                "description": "What is sold, by day.",
                "owner": "team:shop",
                "sources": ["orders"],
                "critical_columns": ["orders.amount"],
                "objectives": {
                    # at any hour of the day: this test runs by the clock of the machine
                    "freshness": {"within": "26 hours"},
                    "completeness": {"target": 0.999},
                    "correctness": {"target": 0.95},
                    "incidents": {"within": "2 days"},
                },
            }
        }
    }
)
HISTORY = 42
DIST = "lake/orders:distribution"
FIRST = dt.date(2024, 1, 1)
MORNING = dt.datetime(2024, 1, 1, 6, 30, tzinfo=dt.UTC)
DROPPED = HISTORY + 11
DRIFTS = range(DROPPED + 2, DROPPED + 10)
LATE = DRIFTS.stop
COLUMNS = ("id", "customer", "amount", "state", "minute")
Row = dict[str, Any]


def rows_of(day: int) -> list[Row]:
    """The right delivery of a day: fewer rows at weekends, a growing id."""
    chance = random.Random(day)
    count = round((60 if (FIRST + dt.timedelta(days=day)).weekday() > 4 else 200) * math.exp(chance.gauss(0, 0.03)))
    return [
        {
            "id": 1000 * day + number,
            "customer": chance.randint(1, 400),
            "amount": round(chance.gauss(50, 10), 2),
            "state": chance.choices(("open", "paid", "sent"), (1, 6, 3))[0],
            # of the day, local time
            "minute": round(chance.gauss(780, 120)),
        }
        for number in range(count)
    ]


def text_of(rows: list[Row]) -> str:
    lines = (",".join("" if row[name] is None else str(row[name]) for name in COLUMNS) for row in rows)
    return "\n".join([",".join(COLUMNS), *lines]) + "\n"


def every(rows: list[Row], nth: int, change: Callable[[Row], Row]) -> list[Row]:
    return [row | change(row) if place % nth == 0 else row for place, row in enumerate(rows)]


@dataclass(frozen=True)
class Fault:
    """What happens to a delivery, the check that must say it, with which words, and whether a person removes it."""

    change: Callable[[list[Row]], list[Row]]
    check: str
    words: str
    is_removed: bool = False


FAULTS: Mapping[str, Fault] = {
    "truncated extract": Fault(lambda rows: rows[: len(rows) // 2], "lake/orders:volume", "rows "),
    "doubled file": Fault(lambda rows: rows * 2, "lake/orders:contract", "id"),
    "unit x 10": Fault(lambda rows: every(rows, 1, lambda row: {"amount": row["amount"] * 10}), DIST, "amount: mean"),
    "unit x 1.1": Fault(
        lambda rows: every(rows, 1, lambda row: {"amount": round(row["amount"] * 1.1, 2)}), DIST, "amount: mean"
    ),
    "time-zone shift": Fault(
        lambda rows: every(rows, 1, lambda row: {"minute": row["minute"] + 180}), DIST, "minute: "
    ),
    "null burst": Fault(lambda rows: every(rows, 3, lambda _: {"amount": None}), DIST, "amount: null share", True),
    "category swap": Fault(
        lambda rows: every(rows, 1, lambda row: {"state": {"open": "paid", "paid": "open"}.get(row["state"], "sent")}),
        DIST,
        "state: shift of frequent values",
    ),
    "swapped columns": Fault(
        lambda rows: every(rows, 1, lambda row: {"customer": round(row["amount"]), "amount": row["customer"]}),
        DIST,
        "amount: mean",
        True,
    ),
    "typos": Fault(lambda rows: every(rows, 5, lambda row: {"state": row["state"][:-1]}), DIST, "state: "),
    "duplicates": Fault(lambda rows: [*rows, *rows[::10]], "lake/orders:contract", "id"),
    # on a Thursday: the file of the Wednesday again
    "frozen values": Fault(
        lambda rows: rows_of(rows[0]["id"] // 1000 - 1), "lake/orders_changes:distribution", "share new", True
    ),
}


class Shop:
    """A code location with a clean history, and the team that is told of what is wrong."""

    def __init__(self, team: Team) -> None:
        self.team, self.here = team, team.here
        self.right: dict[int, list[Row]] = {}

    def lands(self, day: int, rows: list[Row]) -> None:
        """A file lands under the name of its day, made in the morning; another version of it a minute later."""
        name = f"orders_{FIRST + dt.timedelta(days=day)}.csv"
        made = MORNING + dt.timedelta(days=day, minutes=(self.here.landing / "orders" / name).exists())
        self.here.land("orders", name, text_of(rows))
        os.utime(self.here.landing / "orders" / name, (made.timestamp(), made.timestamp()))

    def delivers(self, day: int, rows: list[Row]) -> dict[str, dg.AssetCheckEvaluation]:
        """A file lands, and the sensors do their work."""
        self.lands(day, rows)
        found: dict[str, dg.AssetCheckEvaluation] = {}
        for result in self.here.settle("orders"):
            found |= checks(result)
        self.team.looks()
        return found

    def delivers_right(self, day: int) -> dict[str, dg.AssetCheckEvaluation]:
        self.right[day] = rows_of(day)
        return self.delivers(day, self.right[day])

    def looks_as_if_seen_before(self, hours: float) -> None:
        """The sensor of incidents looks, as if all inputs had been seen so many hours before now."""
        seen = dt.datetime.now(dt.UTC) - dt.timedelta(hours=hours)
        with sa.create_engine(self.here.environment.metadata_url).begin() as connection:
            connection.execute(sa.update(tables.inputs).values(registered_at=seen))
        self.team.cursor = None
        self.team.looks()

    def newest(self, day: int) -> str:
        wanted = f"{FIRST + dt.timedelta(days=day):%Y%m%d}"
        items = self.here.platform.metadata.inputs("orders")
        return [item.input_id for item in items if day_of(item.input_id) == wanted][-1]

    @property
    def open_incidents(self) -> list[str]:
        return [f"{asset} {kind}" for _, state, asset, kind in self.team.rows if state == "open"]

    def told(self, since: int) -> list[str]:
        """What the owner's web hook was told of incidents, in the order of the messages."""
        return [title.partition(" Incident ")[2].split()[1].rstrip(":") for title in self.team.titles[since:]]

    def assert_clean(self, what: str) -> None:
        """The hub is what the right deliveries give, nothing less and nothing more."""
        expected = sorted(
            (*(row[name] for name in COLUMNS), row["amount"] * 2) for rows in self.right.values() for row in rows
        )
        found = self.here.rows("hub/orders", *COLUMNS, "doubled")
        assert found == expected, what


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with (
        loaded(DECLARED) as definitions,
        dg.instance_for_test() as instance,
        web_hook() as (url, messages),
    ):
        here = CodeLocation(definitions, instance, tmp_path)
        found = Shop(Team(here, url, messages, DECLARED))
        for day in range(HISTORY - 1):
            found.right[day] = rows_of(day)
            found.lands(day, found.right[day])
        found.delivers_right(HISTORY - 1)
        found.assert_clean("history")
        assert found.team.rows == []
        yield found


def test_known_faults_are_seen_kept_out_told_once_and_repaired(shop: Shop) -> None:
    # one test, because each fault comes after the ones before
    for place, name in enumerate(FAULTS):
        assert_seen_and_repaired(shop, place, name)
    assert_dropped_day_is_seen(shop)
    assert_slow_drift_is_seen(shop)
    assert_late_arrival_is_seen(shop)
    assert_report_shows_what_is_red(shop)


def assert_seen_and_repaired(shop: Shop, place: int, name: str) -> None:
    fault, day = FAULTS[name], HISTORY + place
    since = len(shop.team.titles)
    found = shop.delivers(day, fault.change(rows_of(day)))
    check = found[fault.check]
    assert not check.passed, name
    assert fault.words in (check.description or ""), check.description
    shop.assert_clean(f"{name}: nothing bad is published")
    assert len(shop.open_incidents) == 1, shop.team.rows
    assert shop.told(since) in (["opened"], ["reopened"])

    if fault.is_removed:
        context = shop.here.platform.source_context(shop.team.sources["orders"], shop.team.sources)
        remove(context, [shop.newest(day)], shop.here.instance)
        shop.team.looks()
        shop.assert_clean(f"{name}: removed")
    shop.delivers_right(day)
    shop.assert_clean(f"{name}: repaired")
    assert not shop.open_incidents
    assert shop.told(since)[1:] == ["resolved"]


def assert_dropped_day_is_seen(shop: Shop) -> None:
    """The day after tells it, and it is over when the missing one comes late."""
    day = DROPPED
    assert day == HISTORY + len(FAULTS)
    since = len(shop.team.titles)
    found = shop.delivers_right(day + 1)
    assert not found["raw/orders:distribution"].passed
    assert "inputs: hours since the one before 48" in (found["raw/orders:distribution"].description or "")
    shop.assert_clean("the day after is taken")
    assert len(shop.open_incidents) == 1, shop.team.rows
    shop.delivers_right(day)
    shop.assert_clean("the late day is taken at its place")
    assert not shop.open_incidents
    assert shop.told(since)[1:] == ["resolved"]


def assert_slow_drift_is_seen(shop: Shop) -> None:
    """The minutes grow by 2 % a day: no day is odd by itself, but the eighth one is told."""
    since = len(shop.team.titles)
    for place, day in enumerate(DRIFTS, 1):
        grown = every(rows_of(day), 1, lambda row, by=1 + 0.02 * place: {"minute": round(row["minute"] * by)})
        shop.lands(day, grown)
        if day == DRIFTS[-2]:
            assert not any(failures(result) for result in shop.here.settle("orders"))
            shop.team.looks()
            assert not shop.open_incidents, "the days until here are as usual"
    before = shop.here.rows("hub/orders", "id")
    found = shop.delivers(DRIFTS[-1], grown)
    assert not found[DIST].passed
    assert re.search("minute: .*; drifts upwards: ", found[DIST].description or ""), found[DIST].description
    assert shop.here.rows("hub/orders", "id") == before, "the day that is told is not published"
    assert len(shop.open_incidents) == 1, shop.team.rows
    for day in DRIFTS[:-1]:
        shop.right[day] = rows_of(day)
        shop.lands(day, shop.right[day])
    shop.delivers_right(DRIFTS[-1])
    shop.assert_clean("all days without the drift")
    assert not shop.open_incidents
    assert shop.told(since) in (["opened", "resolved"], ["reopened", "resolved"])


def assert_late_arrival_is_seen(shop: Shop) -> None:
    """The next file does not come: that is told before any other comes, and is over when it is there."""
    since = len(shop.team.titles)
    shop.looks_as_if_seen_before(20)
    assert not shop.open_incidents
    shop.looks_as_if_seen_before(30)
    assert shop.open_incidents == ["raw/orders late"]
    newest = FIRST + dt.timedelta(days=LATE - 1)
    assert (
        f"orders: the input after the one of {newest} 00:00 is missing; it was expected at "
        in shop.team.messages[-1]["message"]
    )
    shop.delivers_right(LATE)
    shop.assert_clean("the late file is taken")
    assert not shop.open_incidents
    assert shop.told(since) == ["opened", "resolved"]


def assert_report_shows_what_is_red(shop: Shop) -> None:
    """The page of the morning after a day that is held and one with a rejected row."""
    day = LATE + 1
    right = rows_of(day)
    shop.delivers(day, right[: len(right) // 4])
    shop.delivers(day + 1, every(rows_of(day + 1), 500, lambda _: {"amount": "x"}))
    sources, now = shop.team.sources, dt.datetime.now(dt.UTC)
    report = make_report(shop.here.environment.metadata_url, sources, PRODUCTS, now, "https://dagster.example.com/")
    levels = {level.name: level for level in report.products["shop"][1]}
    assert levels["freshness"].is_met
    assert levels["completeness"].good == pytest.approx(1 - 1 / sum(row["rows"] for row in report.facts.loaded))
    assert levels["incidents"].good == 1.0
    assert 0.5 < (levels["correctness"].good or 0) < 1
    scores = {item.asset: item for item in report.scores}
    assert scores["raw/orders"].score <= 100
    assert any("1 of" in loss.why and loss.rows == 1 for loss in scores["lake/orders"].losses)
    assert report.rejected == [{"source": "orders", "rule": "does not fit the contract", "rows": 1}]
    text = page(report)
    assert f"dataops approve orders {shop.newest(day)}" in text
    assert "nobody yet" in text
    assert "<svg" in text
    assert "https://dagster.example.com/assets/hub/orders" in text
    well_formed(text)
    queries = [unescape(item) for item in re.findall("<code>(SELECT [^<]+)</code>", text)]
    assert len(queries) == 6
    with sa.create_engine(shop.here.environment.metadata_url).connect() as connection:
        for query in queries:
            connection.execute(sa.text(query))
    assert report.distances["orders"].values[-1] > 0
    asset = report_asset(sources, PRODUCTS, "", dg.Definitions())
    made = dg.materialize([asset], instance=shop.here.instance, resources={"platform": shop.here.platform})
    (event,) = made.asset_materializations_for_node("platform__quality_report")
    assert str(event.metadata["shop"].value).endswith("missed: nothing")
    written = (Path(shop.here.environment.home) / "reports" / "quality.html").read_text(encoding="utf-8")
    assert "Skip to the content" in written
    assert "reports, the last with" not in written, "there was no report before"
    later = make_report(shop.here.environment.metadata_url, sources, PRODUCTS, now + dt.timedelta(days=1))
    save_results(shop.here.environment.metadata_url, later)
    again = make_report(shop.here.environment.metadata_url, sources, PRODUCTS, now + dt.timedelta(days=1))
    assert again.history["shop"].values == [mean_score(item.scores, ["orders"]) for item in (report, later)]
    assert "quality points of shop in 2 reports" in page(again)


def well_formed(text: str) -> None:
    """Every element is closed, tables have captions, and nothing is loaded from anywhere."""
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    assert reader.tables == reader.captions > 3
    assert not reader.loads


class Reader(HTMLParser):
    """Reads a page as a checker of accessibility does."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tables = self.captions = 0
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)
        self.tables += tag == "table"
        self.captions += tag == "caption"
        named = dict(attrs)
        if tag in ("script", "link", "img", "iframe") or "src" in named:
            self.loads.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # parts of a picture
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
