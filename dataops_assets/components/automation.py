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
    * also requests a table that was never made although what it reads is there already when the daemon first looks;
    * forgets no update that comes between a request and the next look, or while the table is being made. The price is
      a run that finds nothing to do where the update was seen after all.

    A run that fails or is killed is not requested again by the condition until something above changes; the sensor
    `left_undone` does that.
    """
    requested = dg.AutomationCondition.newly_requested()
    updated = dg.AutomationCondition.any_deps_updated()
    never_made = dg.AutomationCondition.newly_missing().since(requested | dg.AutomationCondition.newly_updated())
    # Where both fall between two looks, `since` forgets the update for the request before it, or for a run that began
    # before it. So only a look at which nothing new was published takes a request for an answer, and a run never does.
    changed = updated.since(requested & ~updated)
    due = (never_made | changed).with_label("published since")
    readable = dg.AutomationCondition.all_deps_match(
        ~dg.AutomationCondition.missing() | dg.AutomationCondition.will_be_requested()
    ).with_label("all deps readable")
    at_rest = ~dg.AutomationCondition.any_deps_in_progress() & ~dg.AutomationCondition.in_progress()
    passed = dg.AutomationCondition.all_deps_blocking_checks_passed()
    return (due & readable & at_rest.with_label("at rest") & passed).with_label("when_published")
