"""How often a feed is called late although its input comes, and how long after its usual time a missing one is told.

Prints a table of simulated feeds. The budget is that of one of six sources with `false_alarms: 1 a week`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import numpy as np

from dataops_assets.quality.control.due import MOST_INPUTS, Arrival, learn_due

BEGIN = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
ALLOWED = 0.1 / 7 / 6
FIRST = 25
SEED = 5

Feed = tuple[int, Callable[[dt.datetime], bool], Callable[[np.random.Generator], float]]
"""Number of inputs, at which hours there is one, and how many hours later it arrives."""

FEEDS: dict[str, Feed] = {
    "each day": (640, lambda hour: hour.hour == 6, lambda chance: abs(chance.normal(0, 0.1))),
    "each working day": (
        640,
        lambda hour: hour.hour == 6 and hour.weekday() < 5,
        lambda chance: abs(chance.normal(0, 0.2)),
    ),
    "each hour of the office": (
        640,
        lambda hour: 8 <= hour.hour <= 18 and hour.weekday() < 5,
        lambda chance: 0.1 + abs(chance.normal(0, 0.05)),
    ),
    "each hour": (640, lambda _: True, lambda chance: 0.1 + chance.lognormal(-3, 0.7)),
    "each week": (120, lambda hour: hour.hour == 8 and hour.weekday() == 0, lambda chance: chance.lognormal(0, 0.5)),
    "each day, heavy tails": (
        640,
        lambda hour: hour.hour == 6,
        lambda chance: min(abs(chance.standard_t(3)), 14.0),
    ),
}


def arrivals_of(feed: Feed, chance: np.random.Generator) -> list[Arrival]:
    """The inputs of a feed, in the order of their extracts."""
    number, is_due, delay = feed
    found: list[Arrival] = []
    hour = BEGIN
    while len(found) < number:
        if is_due(hour):
            found.append(Arrival(hour, hour + delay(chance) * HOUR))
        hour += HOUR
    return found


def at_random(chance: np.random.Generator) -> list[Arrival]:
    """Inputs without any rhythm, 20 hours apart in the mean."""
    times = BEGIN + np.cumsum(chance.exponential(20, 640)) * HOUR
    return [Arrival(time, time) for time in times]


def judged(arrivals: list[Arrival]) -> tuple[int, int, list[float]]:
    """How many inputs were judged, how many came when they were late, and the hours from the arrival to being late."""
    number = false = 0
    hours = []
    for place in range(FIRST, len(arrivals) - 1):
        due = learn_due(arrivals[max(0, place + 1 - MOST_INPUTS) : place + 1], ALLOWED)
        if due is not None:
            number += 1
            after = (due.at - arrivals[place + 1].arrived) / HOUR
            false += after < 0
            hours.append(after)
    return number, false, hours


def main() -> None:
    """Print the table."""
    print("| feed | judged | false alarms | told so many hours late (median) |")
    print("|---|---|---|---|")
    chance = np.random.default_rng(SEED)
    feeds = {name: arrivals_of(feed, chance) for name, feed in FEEDS.items()} | {"at random": at_random(chance)}
    for name, arrivals in feeds.items():
        number, false, hours = judged(arrivals)
        print(f"| {name} | {number:,} | {false} | {np.median(hours):,.1f} |", flush=True)


if __name__ == "__main__":
    main()
