"""Whether the sources of a code location can wait for each other and still all be processed."""

from __future__ import annotations

from collections.abc import Sequence

from dataops_assets.components.declarations import Declarations
from dataops_assets.components.graph import waited_for
from dataops_assets.errors import ConfigError, nearest


def require_no_wait_cycle(declared: Declarations, name: str) -> None:
    """Raise ConfigError where a source waits for one that is not declared, or in the end for itself.

    It also waits for the sources that its snapshot rules look up, so these are part of the way round.
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
                next_step="let one of them go first, or look up with a keep_current rule",
            )


def _way(declared: Declarations, path: Sequence[str], target: str) -> Sequence[str]:
    """A way on from the end of `path` that leads to `target`; empty without one."""
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
