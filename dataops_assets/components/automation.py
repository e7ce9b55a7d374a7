"""When tables below the hubs are made anew: the conditions, each named once, that the daemon evaluates."""

from __future__ import annotations

import dagster as dg


def when_published() -> dg.AutomationCondition[dg.AssetKey | dg.AssetCheckKey]:
    """As soon as a table it reads was published, once everything above has come to rest and passed its gates.

    Unlike `eager()` it
    * waits for the blocking checks of what it reads: a failed one stops only the run that found it, and the next tick
      would request the child all the same;
    * waits until each table it reads has one partition, not all: an input that cannot be taken would hold it back for
      ever;
    * also requests a table that was never made although what it reads is there already when the daemon first looks.

    A run that fails is not requested again until something above changes.
    """
    due = (
        (dg.AutomationCondition.newly_missing() | dg.AutomationCondition.any_deps_updated())
        .since(dg.AutomationCondition.newly_requested() | dg.AutomationCondition.newly_updated())
        .with_label("published since")
    )
    readable = dg.AutomationCondition.all_deps_match(
        ~dg.AutomationCondition.missing() | dg.AutomationCondition.will_be_requested()
    ).with_label("all deps readable")
    at_rest = ~dg.AutomationCondition.any_deps_in_progress() & ~dg.AutomationCondition.in_progress()
    passed = dg.AutomationCondition.all_deps_blocking_checks_passed()
    return (due & readable & at_rest.with_label("at rest") & passed).with_label("when_published")
