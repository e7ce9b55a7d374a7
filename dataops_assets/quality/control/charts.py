"""A control chart as a small picture: values, the limits of each, and a text that says the same."""

from __future__ import annotations

import base64
import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass

# colours that can be read on white and on nearly black
_VALUE, _LIMIT, _TEXT, _ODD = "#3b82f6", "#8a8a8a", "#808080", "#e5484d"
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 640, 180, 64, 22, 10


@dataclass(frozen=True)
class Trend:
    """The last points of a monitor: its values, and the limits that each of them had."""

    times: Sequence[dt.datetime]
    values: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def as_markdown(trend: Trend, title: str) -> str:
    """Return the chart as an image in Markdown; the title, without the chart, is what a screen reader says."""
    alternative = "".join(" " if letter in "[]()\n" else letter for letter in title)
    picture = base64.b64encode(svg(trend, title).encode()).decode()
    return f"![{alternative}](data:image/svg+xml;base64,{picture})"


def svg(trend: Trend, title: str) -> str:
    """Return the chart as SVG without a background, so it suits a light and a dark page."""
    finite = [value for value in (*trend.values, *trend.low, *trend.high) if math.isfinite(value)]
    # limits far away would press the values flat
    usual = [value for value in trend.values if math.isfinite(value)]
    room = max(max(usual) - min(usual), 1e-9 * abs(max(usual)), 1e-12)
    least, most = max(min(finite), min(usual) - room), min(max(finite), max(usual) + room)
    least, most = (least, most) if most > least else (least - 1, most + 1)

    def place(point: int, value: float) -> tuple[float, float]:
        share = (min(max(value, least), most) - least) / (most - least)
        across = _LEFT + (_WIDTH - _LEFT - 12) * point / max(len(trend.values) - 1, 1)
        return round(across, 1), round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _TOP), 1)

    edge = [place(point, value) for point, value in enumerate(trend.high) if not math.isnan(value)]
    back = [place(point, value) for point, value in enumerate(trend.low) if not math.isnan(value)]
    line = [place(point, value) for point, value in enumerate(trend.values) if math.isfinite(value)]
    odd = [
        place(point, value)
        for point, (value, low, high) in enumerate(zip(trend.values, trend.low, trend.high, strict=True))
        if value < low or value > high
    ]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img">',
        f"<title>{_escaped(title)}</title>",
        f'<polygon points="{_points([*edge, *reversed(back)])}" fill="{_LIMIT}" fill-opacity="0.35"/>',
        f'<polyline points="{_points(line)}" fill="none" stroke="{_VALUE}" stroke-width="2"/>',
        *(f'<circle cx="{x}" cy="{y}" r="5" fill="{_ODD}"/>' for x, y in odd),
        _label(_LEFT - 6, _TOP + 8, f"{most:,.4g}", "end"),
        _label(_LEFT - 6, _HEIGHT - _BOTTOM, f"{least:,.4g}", "end"),
        _label(_LEFT, _HEIGHT - 5, f"{trend.times[0]:%Y-%m-%d}", "start"),
        _label(_WIDTH - 12, _HEIGHT - 5, f"{trend.times[-1]:%Y-%m-%d}", "end"),
        "</svg>",
    ]
    return "".join(parts)


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in places)


def _label(x: float, y: float, text: str, anchor: str) -> str:
    style = f'font-size="12" font-family="sans-serif" fill="{_TEXT}" text-anchor="{anchor}"'
    return f'<text x="{x}" y="{y}" {style}>{text}</text>'


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
