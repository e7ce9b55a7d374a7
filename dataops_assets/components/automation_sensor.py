"""The sensor that evaluates the automation conditions. A tick without new events costs one small query.

Dagster's daemon evaluates all conditions at each tick, and an evaluation that finds nothing to do takes as long as one
that does. This sensor evaluates them in the code server, and only after a new event.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import dagster as dg

from dataops_assets.components.input_partitions import partitions_read_once

# Dagster's limit for an evaluation in the code server
MOST_CONDITIONS = 500
# The daemon looks for due sensors every five seconds. With five, a tick that is a moment late would wait for the next.
EVERY_SECONDS = 4
# for conditions of a time of day, and for what happens without an event: a run that a person deletes
_AT_LEAST_EVERY_SECONDS = 60.0
# the second evaluation sees events of transactions that ended after the first
_EVALUATIONS = 2


def automation_sensor(declared: dg.Definitions) -> dg.SensorDefinition:
    """Build the sensor for all conditions of a code location; it starts switched on.

    If there are more conditions than a code server may evaluate, Dagster's daemon evaluates them.
    """
    settings: dict[str, Any] = {
        "target": dg.AssetSelection.all(),
        "default_status": dg.DefaultSensorStatus.RUNNING,
        "minimum_interval_seconds": EVERY_SECONDS,
        "description": "Requests the tables downstream of the hubs as soon as the hubs are published.",
    }
    if _conditions(declared) <= MOST_CONDITIONS:
        return QuietAutomation("automation", **settings)
    return dg.AutomationConditionSensorDefinition("automation", **settings)


def _conditions(declared: dg.Definitions) -> int:
    assets = [item for item in declared.assets or () if isinstance(item, dg.AssetsDefinition)]
    of_assets = sum(spec.automation_condition is not None for item in assets for spec in item.specs)
    return of_assets + sum(spec.automation_condition is not None for item in assets for spec in item.check_specs)


class QuietAutomation(dg.AutomationConditionSensorDefinition):
    """Evaluates conditions in the code server, if there is an event that the last evaluations have not seen.

    It remembers in this process, together with the cursor that it returned last. It evaluates if the process is new, or
    if that cursor was not stored, as after a kill.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic, **settings: Any) -> None:
        with warnings.catch_warnings():
            # the version of Dagster is pinned, so its beta parts do not change by themselves
            warnings.simplefilter("ignore", dg.BetaWarning)
            super().__init__(name, use_user_code_server=True, **settings)
        self._clock = clock
        self._settings = settings
        self._seen: tuple[int | None, str | None] = (None, None)
        self._evaluations = 0
        self._next = 0.0
        self._nothing = dg.SensorDefinition(
            name=name, evaluation_fn=lambda _: dg.SkipReason("no event since the last evaluation")
        )

    def evaluate_tick(self, context: dg.SensorEvaluationContext) -> Any:
        """Evaluate the conditions, or skip; return what Dagster's own sensor returns."""
        # read first, so that the next tick sees what happens during the evaluation
        newest = context.instance.event_log_storage.get_maximum_record_id()
        now = self._clock()
        is_same = self._seen == (newest, context.cursor)
        if is_same and self._evaluations >= _EVALUATIONS and now < self._next:
            return self._nothing.evaluate_tick(context)
        with partitions_read_once():
            found = super().evaluate_tick(context)
        self._evaluations = 0 if found.run_requests else self._evaluations + 1 if is_same else 1
        self._seen, self._next = (newest, found.cursor), now + _AT_LEAST_EVERY_SECONDS
        return found

    def with_attributes(self, *, metadata: Any = None, **others: Any) -> QuietAutomation:
        """Return a copy with other metadata, as Dagster's own class does. Other attributes are ignored."""
        del others
        changed = self._settings if metadata is None else {**self._settings, "metadata": metadata}
        return QuietAutomation(self.name, self._clock, **changed)
