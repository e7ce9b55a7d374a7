"""Finds versions of tables that agree: each table was made of exactly the found versions of the others.

Whatever was made last decides. A model fixes the versions of the hub tables that it was built of, and a recalculated
hub those that it was computed from. Tables that nothing fixes are taken as they are now. If two fix one table
differently, there is no such set at the moment: some of them are not made again yet.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from dataops_assets.engines.warehouse_builds import Builds
from dataops_assets.storage.delta import TableVersion
from dataops_assets.storage.moments import PublishedTable

WAREHOUSE = "warehouse/"

Version = Callable[[str, int | None], TableVersion | None]
"""Returns a version of a table by its asset key (None: the newest); None if there is none."""


@dataclass(frozen=True)
class _Fixed:
    """The version in which a table is needed, None for one without rows, and what was made of it."""

    version: int | None
    commit_id: str
    by: str


@dataclass
class Agreement:
    """The tables of a publication at versions that agree, or the `reasons` why there are none.

    `versions` has by asset key the versions of all hub and lake tables that they show or were made of.
    """

    tables: list[PublishedTable] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    versions: dict[str, TableVersion | None] = field(default_factory=dict)


def agreement(members: Sequence[str], version: Version, builds: Builds, sources: Collection[str]) -> Agreement:
    """Return versions of the tables `members` that agree. Raises StorageError when a log cannot be read.

    `sources` are the declared sources: a hub can be named as the recalculated table of another one.
    """
    return _Search(version, builds, frozenset(sources)).run(members)


def same_rows(one: TableVersion | None, other: TableVersion | None) -> bool:
    """Return whether two versions have the same rows for sure: the same files with the same deletions."""
    if one is None or other is None:
        return (one.rows if one else 0) == (other.rows if other else 0) == 0
    return {file.identity() for file in one.files} == {file.identity() for file in other.files}


class _Search:
    def __init__(self, version: Version, builds: Builds, sources: frozenset[str]) -> None:
        self._version = version
        self._builds = builds
        self._sources = sources
        self._fixed: dict[str, _Fixed] = {}
        self._found = Agreement()

    def run(self, members: Sequence[str]) -> Agreement:
        models = [asset for asset in members if asset.startswith(WAREHOUSE)]
        seen: set[str] = set()
        for model in models:
            self._fix_of_model(model, seen)
        others = [asset for asset in members if asset not in models]
        # a recalculated hub fixes the hubs that it was computed from, so it comes before them
        for asset in sorted({*others, *self._fixed}):
            if self._is_recalculated(asset):
                self._take(asset)
        for asset in sorted({*others, *self._fixed} - self._found.versions.keys()):
            self._take(asset)
        if not self._found.reasons:
            self._found.tables = [self._published(asset) for asset in members]
        return self._found

    def _fix_of_model(self, model: str, seen: set[str]) -> None:
        """Fix the tables that a model was built of, and those of the models that it was built of."""
        if model in seen:
            return
        seen.add(model)
        build = self._builds.by_model.get(model)
        if build is None:
            self._found.reasons.append(f"{model}: it was never built, or not since what builds are made of is recorded")
            return
        for asset, version in build.versions.items():
            self._fix(asset, _Fixed(self._builds.shown.get(asset) if build.is_view else version, "", model))
        for parent, build_id in build.parents.items():
            now = self._builds.by_model.get(parent)
            if not build.is_view and now is not None and now.build_id != build_id:
                self._found.reasons.append(f"{model}: it is to be built again, because {parent} was built since")
            self._fix_of_model(parent, seen)

    def _fix(self, asset: str, wanted: _Fixed) -> None:
        there = self._fixed.setdefault(asset, wanted)
        if there.version != wanted.version and not self._are_alike(asset, there, wanted):
            self._found.reasons.append(
                f"{asset}: {there.by} is made of version {there.version}, and {wanted.by} of version {wanted.version}"
            )

    def _are_alike(self, asset: str, one: _Fixed, other: _Fixed) -> bool:
        versions = [None if item.version is None else self._version(asset, item.version) for item in (one, other)]
        return same_rows(*versions)

    def _is_recalculated(self, asset: str) -> bool:
        layer, _, name = asset.partition("/")
        return layer == "hub" and name.endswith("_current") and name not in self._sources

    def _take(self, asset: str) -> None:
        """Take a table at the version that is fixed, or as it is now; fix what it was computed from."""
        fixed = self._fixed.get(asset)
        found = self._version(asset, fixed.version if fixed else None)
        if fixed is not None and fixed.version is None and found is not None and found.rows:
            self._found.reasons.append(f"{fixed.by}: it was built when {asset} had no rows")
        if fixed is not None and fixed.commit_id and (found is None or found.commit_id != fixed.commit_id):
            self._found.reasons.append(f"{asset}: version {fixed.version} is not the one that {fixed.by} was made of")
        self._found.versions[asset] = found
        made_of = found.info.get("computed_from") if found is not None else None
        if made_of is None or not self._is_recalculated(asset):
            return
        hubs: Mapping[str, Sequence[int | str]] = {
            asset.removesuffix("_current"): made_of["hub"],
            **{f"hub/{name}": known_as for name, known_as in made_of["related"].items()},
        }
        for name, known_as in hubs.items():
            self._fix(name, _Fixed(int(known_as[0]), str(known_as[1]), asset))

    def _published(self, asset: str) -> PublishedTable:
        if asset.startswith(WAREHOUSE):
            return PublishedTable(asset, None, self._builds.by_model[asset].build_id, 0)
        found = self._found.versions[asset]
        if found is None:
            return PublishedTable(asset, None, "", 0)
        return PublishedTable(asset, found.version, found.commit_id, found.rows)
