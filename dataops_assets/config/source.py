"""The `Source` model: everything that a data team declares about one feed.

Pure pydantic: no I/O, no Dagster. Every field has a description because `dg` and editors show it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field, ModelWrapValidatorHandler, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import InitErrorDetails

from dataops_assets.config.column_settings import column_problems
from dataops_assets.config.connection import (
    AvroFormat,
    Connection,
    CsvFormat,
    Discovery,
    FileConnection,
    FixedWidthFormat,
    OrcFormat,
    ParquetFormat,
    PythonConnection,
)
from dataops_assets.config.contract import Column, Drift
from dataops_assets.config.databases import DatabaseConnection, Incremental
from dataops_assets.config.declared import Declared, FieldPath, Problem, hint, path_as_written, refuse
from dataops_assets.config.envelopes import Envelope, expanded, place_as_declared
from dataops_assets.config.environment import EngineName
from dataops_assets.config.kafka import MESSAGE_FIELDS, KafkaConnection
from dataops_assets.config.names import Area, Name, Owner
from dataops_assets.config.quality import Checks, Gates
from dataops_assets.config.refresh import (
    RANGE_TYPES,
    AppendRefresh,
    GroupDelete,
    KeyRefresh,
    NamedPeriod,
    Refresh,
    Retention,
    TimestampRefresh,
)
from dataops_assets.config.rest import RestConnection
from dataops_assets.config.rules import Relation, Rule, Validation, Wait
from dataops_assets.config.types import base_type

# in these formats a number is told from a text, or all values are texts
_NUMBERS_ARE_TEXT = ("csv", "fixed_width", "text", "xml", "parquet", "orc", "avro")
_FEEDING = re.compile(r"^(output|warehouse|hub)/[A-Za-z_][A-Za-z0-9_]*$")


class Source(Declared):
    """A declared feed with a table shape: connection, columns, refresh type, rules and checks."""

    name: Name = Field(description="Source name: lower case letters, digits and underscores.")
    area: Area = Field(description="Subject area; the group in the Dagster UI.")
    description: str = Field("", description="What one row is, and where the data comes from.")
    owners: tuple[Owner, ...] = Field((), description="E-mail addresses or 'team:name'.")
    connection: Connection = Field(description="Origin of the data.")
    fed_by: tuple[str, ...] = Field(
        (),
        description="Tables and outputs that the data of this feed come from, by their asset keys: output/<name>, "
        "warehouse/<model>, hub/<source>. They are upstream of its raw data in the lineage.",
    )
    envelope: Envelope | None = Field(
        None,
        description="Preset for a kind of change feed. When the declaration is loaded, it expands into settings for "
        "the names of values, the filter, the order and the delete markers, which you can also declare by hand.",
    )
    columns: tuple[Column, ...] = Field(min_length=1, description="The schema contract, in order.")
    drift: Drift = Field(Drift(), description="Policies for inputs whose columns differ from the contract.")
    keep_when: str = Field(
        "",
        description="SQL predicate on one row; rows for which it is not true are filtered while parsing, and counted.",
    )
    refresh: Refresh = Field(description="Refresh type: how inputs become the hub.")
    relations: dict[str, Relation] = Field({}, description="Named joins to other sources.")
    compatible: bool = Field(False, description="Whether rules that have a `compatible` expression use it.")
    rules: tuple[Rule, ...] = Field((), description="Derived columns.")
    validations: tuple[Validation, ...] = Field((), description="Boolean rules about rows, each with a severity.")
    waits_for: tuple[Wait, ...] = Field(
        (), description="Sources that must be recent enough before an input is enriched."
    )
    gates: Gates = Field(Gates(), description="Contracts that stop a publication, and the delete guard.")
    checks: Checks = Field(Checks(), description="The four kinds of check.")
    discovery: Discovery = Field(Discovery(), description="How new inputs are found.")
    retention: Retention = Field(Retention(), description="How long inputs and old versions are kept.")
    engine: EngineName | None = Field(
        None, description="Engine that runs the steps: duckdb or spark; default: DATAOPS_ENGINE of the deployment."
    )

    @model_validator(mode="wrap")
    @classmethod
    def _errors_stand_where_they_are_written(cls, data: Any, handler: ModelWrapValidatorHandler[Source]) -> Source:
        try:
            return handler(data)
        except ValidationError as error:
            found: dict[tuple[Any, ...], InitErrorDetails] = {}
            for item in error.errors(include_url=False):
                place = path_as_written(place_as_declared(item["loc"], data), data)
                details = InitErrorDetails(type=item["type"], loc=place, input=item["input"], ctx=item.get("ctx", {}))
                found.setdefault((place, item["msg"]), details)
            raise ValidationError.from_exception_data(error.title, list(found.values())) from error

    @model_validator(mode="before")
    @classmethod
    def _envelopes_expand(cls, data: Any) -> Any:
        return expanded(data) if isinstance(data, Mapping) and data.get("envelope") else data

    @model_validator(mode="before")
    @classmethod
    def _messages_have_their_own_fields(cls, data: Any) -> Any:
        connection, drift = (data.get("connection"), data.get("drift", {})) if isinstance(data, Mapping) else (None, {})
        if not isinstance(drift, Mapping) or not (
            isinstance(connection, KafkaConnection)
            or (isinstance(connection, Mapping) and connection.get("type") == "kafka")
        ):
            return data
        # a few messages without a field, or tombstones alone, say nothing of the messages that come
        return {**data, "drift": {"missing_column": "ignore", **drift}}

    @field_validator("fed_by")
    @classmethod
    def _keys_of_assets(cls, fed_by: tuple[str, ...]) -> tuple[str, ...]:
        for key in fed_by:
            if not _FEEDING.match(key):
                raise ValueError(
                    f"{key!r} is no table or output; known: output/<name>, warehouse/<model>, hub/<source>, "
                    "hub/<source>_current"
                )
        return fed_by

    @field_validator("rules")
    @classmethod
    def _chosen_expressions(cls, rules: tuple[Rule, ...], info: ValidationInfo) -> tuple[Rule, ...]:
        # chosen here, so that all code that reads rules sees only the expression in use
        if not info.data.get("compatible"):
            return rules
        return tuple(
            rule.model_copy(update={"expression": rule.compatible, "compatible": ""}) if rule.compatible else rule
            for rule in rules
        )

    @model_validator(mode="after")
    def _parts_fit(self) -> Source:
        refuse(
            "Source",
            [
                *self._repeated_names(),
                *self._repeated_raw_names(),
                *self._unknown_columns(),
                *self._unfit_ranges(),
                *self._unfit_period(),
                *self._unfit_groups(),
                *self._unfit_totals(),
                *self._unfit_manifest(),
                *self._unfit_marks(),
                *self._unknown_message_fields(),
                *column_problems(self.refresh, self.columns),
                *self._idle_parts(),
                *self._unwatched_anomalies(),
            ],
        )
        return self

    def _repeated_names(self) -> Iterator[Problem]:
        named: list[tuple[FieldPath, str]] = [
            (("columns", i, "name"), item.name) for i, item in enumerate(self.columns)
        ]
        named += [(("rules", i, "name"), item.name) for i, item in enumerate(self.rules)]
        # a rule's path through two relations with the same name would be ambiguous
        related: list[tuple[FieldPath, str]] = [(("relations", name), name) for name in self.relations]
        for what, names in (("column or rule", named), ("relation", related)):
            seen: set[str] = set()
            for path, name in names:
                if name.lower() in seen:
                    yield path, name, f"{what} {name!r} is declared twice (case is ignored)"
                seen.add(name.lower())

    def _repeated_raw_names(self) -> Iterator[Problem]:
        # two columns may read the same raw column, but an earlier name must belong to only one column
        for i, item in enumerate(self.columns):
            others = {name for other in self.columns if other is not item for name in other.raw_names}
            for j, name in enumerate(item.renamed_from):
                if name in others or item.raw_names.index(name) != j + 1:
                    message = f"{name!r} is the raw name of another column, or occurs twice in this column"
                    yield ("columns", i, "renamed_from", j), name, message

    def _unknown_columns(self) -> Iterator[Problem]:
        names = [column.name for column in self.columns]
        used: dict[FieldPath, tuple[str, ...]] = {("refresh", "key"): self.refresh.key}
        if self.refresh.order_by is not None:
            used["refresh", "order_by"] = (self.refresh.order_by,)
        if self.refresh.range_by is not None:
            used["refresh", "range_by"] = (self.refresh.range_by,)
        used["refresh", "ignore_changes_in"] = self.refresh.ignore_changes_in
        used["refresh", "update_in_place"] = self.refresh.update_in_place
        for index, marker in enumerate(self._group_deletes()):
            used["refresh", "group_deletes", index, "by"] = marker.by
        for index, validation in enumerate(self.validations):
            used["validations", index, "unique"] = validation.unique
        for relation_name, relation in self.relations.items():
            used["relations", relation_name, "on"] = tuple(relation.on)
            used["relations", relation_name, "where"] = tuple(item.column for item in relation.where)
            used["relations", relation_name, "as_of"] = (relation.as_of,) if relation.as_of is not None else ()
        for path, columns in used.items():
            for column in columns:
                if column not in names:
                    field = ".".join(map(str, path))
                    message = f"{field} names {column!r}{hint(column, names)}; known columns: {', '.join(names)}"
                    yield path, column, message

    def _unfit_ranges(self) -> Iterator[Problem]:
        fit = RANGE_TYPES.get(self.refresh.type)
        found = next((item for item in self.columns if item.name == self.refresh.range_by), None)
        if fit is None or found is None or base_type(found.type) in fit:
            return
        message = f"column {found.name!r} is {found.type}; a {self.refresh.type} refresh needs {' or '.join(fit)}"
        yield ("refresh", "range_by"), found.name, message

    def _group_deletes(self) -> tuple[GroupDelete, ...]:
        return self.refresh.group_deletes if isinstance(self.refresh, KeyRefresh) else ()

    def _unfit_groups(self) -> Iterator[Problem]:
        key = set(self.refresh.key)
        if self.refresh.ties is not None and not (self.refresh.delete_when or self._group_deletes()):
            yield ("refresh", "ties"), self.refresh.ties, "no row deletes: declare delete_when or group_deletes, too"
        for index, marker in enumerate(self._group_deletes()):
            path: FieldPath = ("refresh", "group_deletes", index, "by")
            if unknown := [name for name in marker.by if name not in key]:
                known = ", ".join(self.refresh.key)
                yield path, unknown[0], f"{unknown[0]!r} is no column of the key; known: {known}"
            elif set(marker.by) == key:
                yield path, marker.by[0], "these columns are the whole key: declare delete_when instead"

    def _unfit_manifest(self) -> Iterator[Problem]:
        declared = self.connection.manifest if isinstance(self.connection, FileConnection) else None
        period = self.refresh.period if isinstance(self.refresh, TimestampRefresh) else None
        if isinstance(period, NamedPeriod) and period.ends and declared is None:
            message = "no manifest is declared that could tell it: declare connection.manifest of a file connection"
            yield ("refresh", "period", "from"), period.begin, message
        for name in declared.sums if declared is not None else ():
            if name not in (known := self._summed()):
                message = (
                    f"{name!r} is no column of whole or decimal numbers{hint(name, known)}; known: {', '.join(known)}"
                )
                yield ("connection", "manifest", "sums", name), name, message

    def _summed(self) -> list[str]:
        """Return the columns whose sum can be compared with a total."""
        return [
            item.name for item in self.columns if not item.expression and base_type(item.type) in ("integer", "decimal")
        ]

    def _unfit_marks(self) -> Iterator[Problem]:
        layout = self.connection.format if isinstance(self.connection, FileConnection) else None
        # lists of typed files are exploded by way of JSON
        is_json = isinstance(layout, ParquetFormat | OrcFormat | AvroFormat) and layout.explode
        if isinstance(self.connection, DatabaseConnection) or (
            layout is not None and layout.type in _NUMBERS_ARE_TEXT and not is_json
        ):
            return
        for index, item in enumerate(self.columns):
            if item.number_format is not None and item.number_format.has_marks:
                message = (
                    "these data have numbers of their own, and a number 1.234 is not told from such a text: read the "
                    "column as text, and compute the number by an expression. Marks are for "
                    f"{', '.join(_NUMBERS_ARE_TEXT)}"
                )
                yield ("columns", index, "number_format"), item.name, message

    def _unfit_period(self) -> Iterator[Problem]:
        if not isinstance(self.refresh, TimestampRefresh) or self.refresh.period != "hour":
            return
        found = next((item for item in self.columns if item.name == self.refresh.range_by), None)
        if found is not None and found.type == "date":
            yield ("refresh", "period"), "hour", f"column {found.name!r} is a date; its periods have at least a day"

    def _unfit_totals(self) -> Iterator[Problem]:
        layout = self._text_format()
        if layout is None:
            return
        summed = self._summed()
        for field in ("header_lines", "trailer_lines"):
            for index, line in enumerate(getattr(layout, field)):
                for name in line.sums:
                    if name not in summed:
                        message = (
                            f"group {name!r} of the pattern is no column of whole or decimal numbers"
                            f"{hint(name, summed)}; known: rows, all_rows, {', '.join(summed)}"
                        )
                        yield ("connection", "format", field, index, "pattern"), line.pattern, message

    def _text_format(self) -> CsvFormat | FixedWidthFormat | None:
        layout = self.connection.format if isinstance(self.connection, FileConnection) else None
        return layout if isinstance(layout, CsvFormat | FixedWidthFormat) else None

    def _unwatched_anomalies(self) -> list[Problem]:
        if not self.gates.holds_anomalies or self.checks.volume.enabled or self.checks.distribution.enabled:
            return []
        message = "on_anomaly 'hold' needs the check volume or distribution, and both are declared off"
        return [(("gates", "on_anomaly"), self.gates.on_anomaly, message)]

    def _unknown_message_fields(self) -> Iterator[Problem]:
        if not isinstance(self.connection, KafkaConnection):
            return
        prefix = f"{self.connection.fields_in}."
        known = [prefix + name for name in MESSAGE_FIELDS]
        for index, item in enumerate(self.columns):
            for name in item.raw_names:
                inner = name.startswith((f"{prefix}key.", f"{prefix}headers."))
                if name.startswith(prefix) and name not in known and not inner:
                    message = f"Kafka tells nothing of this name{hint(name, known)}; known: {', '.join(known)}"
                    yield ("columns", index, "source_name"), name, message

    def _idle_parts(self) -> Iterator[Problem]:
        if self.gates.current is not None and not self.keep_current_rules:
            message = "the gate checks nothing, because no rule has the mode keep_current; known: lake, hub"
            yield ("gates", "current"), self.gates.current.contract, message
        yield from self._unfit_increments()
        if self.retention.superseded_inputs is not None and (needed := self._why_all_inputs_are_needed()):
            yield ("retention", "superseded_inputs"), self.retention.superseded_inputs, needed

    def _unfit_increments(self) -> Iterator[Problem]:
        if not isinstance(self.connection, DatabaseConnection | RestConnection):
            return
        taken = self.connection.incremental
        if taken is None:
            return
        place = ("connection", "incremental")
        if self.refresh.type == "full":
            message = "an incremental extract is not the whole table, so it needs another refresh type, such as key"
            yield place, taken.cursor, message
        if taken.full_every is not None and isinstance(self.refresh, AppendRefresh):
            yield (*place, "full_every"), taken.full_every, "append would keep the rows of each full extract again"
        if not isinstance(taken, Incremental):
            return
        if taken.deleted and not self.refresh.key:
            yield (*place, "deleted"), taken.deleted, "deleted rows are found by their key: declare refresh.key"
        if taken.deleted and self.retention.superseded_inputs is not None:
            message = "deleted rows are found by comparing with earlier inputs, so these are not removed"
            yield ("retention", "superseded_inputs"), self.retention.superseded_inputs, message

    def _why_all_inputs_are_needed(self) -> str:
        """Return why no input of this refresh type is ever superseded; empty if inputs can be superseded."""
        if isinstance(self.refresh, AppendRefresh):
            return "no input is ever superseded, because the hub of type append has all rows of all inputs"
        if self.refresh.history:
            return "no input is ever superseded, because with history every version stays in the hub"
        if self.refresh.merge or self.refresh.update_in_place:
            return "no input is ever superseded, because with merge or update_in_place any row can give a value"
        if self.refresh.order_by is not None:
            return "no input is ever superseded, because with order_by a row of any age may still come between its rows"
        return ""

    @property
    def reads_times_in_zone(self) -> bool:
        """Return whether extract times without a zone are read in `discovery.timezone`."""
        if isinstance(self.connection, FileConnection):
            pattern = self.connection.extract_time.pattern
            return bool(pattern) and "%z" not in pattern
        return isinstance(self.connection, PythonConnection)

    @property
    def column_names(self) -> tuple[str, ...]:
        """Return the names of the contract's columns, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def filters_rows(self) -> bool:
        """Return whether records can be filtered: by `keep_when`, or because their type is another."""
        layout = self._text_format()
        return bool(self.keep_when) or (layout is not None and layout.record_type is not None)

    @property
    def snapshot_rules(self) -> tuple[Rule, ...]:
        """Return the rules whose values freeze when a row is processed."""
        return tuple(rule for rule in self.rules if rule.mode == "snapshot")

    @property
    def keep_current_rules(self) -> tuple[Rule, ...]:
        """Return the rules that are recalculated. If there are any, the asset `hub/<source>_current` exists."""
        return tuple(rule for rule in self.rules if rule.mode == "keep_current")
