"""How many faults of a table are found by its whole profile. Run by hand: `make benchmark-detection`.

Tables of twelve monitors: rows, shares of nulls, means and numbers of distinct values. They have a week, and days on
which all of them are a little different together. Faults of some monitors are put into the last day. Each method has
the threshold at which 1 in 500 clean days is an alarm.

* process control: the least p-value of the monitors and of the whole profile, each by its part of the level.
* nearest neighbours: the mean distance to the five nearest of the days before, each monitor scaled to 0 and 1 by them.
  After Redyuk et al. (EDBT 2021), written from the publication.

Grain of the output: one line a method, with the share of faults that are found, by kind.
"""

from __future__ import annotations

import argparse
import datetime as dt
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from dataops_assets.quality.control.calendar import design
from dataops_assets.quality.control.forecasts import Series, forecast
from dataops_assets.quality.control.judging import judge
from dataops_assets.quality.control.novelty import judge_novelty, novelties
from dataops_assets.quality.control.scales import floor_of_shares, to_scale

Floats = npt.NDArray[np.float64]

DAYS, FIRST_JUDGED, NEIGHBOURS = 300, 100, 5
ALARMS = 1 / 500
TIMES = [dt.datetime(2023, 1, 2, tzinfo=dt.UTC) + dt.timedelta(days=day) for day in range(DAYS)]
COUNTS, SHARES, MEANS = slice(0, 4), slice(4, 8), slice(8, 12)
ROWS = 5_000.0


def table(random: np.random.Generator) -> Floats:
    """Twelve monitors (rows) on 300 days: rows and three numbers of distinct values, four shares, four means."""
    week = random.normal(0, 0.3, 7)[[time.weekday() for time in TIMES]]
    together = random.normal(0, 0.03, DAYS)
    found = np.empty((12, DAYS))
    noise = random.normal(size=(12, DAYS)) * random.uniform(0.02, 0.06, (12, 1))
    found[COUNTS] = np.exp(
        random.uniform(5, 9, (4, 1)) + week * random.uniform(0.3, 1, (4, 1)) + together + noise[COUNTS]
    )
    share = random.uniform(0.005, 0.2, (4, 1)) * np.exp(4 * noise[SHARES] + together)
    found[SHARES] = random.binomial(int(ROWS), np.minimum(share, 1)) / ROWS
    found[MEANS] = random.uniform(5, 500, (4, 1)) * (1 + noise[MEANS] + together)
    return found


def of_many(values: Floats, random: np.random.Generator) -> None:
    values[:, -1] *= 1 + random.uniform(0.08, 0.16, 12) * random.choice([-1, 1], 12)


def null_burst(values: Floats, random: np.random.Generator) -> None:
    values[random.integers(4, 8), -1] += random.uniform(0.1, 0.4)


def unit_change(values: Floats, random: np.random.Generator) -> None:
    values[random.integers(8, 12), -1] *= random.choice([0.1, 1.5, 10])


def swapped_columns(values: Floats, random: np.random.Generator) -> None:
    one, other = random.choice(np.arange(8, 12), 2, replace=False)
    values[[one, other], -1] = values[[other, one], -1]


def truncated(values: Floats, random: np.random.Generator) -> None:
    values[COUNTS, -1] *= random.uniform(0.3, 0.7)


def typos(values: Floats, random: np.random.Generator) -> None:
    values[random.integers(1, 4), -1] *= random.uniform(1.2, 2)


FAULTS: Mapping[str, Callable[[Floats, np.random.Generator], None]] = {
    "all a little": of_many,
    "null burst": null_burst,
    "unit change": unit_change,
    "swapped columns": swapped_columns,
    "truncated": truncated,
    "typos": typos,
}


def process_control(values: Floats, points: range) -> Floats:
    on_scale = values.copy()
    on_scale[COUNTS], on_scale[SHARES] = to_scale("count", values[COUNTS]), to_scale("share", values[SHARES])
    floors = np.zeros(values.shape)
    floors[SHARES] = floor_of_shares(np.array(ROWS))
    counts = np.zeros(12, dtype=bool)
    counts[COUNTS] = True
    series = Series(on_scale, floors, counts)
    forecasts = forecast(series, design(TIMES), 7)
    of_monitors = [np.nanmin(item.p) for item in judge(series, forecasts, points, ALARMS)]
    of_profile = [item.p for item in judge_novelty(novelties(forecasts.scores), points, ALARMS)]
    # the levels that a table gives them
    return -np.log(np.minimum(np.array(of_monitors) / (0.9 / 12), np.array(of_profile) / 0.1))


def nearest_neighbours(values: Floats, points: range) -> Floats:
    found = []
    for point in points:
        known = values[:, :point]
        low = known.min(axis=1, keepdims=True)
        room = np.maximum(known.max(axis=1, keepdims=True) - low, 1e-9)
        distances = np.sqrt((((values[:, point, None] - known) / room) ** 2).sum(axis=0))
        found.append(np.sort(distances)[:NEIGHBOURS].mean())
    return np.array(found)


METHODS: Mapping[str, Callable[[Floats, range], Floats]] = {
    "process control": process_control,
    "nearest neighbours": nearest_neighbours,
}


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    given.add_argument("--seed", type=int, default=1000)
    given.add_argument("--tables", type=int, default=40)
    options = given.parse_args()
    random = np.random.default_rng(options.seed)
    made = [table(random) for _ in range(options.tables)]
    print("| method | " + " | ".join(FAULTS) + " |\n|---|" + "---|" * len(FAULTS))
    for name, method in METHODS.items():
        clean = np.concatenate([method(values, range(FIRST_JUDGED, DAYS)) for values in made])
        limit = np.quantile(clean, 1 - ALARMS)
        cells = []
        for fault in FAULTS.values():
            chance = np.random.default_rng(options.seed + 1)
            scores = []
            for values in made:
                odd = values.copy()
                fault(odd, chance)
                scores.append(method(odd, range(DAYS - 1, DAYS))[0])
            cells.append(f"{np.mean(np.array(scores) > limit):.3f}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
