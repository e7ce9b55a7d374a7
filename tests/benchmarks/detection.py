"""How many faults process control and other published methods find, at the same number of false alarms.

    python tests/benchmarks/detection.py [--seed 1000] [--speed]

Seeded generators make daily series of six families: business counts from 10 to 10^9 with weekdays, trend, holidays and
ends of months; the same with heavy tails; with steps of the level; with a wandering level; counts near zero; shares.
Each method gives each point a score. Its threshold is the one at which 1 in 500 clean points is an alarm, so all
methods raise the same number of false alarms. Process control is also shown with its own p-values, without a choice
of the threshold. Then faults are injected.

The strength of a fault is its distance from the true mean, divided by the distance that 1 in 500 clean points exceeds.
With a strength of 1 even somebody who knows the mean and the noise finds hardly half of the faults. `subtle` is a
strength from 1.3 to 2.5, `gross` one from 2.5 to 6. The seeds used to choose the constants of the methods were below
1000, and from 3000 to 5001.
"""

from __future__ import annotations

import argparse
import datetime as dt
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataops_assets.quality.control.calendar import design, holiday
from dataops_assets.quality.control.forecasts import Series, forecast
from dataops_assets.quality.control.judging import judge
from dataops_assets.quality.control.scales import floor_of_shares, to_scale

Floats = npt.NDArray[np.float64]

POINTS = 400
FIRST_JUDGED = 120
WINDOW = 10
ALARMS = 1 / 500
ROWS_OF_SHARES = 5_000.0
PER_FAMILY = 60
COUNTRY = "DE"


@dataclass(frozen=True)
class Made:
    """Generated series (rows). `mean`: the true mean; `far`: what 1 in 500 points exceeds, on the scale of the noise.

    `clean`: where a point is judged; not where the generator itself has a change that is worth an alarm.
    """

    values: Floats
    mean: Floats
    far: Floats
    is_share: bool
    clean: npt.NDArray[np.bool_]
    times: list[dt.datetime]


# --- the series ---


def times_from(start: dt.date) -> list[dt.datetime]:
    return [dt.datetime.combine(start, dt.time(), dt.UTC) + dt.timedelta(days=day) for day in range(POINTS)]


def business(random: np.random.Generator, times: list[dt.datetime], series: int) -> Floats:
    """The logarithm of the mean: level, trend, weekdays, holidays, ends of months, a slow yearly season."""
    level = random.uniform(np.log(10), np.log(1e9), (series, 1))
    day = np.arange(POINTS)
    trend = random.normal(0, 0.001, (series, 1)) * day
    season = random.uniform(0, 0.15, (series, 1)) * np.sin(2 * np.pi * (day / 365 + random.random((series, 1))))
    weekdays = random.normal(0, 0.4, (series, 7)) * (random.random((series, 1)) < 0.8)
    week = weekdays[:, [time.weekday() for time in times]]
    off = np.array([holiday(time.date(), COUNTRY) is not None for time in times])
    ends = np.array([(time + dt.timedelta(days=1)).day == 1 for time in times])
    extra = random.uniform(-1.2, 0, (series, 1)) * (random.random((series, 1)) < 0.5) * off
    extra = extra + random.uniform(0, 0.7, (series, 1)) * (random.random((series, 1)) < 0.3) * ends
    return level + trend + season + week + extra


def of_counts(random: np.random.Generator, log_mean: Floats, noise: Floats, far: float, clean: Floats, times) -> Made:
    """Counts whose noise has the deviation of each series' spread, and of chance."""
    spread = np.exp(random.uniform(np.log(0.02), np.log(0.15), (len(log_mean), 1)))
    mean = np.exp(log_mean)
    values = np.round(mean * np.exp(spread * noise))
    small = mean < 1e6
    values = np.where(small, random.poisson(np.minimum(mean * np.exp(spread * noise), 1e7)), values)
    return Made(values, mean, far * np.hypot(spread, 1 / np.sqrt(mean)), False, clean.astype(bool), times)


