"""Roll back while no run of the sources is under way, and report the restored tables to Dagster.

What Dagster is told can be lost with the process that tells it. Then the sensors find out from the versions of the
tables, as after any run that was killed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import dagster as dg

from dataops_assets.components.by_hand import tell_of_restored_hub
from dataops_assets.components.dead_runs import UNDER_WAY, end_dead_runs, end_runs_left_behind
from dataops_assets.components.local_runs import alone, lock_of
from dataops_assets.components.run_attempts import end_killed
from dataops_assets.errors import StorageError
from dataops_assets.metadata.release_store import Rollback
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep import rollback
from dataops_assets.steps.upkeep.rollback import RolledBack, Wanted

_SHOWN = 3
_PAUSE_SECONDS = 5.0


def roll_back(contexts: Sequence[SourceContext], wanted: Wanted) -> RolledBack:
    """Return the tables, inputs and metadata of the release's sources to it. `contexts`: all declared sources.

    It reports to the Dagster instance of DAGSTER_HOME.

    Raises InputError for an unknown release, ConfigError for an area that cannot be rolled back alone or while another
    process runs what is due, StorageError while a step or run of the sources is under way, or when storage fails.
    """
    context = contexts[0]
    with alone(lock_of(context.environment)), dg.DagsterInstance.get() as instance:
        _end_dead(contexts, instance)
        begun = rollback.begin(context.metadata, context.sources, wanted)
        # a run that is made from now on cannot start a step
        runs = _under_way(instance, begun)
        if runs:
            context.metadata.releases.cancel(begun)
            raise StorageError(
                f"rolling back to {wanted.release!r}",
                received=f"{len(runs)} runs under way, such as {', '.join(runs[:_SHOWN])}",
                next_step="wait until they have ended, or end them in the UI; nothing was changed",
            )
        return _carried_out(contexts, begun, instance)


def roll_back_when_idle(contexts: Sequence[SourceContext], wanted: Wanted, seconds: float) -> RolledBack:
    """Roll back as soon as nothing of the sources is under way; wait at most `seconds`. Raises as `roll_back`."""
    until = time.monotonic() + seconds
    while True:
        try:
            return roll_back(contexts, wanted)
        except StorageError:
            # also for an outage of the storage it is right to try again
            if time.monotonic() >= until or contexts[0].metadata.releases.unfinished() is not None:
                raise
            time.sleep(_PAUSE_SECONDS)


def resume(contexts: Sequence[SourceContext]) -> RolledBack | None:
    """Continue a rollback that was interrupted; None if there is none. Raises as `roll_back`."""
    with alone(lock_of(contexts[0].environment)), dg.DagsterInstance.get() as instance:
        return resume_alone(contexts, instance)


def resume_alone(contexts: Sequence[SourceContext], instance: dg.DagsterInstance) -> RolledBack | None:
    """Continue a rollback in a process that holds the lock already; None if there is none."""
    begun = contexts[0].metadata.releases.unfinished()
    return None if begun is None else _carried_out(contexts, begun, instance)


def _carried_out(contexts: Sequence[SourceContext], begun: Rollback, instance: dg.DagsterInstance) -> RolledBack:
    done = rollback.carry_out(contexts[0].environment, contexts[0].metadata, begun)
    left_out: Mapping[str, Sequence[str]] = begun.inputs if begun.later_inputs == "leave-out" else {}
    for context in contexts:
        name = context.source.name
        if name in begun.sources:
            tell_of_restored_hub(context, begun.release, left_out.get(name, ()), instance)
    return done


def _end_dead(contexts: Sequence[SourceContext], instance: dg.DagsterInstance) -> None:
    """Record the end of runs whose process was killed: they would seem to be under way for ever."""
    lock = lock_of(contexts[0].environment)
    end_runs_left_behind(instance, lock)
    end_dead_runs(instance, lock)
    for context in contexts:
        end_killed(context.source.name, context.metadata, instance)


def _under_way(instance: dg.DagsterInstance, begun: Rollback) -> list[str]:
    """Return the ids of the runs that write a table which the rollback restores.

    A run that was made and not launched is none: it may never be launched, and its steps do not start.
    """
    restored = {
        dg.AssetKey([layer, f"{name}{ending}"])
        for name in begun.sources
        for layer in ("raw", "lake", "hub")
        for ending in ("", "_quarantine", "_changes", "_enriched", "_current")
    }
    found = []
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=UNDER_WAY)):
        keys = run.asset_selection
        if not keys or restored & keys or (not begun.area and any(key.path[0] == "warehouse" for key in keys)):
            found.append(run.run_id)
    return found
