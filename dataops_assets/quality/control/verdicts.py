"""Verdicts over the inputs of a table, in words and numbers."""

from __future__ import annotations

import datetime as dt
import zlib
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from operator import attrgetter

import numpy as np
import numpy.typing as npt

from dataops_assets.profiles import HOURS, Profile
from dataops_assets.quality.control import sentences
from dataops_assets.quality.control.calendar import Rhythm, design, rhythms
from dataops_assets.quality.control.charts import Trend
from dataops_assets.quality.control.deliveries import Kind, kinds
from dataops_assets.quality.control.forecasts import Forecasts, Memory, Task, forecast_all
from dataops_assets.quality.control.judging import KINDS, Judged, judge
from dataops_assets.quality.control.monitors import (
    ROWS,
    Monitor,
    Readings,
    arrivals,
    gaps,
    monitors,
    read,
    series_of,
    with_values,
)
from dataops_assets.quality.control.novelty import FEWEST_MONITORS, Novelty, judge_novelty, novelties
from dataops_assets.quality.control.scales import Floats, from_scale

HISTORY = 400
"""How many inputs before an input its verdicts use at least."""

WINDOW = HISTORY + 256
"""How many inputs before an input its verdicts use at most."""

# verdicts of inputs that follow each other begin at the same earlier input, so one forecast serves them all
_ONE_BEGINS_IN = 64

