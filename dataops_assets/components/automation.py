"""The automation condition by which the daemon requests the tables downstream of the hubs."""

from __future__ import annotations

import dagster as dg


def when_published() -> dg.AutomationCondition[dg.AssetKey | dg.AssetCheckKey]:
    """Request a table when an upstream table was published, all upstream runs ended, and the blocking checks passed.

    Unlike `eager()` the condition
    * waits for the blocking checks of the upstream tables. A failed check stops only the run that found it; the next
      tick would request the table anyway;
    * waits until each upstream table has one partition, not all partitions. Otherwise an input that always fails
      would block the table forever;
    * also requests a table that was never made, if its upstream tables exist when the daemon first evaluates it;
    * loses no update that comes between a request and the next tick, or while the table is being made. The price is
      sometimes a run with nothing to do.

    After a run that failed or was killed, the condition requests nothing until an upstream table changes. The sensor
    `left_undone` requests such a run again.
    """
    requested = dg.AutomationCondition.newly_requested()
    updated = dg.AutomationCondition.any_deps_updated()
    never_made = dg.AutomationCondition.newly_missing().since(requested | dg.AutomationCondition.newly_updated())
    # If a request and a later update fall between two ticks, `since` loses the update; a run that began before the
    # update has the same effect. So a request resets the condition only at a tick without an update, and a run never.
    changed = updated.since(requested & ~updated)
    due = (never_made | changed).with_label("published since")
    readable = dg.AutomationCondition.all_deps_match(
        ~dg.AutomationCondition.missing() | dg.AutomationCondition.will_be_requested()
    ).with_label("all deps readable")
    at_rest = ~dg.AutomationCondition.any_deps_in_progress() & ~dg.AutomationCondition.in_progress()
    passed = dg.AutomationCondition.all_deps_blocking_checks_passed()
    return (due & readable & at_rest.with_label("at rest") & passed).with_label("when_published")
