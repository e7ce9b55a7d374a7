"""Orders rules so that each is computed after the rules it uses, in as few levels as possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class CycleError(Exception):
    """Names that depend on each other. `path` starts and ends with the same name."""

    def __init__(self, path: Sequence[str]) -> None:
        self.path = tuple(path)
        super().__init__(" → ".join(self.path))


def levels(needs: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Return the names of `needs` in levels; a name uses only names of earlier levels.

    `needs` maps each name to the names it uses, which are keys, too. Each name is in the earliest possible level, in
    the order of `needs`. Raises CycleError with the shortest cycle of the first name that is on one.
    """
    depth: dict[str, int] = {}
    waiting = dict(needs)
    while waiting:
        ready = {name: uses for name, uses in waiting.items() if all(used in depth for used in uses)}
        if not ready:
            raise CycleError(_way_round(waiting))
        for name, uses in ready.items():
            depth[name] = 1 + max((depth[used] for used in uses), default=-1)
            del waiting[name]
    found: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name in needs:
        found[depth[name]].append(name)
    return found


def _way_round(needs: Mapping[str, Sequence[str]]) -> list[str]:
    for start in needs:
        came_from: dict[str, str] = {}
        edge = [start]
        while edge and start not in came_from:
            following: list[str] = []
            for name in edge:
                for used in needs.get(name, ()):
                    if used not in came_from:
                        came_from[used] = name
                        following.append(used)
            edge = following
        if start in came_from:
            path = [start]
            while len(path) == 1 or path[-1] != start:
                path.append(came_from[path[-1]])
            return path[::-1]
    raise AssertionError("names wait for each other without a cycle")