def family(name: str, random: np.random.Generator, times: list[dt.datetime]) -> Made:
    shape = (PER_FAMILY, POINTS)
    clean = np.broadcast_to(np.arange(POINTS) >= FIRST_JUDGED, shape).copy()
    log_mean = business(random, times, PER_FAMILY)
    normal = random.normal(size=shape)
    if name == "business":
        return of_counts(random, log_mean, normal, 3.09, clean, times)
    if name == "heavy tails":
        # 5 degrees of freedom; its quantile at 1 - 1/1000
        return of_counts(random, log_mean, random.standard_t(5, shape), 5.89, clean, times)
    if name == "level steps":
        at = random.integers(40, POINTS - 60, (PER_FAMILY, 2))
        for place in range(2):
            size = random.uniform(0.25, 0.9, PER_FAMILY) * random.choice([-1, 1], PER_FAMILY)
            for row, (start, step) in enumerate(zip(at[:, place], size, strict=True)):
                log_mean[row, start:] += step
                clean[row, start : start + 15] = False
        return of_counts(random, log_mean, normal, 3.09, clean, times)
    if name == "wandering level":
        log_mean = log_mean + np.cumsum(random.normal(0, 0.02, shape), axis=1)
        return of_counts(random, log_mean, normal, 3.09, clean, times)
    if name == "near zero":
        mean = np.exp(log_mean - log_mean.mean(axis=1, keepdims=True)) * random.uniform(0.5, 20, (PER_FAMILY, 1))
        return Made(random.poisson(mean).astype(float), mean, np.full(shape, 3.09), False, clean, times)
    usual = np.exp(random.uniform(np.log(0.002), np.log(0.3), (PER_FAMILY, 1))) * np.ones(shape)
    share = random.beta(usual * 2000, (1 - usual) * 2000)
    values = random.binomial(int(ROWS_OF_SHARES), share) / ROWS_OF_SHARES
    deviation = 0.5 * np.hypot(1 / np.sqrt(ROWS_OF_SHARES), 1 / np.sqrt(2000))
    return Made(values, usual, np.full(shape, 3.09 * deviation), True, clean, times)


FAMILIES = ("business", "heavy tails", "level steps", "wandering level", "near zero", "shares")


# --- the faults ---


FACTORS = {"empty": 0, "half": 0.5, "twice": 2, "x 10": 10, "x 1.1": 1.1, "x 0.85": 0.85}


def moved(made: Made, name: str, strength: Floats, point: int) -> Floats:
    """The values at a point whose distance from the mean is `strength` (signed) times that of rare clean points."""
    mean, far = made.mean[:, point], made.far[:, point]
    if name == "shares":
        return np.sin(np.clip(np.arcsin(np.sqrt(mean)) + strength * far, 0, np.pi / 2)) ** 2
    if name == "near zero":
        return np.round(np.maximum(np.sqrt(mean) + strength * far / 2, 0) ** 2)
    return np.round(mean * np.exp(np.clip(strength * far, -20, 20)))


def with_faults(made: Made, name: str, random: np.random.Generator) -> Mapping[str, tuple[Floats, npt.NDArray]]:
    """By fault, the series with it at their end, and which series can have it."""
    series, end = len(made.values), POINTS - 1
    side = random.choice([-1, 1], series)
    everywhere = np.ones(series, dtype=bool)
    found = {}
    for fault, low, high in (("subtle", 1.3, 2.5), ("gross", 2.5, 6.0)):
        values = made.values.copy()
        values[:, end] = moved(made, name, side * random.uniform(low, high, series), end)
        possible = everywhere
        if name in ("near zero", "shares"):
            # below zero there is nothing: downwards only as far as the strength is reached
            up = moved(made, name, random.uniform(low, high, series), end)
            values[:, end] = np.where(side > 0, values[:, end], up)
        found[fault] = (values, possible)
    if not made.is_share:
        big = made.mean[:, end] > 100
        for fault, factor in FACTORS.items():
            values = made.values.copy()
            values[:, end] = np.round(values[:, end] * factor)
            found[fault] = (values, big)
        values = made.values.copy()
        values[:, -WINDOW:] = np.round(values[:, -WINDOW:] * np.exp(np.arange(1, WINDOW + 1) * 0.04 * side[:, None]))
        found["drift of 4 % a day"] = (values, big)
        values = made.values.copy()
        values[:, -4:] = values[:, -5, None]
        found["frozen for 4 days"] = (values, made.mean[:, end] > 1000)
    return found


# --- the methods ---


def process_control(made: Made, values: Floats, points: range) -> Floats:
    scale = "share" if made.is_share else "count"
    floors = np.full(values.shape, floor_of_shares(np.array(ROWS_OF_SHARES)) if made.is_share else 0.0)
    series = Series(to_scale(scale, values), floors, np.full(len(values), not made.is_share))
    forecasts = forecast(series, design(made.times, COUNTRY), 7)
    return np.stack([-np.log(item.p) for item in judge(series, forecasts, points, ALARMS)], axis=1)


