"""Computes the hash of the part of a declaration that decides the rows which parse makes of an input's bytes.

The metadata keep it for each input that was parsed. So it is known which inputs would give other rows today.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from dataops_assets.config.connection import FileConnection
from dataops_assets.config.kafka import KafkaConnection
from dataops_assets.config.refresh import NamedPeriod
from dataops_assets.config.source import Source
from dataops_assets.steps.merging.input_periods import declared_period
from dataops_assets.steps.merging.row_identity import has_markers
from dataops_assets.steps.parsing.rejected_rows import place_columns

_PARSE = "parse"
# words about a column, which no row depends on
_WORDS = {"description", "tags"}
_EXTRACT_TIME = "s_extract_time"
# which rows are markers, and the columns that a marker needs
_MARKING = {"type", "delete_when", "group_deletes", "key", "order_by"}


def declared_as(source: Source, step: str) -> str | None:
    """Return the hash of all that decides the rows of a step; None for a step whose tables record this themselves."""
    return parsed_as(source) if step == _PARSE else None


def parsed_as(source: Source) -> str:
    """Return the hash of what decides the parsed rows: format, columns, drift, filter, markers, period.

    What is as by default does not count: a setting that a new version of the software brings changes no hash.
    """
    columns = [item.model_dump(mode="json", exclude=_WORDS, exclude_defaults=True) for item in source.columns]
    decisive: dict[str, Any] = {
        # in any order: the columns of a row are found by their names
        "columns": sorted(columns, key=lambda item: str(item["name"])),
        "drift": source.drift.model_dump(mode="json", exclude_defaults=True),
        "keep_when": source.keep_when,
    }
    if isinstance(source.connection, FileConnection):
        decisive["format"] = source.connection.format.model_dump(mode="json", exclude_defaults=True)
        decisive["compression"] = source.connection.compression
    if isinstance(source.connection, KafkaConnection):
        decisive["format"] = source.connection.format.model_dump(mode="json", exclude_defaults=True)
    period = declared_period(source)
    if period is not None:
        # a row outside the period of its input is rejected
        decisive["period"] = period.model_dump(mode="json") if isinstance(period, NamedPeriod) else period
    if period is not None or any(_EXTRACT_TIME in item.expression.lower() for item in source.columns):
        decisive["timezone"] = source.discovery.timezone
    if place := place_columns(source.refresh):
        # the quarantine has the place of a rejected row in the hub
        decisive["place"] = [source.refresh.type, *place]
    if has_markers(source):
        # a row that deletes keys is kept, whatever its columns have besides those that it needs
        decisive["refresh"] = source.refresh.model_dump(mode="json", include=_MARKING, exclude_defaults=True)
    text = json.dumps(decisive, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
