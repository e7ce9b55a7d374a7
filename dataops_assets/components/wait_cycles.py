"""Check that sources do not wait for each other in a cycle, which no run could ever end."""

from __future__ import annotations

from collections.abc import Sequence

from dataops_assets.components.declarations import Declarations
from dataops_assets.components.graph import waited_for
from dataops_assets.errors import ConfigError, nearest


def require_no_wait_cycle(declared: Declarations, name: str) -> None:
    """Check that a source waits only for declared sources, and not for itself through others. Raises ConfigError.

    A source also waits for the sources that its snapshot rules look up, so these can be part of a cycle.
    """
    own = declared.by_name[name]
    for index, wait in enumerate(own.source.waits_for):
        place = own.place("waits_for", index, "source")
        if wait.source not in declared.by_name:
            raise ConfigError(
                f"{place}: unknown source {wait.source!r}",
                known=sorted(declared.by_name),
                next_step=nearest(wait.source, list(declared.by_name)),
            )
        if way := _way(declared, [name, wait.source], name):
            raise ConfigError(
                f"{place}: sources wait for each other: {' → '.join(way)}",
                next_step="remove one of the waits, or look up with a keep_current rule",
            )


def _way(declared: Declarations, path: Sequence[str], target: str) -> Sequence[str]:
    """Return `path` continued to `target`; empty if there is no such path."""
    seen = set(path[:-1])
    open_paths = [list(path)]
    while open_paths:
        way = open_paths.pop(0)
        last = way[-1]
        if last == target:
            return way
        if last in seen or last not in declared.by_name:
            continue
        seen.add(last)
        source = declared.by_name[last].source
        following = {*waited_for(source), *declared.rules(last).snapshot.related}
        open_paths += [[*way, other] for other in sorted(following)]
    return ()
