"""Handles settled inputs: inputs so old that the timelines of the hub start after them.

Retention (`upkeep/retention.py`) replaces the rows of old inputs in the lake. It keeps the rows that the hub had when
it consisted of these inputs only, with the system columns that they had in it. From then on the hub is a function of
these rows and of the later inputs. It is the same hub as before, because every later input is newer.

Two things are recorded. The hub's manifest has the horizon: the hub takes no input with an earlier extract time. The
lake's commit has the time before which its inputs are settled, and the settings of the hub at that time.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dataops_assets.config.source import Source
from dataops_assets.errors import DataOpsError, InputError
from dataops_assets.report import Input
from dataops_assets.steps.merging.manifest import AppliedInput, HubManifest, settings_of
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage.delta import TableVersion

KEY = "s_settled_key"
CREATED_AT = "s_settled_created_at"
EXTRACTED_AT = "s_settled_at"
COLUMNS: Mapping[str, str] = {
    KEY: "VARCHAR",
    CREATED_AT: "TIMESTAMP WITH TIME ZONE",
    EXTRACTED_AT: "TIMESTAMP WITH TIME ZONE",
}
"""The columns of the lake in which only settled rows have values."""
_INFO = "settled"


@dataclass(frozen=True)
class Settled:
    """The record of settled inputs in a table version: extracted `before` this time, with these `settings`."""

    before: dt.datetime
    settings: str

    @classmethod
    def read(cls, info: Mapping[str, Any]) -> Settled | None:
        """Return the record of a table version; None if no input is settled."""
        found = info.get(_INFO)
        return None if found is None else cls(dt.datetime.fromisoformat(found["before"]), found["settings"])

    def recorded(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """Return `info` with this record."""
        return {**info, _INFO: {"before": self.before.isoformat(), "settings": self.settings}}

    def is_of(self, source: Source) -> bool:
        """Whether timelines can start with the settled rows. With other settings they are ordinary rows."""
        return self.settings == settings_of(source)


def start_of_rebuild(source: Source, known: HubManifest, info: Mapping[str, Any]) -> HubManifest:
    """Return the manifest that a rebuild starts with: the settled inputs of the lake (`info` is from its commit).

    If the settings have changed, no input counts as settled, and the remaining rows of these inputs are ordinary rows.
    """
    settled = Settled.read(info)
    if settled is None or not settled.is_of(source):
        return HubManifest(horizon=known.horizon, removed=known.removed)
    inputs = {key: item for key, item in known.inputs.items() if item.extract_time < settled.before}
    return HubManifest(settled.settings if inputs else "", inputs, known.horizon, known.removed)


def settled_input_errors(
    source: Source, horizon: dt.datetime | None, inputs: Iterable[Input | AppliedInput]
) -> dict[str, DataOpsError]:
    """Return an error for each input from before the horizon."""
    return {
        item.input_id: InputError(
            f"changing the rows of input {item.input_id} in the hub of {source.name!r}",
            received=f"an input extracted at {item.extract_time:%Y-%m-%d %H:%M:%S} UTC: it is settled, as all inputs "
            f"from before {horizon:%Y-%m-%d %H:%M:%S} (retention.superseded_inputs)",
            next_step="deliver the rows in a new extract; the hub is untouched",
        )
        for item in inputs
        if horizon is not None and item.extract_time < horizon
    }


def settled_in_hub(context: SourceContext, inputs: Iterable[Input]) -> dict[str, DataOpsError]:
    """Return an error for each input that is too old for the hub of the source."""
    hub = context.hub.snapshot()
    return settled_input_errors(context.source, HubManifest.read(hub.info if hub else None).horizon, inputs)


def settled_of(source: Source, lake: TableVersion | None, inputs: Iterable[Input]) -> dict[str, DataOpsError]:
    """Return an error for each input whose rows in the lake can no longer be replaced."""
    found = Settled.read(lake.info) if lake is not None else None
    return settled_input_errors(source, found.before if found else None, inputs)


def unless_settled(source: Source, inputs: Sequence[Input]) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """Return a check for a commit to the lake: it raises InputError if the version before it settled an input."""

    def passed(info: Mapping[str, Any]) -> Mapping[str, Any]:
        found = Settled.read(info)
        for error in settled_input_errors(source, found.before if found else None, inputs).values():
            raise error
        return info

    return passed