# the rows of an input say most about it, so their monitor gets this part of what the table may spend on false alarms
_PART_OF_ROWS = 0.25
# and the whole profile this part
_PART_OF_NOVELTY = 0.1
_MOST_LEVEL = 0.02
# how the whole profile is named where others have the name of a column, and how many monitors its sentence names
_PROFILE, _FARTHEST = "all columns", 3
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
    * `ignore`: columns that are not judged.
    """

    alarms_a_day: float
    accept_after: dt.timedelta = dt.timedelta(days=7)
    new_normal: tuple[dt.date, ...] = ()
    country: str | None = None
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """The verdict on one monitor of one input.

    `p`: how seldom something as odd happens by chance. `is_alarm`: it is below the level of the monitor. `low`, `high`:
    between these the value is no sudden change.
    """

    column: str
    measure: str
    value: float
    low: float
    high: float
    p: float
    is_alarm: bool
    tell: Callable[[], str] = field(compare=False, repr=False)

    @property
    def sentence(self) -> str:
        """Return the value and the expected values as a sentence, without the name. Made on demand: few are shown."""
        return self.tell()


@dataclass(frozen=True)
class Judgement:
    """The verdicts on one input. There are none while the monitors learn, and none for an irregular delivery.

    `trend`: the numbers of rows up to the input, `distances`: those of the whole profiles; only for the newest one that
    was judged.
    """

    delivery: Kind = "regular"
    verdicts: tuple[Verdict, ...] = ()
    learnt_from: int = 0
    trend: Trend | None = field(default=None, compare=False)
    distances: Trend | None = field(default=None, compare=False)

    @property
    def of_rows(self) -> Verdict | None:
        """Return the verdict on the number of rows (or bytes)."""
        return next((item for item in self.verdicts if item.measure == ROWS), None)

    @cached_property
    def of_columns(self) -> tuple[Verdict, ...]:
        """Return the verdicts on columns."""
        return tuple(item for item in self.verdicts if item.column)


def judgements(
    tested: Collection[Profile], known: Collection[Profile], settings: Settings, memory: Memory | None = None
) -> dict[str, Judgement]:
    """Return the judgement of each tested input by id; each is compared with the known inputs extracted before it.

    `known` may contain the tested ones. Inputs of the same extract time, such as two versions of a file, are not
    compared with each other. `memory` keeps how far the table was forecast: verdicts are the same without it.
    """
    dated = {item.input_id: time for item in (*known, *tested) if (time := extracted(item)) is not None}
    history = sorted((item for item in known if item.input_id in dated), key=attrgetter("extracted", "input_id"))
    times = [dated[item.input_id] for item in history]
    inputs_at = Counter(times)
    alone = {item.input_id for item in history if inputs_at[dated[item.input_id]] == 1}
    together = {item.input_id for item in tested} & alone
    beginnings = _beginnings(history)
    alike: dict[int, list[int]] = {}
    for place, item in enumerate(history):
        if item.input_id in together:
            alike.setdefault(_beginning(beginnings, place), []).append(place)
    windows: list[tuple[_Window, Collection[str]]] = []
    everything = _Window.of(history if alike else (), dated)
    for begin, places in alike.items():
        some = {history[place].input_id for place in places}
        windows.append((everything.part(np.arange(begin, places[-1] + 1)), some))
    for item in tested:
        if item.input_id in dated and item.input_id not in together:
            before = history[: bisect_left(times, dated[item.input_id])]
            begin = _beginning(beginnings, len(before))
            windows.append((_Window.of([*before[begin:], item], dated), {item.input_id}))
    return _judged(windows, settings, memory)


def _beginnings(history: Sequence[Profile]) -> list[int]:
    """Return the places at which windows may begin: of one input in so many, whatever else is there."""
    return [place for place, item in enumerate(history) if zlib.crc32(item.input_id.encode()) % _ONE_BEGINS_IN == 0]


def _beginning(beginnings: Sequence[int], place: int) -> int:
    """Return the place of the first input that the verdict on the input at `place` uses.

    It follows from the inputs before alone, and not from what else is judged: a verdict is the same in any run.
    """
    if place <= HISTORY:
        return 0
    number = bisect_right(beginnings, place - HISTORY)
    found = beginnings[number - 1] if number else 0
    return max(0, place - WINDOW) if found <= place - WINDOW else found


def extracted(profile: Profile) -> dt.datetime | None:
    """Return the extract time of a profile's input; None if it is the profile of a table.

    It is a time of the source's own clock, whose weekdays and hours count, so it has no time zone here.
    """
    try:
        return dt.datetime.fromisoformat(profile.extracted)
    except ValueError:
        return None


@dataclass(frozen=True)
class _Window:
    """Inputs of a table in the order of their times, and what they measure."""

    profiles: Sequence[Profile]
    times: Sequence[dt.datetime]
    readings: Readings

    @classmethod
    def of(cls, profiles: Sequence[Profile], dated: Mapping[str, dt.datetime]) -> _Window:
        return cls(profiles, [dated[item.input_id] for item in profiles], read(profiles))

    def part(self, places: npt.NDArray[np.int64]) -> _Window:
        """Return the window of the inputs at these places."""
        profiles, times = ([items[place] for place in places] for items in (self.profiles, self.times))
        return _Window(profiles, times, self.readings.part(places))


# What is to be equal for inputs that are judged together, so that each is judged as if it were alone: columns, and the
# rhythm of the inputs up to it.
_Shape = tuple[tuple[tuple[str, str], ...], Rhythm]


@dataclass(frozen=True)
class _Judging:
    """Inputs of one shape at `places` of a window: their monitors, the levels of these, and what to forecast."""

    window: _Window
    places: Sequence[int]
    measured: Sequence[Monitor]
    levels: Floats
    level_of_novelty: float
    task: Task


def _judged(
    windows: Sequence[tuple[_Window, Collection[str]]], settings: Settings, memory: Memory | None
) -> dict[str, Judgement]:
    """Judge the inputs that each window is given with; all windows are forecast together."""
    found: dict[str, Judgement] = {}
    judgings: list[_Judging] = []
    for window, tested in windows:
        by_place = kinds(window.profiles)
        for item, kind in zip(window.profiles, by_place, strict=True):
            if item.input_id in tested:
                found[item.input_id] = Judgement(kind)
        regular = window.part(np.flatnonzero([kind == "regular" for kind in by_place]))
        judgings += _judgings(regular, tested, settings)
    for judging, forecasts in zip(judgings, forecast_all([item.task for item in judgings], memory), strict=True):
        verdicts = _verdicts(judging, forecasts, settings.country)
        ids = [judging.window.profiles[place].input_id for place in judging.places]
        found |= dict(zip(ids, verdicts, strict=True))
    return found


def _judgings(regular: _Window, tested: Collection[str], settings: Settings) -> Iterator[_Judging]:
    alike: dict[_Shape, list[int]] = {}
    for place, (item, rhythm) in enumerate(zip(regular.profiles, rhythms(regular.times), strict=True)):
        if item.input_id in tested:
            shape = tuple((column.name, column.type) for column in item.columns), rhythm
            alike.setdefault(shape, []).append(place)
    for (_, rhythm), places in alike.items():
        window = regular.part(np.arange(places[-1] + 1))
        newest, times, usual = window.profiles[-1], window.times, rhythm.cadence
        measured = monitors(window.readings, newest.columns, settings.ignore)
        if newest.asset.startswith(_RAW) and len(times) > 1:
            delays = [
                arrivals(times, window.readings.columns[item.name].means)
                for item in newest.columns
                if item.type == HOURS and item.name in window.readings.columns
            ]
            measured += [gaps(times), *with_values(delays)]
        accept_after = int(np.clip(round(settings.accept_after / usual), _FEWEST_ACCEPTED, _MOST_ACCEPTED))
        restarts = frozenset(
            next((place for place, time in enumerate(times) if time.date() >= day), len(times))
            for day in settings.new_normal
        )
        task = Task(series_of(measured), design(times, settings.country, rhythm.effects), accept_after, restarts)
        alarms = settings.alarms_a_day * (usual / dt.timedelta(days=1))
        of_novelty = min(_PART_OF_NOVELTY * alarms, _MOST_LEVEL)
        yield _Judging(window, places, measured, _levels(measured, alarms), of_novelty, task)


def _verdicts(judging: _Judging, forecasts: Forecasts, country: str | None) -> list[Judgement]:
    measured, places, times = judging.measured, judging.places, judging.window.times
    calendar = sentences.Calendar(times, country)
    found = judge(judging.task.series, forecasts, places, judging.levels)
    low, high = (
        _from_scales(measured, np.stack(ends, axis=1))
        for ends in ([judged.low for judged in found], [judged.high for judged in found])
    )
    told = []
    novel: dict[int, Novelty] = {}
    if len(measured) >= FEWEST_MONITORS:
        every = novelties(forecasts.scores)
        novel = dict(zip(places, judge_novelty(every, places, judging.level_of_novelty), strict=True))
    for number, (point, judged) in enumerate(zip(places, found, strict=True)):
        limits = np.stack([low[:, number], high[:, number]], axis=1).tolist()
        is_alarm = judged.p <= judging.levels
        verdicts = tuple(
            Verdict(
                measured[row].column,
                measured[row].measure,
                float(measured[row].values[point]),
                limits[row][0],
                limits[row][1],
                float(judged.p[row]),
                bool(is_alarm[row]),
                partial(_sentence, measured[row], (judged, row, point), (limits[row][0], limits[row][1]), calendar),
            )
            for row in np.flatnonzero(np.isfinite(judged.p)).tolist()
        )
        told.append(Judgement("regular", (*verdicts, *_of_profile(judging, forecasts, novel.get(point), point)), point))
    # one chart is enough for all inputs of a run
    if told[-1].of_rows is not None:
        told[-1] = replace(told[-1], trend=_trend(measured[0], forecasts, places[-1], found[-1], times))
    newest = novel.get(places[-1])
    if newest is not None and not np.isnan(newest.p):
        told[-1] = replace(told[-1], distances=_distances(every, places[-1], newest, times))
    return told


def _distances(every: Floats, point: int, newest: Novelty, times: Sequence[dt.datetime]) -> Trend:
    """Return the last distances of whole profiles, below what is usual for the newest one."""
    shown = slice(max(0, point + 1 - _CHARTED), point + 1)
    values = every[shown]
    known = np.where(np.isfinite(values), 1.0, np.nan)
    return Trend(times[shown], values.tolist(), (0 * known).tolist(), (newest.high * known).tolist())


def _of_profile(judging: _Judging, forecasts: Forecasts, novelty: Novelty | None, point: int) -> tuple[Verdict, ...]:
    """Return the verdict on the whole profile of an input, if there are enough monitors and inputs before."""
    if novelty is None or np.isnan(novelty.p):
        return ()
    is_alarm = novelty.p <= judging.level_of_novelty
    tell = partial(_sentence_of_profile, judging.measured, forecasts.scores[:, point], novelty, point)
    return (
        Verdict(
            _PROFILE, "distance to the inputs before", novelty.distance, 0.0, novelty.high, novelty.p, is_alarm, tell
        ),
    )


def _sentence_of_profile(measured: Sequence[Monitor], scores: Floats, novelty: Novelty, point: int) -> str:
    away = np.nan_to_num(np.abs(scores))
    farthest = [row for row in np.argsort(-away, kind="stable")[:_FARTHEST] if away[row] > 0]
    named = [
        f"{item.column} {item.measure} {sentences.shown(item.scale, float(item.values[point]))}".strip()
        for item in (measured[row] for row in farthest)
    ]
    told = f"{novelty.distance:.3g} deviations, expected at most {novelty.high:.3g}"
    return f"{told}; farthest from expected: {', '.join(named)}" if named else told


def _from_scales(measured: Sequence[Monitor], values: Floats) -> Floats:
    """Return values of monitors (rows), which are on their scales, as the original ones."""
    found = np.empty_like(values)
    for scale in {item.scale for item in measured}:
        rows = [row for row, item in enumerate(measured) if item.scale == scale]
        found[rows] = from_scale(scale, values[rows])
    return found


def _sentence(
    monitor: Monitor, at: tuple[Judged, int, int], limits: tuple[float, float], calendar: sentences.Calendar
) -> str:
    judged, row, point = at
    told = sentences.Told(monitor.scale, monitor.values[: point + 1], limits, int(judged.repeats[row]))
    return sentences.sentence(told, KINDS[int(judged.kind[row])], calendar)


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


def _levels(measured: Sequence[Monitor], alarms: float) -> Floats:
    """Return the level of each monitor, so that they sum up to the false alarms that one input may raise."""
    others = len(measured) - 1
    of_others = 1 - _PART_OF_ROWS - (_PART_OF_NOVELTY if len(measured) >= FEWEST_MONITORS else 0)
    shares = [_PART_OF_ROWS if item.measure == ROWS else of_others / max(others, 1) for item in measured]
    return np.minimum(np.array(shares) * alarms, _MOST_LEVEL)
