"""Recognises change feeds by the names in their records: the envelopes that a source can declare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dataops_assets.config.envelopes import OP, ORDER, PRESETS, Envelope
from dataops_assets.declaring.nested_names import below

# places in the log of a database, the surest first
_POSITIONS = ("source.lsn", "source.scn", "source.ts_ms", "ts_ms")
_NEEDED: dict[Envelope, tuple[str, ...]] = {
    "debezium": ("op", "before", "after"),
    "maxwell": ("type", "data", "ts", "table"),
    "goldengate": ("op_type", "pos", "after"),
    "delta_cdf": ("_change_type", "_commit_version"),
    "dms": ("Op",),
    "dlt": ("_dlt_load_id",),
}
_OF_DEBEZIUM: tuple[Envelope, ...] = ("debezium", "debezium_payload")
_UPDATES = ("u", "update", "U", "update_postimage", "bootstrap-complete", "bootstrap-start")
_INSERTS: dict[Envelope, tuple[str, ...]] = {
    **dict.fromkeys(_OF_DEBEZIUM, ("c", "r")),
    "maxwell": ("insert", "bootstrap-insert"),
    "goldengate": ("I",),
    "delta_cdf": ("insert",),
    "dms": ("I",),
    "dlt": (),
}
_DELETIONS: dict[Envelope, tuple[str, ...]] = {
    **dict.fromkeys(_OF_DEBEZIUM, ("d", "t", "m")),
    "maxwell": ("delete",),
    "goldengate": ("D", "T"),
    "delta_cdf": ("delete", "update_preimage"),
    "dms": ("D",),
    "dlt": (),
}
# what a tool adds to each row, beside what says the change and its place
_OF_TOOLS = ("_commit_timestamp", "_dlt_id", "_dlt_load_id", "_change_type", "_commit_version", "Op")


@dataclass(frozen=True)
class ChangeFeed:
    """A change feed: its envelope, and the raw names of the row's values and of the change.

    `row` is the path of the row's values, empty if they stand beside the others; `names` are below it. `positions` are
    places in the log that order better than the one that the envelope takes, the best first.
    """

    envelope: Envelope
    names: tuple[str, ...]
    row: str
    change: str
    positions: tuple[str, ...]

    @property
    def words(self) -> Sequence[str]:
        """Return all words that a change can have."""
        return (*self.inserts, *self.deletions, *_UPDATES)

    @property
    def inserts(self) -> Sequence[str]:
        """Return the words of the changes that add a row."""
        return _INSERTS[self.envelope]

    @property
    def deletions(self) -> Sequence[str]:
        """Return the words of the changes that leave no row."""
        return _DELETIONS[self.envelope]


def change_feed_of(names: Sequence[str]) -> ChangeFeed | None:
    """Return the change feed whose records have these names; None if they are plain rows."""
    tops = {name.partition(".")[0] for name in names}
    within = {name.partition(".")[0] for name in below(names, "payload")}
    envelope = next((kind for kind, needed in _NEEDED.items() if tops.issuperset(needed)), None)
    if tops == {"schema", "payload"} and within.issuperset(_NEEDED["debezium"]):
        envelope = "debezium_payload"
    if envelope is None:
        return None
    preset = PRESETS[envelope]
    row = preset.row.removesuffix(".")
    values = below(names, row) if row else [name for name in names if name not in _OF_TOOLS]
    if not values:
        return None
    declared = {str(item["name"]): str(item["source_name"]) for item in preset.columns}
    above = row.removesuffix("after")
    positions = [f"{above}{name}" for name in _POSITIONS] if envelope in _OF_DEBEZIUM else []
    positions = [name for name in positions if name in names]
    if positions[:1] == [declared.get(ORDER)]:
        positions = []
    return ChangeFeed(envelope, tuple(values), row, declared.get(OP, ""), tuple(positions))
