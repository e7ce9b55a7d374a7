"""Verdicts over the inputs of a table, in words and numbers."""

from __future__ import annotations

import datetime as dt
import zlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter

import numpy as np

from dataops_assets.profiles import Profile
from dataops_assets.quality.control import sentences
from dataops_assets.quality.control.calendar import cadence, design, effects_at
from dataops_assets.quality.control.charts import Trend
from dataops_assets.quality.control.deliveries import Kind, kinds
from dataops_assets.quality.control.forecasts import Forecasts, forecast
from dataops_assets.quality.control.judging import KINDS, Judged, judge
from dataops_assets.quality.control.monitors import ROWS, Monitor, gaps, monitors, series_of
from dataops_assets.quality.control.scales import from_scale

HISTORY = 400
"""How many inputs before an input its verdicts use at least."""

WINDOW = HISTORY + 256
"""How many inputs before an input its verdicts use at most."""

# verdicts of inputs that follow each other begin at the same earlier input, so one forecast serves them all
_ONE_BEGINS_IN = 64

# the rows of an input say most about it, so their monitor gets this part of what the table may spend on false alarms
_PART_OF_ROWS = 0.25
_MOST_LEVEL = 0.02
_CHARTED = 60
# the time between inputs is the same for all tables of a source, so one of them is enough
_RAW = "raw/"
_FEWEST_ACCEPTED, _MOST_ACCEPTED = 5, 60


@dataclass(frozen=True)
class Settings:
    """How a table is judged.

    * `alarms_a_day`: how many false alarms the monitors of the table may raise together, of what the deployment may.
    * `accept_after`: how long values must stay at a new level until it is the expected one.
    * `new_normal`: days from which on a person declared the values to be as they should be.
    * `country`: whose public holidays count.
    """

    alarms_a_day: float
    accept_after: dt.timedelta = dt.timedelta(days=7)
    new_normal: tuple[dt.date, ...] = ()
    country: str | None = None


@dataclass(frozen=True)
class Verdict:
    """What is said of one monitor of one input.

    `p`: how seldom something as odd happens by chance. `is_alarm`: it is below the level of the monitor. `low`, `high`:
    between these the value is no sudden change. `sentence`: the value and what was expected, without the name.
    """

    column: str
    measure: str
    value: float
    low: float
    high: float
    p: float
    is_alarm: bool
    sentence: str


@dataclass(frozen=True)
class Judgement:
    """What is said of one input. No verdicts while the monitors learn, and for what is no regular delivery.

    `trend`: the numbers of rows up to the input; only for the newest one that was judged.
    """

    delivery: Kind = "regular"
    verdicts: tuple[Verdict, ...] = ()
    learnt_from: int = 0
    trend: Trend | None = field(default=None, compare=False)

    @property
    def of_rows(self) -> Verdict | None:
        """Return the verdict on the number of rows (or bytes)."""
        return next((item for item in self.verdicts if item.measure == ROWS), None)

    @property
    def of_columns(self) -> tuple[Verdict, ...]:
        """Return the verdicts on columns."""
        return tuple(item for item in self.verdicts if item.column)


def judgements(
    tested: Collection[Profile], known: Collection[Profile], settings: Settings, ignore: Sequence[str] = ()
) -> dict[str, Judgement]:
    """Return by id what is said of each tested input, against the known inputs that were extracted before.

    `known` may contain the tested ones. Inputs of the same extract time, such as two versions of a file, are not
    compared with each other.
    """
    dated = {item.input_id: time for item in (*known, *tested) if (time := extracted(item)) is not None}
    history = sorted((item for item in known if item.input_id in dated), key=attrgetter("extracted", "input_id"))
    times = [dated[item.input_id] for item in history]
    inputs_at = Counter(times)
    alone = {item.input_id for item in history if inputs_at[dated[item.input_id]] == 1}
    together = {item.input_id for item in tested} & alone
    found: dict[str, Judgement] = {}
    alike: dict[int, list[int]] = {}
    for place, item in enumerate(history):
        if item.input_id in together:
            alike.setdefault(_beginning(history, place), []).append(place)
    for begin, places in alike.items():
        some = {history[place].input_id for place in places}
        found |= _judged(history[begin : places[-1] + 1], dated, some, (settings, ignore))
    for item in tested:
        if item.input_id in dated and item.input_id not in together:
            before = [other for other in history if dated[other.input_id] < dated[item.input_id]]
            begin = _beginning(before, len(before))
            found |= _judged([*before[begin:], item], dated, {item.input_id}, (settings, ignore))
    return found


def _beginning(history: Sequence[Profile], place: int) -> int:
    """Return the place of the first input that the verdict on the input at `place` uses.

    It follows from the inputs before alone, and not from what else is judged: a verdict is the same in any run.
    """
    for begin in range(place - HISTORY, place - WINDOW, -1):
        if begin <= 0:
            return 0
        if zlib.crc32(history[begin].input_id.encode()) % _ONE_BEGINS_IN == 0:
            return begin
    return max(0, place - WINDOW)


