"""Settled inputs: those that are so old that the timelines of the hub start after them.

Retention (`upkeep/retention.py`) replaces the rows of old inputs in the lake by those few that made the hub what it was
when they were all there was, each with the system columns that it had in that hub. From then on the hub is a function
of these rows and of the inputs that follow, and it is the same hub as before, because all that comes is younger.

Two things are recorded. The hub's manifest says before which extract time no input is taken any more (its horizon). The
lake says, in the commit that settles, before which time its inputs are settled, and under which settings of the hub.
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
"""The lake's columns that a settled row has values in, and no other row."""
_INFO = "settled"


@dataclass(frozen=True)
class Settled:
    """What a version of a table says of settled inputs: extracted `before` this time, under these `settings`."""

    before: dt.datetime
    settings: str

    @classmethod
    def read(cls, info: Mapping[str, Any]) -> Settled | None:
        """What is recorded in a version of a table; None where no input is settled."""
        found = info.get(_INFO)
        return None if found is None else cls(dt.datetime.fromisoformat(found["before"]), found["settings"])

    def recorded(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """`info` with this."""
        return {**info, _INFO: {"before": self.before.isoformat(), "settings": self.settings}}

    def is_of(self, source: Source) -> bool:
        """Whether the settled rows can be the start of timelines; under other settings they are rows like others."""
        return self.settings == settings_of(source)


def start_of_rebuild(source: Source, known: HubManifest, info: Mapping[str, Any]) -> HubManifest:
    """The manifest that a hub is made anew from: the settled inputs of the lake, whose commit's information is given.

    Under other settings than theirs nothing is settled, and what is left of these inputs is taken as it is.
    """
    settled = Settled.read(info)
    if settled is None or not settled.is_of(source):
        return HubManifest(horizon=known.horizon, removed=known.removed)
    inputs = {key: item for key, item in known.inputs.items() if item.extract_time < settled.before}
    return HubManifest(settled.settings if inputs else "", inputs, known.horizon, known.removed)


def too_old(
    source: Source, horizon: dt.datetime | None, inputs: Iterable[Input | AppliedInput]
) -> dict[str, DataOpsError]:
    """The inputs from before the horizon, each with the error that says why it is not taken."""
    return {
        item.input_id: InputError(
            f"changing what input {item.input_id} brings to the hub of {source.name!r}",
            received=f"an input extracted at {item.extract_time:%Y-%m-%d %H:%M:%S} UTC; all from before "
            f"{horizon:%Y-%m-%d %H:%M:%S} is settled (retention.superseded_inputs)",
            next_step="deliver the rows in a new extract; the hub is untouched",
        )
        for item in inputs
        if horizon is not None and item.extract_time < horizon
    }


def settled_in_hub(context: SourceContext, inputs: Iterable[Input]) -> dict[str, DataOpsError]:
    """The inputs that the hub of the source takes no more, each with its error."""
    hub = context.hub.snapshot()
    return too_old(context.source, HubManifest.read(hub.info if hub else None).horizon, inputs)


def settled_of(source: Source, lake: TableVersion | None, inputs: Iterable[Input]) -> dict[str, DataOpsError]:
    """The inputs whose rows in the lake may not be replaced any more, each with its error."""
    found = Settled.read(lake.info) if lake is not None else None
    return too_old(source, found.before if found else None, inputs)


def unless_settled(source: Source, inputs: Sequence[Input]) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """Lets a commit to the lake pass, with the information of the version before it, unless that settled an input."""

    def passed(info: Mapping[str, Any]) -> Mapping[str, Any]:
        found = Settled.read(info)
        for error in too_old(source, found.before if found else None, inputs).values():
            raise error
        return info

    return passed
