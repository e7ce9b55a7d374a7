"""Named presets of change feeds: each expands into settings that can be declared by hand, and adds none of its own.

A preset says where a feed has the values of a row before and after a change, what the change is, and where it stands in
the log. What a declaration says itself stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dataops_assets.config.declared import refuse

Envelope = Literal["debezium", "debezium_payload", "replication", "dms", "maxwell", "goldengate", "delta_cdf", "dlt"]

OP = "cdc_op"
"""Column that says what a change is."""
ORDER = "cdc_order"
"""Column with the place of a change in its log."""
_PREFIX = "cdc_"
_AFTER, _BEFORE = f"{_PREFIX}after_", f"{_PREFIX}before_"


@dataclass(frozen=True)
class Preset:
    """The settings that an envelope expands into.

    * `columns`: the columns that are added, beside those of a key that is in two places.
    * `row`: the path of the values of a row. `before`: the path of those before, if a deletion has only them.
    * `keep_when`, `delete_when`, `ties`: settings of that name; `order_by`: whether ORDER orders.
    * `group_deletes`: the condition of rows that empty the table.
    """

    columns: tuple[Mapping[str, Any], ...]
    row: str = ""
    before: str = ""
    keep_when: str = ""
    delete_when: str = ""
    group_deletes: str = ""
    ties: str = ""

    @property
    def order_by(self) -> str:
        """Return the column that orders; empty if the place in the files does."""
        return ORDER if any(item["name"] == ORDER for item in self.columns) else ""


def _debezium(within: str, order: str = "source.ts_ms", group_deletes: str = "") -> Preset:
    """Return the preset of Debezium, for envelopes at this path, with the member that orders changes."""
    return Preset(
        columns=(
            {"name": OP, "source_name": f"{within}op"},
            {"name": ORDER, "type": "integer", "source_name": f"{within}{order}", "nullable": False},
        ),
        row=f"{within}after.",
        before=f"{within}before.",
        keep_when="cdc_op in ('c', 'r', 'u', 'd', 't')",
        delete_when="cdc_op = 'd'",
        group_deletes=group_deletes,
    )


PRESETS: Mapping[Envelope, Preset] = {
    "debezium": _debezium(""),
    # what a connection of type replication writes: the order of commits is exact
    "replication": _debezium("", "source.lsn", "cdc_op = 't'"),
    # Kafka's converter puts the envelope beside its schema, unless it is told not to
    "debezium_payload": _debezium("payload."),
    "dms": Preset(columns=({"name": OP, "source_name": "Op"},), delete_when="cdc_op = 'D'"),
    "maxwell": Preset(
        columns=(
            {"name": OP, "source_name": "type"},
            {"name": ORDER, "type": "integer", "source_name": "ts", "nullable": False},
        ),
        row="data.",
        keep_when="cdc_op in ('insert', 'update', 'delete', 'bootstrap-insert')",
        delete_when="cdc_op = 'delete'",
    ),
    "goldengate": Preset(
        columns=({"name": OP, "source_name": "op_type"}, {"name": ORDER, "source_name": "pos", "nullable": False}),
        row="after.",
        before="before.",
        keep_when="cdc_op in ('I', 'U', 'D', 'T')",
        delete_when="cdc_op = 'D'",
    ),
    "delta_cdf": Preset(
        columns=(
            {"name": OP, "source_name": "_change_type"},
            {"name": ORDER, "type": "integer", "source_name": "_commit_version", "nullable": False},
        ),
        keep_when="cdc_op <> 'update_preimage'",
        delete_when="cdc_op = 'delete'",
        # a row that is replaced in one commit is deleted and inserted there
        ties="row",
    ),
    "dlt": Preset(
        columns=({"name": ORDER, "type": "decimal(28,10)", "source_name": "_dlt_load_id", "nullable": False},)
    ),
}


def expanded(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields of a source, with the settings of the preset instead of `envelope`.

    Anything that is not what a source has is left to the checks of the fields. Raises ValidationError if the refresh is
    not of type key.
    """
    name, columns, refresh = data.get("envelope"), data.get("columns"), data.get("refresh")
    preset = PRESETS.get(name) if isinstance(name, str) else None  # type: ignore[call-overload]
    if preset is None or not isinstance(columns, list | tuple) or not isinstance(refresh, Mapping):
        return data
    if refresh.get("type") != "key":
        message = "its rows are changes of single keys; declare refresh: {type: key, key: [...]}"
        refuse("Source", [(("envelope",), name, message)])
    if not all(isinstance(item, Mapping) for item in columns):
        return data
    drift = data.get("drift", {})
    if isinstance(drift, Mapping):
        # a file of insertions alone has no rows before them, and first loads do not say what a change is
        drift = {"missing_column": "ignore", **drift}
    made = _columns(preset, columns, refresh)
    found = {item: value for item, value in data.items() if item != "envelope"}
    return {
        **found,
        "columns": made,
        "keep_when": data.get("keep_when", preset.keep_when),
        "drift": drift,
        "refresh": _refresh(preset, made, refresh),
    }


