"""Which change sets enriched rows were made of, recorded with them.

Where the newest commit of one of the two tables is lost, what they hold of an input is of two times. Refresh sees that
by what is recorded here, and compares the input anew instead of merging what belongs to other rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dataops_assets.storage import publish
from dataops_assets.storage.delta import TableVersion

_INFO = "made_of"


def recorded(info: Mapping[str, Any], changes: Mapping[str, str], input_ids: Sequence[str]) -> dict[str, Any]:
    """`info` with the writes of the change sets, by input as `publish.written` tells, that these inputs are made of."""
    made = {input_id: changes.get(input_id, "") for input_id in input_ids}
    return {**info, _INFO: {**info.get(_INFO, {}), **made}}


def follows(enriched: TableVersion, changes: TableVersion, input_ids: Collection[str]) -> bool:
    """Whether what `enriched` has of these inputs was made of what `changes` has of them."""
    now, then = publish.written(changes.info), enriched.info.get(_INFO, {})
    return all(input_id in now and then.get(input_id) == now[input_id] for input_id in input_ids)
