"""Records the inputs of a hub in the commit that publishes the hub.

So the hub and the record of its inputs always agree, also after a crash or a rollback.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

from dataops_assets.config.contract import EvolvedColumn
from dataops_assets.config.refresh import TimestampRefresh
from dataops_assets.config.source import Source
from dataops_assets.report import IN_ORDER, Input
from dataops_assets.steps.merging.row_identity import HASHED_AS, order_type, tracked_columns

# settings that a hub can be older than
_ABSENT_BEFORE = ("merge", "update_in_place", "period", "group_deletes", "valid_from", "ties")
# positions in the record of an input
_ID, _WRITTEN = 0, 4


@dataclass(frozen=True, order=True)
class AppliedInput:
    """One input of the hub. Sorts by (extract time, arrival, id), the order of inputs.

    * `complete`: a key that is absent from it is deleted (full extracts).
    * `high`: the highest order value in it, as text. None if the extract time is the order or there are no rows.
    * `written`: the id of the write to the lake that has its rows as they were applied.
    * `content`: the digest of its content, known only for `append`, where it decides.
    * `name`: the name of its file, or the part of its manifest, known only where it tells the period of the input.
    """

    extract_time: dt.datetime
    arrival: dt.datetime
    input_id: str
    complete: bool = True
    high: str | None = None
    written: str = ""
    content: str = ""
    name: str = ""

    @property
    def as_input(self) -> Input:
        """Return the input as the merge needs it: its place in the order, its name and its content, without bytes."""
        place = self.extract_time, self.arrival, self.input_id
        # what a manifest tells of a period is told by this part of it, too
        return Input(*place, digest="", origin=self.name, size=0, content=self.content, manifest=self.name)

    @cached_property
    def record(self) -> list[Any]:
        """The input as JSON."""
        place = [self.input_id, self.extract_time.isoformat(), self.complete, self.high, self.written]
        return [*place, self.arrival.isoformat(), self.content, *([self.name] if self.name else [])]

    @cached_property
    def digest(self) -> int:
        """A number of 128 bits that is equal for equal inputs."""
        return int.from_bytes(hashlib.blake2b(json.dumps(self.record).encode(), digest_size=16).digest())

    @classmethod
    def read(cls, found: Sequence[Any]) -> AppliedInput:
        """Return the input that `record` made. Old records have no arrival: the extract time is used."""
        return _applied(tuple(found))


@dataclass(frozen=True)
class HubManifest:
    """The inputs of one hub version, and the settings with which they were merged.

    Inputs from before the `horizon` are settled or being settled: the hub takes no other input of that age. `removed`
    are the inputs that a person removed, so that the check for lost data does not report them. `hashed` are the
    declared columns of the row hash, in order; empty for a hub from before this was recorded.
    """

    settings: str = ""
    inputs: Mapping[str, AppliedInput] = field(default_factory=dict)
    horizon: dt.datetime | None = None
    removed: frozenset[str] = frozenset()
    hashed: tuple[str, ...] = ()

    @classmethod
    def read_without_inputs(cls, info: Mapping[str, Any] | None) -> HubManifest:
        """Return the manifest recorded in a hub version, without its inputs, of which there can be many."""
        return cls.read({**info, "inputs": {}}) if info else cls()

    @classmethod
    def read(cls, info: Mapping[str, Any] | None) -> HubManifest:
        """Return the manifest recorded in a hub version, or an empty one if the hub does not exist."""
        if not info:
            return cls()
        found = [AppliedInput.read(item) for item in _records(info)]
        horizon = info.get("horizon")
        return cls(
            info["settings"],
            {item.input_id: item for item in found},
            dt.datetime.fromisoformat(horizon) if horizon else None,
            frozenset(info.get("removed", ())),
            tuple(info.get("hashed", ())),
        )

    @staticmethod
    def writes(info: Mapping[str, Any] | None) -> dict[str, str]:
        """Return the id of the write to the lake by input, as recorded in a hub version, without reading the rest."""
        return {item[_ID]: str(item[_WRITTEN]) for item in _records(info)} if info else {}

    @cached_property
    def ordered(self) -> Sequence[AppliedInput]:
        """The inputs in order."""
        return sorted(self.inputs.values(), key=IN_ORDER)

    def record(self) -> dict[str, Any]:
        """Return the manifest as JSON for the commit."""
        return {
            "settings": self.settings,
            "inputs": {item.input_id: item.record for item in self.ordered},
            **({"horizon": self.horizon.isoformat()} if self.horizon else {}),
            **({"removed": sorted(self.removed)} if self.removed else {}),
            **({"hashed": list(self.hashed)} if self.hashed else {}),
        }

    def after(self, source: Source, adding: Iterable[AppliedInput], removing: Iterable[str]) -> HubManifest:
        """Return the manifest after `adding` are added and `removing` are removed."""
        gone = set(removing)
        kept = {input_id: item for input_id, item in self.inputs.items() if input_id not in gone}
        added = {item.input_id: item for item in adding}
        removed = frozenset((self.removed | gone) - added.keys())
        return HubManifest(settings_of(source), {**kept, **added}, self.horizon, removed, hashed_columns(source))

    def is_of(self, source: Source) -> bool:
        """Whether the hub was merged with the settings that are declared now. Otherwise it needs a rebuild."""
        return self.settings == settings_of(source) and self.hashed in ((), hashed_columns(source))

    def of_content(self, contents: Collection[str]) -> list[AppliedInput]:
        """Return the inputs with one of these contents, in order."""
        return [item for item in self.ordered if item.content and item.content in contents]

    def misplaced(self, known: Iterable[Input]) -> list[Input]:
        """Return the `known` inputs that arrived again after the hub merged them, if that can change a row.

        It can change a row only if several inputs have this extract time. Settled inputs keep their place.
        """
        times = Counter(item.extract_time for item in self.inputs.values())
        found = []
        for item in known:
            applied = self.inputs.get(item.input_id)
            if applied is None or applied.arrival == item.arrival or times[item.extract_time] == 1:
                continue
            if self.horizon is None or item.extract_time >= self.horizon:
                found.append(item)
        return found

    def is_before(self, inputs: Iterable[Input]) -> bool:
        """Whether every applied input has an earlier extract time than each of `inputs`."""
        applied = [item.extract_time for item in self.inputs.values()]
        return not applied or max(applied) < min(item.extract_time for item in inputs)

    @cached_property
    def fingerprint(self) -> str:
        """A fingerprint that is equal for hubs made of the same inputs with the same settings.

        The inputs count by the sum of their digests, each of which is made once in a process.
        """
        inputs = sum(item.digest for item in self.inputs.values()) % (1 << 128)
        rest = replace(self, inputs={}).record()
        return hashlib.sha256(json.dumps([rest, f"{inputs:x}"]).encode()).hexdigest()[:16]


@lru_cache(maxsize=1 << 17)
def _applied(found: tuple[Any, ...]) -> AppliedInput:
    """Read a record, once in a process: each step of a run reads the same ones, of all inputs of the hub."""
    input_id, time, complete, high, written, *rest = found
    arrival, content, name = (*rest, "")[:3] if rest else (time, "", "")
    times = dt.datetime.fromisoformat(time), dt.datetime.fromisoformat(arrival)
    return AppliedInput(*times, input_id, complete, high, str(written), content, name)


def _records(info: Mapping[str, Any]) -> Iterable[Sequence[Any]]:
    """Return the records of the inputs in a hub version. Old versions have a list of them, new ones map ids to them."""
    inputs: Any = info["inputs"]
    found: Iterable[Sequence[Any]] = inputs.values() if isinstance(inputs, Mapping) else inputs
    return found


def hashed_columns(source: Source) -> tuple[str, ...]:
    """Return the declared columns whose values make the row hash, in the order in which they do."""
    undeclared = {item.name for item in source.columns if isinstance(item, EvolvedColumn)}
    return tuple(name for name in tracked_columns(source) if name not in undeclared)


def settings_of(source: Source) -> str:
    """Return the fingerprint of all settings that decide keys, orders and comparisons.

    A hub that was merged with another fingerprint needs a rebuild.
    """
    refresh = source.refresh
    kinds = {item.name: item.type for item in source.columns if not isinstance(item, EvolvedColumn)}
    declared = refresh.model_dump(mode="json")
    if declared.get("unreadable_rows") == "suspend_deletes":
        # the default: hubs that were merged before this setting existed behave like this
        del declared["unreadable_rows"]
    # hubs that were merged before these settings existed behave like hubs without them
    declared = {name: value for name, value in declared.items() if value or name not in _ABSENT_BEFORE}
    decisive: dict[str, Any] = {
        "refresh": declared,
        "order": order_type(source),
        "content": HASHED_AS,
        "columns": [[name, kinds[name]] for name in sorted({*tracked_columns(source), *refresh.key}) if name in kinds],
    }
    if isinstance(refresh, TimestampRefresh) and refresh.period is not None:
        decisive["timezone"] = source.discovery.timezone
    if refresh.history:
        decisive["deletions"] = "are versions"
    if source.drift.new_column == "evolve":
        decisive["evolves"] = True
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]