def place_as_declared(place: tuple[str | int, ...], data: Any) -> tuple[str | int, ...]:
    """Return the place of a setting in the declaration `data`: a key that is read twice is declared once."""
    columns = data.get("columns") if isinstance(data, Mapping) and data.get("envelope") else None
    if not isinstance(columns, list | tuple) or len(place) < 2 or place[0] != "columns":
        return place
    made, number = expanded(data).get("columns", ()), place[1]
    if not isinstance(number, int) or not len(columns) <= number < len(made):
        return place
    name = str(made[number].get("name")).removeprefix(_AFTER).removeprefix(_BEFORE)
    found = (index for index, item in enumerate(columns) if item.get("name") == name)
    return ("columns", next(found, number), *place[2:])


def _columns(preset: Preset, declared: Sequence[Mapping[str, Any]], refresh: Mapping[str, Any]) -> list[Any]:
    """Return the declared columns with the paths of their values, in their places, and then what is added."""
    key = _names(refresh.get("key"))
    parts = [_column(preset, item, key) for item in declared]
    made = [part[0] for part in parts]
    names = {item.get("name") for item in made}
    # whoever orders by another column needs no other order
    wanted = [item for item in preset.columns if item["name"] != ORDER or refresh.get("order_by", ORDER) == ORDER]
    return [
        *made,
        *(item for part in parts for item in part[1:]),
        *(item for item in wanted if item["name"] not in names),
    ]


def _refresh(preset: Preset, columns: Sequence[Mapping[str, Any]], refresh: Mapping[str, Any]) -> dict[str, Any]:
    settings = {"order_by": preset.order_by, "delete_when": preset.delete_when, "ties": preset.ties}
    found = {**{field: value for field, value in settings.items() if value}, **refresh}
    if preset.group_deletes:
        found.setdefault("group_deletes", [{"when": preset.group_deletes}])
    if not found.get("delete_when") and "ties" not in refresh:
        found.pop("ties", None)
    # what is known of a change is no change of the row
    taken = {*_names(refresh.get("update_in_place")), *(refresh.get("merge") or {}), *_names(refresh.get("key"))}
    own = [item["name"] for item in columns if str(item.get("name", "")).startswith(_PREFIX)]
    found["ignore_changes_in"] = list(
        dict.fromkeys([*_names(refresh.get("ignore_changes_in")), *(name for name in own if name not in taken)])
    )
    return found


def _names(given: Any) -> list[str]:
    return [str(item) for item in given] if isinstance(given, list | tuple) else []


def _column(preset: Preset, item: Mapping[str, Any], key: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return the columns that stand for a declared one: it alone, or a key and its values before and after."""
    name = item.get("name")
    says_where = any(part in item for part in ("expression", "presence_of", "source_name"))
    if not isinstance(name, str) or not preset.row or says_where:
        return [item]
    if not (preset.before and name in key):
        return [{**item, "source_name": f"{preset.row}{_quoted(name)}"}]
    # how a text is read belongs to where it is read
    words = {part: value for part, value in item.items() if part in ("name", "type", "description", "tags")}
    read = {part: value for part, value in item.items() if part not in ("name", "description", "nullable")}
    either = f'coalesce("{_AFTER}{name}", "{_BEFORE}{name}")'
    return [
        {**words, "nullable": False, "expression": either},
        {**read, "name": f"{_AFTER}{name}", "source_name": f"{preset.row}{_quoted(name)}"},
        {**read, "name": f"{_BEFORE}{name}", "source_name": f"{preset.before}{_quoted(name)}"},
    ]


def _quoted(name: str) -> str:
    return f'"{name}"' if "." in name else name
