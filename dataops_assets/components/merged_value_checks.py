"""Refuses rules that are computed once, from one row, where the hub's value is made of several rows."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

from sqlglot import exp

from dataops_assets.config.source import Source
from dataops_assets.errors import ConfigError
from dataops_assets.sql import DIALECT
from dataops_assets.steps.merging.merged_values import valued

_PartCheck = tuple[tuple[str | int, ...], Callable[[], object]]


def rules_on_merged_values(source: Source) -> Iterator[_PartCheck]:
    """Return the path of each snapshot rule and validation, with a function that raises ConfigError if it is refused.

    They are computed from the row as it was delivered, so their result would not fit the merged values of the hub.
    """
    if not valued(source):
        return
    for index, rule in enumerate(source.rules):
        if rule.mode == "snapshot":
            check = functools.partial(
                _require_own_values, source, rule.expression, "declare the rule with mode: keep_current"
            )
            yield ("rules", index, "expression"), check
    for index, validation in enumerate(source.validations):
        advice = "validate columns that are not merged, or declare a contract for gates.current"
        check = functools.partial(_require_own_values, source, validation.expression, advice, validation.unique)
        yield ("validations", index), check


def _require_own_values(source: Source, expression: str, advice: str, unique: tuple[str, ...] = ()) -> None:
    spelled = {name.lower(): name for name in valued(source)}
    read = {name.lower() for name in unique}
    tree = exp.maybe_parse(expression, dialect=DIALECT) if expression else exp.Null()
    for node in tree.find_all(exp.Column):
        first = node.parts[0].name
        # a look-up reads the columns of this source with which it finds the related row
        relation = source.relations.get(first) if node.table else None
        found = (first,) if relation is None else relation.own_columns
        read |= {name.lower() for name in found}
    if merged := sorted(spelled[name] for name in read & spelled.keys()):
        raise ConfigError(
            "reading a column that merge or update_in_place makes of several rows",
            received=f"{', '.join(merged)}, in an expression that is computed once, from one row of an input",
            next_step=advice,
        )
