"""The stored facts that the report is computed from, as plain values."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class WarehouseTable:
    """A table of the warehouse: its subject area, the sources that it is made of, and the newest result of each check.

    A result is a row like those of the check results of sources, with `columns`: those of sources that it is about, as
    'source.column'.
    """

    area: str
    sources: frozenset[str]
    results: Sequence[Row]


@dataclass(frozen=True)
class Facts:
    """What the metadata know, at the time `now` (UTC).

    * `published`: by source, when inputs reached its hub, in order.
    * `loaded`: a row for each input that was parsed: `source`, `input_id`, `at`, `rows`, `rejected`,
      `kept_out` (rejected or kept out by a validation).
    * `results`: check results of the window, in the order of recording. `in_force`: the newest report of each check.
    * `incidents`: those that stand alone (not part of another one), the newest first.
    * `loads`: deployments of other declarations, oldest first: `load_id`, `at`, and what each `changed`.
    * `areas`: the subject area of each source. `warehouse`: by asset key, its tables that were checked.
    * `costs`: by source, `seconds` of all steps, `bytes` and number of `inputs`.
    """

    now: dt.datetime
    published: Mapping[str, Sequence[dt.datetime]] = field(default_factory=dict)
    loaded: Sequence[Row] = ()
    results: Sequence[Row] = ()
    in_force: Sequence[Row] = ()
    incidents: Sequence[Row] = ()
    costs: Mapping[str, Row] = field(default_factory=dict)
    loads: Sequence[Row] = ()
    areas: Mapping[str, str] = field(default_factory=dict)
    warehouse: Mapping[str, WarehouseTable] = field(default_factory=dict)
