"""Computes the status of a row from the flags of a stage: `s_status` and `s_failed`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from dataops_assets.rules.query import CAST_PREFIX, FAILED_PREFIX
from dataops_assets.rules.stage import Stage
from dataops_assets.sql import column, query

VERDICT_VERSION = "verdict"
"""Key in a table's commit information for the version of the validations of its rows."""
VERDICT = ("s_status", "s_failed")


@dataclass(frozen=True)
class Flag:
    """A column that is true for a row that fails a validation or a cast; `uses` are the columns that show why."""

    column: str
    name: str
    severity: str
    uses: tuple[str, ...]


def flags_of(stage: Stage) -> list[Flag]:
    """Return the flags of a stage: its validations, and its rules whose values may not fit their declared types."""
    casts = [
        Flag(CAST_PREFIX + rule.name, f"{rule.name}: cast", "warn", rule.reads)
        for rule in stage.rules.values()
        if rule.failed_cast is not None
    ]
    checked = [Flag(FAILED_PREFIX + item.name, item.name, item.severity, item.reads) for item in stage.validations]
    return [*checked, *casts]


def status(flags: Sequence[Flag]) -> exp.Expr:
    """Return the expression of 'pass', 'warn' or 'fail', for rows with the columns of the flags."""
    found: exp.Expr = exp.Literal.string("pass")
    for word, severities in (("warn", ("warn",)), ("fail", ("quarantine", "fail"))):
        hit = [column(flag.column) for flag in flags if flag.severity in severities]
        if hit:
            found = query("CASE WHEN $hit THEN $word ELSE $rest END", hit=exp.or_(*hit), word=word, rest=found)
    return found


def failed_names(flags: Sequence[Flag]) -> exp.Expr:
    """Return the names of all flags that a row fails as one text; null if it fails none."""
    if not flags:
        return query("CAST(NULL AS VARCHAR)")
    named = [query("CASE WHEN $hit THEN $name END", hit=column(flag.column), name=flag.name) for flag in flags]
    # sqlglot's own ConcatWs would wrap every part in a null check; a null part is left out here on purpose
    joined = exp.Anonymous(this="concat_ws", expressions=[exp.Literal.string(", "), *named])
    return query("NULLIF($joined, '')", joined=joined)


def verdict_of(info: Mapping[str, Any] | None) -> str | None:
    """Return the version of the validations of a table's rows."""
    found: str | None = (info or {}).get(VERDICT_VERSION)
    return found
