"""Defines the result of compiling: everything that one step computes, as data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from sqlglot import exp

from dataops_assets.config.quality import Severity
from dataops_assets.config.rules import VALIDITY
from dataops_assets.rules.lineage import ColumnReference
from dataops_assets.rules.resolve import LOOKUP_PREFIX
from dataops_assets.rules.windows import Reach

REPEATED_PREFIX = "s_repeated."
"""Prefix of the internal columns that are true if a row repeats a unique value of another row of its input."""


@dataclass(frozen=True)
class Lookup:
    """One join. `path` are the relations from the source; the join starts at `path[:-1]`.

    * `on`: pairs of equal columns, of the start and of `source`.
    * `where`: further comparisons (own column, operator, related column).
    * `as_of`: the column at the start with the moment at which a version of `source` must be valid; None if the current
      rows are joined.
    * `columns`: the needed columns of `source`, with their SQL types.
    * `aggregates`: for a to-many join, the aggregates over the matching rows, by internal name.
    * `unique`: at most one row matches, because the join covers the related key.
    """

    path: tuple[str, ...]
    source: str
    on: tuple[tuple[str, str], ...]
    where: tuple[tuple[str, str, str], ...]
    as_of: str | None
    columns: Mapping[str, str]
    aggregates: Mapping[str, exp.Expr]
    unique: bool

    @property
    def name(self) -> str:
        """Return the path as users write it."""
        return ".".join(self.path)

    def internal(self, column: str) -> str:
        """Return the name of one of its columns inside a compiled query."""
        return LOOKUP_PREFIX + ".".join((*self.path, column))

    @property
    def own(self) -> tuple[str, ...]:
        """Return the columns at the start of the join that decide the match."""
        moment = (self.as_of,) if self.as_of is not None else ()
        return tuple(dict.fromkeys((*(own for own, _ in self.on), *(own for own, _, _ in self.where), *moment)))

    @property
    def related(self) -> tuple[str, ...]:
        """Return the columns of `source` that decide the match."""
        validity = VALIDITY if self.as_of is not None else ()
        compared = (*(other for _, other in self.on), *(other for _, _, other in self.where), *validity)
        return tuple(dict.fromkeys(compared))

    @property
    def results(self) -> frozenset[str]:
        """Return the internal names of the columns that it adds."""
        return frozenset(self.aggregates or map(self.internal, self.columns))

    @property
    def may_be_ambiguous(self) -> bool:
        """Whether several rows may match a to-one look-up, so that the data must be checked."""
        return not self.unique and not self.aggregates


@dataclass(frozen=True)
class CompiledRule:
    """One rule, ready to run on rows with the source's columns, the rules of earlier levels and the look-ups.

    * `version`: changes with everything that decides the values, except the rows.
    * `expression`: the value, of SQL type `type`.
    * `failed_cast`: true if a value does not fit the declared type; None if every value fits.
    * `reads`: the columns of the source's own rows that it needs.
    * `inexact`: the last digits depend on the order of additions.
    * `personal`: it uses a column tagged 'pii'.
    * `windowed`: it, or a rule it uses, reads other rows.
    * `uses`: all columns it reads, by internal name.
    """

    name: str
    version: str
    expression: exp.Expr
    type: str
    failed_cast: exp.Expr | None
    reads: tuple[str, ...]
    lineage: frozenset[ColumnReference]
    inexact: bool
    personal: bool
    windowed: bool
    uses: frozenset[str]


@dataclass(frozen=True)
class CompiledValidation:
    """One validation: `failed` is true where a row fails it, never null.

    For `unique` columns, `failed` is an internal column that the rows must have. `version` changes with everything that
    decides `failed`, except the rows.
    """

    name: str
    version: str
    severity: Severity | str
    failed: exp.Expr
    reads: tuple[str, ...]
    lineage: frozenset[ColumnReference]
    unique: tuple[str, ...] = ()


@dataclass(frozen=True)
class Level:
    """Rules that can be computed together, after the windows they use."""

    windows: Mapping[str, exp.Expr]
    rules: tuple[CompiledRule, ...]


@dataclass(frozen=True)
class Stage:
    """Everything that one step computes: look-ups, then the rules level by level, then validations.

    * `reach`: how far a changed row is seen through the windows; None without windows or without a limit.
    * `casts`: for rules that the rows have already, whether a value did not fit the declared type.
    """

    lookups: tuple[Lookup, ...]
    levels: tuple[Level, ...]
    validations: tuple[CompiledValidation, ...] = ()
    reach: Reach | None = None
    casts: Mapping[str, exp.Expr] = field(default_factory=dict)

    @property
    def rules(self) -> Mapping[str, CompiledRule]:
        """Return the rules by name; each comes after the rules it uses."""
        return {rule.name: rule for level in self.levels for rule in level.rules}

    @property
    def related(self) -> tuple[str, ...]:
        """Return the names of the sources that are looked up."""
        return tuple(sorted({lookup.source for lookup in self.lookups}))

    @property
    def row_rules(self) -> tuple[str, ...]:
        """Return the rules that read one row and its relations, without windows."""
        return tuple(name for name, rule in self.rules.items() if not rule.windowed)

    @property
    def versions(self) -> Mapping[str, str]:
        """Return the versions of the rules by name."""
        return {name: rule.version for name, rule in self.rules.items()}

    @property
    def verdict(self) -> str:
        """Return the version of the validations and casts; empty if there are none."""
        casts = [(rule.name, rule.version) for rule in self.rules.values() if rule.failed_cast is not None]
        checks = [(item.name, item.severity, item.version) for item in self.validations]
        if not (casts or checks):
            return ""
        return hashlib.sha256(json.dumps([checks, casts]).encode()).hexdigest()[:16]

    @property
    def seen_by_windows(self) -> frozenset[str]:
        """Return the sources whose look-ups a rule with a window reads directly, not through another rule."""
        used = {name for rule in self.rules.values() if rule.windowed for name in rule.uses}
        paths = [item.path for item in self.lookups if used & item.results]
        return frozenset(
            item.source for item in self.lookups if any(path[: len(item.path)] == item.path for path in paths)
        )

    def only(self, names: Iterable[str], given: Collection[str] = (), *, verdict: bool = False) -> Stage:
        """Return the part of the stage for the rules and columns `names`, and for all validations if `verdict`.

        The rows have the rules `given` already. Of these only the failed casts are computed, if `verdict`.
        """
        wanted = set(names)
        casts: dict[str, exp.Expr] = {}
        if verdict:
            stored = [rule for name, rule in self.rules.items() if name in given]
            casts = {rule.name: rule.failed_cast for rule in stored if rule.failed_cast is not None}
            for failed in (*casts.values(), *(item.failed for item in self.validations)):
                wanted |= {node.name for node in failed.find_all(exp.Column)}
        levels: list[Level] = []
        for level in reversed(self.levels):
            rules = tuple(rule for rule in level.rules if rule.name in wanted and rule.name not in given)
            for rule in rules:
                wanted |= rule.uses
            used = {node.name for rule in rules for node in rule.expression.find_all(exp.Column)}
            windows = {name: window for name, window in level.windows.items() if name in used}
            if rules:
                levels.insert(0, Level(windows, rules))
        read = {lookup.path for lookup in self.lookups if wanted & lookup.results}
        lookups = tuple(item for item in self.lookups if any(path[: len(item.path)] == item.path for path in read))
        return Stage(lookups, tuple(levels), self.validations if verdict else (), casts=casts)
