"""Grouping of problems by cause: what lies below another problem in the lineage belongs to that one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from dataops_assets.incidents.problem import LATE, STANDING, Problem


class Lineage:
    """The lineage of tables: `parents` has the tables that each table reads, by asset key."""

    def __init__(self, parents: Mapping[str, Collection[str]]) -> None:
        self._parents = parents
        self._children: dict[str, set[str]] = {}
        for child, read in parents.items():
            for parent in read:
                self._children.setdefault(parent, set()).add(child)
        self._above: dict[str, frozenset[str]] = {}

    def knows(self, asset: str) -> bool:
        """Return whether there is such a table."""
        return asset in self._parents

    def above(self, asset: str) -> frozenset[str]:
        """Return all tables from which a table is made, directly or not."""
        if asset not in self._above:
            self._above[asset] = _reached(asset, self._parents)
        return self._above[asset]

    def below(self, asset: str) -> frozenset[str]:
        """Return all tables that are made from a table, directly or not."""
        return _reached(asset, self._children)


def _reached(asset: str, edges: Mapping[str, Collection[str]]) -> frozenset[str]:
    found: set[str] = set()
    left = [asset]
    while left:
        for other in edges.get(left.pop(), ()):
            if other not in found:
                found.add(other)
                left.append(other)
    return frozenset(found - {asset})


def causes(
    problems: Sequence[Problem], lineage: Lineage, together: Mapping[str, int] | None = None
) -> Mapping[str, str]:
    """Return by the key of each problem the key of its cause: the most upstream problem that explains it.

    A problem that nothing explains is its own cause. If several causes explain a problem, it stays with the one in its
    incident (`together`: incident by key); otherwise it belongs to the one that began first.
    """
    together = together or {}
    by_key = {item.key: item for item in problems}
    explained = {item.key: [one.key for one in problems if _explains(one, item, lineage)] for item in problems}
    found: dict[str, str] = {}
    for key in sorted(by_key):
        reached = _reached(key, explained)
        tops = [one for one in reached if not explained[one]] or [key]
        found[key] = min(
            tops,
            key=lambda top: (
                top not in together or together[top] != together.get(key),
                by_key[top].began,
                top,
            ),
        )
    return found


def _explains(cause: Problem, other: Problem, lineage: Lineage) -> bool:
    """Return whether a problem can be the cause of another one."""
    if cause.key == other.key:
        return False
    is_same = cause.asset == other.asset
    above = _order(cause) < _order(other) if is_same else cause.asset in lineage.above(other.asset)
    return above and not _apart(cause, other)


def _order(problem: Problem) -> tuple[bool, bool, str]:
    """Return the order of problems of one table: first what says most of the cause."""
    return problem.kind not in STANDING, problem.severity != "fail", problem.key


def _apart(cause: Problem, other: Problem) -> bool:
    """Return whether two problems are about different inputs of one source, so that they have different causes."""
    if not cause.source or cause.source != other.source or not other.inputs:
        return False
    # an arrival that is missing is not the cause of what is wrong with those that are there
    return cause.kind == LATE or bool(cause.inputs and not set(cause.inputs) & set(other.inputs))
