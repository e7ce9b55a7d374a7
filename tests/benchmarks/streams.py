"""How early anomalies in streams are found. Run by hand: `make benchmark-detection`.

Scored as the Numenta Anomaly Benchmark scores, after its publication (Lavin and Ahmad, 2015), but over other streams:
these are generated, with labels that the generator knows. Each anomaly has a window. Of the alarms in a window the
first counts, more the earlier it is; a missed window costs 1, an alarm outside of windows up to 0.11, less just after a
window. 0 is a detector that never alarms, 100 one that alarms at the start of each window and nowhere else. The first
15 % of a stream are not scored. As published, each method has the one threshold for all streams that gives it most.

Grain of the output: one line a method, with its score over all streams and by kind of stream.
"""

from __future__ import annotations

import argparse
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataops_assets.quality.control.calendar import design
from dataops_assets.quality.control.forecasts import Series, forecast
from dataops_assets.quality.control.judging import judge

Floats = npt.NDArray[np.float64]

POINTS = 2_000
PROBATION = 300
WINDOWS = 0.1
FALSE_ALARM, MISSED = 0.11, 1.0
HOURLY = [dt.datetime(2023, 1, 2, tzinfo=dt.UTC) + dt.timedelta(hours=hour) for hour in range(POINTS)]
THRESHOLDS = 120


@dataclass(frozen=True)
class Streams:
    """Streams of one kind (rows), and the windows (start, end) of the anomalies of each."""

    values: Floats
    windows: Sequence[Sequence[tuple[int, int]]]


# --- the streams ---


