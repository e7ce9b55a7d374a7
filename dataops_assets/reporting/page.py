"""The report as one HTML page that needs nothing else: no network, no scripts. It prints, and fits a phone.

Colours follow the reader's light or dark setting. A state is always said in words, too, never by colour alone.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from urllib.parse import quote

from dataops_assets.config.data_products import DataProduct
from dataops_assets.masking import mask
from dataops_assets.quality.control.charts import Trend, svg
from dataops_assets.reporting.deployments import deployments, failure_share
from dataops_assets.reporting.facts import Facts, Row
from dataops_assets.reporting.scores import TableScore, area_score, mean_score
from dataops_assets.reporting.service_levels import ServiceLevel

_NONE = "none"
# the query behind a section, by the table of the metadata that it reads first
_QUERIES = {
    "service_levels": "SELECT product, objective, target, good, budget_left FROM service_levels ORDER BY reported_at",
    "profiles": "SELECT asset, input_id, rows FROM profiles ORDER BY profile_id DESC",
    "quality_scores": "SELECT scope, name, score, losses FROM quality_scores ORDER BY reported_at DESC",
    "incidents": "SELECT incident_id, asset, kind, opened_at, seconds_to_detect, seconds_to_resolve FROM incidents",
    "loads": "SELECT load_id, loaded_at FROM loads ORDER BY load_id DESC",
    "processes": "SELECT source, sum(seconds) FROM processes GROUP BY source",
}
# so many names of what a deployment changed
_SHOWN = 5
_STYLE = """
:root { color-scheme: light dark; --bg: #fff; --ink: #1b1f24; --soft: #57606a; --line: #d0d7de; --card: #f6f8fa;
  --link: #0550ae; --bad: #b3261e; --warn: #8a5300; --good: #1a7f37; }
@media (prefers-color-scheme: dark) { :root { --bg: #0d1117; --ink: #e6edf3; --soft: #9aa4b0; --line: #30363d;
  --card: #161b22; --link: #79b8ff; --bad: #ff8a80; --warn: #e3b341; --good: #56d364; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 1rem; background: var(--bg); color: var(--ink);
  font: 1rem/1.45 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: .5rem 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: .2rem 0; }
p { margin: .3rem 0; } a { color: var(--link); } .soft { color: var(--soft); }
.bad { color: var(--bad); font-weight: 600; } .warn { color: var(--warn); font-weight: 600; }
.good { color: var(--good); font-weight: 600; }
.cards { display: grid; gap: .75rem; grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .4rem; padding: .75rem;
  overflow-wrap: anywhere; break-inside: avoid; }
.number { font-size: 1.6rem; font-weight: 600; }
.charts { grid-template-columns: repeat(auto-fill, minmax(min(30rem, 100%), 1fr)); } time { white-space: nowrap; }
.wide { overflow-x: auto; } .wide:focus { outline: 2px solid var(--link); }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
caption { text-align: left; color: var(--soft); padding-bottom: .3rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem .35rem 0; border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { margin: 0; } figure svg { width: 100%; height: auto; } figcaption { font-size: .85rem; color: var(--soft); }
.skip { position: absolute; left: -999rem; } .skip:focus { left: 1rem; }
@media (max-width: 40rem) { table.stack thead { position: absolute; left: -999rem; }
  table.stack tr { display: block; padding: .4rem 0; border-bottom: 1px solid var(--line); }
  table.stack td, table.stack th[scope=row] { display: block; border: 0; padding: .1rem 0; text-align: left;
  white-space: normal; } table.stack td::before { content: attr(data-name) ": "; color: var(--soft); } }
@media print { :root { color-scheme: only light; --bg: #fff; --ink: #000; --soft: #444; --line: #999; --card: #fff;
  --link: #000; --bad: #b3261e; --warn: #8a5300; --good: #1a7f37; }
  @page { margin: 1.5cm; } body { max-width: none; padding: 0; font-size: .85rem; } a { color: inherit; }
  .skip { display: none; } .wide { overflow: visible; } th, td { overflow-wrap: anywhere; }
  h2, h3, caption { break-after: avoid; } tr, figure, .wide { break-inside: avoid; }
  thead { display: table-header-group; } }
"""


@dataclass(frozen=True)
class Report:
    """What the page shows. `link`: address of the Dagster UI; '' for links within it.

    `trends`: rows of inputs, `distances`: of the whole profiles of inputs to those before, by source. `history`: scores
    in earlier reports, by data product.
    """

    facts: Facts
    products: Mapping[str, tuple[DataProduct, Sequence[ServiceLevel]]] = field(default_factory=dict)
    scores: Sequence[TableScore] = ()
    trends: Mapping[str, Trend] = field(default_factory=dict)
    rejected: Sequence[Row] = ()
    link: str = ""
    history: Mapping[str, Trend] = field(default_factory=dict)
    distances: Mapping[str, Trend] = field(default_factory=dict)


def page(report: Report) -> str:
    """Return the page."""
    now = f"{report.facts.now:%Y-%m-%d %H:%M} UTC"
    parts = [
        _section("red", "What is red, and who works on it", _red(report)),
        _section("products", "Data products", _products(report)),
        _section("fresh", "Freshness", _freshness(report)),
        _section("trends", "Rows of each input, and how unlike the inputs before it is", _trends(report)),
        _section("scores", "Quality scores", _scores(report)),
        _section("incidents", "Incidents of the last 28 days", _incidents(report)),
        _section("deployments", "Deployments of the last three months", _deployments(report)),
        _section("kept-out", "Rows that are kept out", _kept_out(report)),
        _section("costs", "Cost by source", _costs(report)),
    ]
    # every text from outside is masked and escaped where it is put in
    return "".join(
        [
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Data quality, {now}</title><style>{_STYLE}</style></head><body>",
            '<a class="skip" href="#red">Skip to the content</a>',
            f'<header><h1>Data quality</h1><p class="soft">As of {now}. {_summary(report)}</p></header><main>',
            *parts,
            "</main></body></html>",
        ]
    )


def _summary(report: Report) -> str:
    there = [row for row in report.facts.incidents if row["state"] != "resolved"]
    missed = sum(level.is_met is False for _, levels in report.products.values() for level in levels)
    incidents = "1 incident is" if len(there) == 1 else f"{len(there)} incidents are"
    objectives = "1 objective is" if missed == 1 else f"{missed} objectives are"
    return f"{incidents} not resolved; {objectives} missed."


def _red(report: Report) -> str:
    rows = [row for row in report.facts.incidents if row["state"] != "resolved"]
    if not rows:
        return '<p class="good">Nothing is red.</p>'
    return _table(
        "Incidents that are not resolved, the newest first",
        ("Incident", "What is wrong", "Severity", "Since", "Who works on it", "What to do"),
        [
            (
                f"{row['incident_id']}",
                f"{_asset(report, row['asset'])}: {_text(row['summary'])}",
                _word(row["severity"], "bad" if row["severity"] == "fail" else "warn"),
                _time(row["began_at"]),
                _text(row["acknowledged_by"]) if row["acknowledged_by"] else _word("nobody yet", "warn"),
                _text(row["next_step"]),
            )
            for row in rows
        ],
    )


def _products(report: Report) -> str:
    if not report.products:
        return '<p class="soft">No data product is declared.</p>'
    cards = "".join(_product(report, name) for name in sorted(report.products))
    return f'<div class="cards">{cards}</div>' + _query("service_levels")


def _product(report: Report, name: str) -> str:
    product, levels = report.products[name]
    score = mean_score(report.scores, product.sources)
    lines = [
        f"<h3>{_text(name)}</h3>",
        f'<p class="soft">{_text(product.description)} Owner: {_text(product.owner or "none")}. Sources: '
        f"{', '.join(_asset(report, f'hub/{source}', source) for source in product.sources)}.</p>",
        f'<p><span class="number">{_NONE if score is None else f"{score:.0f}"}</span> of 100 quality points</p>',
    ]
    if (history := report.history.get(name)) is not None:
        told = f"quality points of {name} in {len(history.values)} reports, the last with {history.values[-1]:.1f}"
        lines.append(f"<figure>{svg(history, told)}<figcaption>{_text(told)}</figcaption></figure>")
    for level in levels:
        lines.append(f"<p>{_level(level)}</p>")
    return f'<article class="card">{"".join(lines)}</article>'


def _level(level: ServiceLevel) -> str:
    name = f"{level.name} ({level.meaning}, from {level.table})"
    # so many digits that a share differs from its objective by more than a tenth of the error budget
    digits = max(1, math.ceil(round(-math.log10(100 * (1 - level.target)), 6)) + 1)
    target = f"{level.target:.{digits}%}"
    if level.good is None or level.budget_left is None:
        return f'{_text(name)}: <span class="soft">no data yet</span>, objective {target}'
    state = _word("met", "good") if level.is_met else _word("missed", "bad")
    spent = 1 - level.budget_left
    budget = f"{spent:.1f} times the budget spent" if spent > 1 else f"{level.budget_left:.0%} of the budget left"
    burn = "" if level.burn_rate is None else f", burn rate of the last day {level.burn_rate:.1f}"
    return f"{_text(name)}: {level.good:.{digits}%}, objective {target}: {state}; {budget}{burn}"


def _freshness(report: Report) -> str:
    rows = []
    for source in sorted(report.facts.areas):
        times = report.facts.published.get(source, ())
        age = (report.facts.now - times[-1]) / dt.timedelta(hours=1) if times else None
        rows.append(
            (
                _asset(report, f"hub/{source}", source),
                _text(report.facts.areas[source]),
                _time(times[-1]) if times else _word("never", "warn"),
                _NONE if age is None else f"{age:,.1f}",
                f"{len(times):,}",
            )
        )
    names = ("Source", "Area", "Newest data in the hub", "Hours ago", "Inputs")
    return _table("When each hub got new data", names, rows, numbers={3, 4})


def _trends(report: Report) -> str:
    if not report.trends:
        return '<p class="soft">No source has enough inputs for a chart.</p>'
    figures = []
    for source, trend in sorted(report.trends.items()):
        told = f"rows of {source}: {trend.values[-1]:,.0f} on {trend.times[-1]:%Y-%m-%d}, of {len(trend.values)} inputs"
        figures.append(
            f'<figure class="card">{svg(trend, told)}<figcaption>{_asset(report, f"lake/{source}", source)}: '
            f"{_text(told)}. The band is what was expected; points beyond it are marked.</figcaption></figure>"
        )
        if (apart := report.distances.get(source)) is not None:
            told = f"{source}: distance of all columns to the inputs before {apart.values[-1]:.3g} deviations"
            figures.append(
                f'<figure class="card">{svg(apart, told)}<figcaption>{_asset(report, f"lake/{source}", source)}: '
                f"{_text(told)}. The band is what is usual for the newest.</figcaption></figure>"
            )
    return f'<div class="cards charts">{"".join(figures)}</div>' + _query("profiles")


def _scores(report: Report) -> str:
    by_area = [
        (_text(area), f"{score:.1f}")
        for area in sorted({item.area for item in report.scores})
        if (score := area_score(report.scores, area)) is not None
    ]
    losing = [item for item in report.scores if item.losses]
    losing.sort(key=lambda item: item.score)
    tables = [
        (
            _asset(report, item.asset),
            f"{item.score:.1f}",
            "<br>".join(f"{_points_lost(loss.points)}: {_text(loss.why)}" for loss in item.losses),
        )
        for item in losing
    ]
    perfect = len(report.scores) - len(losing)
    return (
        _table("Areas: the mean of their tables", ("Area", "Points"), by_area, numbers={1})
        + _table("Tables that lost points, and for what", ("Table", "Points", "Lost for"), tables, numbers={1})
        + f'<p class="soft">Tables with 100 points: {perfect}.</p>'
        + _query("quality_scores")
    )


def _incidents(report: Report) -> str:
    since = report.facts.now - dt.timedelta(days=28)
    rows = [
        (
            f"{row['incident_id']}",
            f"{_asset(report, row['asset'])} {_text(row['kind'])}",
            _text(row["state"]),
            _time(row["opened_at"]),
            _duration(row["seconds_to_detect"]),
            _duration(row["seconds_to_acknowledge"]),
            _duration(row["seconds_to_resolve"]),
        )
        for row in report.facts.incidents
        if row["opened_at"] >= since or row["state"] != "resolved"
    ]
    names = ("Incident", "Cause", "State", "Opened", "To detect", "To take", "To resolve")
    return _table("Times to detect, take and resolve", names, rows, numbers={4, 5, 6}) + _query("incidents")


def _deployments(report: Report) -> str:
    found = deployments(report.facts.loads, report.facts.incidents)
    share = failure_share(found)
    rows = [
        (
            f"{item.number}",
            _time(item.at),
            _text(_several(item.changed)),
            _word(f"incidents {', '.join(map(str, item.incidents))}", "bad") if item.failed else _word("none", "good"),
            _duration(item.seconds_to_repair),
        )
        for item in found
    ]
    names = ("Deployment", "At", "Changed", "Failures within a day", "To repair")
    told = "" if share is None else f"<p>{share:.0%} of {len(found):,} deployments were followed by a failure.</p>"
    return (
        told + _table("Deployments of other declarations, the newest first", names, rows, numbers={4}) + _query("loads")
    )


def _several(names: Sequence[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest:,} more" if rest > 0 else "")


def _kept_out(report: Report) -> str:
    rows = [
        (_asset(report, f"lake/{row['source']}_quarantine", row["source"]), _text(row["rule"]), f"{row['rows']:,}")
        for row in report.rejected
    ]
    told = _table("Rows by source and rule", ("Source", "Rule", "Rows"), rows, numbers={2})
    return told + '<p class="soft">List them: <code>dataops quarantine list SOURCE</code></p>'


def _costs(report: Report) -> str:
    rows = [
        (
            _asset(report, f"hub/{source}", source),
            f"{cost['inputs']:,}",
            f"{cost['seconds']:,.1f}",
            f"{cost['bytes'] / 1e6:,.1f}",
        )
        for source, cost in sorted(report.facts.costs.items(), key=lambda item: -item[1]["seconds"])
    ]
    names = ("Source", "Inputs", "Seconds of all steps", "Megabytes received")
    return _table("What each source cost so far", names, rows, numbers={1, 2, 3}) + _query("processes")


# --- parts -----------------------------------------------------------------------------------------------------------


def _section(name: str, title: str, body: str) -> str:
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{_text(title)}</h2>{body}</section>'


def _table(caption: str, names: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    """Return a table; cells are HTML. On a phone each row is a block, with the name of the column before each cell."""
    right = set(numbers)
    found = list(rows)
    if not found:
        return f'<p class="soft">{_text(caption)}: none.</p>'
    kinds = [' class="n"' if place in right else "" for place in range(len(names))]
    head = "".join(f'<th scope="col"{kind}>{_text(name)}</th>' for kind, name in zip(kinds, names, strict=True))
    body = []
    for row in found:
        cells = [
            f'<td{kind} data-name="{_text(name)}">{cell}</td>'
            for kind, name, cell in zip(kinds[1:], names[1:], row[1:], strict=True)
        ]
        body.append(f'<tr><th scope="row">{row[0]}</th>{"".join(cells)}</tr>')
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{_text(caption)}"><table class="stack">'
        f"<caption>{_text(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _query(table: str) -> str:
    return f'<p class="soft">The query behind it: <code>{_text(_QUERIES[table])}</code></p>'


def _asset(report: Report, key: str, shown: str = "") -> str:
    return f'<a href="{_text(report.link)}/assets/{quote(key)}">{_text(shown or key)}</a>'


def _word(word: str, kind: str) -> str:
    return f'<span class="{kind}">{_text(word)}</span>'


def _points_lost(points: float) -> str:
    """Return lost points as people write them: -33, -0.4, and 'under 0.1' for less."""
    if points < 0.1:
        return "under 0.1"
    return f"-{points:.0f}" if points >= 1 else f"-{points:.1f}"


def _text(text: str) -> str:
    return escape(mask(str(text)))


def _time(time: dt.datetime) -> str:
    return f'<time datetime="{time:%Y-%m-%dT%H:%MZ}">{time:%Y-%m-%d %H:%M}</time>'


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return _NONE
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h" if seconds < 172800 else f"{seconds / 86400:,.1f} days"