def z_score_14_days(made: Made, values: Floats, points: range) -> Floats:
    """Elementary: mean and deviation of 14 days, the tested point among them."""
    return np.stack([_z(values[:, point], values[:, point - 13 : point + 1]) for point in points], axis=1)


def z_score_same_weekday(made: Made, values: Floats, points: range) -> Floats:
    """Elementary with the season `day_of_week`, given 14 weeks instead of 14 days; the tested point among them."""
    return np.stack([_z(values[:, point], values[:, point % 7 : point + 1 : 7][:, -14:]) for point in points], axis=1)


def three_sigma(made: Made, values: Floats, points: range) -> Floats:
    return np.stack([_z(values[:, point], values[:, :point]) for point in points], axis=1)


def three_sigma_of_logs(made: Made, values: Floats, points: range) -> Floats:
    return three_sigma(made, np.log1p(values), points)


def rate_of_change(made: Made, values: Floats, points: range) -> Floats:
    """Deequ: the ratio to the value before."""
    logs = np.log(np.maximum(values, 1e-9 if made.is_share else 0.5))
    return np.stack([np.abs(logs[:, point] - logs[:, point - 1]) for point in points], axis=1)


def online_normal(made: Made, values: Floats, points: range) -> Floats:
    """Deequ's OnlineNormal: running mean and deviation, from which points beyond three deviations are left out."""
    mean, square, number = values[:, 0].copy(), np.zeros(len(values)), np.ones(len(values))
    found = []
    for point in range(1, points.stop):
        deviation = np.sqrt(square / number)
        score = np.abs(values[:, point] - mean) / np.maximum(deviation, 1e-12)
        if point in points:
            found.append(score)
        used = (score <= 3) | (number < 10)
        number = number + used
        step = np.where(used, values[:, point] - mean, 0)
        mean = mean + step / number
        square = square + step * (values[:, point] - mean) * used
    return np.stack(found, axis=1)


def exponential_smoothing(made: Made, values: Floats, points: range) -> Floats:
    """Holt-Winters with a week of additive season; the score is the error by the deviation of the errors before."""
    level, season = values[:, :7].mean(axis=1), values[:, :7] - values[:, :7].mean(axis=1, keepdims=True)
    variance, found = np.zeros(len(values)), []
    for point in range(7, points.stop):
        error = values[:, point] - level - season[:, point % 7]
        if point in points:
            found.append(np.abs(error) / np.maximum(np.sqrt(variance), 1e-12))
        level = level + 0.2 * error
        season[:, point % 7] += 0.1 * error
        variance = variance + (error**2 - variance) / min(point - 6, 60)
    return np.stack(found, axis=1)


def arima_limits(made: Made, values: Floats, points: range) -> Floats:
    """TestGen: the error by the deviation of an ARIMA(1, 1, 1) that knows weekends and holidays.

    Its two numbers are the ones of a grid that had the least squares so far, at each point.
    """
    off = np.array([day.weekday() >= 5 or holiday(day.date(), COUNTRY) is not None for day in made.times], dtype=float)
    steps, changes = np.diff(off), np.diff(values, axis=1)
    phi, theta = (item.ravel() for item in np.meshgrid(np.linspace(-0.8, 0.8, 9), np.linspace(-0.8, 0.8, 9)))
    error, before, squares = (np.zeros((len(values), len(phi))) for _ in range(3))
    product, square = np.zeros(len(values)), 1e-12
    found = []
    for point in range(1, points.stop):
        step, change = steps[point - 1], changes[:, point - 1]
        # what weekends and holidays do is estimated from the points before
        left = (change - product / square * step)[:, None]
        error = left - (phi * before + theta * error)
        if point in points:
            best = squares.argmin(axis=1)
            rows = np.arange(len(values))
            deviation = np.sqrt(squares[rows, best] / (point - 1))
            found.append(np.abs(error[rows, best]) / np.maximum(deviation, 1e-12))
        squares = squares + error**2
        before = np.broadcast_to(left, error.shape)
        product, square = product + change * step, square + step**2
    return np.stack(found, axis=1)


def _z(value: Floats, known: Floats) -> Floats:
    return np.abs(value - known.mean(axis=1)) / np.maximum(known.std(axis=1, ddof=1), 1e-12)


METHODS: Mapping[str, Callable[[Made, Floats, range], Floats]] = {
    "process control": process_control,
    "Elementary, z-score of 14 days": z_score_14_days,
    "Elementary, same weekday": z_score_same_weekday,
    "three sigma": three_sigma,
    "three sigma of logarithms": three_sigma_of_logs,
    "Deequ, rate of change": rate_of_change,
    "Deequ, online normal": online_normal,
    "exponential smoothing": exponential_smoothing,
    "TestGen, forecast limits": arima_limits,
}


