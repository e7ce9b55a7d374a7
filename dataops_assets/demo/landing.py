"""The files of the demonstration: named files in named stages, made only when they are needed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Stage = Literal["history", "delivery_1", "delivery_2", "delivery_3", "bad"]
STAGES: tuple[Stage, ...] = get_args(Stage)

# Every file of a stage has the stage's time as its modification time, whenever it is written. The times ascend like
# those of real arrivals, and distinguish the demonstration's files from files of other people.
ARRIVED: Mapping[Stage, dt.datetime] = {
    "history": dt.datetime(2015, 8, 3, 6, tzinfo=dt.UTC),
    "delivery_1": dt.datetime(2015, 8, 4, 6, tzinfo=dt.UTC),
    "delivery_2": dt.datetime(2015, 8, 5, 6, tzinfo=dt.UTC),
    "delivery_3": dt.datetime(2015, 8, 6, 6, tzinfo=dt.UTC),
    "bad": dt.datetime(2015, 8, 10, 6, tzinfo=dt.UTC),
}


@dataclass(frozen=True)
class LandingFile:
    """One file: its path below the landing folder (with '/'), and how to make its bytes."""

    path: str
    content: Callable[[], bytes]
