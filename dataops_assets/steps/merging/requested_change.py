"""Makes the `Change` that a step asks for, from the inputs and their rows in the lake and the quarantine."""

from __future__ import annotations

import datetime as dt
import hashlib

from dataops_assets.engines.base import Session
from dataops_assets.errors import ConfigError
from dataops_assets.report import Input
from dataops_assets.steps.merging.change import Change, settings_match
from dataops_assets.steps.merging.input_statistics import Extents
from dataops_assets.steps.merging.manifest import HubManifest, settings_of
from dataops_assets.steps.merging.settled_inputs import Settled
from dataops_assets.steps.parsing.rejected_rows import rejected_keys
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage import publish
from dataops_assets.storage.delta import TableVersion


def change_for(
    context: SourceContext,
    session: Session,
    manifest: HubManifest,
    inputs: tuple[Input, ...],
    lake: TableVersion,
    extents: Extents,
    removing: tuple[str, ...] = (),
) -> Change:
    """Return the change that adds `inputs` and removes `removing`. Settled inputs among them are revisited.

    `extents` are those of the inputs. Raises ConfigError if the hub was merged with other settings.
    """
    rejected = rejected_keys(session, context.source, context.quarantine.snapshot())
    incomplete = rejected.unreadable & {item.input_id for item in inputs}
    written = publish.written(lake.info)
    settled = Settled.read(lake.info)
    start: dt.datetime | None = None
    revisited: tuple[str, ...] = ()
    if settled is not None and settled.is_of(context.source):
        start = settled.before
        revisited = tuple(item.input_id for item in inputs if item.extract_time < start)
        inputs = tuple(item for item in inputs if item.extract_time >= start)
    elif settled is not None:
        # a rebuild with other settings: the lake has only a part of the rows of these inputs
        incomplete |= {item.input_id for item in inputs if item.extract_time < settled.before}
    change = Change(
        context.source,
        manifest,
        inputs,
        removing,
        incomplete,
        written,
        extents,
        start,
        revisited,
        rejected.rows,
        rejected.spares,
    )
    if not settings_match(change):
        raise ConfigError(
            f"changing the hub of {context.source.name!r}",
            received="a key, order, refresh type, tracked column or order of the columns that differs from the one "
            "the hub was built with",
            next_step=f"rebuild the hub from the lake: dataops rebuild {context.source.name}",
        )
    return change


def plan_name(change: Change) -> str:
    """Return a name that is equal if the same rows are compared with the same hub with the same settings.

    Then the change set can be used.
    """
    rows = sorted(f"{input_id} {change.written.get(input_id, '')}" for input_id in change.ids)
    ids = hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]
    return f"{change.manifest.fingerprint}:{settings_of(change.source)}:{ids}"