def measure(seed: int, batches: int) -> None:
    clean: dict[str, list[Floats]] = {method: [] for method in METHODS}
    by_family: dict[str, list[Floats]] = {name: [] for name in FAMILIES}
    faults: dict[str, dict[tuple[str, str], list[Floats]]] = {method: {} for method in METHODS}
    judged = range(FIRST_JUDGED, POINTS)
    last = range(POINTS - WINDOW, POINTS)
    for batch in range(batches):
        random = np.random.default_rng(seed + batch)
        times = times_from(dt.date(2021, 1, 1) + dt.timedelta(days=int(random.integers(0, 700))))
        for name in FAMILIES:
            made = family(name, random, times)
            injected = with_faults(made, name, random)
            for method, score in METHODS.items():
                scores = score(made, made.values, judged)[made.clean[:, FIRST_JUDGED:]]
                clean[method].append(scores)
                if method == "process control":
                    by_family[name].append(scores)
                for fault, (values, possible) in injected.items():
                    lasting = "day" in fault
                    found = score(made, values, last if lasting else range(POINTS - 1, POINTS)).max(axis=1)
                    faults[method].setdefault((fault, name), []).append(found[possible])
    report(clean, by_family, faults)


def report(clean, by_family, faults) -> None:
    kinds = list(dict.fromkeys(fault for fault, _ in faults["process control"]))
    print(f"{sum(len(item) for item in clean['process control']):,} clean points; recall at 1 false alarm in 500:\n")
    print("| method | " + " | ".join(kinds) + " |\n|---|" + "---|" * len(kinds))
    for method in METHODS:
        limit = np.quantile(np.concatenate(clean[method]), 1 - ALARMS)
        print(f"| {method} | {' | '.join(f'{recall(faults[method], kind, limit):.3f}' for kind in kinds)} |")
    limit = -np.log(ALARMS)
    own = [recall(faults["process control"], kind, limit) for kind in kinds]
    print(f"| process control, p < 1/500 | {' | '.join(f'{item:.3f}' for item in own)} |")
    print(
        "\nProcess control by family: false alarms in 500 points with p < 1/500 and p < 1/5000; recall with p < 1/500\n"
    )
    print("| family | 1/500 | 1/5000 | subtle | gross |\n|---|---|---|---|---|")
    for name in FAMILIES:
        scores = np.concatenate(by_family[name])
        rates = [np.mean(scores > -np.log(level)) * 500 for level in (ALARMS, ALARMS / 10)]
        own = faults["process control"]
        found = [np.mean(np.concatenate(own[fault, name]) > limit) for fault in ("subtle", "gross")]
        print(f"| {name} | {rates[0]:.2f} | {rates[1]:.3f} | {found[0]:.3f} | {found[1]:.3f} |")
    scores = np.concatenate(clean["process control"])
    print(f"| all | {np.mean(scores > limit) * 500:.2f} | {np.mean(scores > limit + np.log(10)) * 500:.3f} | | |")


def recall(found, kind: str, limit: float) -> float:
    scores = [part for (fault, _), parts in found.items() if fault == kind for part in parts]
    return float(np.mean(np.concatenate(scores) > limit))


def speed() -> None:
    random = np.random.default_rng(0)
    values = to_scale("count", random.poisson(1000, (10_000, POINTS)).astype(float))
    times = times_from(dt.date(2023, 1, 1))
    series = Series(values, np.zeros(values.shape), np.ones(len(values), dtype=bool))
    start = time.process_time()
    judge(series, forecast(series, design(times, COUNTRY), 7), [POINTS - 1], ALARMS)
    print(f"10,000 monitors with {POINTS} points each: {time.process_time() - start:.1f} s of one core")
    start = time.process_time()
    some = Series(values[:50], series.floors[:50], series.counts[:50])
    judge(some, forecast(some, design(times, COUNTRY), 7), [POINTS - 1], ALARMS)
    print(f"50 monitors with {POINTS} points each: {time.process_time() - start:.3f} s of one core")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--seed", type=int, default=1000)
    arguments.add_argument("--batches", type=int, default=6)
    arguments.add_argument("--speed", action="store_true")
    options = arguments.parse_args()
    if options.speed:
        speed()
    else:
        measure(options.seed, options.batches)
        speed()
