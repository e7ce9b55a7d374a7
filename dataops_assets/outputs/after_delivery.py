"""Calls the declared function of an output after a delivery: a step of one's own at the end.

It is called as `function(delivery, **arguments)` when the target has what it should have, at least once for the newest
delivery. What is done is recorded in the metadata after the call. So a call that fails or is killed is made again, by
the next run, also if nothing is new for the target. The function must bear to be called twice for one delivery.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dataops_assets.config.outputs import AfterDelivery
from dataops_assets.connections.formats.isolated_input import attempt
from dataops_assets.connections.python import function_of
from dataops_assets.errors import DataOpsError, InputError
from dataops_assets.outputs.context import OutputContext
from dataops_assets.outputs.delivery import Delivered

FIELD = "after.function"
"""The field of the declaration that names the function."""
_CALL = "what the function returned"


@dataclass(frozen=True)
class Delivery:
    """The facts of a delivery, for the declared function.

    * `output`: its name. `source`: asset key of its table. `version`: of the table; None for a model.
    * `number`: counts the deliveries, from 1. `since`: the number for which the function was called last, 0 at first.
      Deliveries between both were made while the function failed.
    * `rows`: rows of the whole output. `written`: rows and keys that were sent; 0 if the target had them before.
    * `columns`: names and types. `place`: of files, the file or folder that was delivered; '' for other targets, and if
      nothing was delivered now.
    """

    output: str
    source: str
    version: int | None
    number: int
    since: int
    rows: int
    written: int
    columns: Mapping[str, str]
    place: str


Follow = Callable[..., Mapping[str, str | int | float] | None]
"""A declared function. What it returns is shown in the metadata of the asset."""


def follow(
    context: OutputContext, declared: AfterDelivery, done: Delivered, columns: Mapping[str, str]
) -> Mapping[str, str | int | float]:
    """Call the declared function for a delivery, unless it was called for it; return what to show of it.

    Raises InputError if the function fails or returns something else, or the error of this package that it raises.
    """
    positions, name = context.metadata.output_positions, f"{context.output.name}/after"
    last, now = positions.last(name), done.position.to_json()
    if last.position.get("done") == now:
        return {}
    position = done.position
    delivery = Delivery(
        output=context.output.name,
        source=position.source,
        version=position.version,
        number=position.delivery,
        since=(last.position.get("done") or {}).get("delivery", 0),
        rows=position.rows,
        written=done.written,
        columns=columns,
        place=done.notes.get("delivered", "") if done.is_new else "",
    )
    function: Follow = function_of(declared.function, FIELD)
    told = attempt(_CALL, lambda: _told(function(delivery, **declared.arguments)))
    if isinstance(told, DataOpsError):
        raise _as_error(context, declared, told) from told
    positions.record(name, last.changes, {"done": now}, dt.datetime.now(dt.UTC))
    return told


def _told(returned: object) -> Mapping[str, str | int | float]:
    if returned is None:
        return {}
    if not isinstance(returned, Mapping) or not all(
        isinstance(key, str) and isinstance(value, str | int | float) for key, value in returned.items()
    ):
        raise TypeError(f"it returned {returned!r}, and not None or a mapping of names to texts and numbers")
    return dict(returned)


def _as_error(context: OutputContext, declared: AfterDelivery, error: DataOpsError) -> DataOpsError:
    cause = error.__cause__
    if _CALL not in error.attempted or not error.permanent:
        # one that the function raised, or a fault of the machine
        return error
    return InputError(
        f"calling {declared.function} after a delivery of output {context.output.name!r}",
        received=f"{type(cause).__name__}: {cause}",
        next_step="correct the function, then run the output again: the delivery stays, and the function is called",
    )