def extracted(profile: Profile) -> dt.datetime | None:
    """Return the extract time of a profile's input; None if it is the profile of a table.

    It is a time of the source's own clock, whose weekdays and hours count, so it has no time zone here.
    """
    try:
        return dt.datetime.fromisoformat(profile.extracted)
    except ValueError:
        return None


def _judged(
    profiles: Sequence[Profile],
    dated: Mapping[str, dt.datetime],
    tested: Collection[str],
    how: tuple[Settings, Sequence[str]],
) -> dict[str, Judgement]:
    by_id = dict(zip((item.input_id for item in profiles), kinds(profiles), strict=True))
    found = {input_id: Judgement(by_id[input_id]) for input_id in tested}
    regular = [item for item in profiles if by_id[item.input_id] == "regular"]
    times = [dated[item.input_id] for item in regular]
    alike: dict[_Shape, list[int]] = {}
    for place, item in enumerate(regular):
        if item.input_id in tested:
            alike.setdefault(_shape(item, times[: place + 1]), []).append(place)
    for shape, places in alike.items():
        end = places[-1] + 1
        verdicts = _verdicts(regular[:end], times[:end], places, (shape, *how))
        found |= {regular[place].input_id: item for place, item in zip(places, verdicts, strict=True)}
    return found


# What is to be equal for inputs that are judged together, so that each is judged as if it were alone: columns, the
# effects that the calendar has, and the usual time between inputs.
_Shape = tuple[tuple[tuple[str, str], ...], tuple[bool, bool], dt.timedelta]


def _shape(profile: Profile, times: Sequence[dt.datetime]) -> _Shape:
    return tuple((item.name, item.type) for item in profile.columns), effects_at(times), cadence(times)


def _verdicts(
    profiles: Sequence[Profile],
    times: Sequence[dt.datetime],
    places: Sequence[int],
    how: tuple[_Shape, Settings, Sequence[str]],
) -> list[Judgement]:
    (_, effects, usual), settings, ignore = how
    measured = monitors(profiles, ignore)
    if profiles[-1].asset.startswith(_RAW) and len(times) > 1:
        measured.append(gaps(times))
    series = series_of(measured)
    accept_after = int(np.clip(round(settings.accept_after / usual), _FEWEST_ACCEPTED, _MOST_ACCEPTED))
    restarts = {
        next((place for place, time in enumerate(times) if time.date() >= day), len(times))
        for day in settings.new_normal
    }
    forecasts = forecast(series, design(times, settings.country, effects), accept_after, restarts)
    levels = _levels(measured, settings.alarms_a_day * (usual / dt.timedelta(days=1)))
    calendar = sentences.Calendar(times, settings.country)
    found = judge(series, forecasts, places, levels)
    told = [
        Judgement(
            "regular",
            tuple(
                _verdict(monitor, judged, row, (point, levels[row]), calendar)
                for row, monitor in enumerate(measured)
                if np.isfinite(judged.p[row])
            ),
            point,
        )
        for point, judged in zip(places, found, strict=True)
    ]
    # one chart is enough for all inputs of a run
    if told[-1].of_rows is not None:
        told[-1] = replace(told[-1], trend=_trend(measured[0], forecasts, places[-1], found[-1], times))
    return told


def _trend(rows: Monitor, forecasts: Forecasts, point: int, judged: Judged, times: Sequence[dt.datetime]) -> Trend:
    """Return the last numbers of rows, with the limits that they would have at the level of the newest."""
    shown = slice(max(0, point + 1 - _CHARTED), point + 1)
    expected, deviation = forecasts.expected[0, shown], forecasts.deviation[0, shown]
    # a forecast from few points has limits without end
    known = np.where(np.isfinite(forecasts.scores[0, shown]), 1.0, np.nan)
    below = (judged.expected[0] - judged.low[0]) / forecasts.deviation[0, point]
    above = (judged.high[0] - judged.expected[0]) / forecasts.deviation[0, point]
    low = from_scale(rows.scale, expected - below * deviation * known)
    high = from_scale(rows.scale, expected + above * deviation * known)
    return Trend(times[shown], rows.values[shown].tolist(), low.tolist(), high.tolist())


def _levels(measured: Sequence[Monitor], alarms: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the level of each monitor, so that they sum up to the false alarms that one input may raise."""
    others = len(measured) - 1
    shares = [_PART_OF_ROWS if item.measure == ROWS else (1 - _PART_OF_ROWS) / max(others, 1) for item in measured]
    return np.minimum(np.array(shares) * alarms, _MOST_LEVEL)


def _verdict(
    monitor: Monitor, judged: Judged, row: int, at: tuple[int, float], calendar: sentences.Calendar
) -> Verdict:
    point, level = at
    low, high = (float(from_scale(monitor.scale, end[row : row + 1])[0]) for end in (judged.low, judged.high))
    kind = KINDS[int(judged.kind[row])]
    told = sentences.Told(monitor.scale, monitor.values[: point + 1], (low, high), int(judged.repeats[row]))
    return Verdict(
        monitor.column,
        monitor.measure,
        float(monitor.values[point]),
        low,
        high,
        float(judged.p[row]),
        bool(judged.p[row] <= level),
        sentences.sentence(told, kind, calendar),
    )
