"""Records which change sets the enriched rows were made from.

If the newest commit of one of the two tables is lost, their rows of an input do not belong together. Refresh finds that
by this record, and then compares the input again instead of merging rows that do not match.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dataops_assets.storage import publish
from dataops_assets.storage.delta import TableVersion

_INFO = "made_of"


def recorded(info: Mapping[str, Any], changes: Mapping[str, str], input_ids: Sequence[str]) -> dict[str, Any]:
    """Return `info` with the ids of the change-set writes (of `publish.written`) that these inputs were made from."""
    made = {input_id: changes.get(input_id, "") for input_id in input_ids}
    return {**info, _INFO: {**info.get(_INFO, {}), **made}}


def follows(enriched: TableVersion, changes: TableVersion, input_ids: Collection[str]) -> bool:
    """Whether the rows of these inputs in `enriched` were made from their rows in `changes`."""
    now, then = publish.written(changes.info), enriched.info.get(_INFO, {})
    return all(input_id in now and then.get(input_id) == now[input_id] for input_id in input_ids)