def usual(kind: str, random: np.random.Generator) -> tuple[Floats, float]:
    """One stream without anomalies, and the deviation of its noise."""
    hour = np.arange(POINTS)
    noise = random.normal(size=POINTS)
    if kind == "daily":
        wave = np.sin(2 * np.pi * (hour / 24 + random.random())) + 0.4 * np.sin(
            4 * np.pi * (hour / 24 + random.random())
        )
        weekend = 1 - random.uniform(0, 0.5) * np.isin((hour // 24) % 7, (5, 6))
        return 100 + 30 * wave * weekend + 4 * noise, 4.0
    if kind == "flat":
        # a processor that is mostly idle, with tails
        return 20 + 2 * random.standard_t(4, POINTS), 2.5
    if kind == "wandering":
        return 70 + np.cumsum(0.25 * random.normal(size=POINTS)) + noise, 1.0
    if kind == "counts":
        mean = 12 * np.exp(0.6 * np.sin(2 * np.pi * (hour / 24 + random.random())))
        return random.poisson(mean).astype(float), float(np.sqrt(12))
    steps = np.repeat(random.normal(0, 3, POINTS // 250), 250)
    return 50 + steps + 1.5 * noise, 1.5


KINDS = ("daily", "flat", "wandering", "counts", "steps")


def with_anomaly(values: Floats, start: int, length: int, spread: float, random: np.random.Generator) -> None:
    """Change values from `start` on by an anomaly of a random kind."""
    lasting = slice(start, start + length)
    strength = random.uniform(5, 12) * spread * random.choice([-1, 1])
    kind = random.integers(0, 5)
    if kind == 0:
        values[start : start + random.integers(1, 4)] += strength
    elif kind == 1:
        values[lasting] += strength
    elif kind == 2:
        values[lasting] = values[start]
    elif kind == 3:
        values[lasting] += random.normal(0, 4 * spread, len(values[lasting]))
    else:
        values[lasting] += np.linspace(0, 2 * strength, len(values[lasting]))


def streams(kind: str, number: int, random: np.random.Generator) -> Streams:
    rows, labels = [], []
    for _ in range(number):
        values, spread = usual(kind, random)
        anomalies = int(random.integers(1, 4))
        width = int(WINDOWS * POINTS / anomalies)
        part = (POINTS - PROBATION) // anomalies
        windows = []
        for place in range(anomalies):
            first = PROBATION + place * part + width // 2
            start = int(random.integers(first, first + part - width))
            with_anomaly(values, start, width // 2, spread, random)
            # a window stands around the start of its anomaly
            windows.append((start - width // 2, start + width // 2))
        if kind == "counts":
            values = np.round(np.maximum(values, 0))
        rows.append(values)
        labels.append(windows)
    return Streams(np.array(rows), labels)


# --- the scoring ---


def reward(place: Floats) -> Floats:
    """1 at the start of a window (-1), 0 at its end (0), -1 far behind it."""
    return 2 / (1 + np.exp(5 * place)) - 1


def best_score(scores: Sequence[Floats], labels: Sequence[Sequence[tuple[int, int]]], thresholds: Floats) -> Floats:
    """The sum of what the alarms of all streams are worth, by threshold."""
    total = np.zeros(len(thresholds))
    for row, windows in zip(scores, labels, strict=True):
        place = np.arange(POINTS, dtype=float)
        worth = np.full(POINTS, -FALSE_ALARM)
        for start, end in windows:
            behind = place > end
            worth[behind] = FALSE_ALARM * reward(np.minimum((place[behind] - end) / (end - start), 3))
        for start, end in windows:
            worth[start : end + 1] = 0
        worth[:PROBATION] = 0
        alarms = row[None, :] >= thresholds[:, None]
        total += alarms @ worth
        for start, end in windows:
            inside = alarms[:, max(start, PROBATION) : end + 1]
            first = max(start, PROBATION) + inside.argmax(axis=1)
            total += np.where(inside.any(axis=1), reward((first - end) / (end - start)), -MISSED)
    return total


def normal(total: Floats, windows: int) -> Floats:
    perfect = windows * float(reward(np.array(-1.0)))
    return 100 * (total + MISSED * windows) / (perfect + MISSED * windows)


# --- the methods ---


def process_control(values: Floats) -> Floats:
    series = Series(values, np.zeros(values.shape), np.zeros(len(values), dtype=bool))
    judged = judge(series, forecast(series, design(HOURLY), 60), range(PROBATION, POINTS), 1e-4)
    found = np.zeros(values.shape)
    found[:, PROBATION:] = np.stack([-np.log(np.nan_to_num(item.p, nan=1.0)) for item in judged], axis=1)
    return found


def windowed_gaussian(values: Floats) -> Floats:
    """The distance from the mean of the points before, in their deviations."""
    found = np.zeros(values.shape)
    for point in range(PROBATION, POINTS):
        known = values[:, max(0, point - 500) : point]
        found[:, point] = np.abs(values[:, point] - known.mean(axis=1)) / np.maximum(known.std(axis=1), 1e-9)
    return found


def smoothing_of_a_day(values: Floats) -> Floats:
    """Holt-Winters with a day of additive season; the error by the deviation of the errors before."""
    level, season = values[:, :24].mean(axis=1), values[:, :24] - values[:, :24].mean(axis=1, keepdims=True)
    variance, found = np.zeros(len(values)), np.zeros(values.shape)
    for point in range(24, POINTS):
        error = values[:, point] - level - season[:, point % 24]
        found[:, point] = np.abs(error) / np.maximum(np.sqrt(variance), 1e-9)
        level = level + 0.2 * error
        season[:, point % 24] += 0.1 * error
        variance = variance + (error**2 - variance) / min(point - 23, 200)
    return found


def change_of_level(values: Floats) -> Floats:
    """The difference between the mean of ten points and that of the hundred before, in deviations of these."""
    found = np.zeros(values.shape)
    for point in range(PROBATION, POINTS):
        known, new = values[:, point - 110 : point - 10], values[:, point - 9 : point + 1]
        deviation = np.maximum(known.std(axis=1), 1e-9)
        found[:, point] = np.abs(new.mean(axis=1) - known.mean(axis=1)) / deviation
    return found


METHODS: Mapping[str, Callable[[Floats], Floats]] = {
    "process control": process_control,
    "windowed Gaussian": windowed_gaussian,
    "exponential smoothing with a day": smoothing_of_a_day,
    "change of the mean": change_of_level,
}


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    given.add_argument("--seed", type=int, default=1000)
    given.add_argument("--streams", type=int, default=40)
    options = given.parse_args()
    random = np.random.default_rng(options.seed)
    made = {kind: streams(kind, options.streams, random) for kind in KINDS}
    print("| method | all | " + " | ".join(KINDS) + " |\n|---|---|" + "---|" * len(KINDS))
    for name, method in METHODS.items():
        found = {kind: method(item.values) for kind, item in made.items()}
        scored = np.concatenate([scores[:, PROBATION:].ravel() for scores in found.values()])
        # most of them where alarms are few
        thresholds = np.quantile(scored, 1 - np.geomspace(1e-5, 0.2, THRESHOLDS))
        totals = {kind: best_score(found[kind], item.windows, thresholds) for kind, item in made.items()}
        windows = {kind: sum(map(len, item.windows)) for kind, item in made.items()}
        everything = np.sum(list(totals.values()), axis=0)
        best = int(np.argmax(everything))
        parts = [normal(totals[kind], windows[kind])[best] for kind in KINDS]
        total = normal(everything, sum(windows.values()))[best]
        print(f"| {name} | {total:.1f} | {' | '.join(f'{part:.1f}' for part in parts)} |", flush=True)


if __name__ == "__main__":
    main()
