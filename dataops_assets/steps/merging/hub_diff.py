"""The difference between a hub as it is and as it should be, and the rows that it writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlglot import exp

from dataops_assets.config.source import Source
from dataops_assets.engines.base import Session
from dataops_assets.sql import Relation, alias, column, query
from dataops_assets.steps.merging import merged_values, replace_scope
from dataops_assets.steps.merging.change import hub_columns_of, keeps_deletions, system_columns
from dataops_assets.storage.delta import TableVersion


@dataclass(frozen=True)
class HubDiff:
    """The difference between a hub as it is and as it should be.

    * `insert`: the versions whose content is not in the hub yet (system columns).
    * `amend`: the versions whose content is in the hub, with other system columns; and file and position of their row.
    * `remove`: file and position of the hub rows to remove, also of those to amend.
    * `counts`: the number of versions `inserted` and `amended`, and of rows `removed`.
    """

    insert: Relation
    amend: Relation
    remove: Relation
    counts: Mapping[str, int]


def hub_diff(session: Session, *, insert: exp.Query, amend: exp.Query, remove: exp.Query) -> HubDiff:
    """Return the difference that these queries find, with its counts."""
    found = {"insert": session.define(insert), "amend": session.define(amend), "remove": session.define(remove)}
    counted = session.fetch(
        query(
            """
            SELECT (SELECT count(*) FROM $insert AS f) AS inserted, (SELECT count(*) FROM $remove AS r) AS removed,
                   (SELECT count(*) FROM $amend AS a) AS amended
            """,
            **found,
        )
    )
    return HubDiff(**found, counts=counted.to_pylist()[0])


def new_rows(session: Session, source: Source, base: TableVersion | None, diff: HubDiff, fresh: exp.Query) -> exp.Query:
    """Return the full rows that a difference writes. `fresh` are those of `diff.insert`, without deletions."""
    if merged_values.merges(source):
        fresh = _with_merged_values(source, diff, fresh)
    rows = exp.union(fresh, deletions(source, diff), distinct=False) if keeps_deletions(source) else fresh
    if base is not None and diff.counts["amended"]:
        rows = exp.union(rows, _amended_rows(session, source, base, diff), distinct=False)
    return rows


def _with_merged_values(source: Source, diff: HubDiff, fresh: exp.Query) -> exp.Query:
    """Return the `fresh` rows with the merged values of their versions."""
    versions = query("SELECT f.* FROM $fresh AS f", fresh=diff.insert)
    if keeps_deletions(source):
        versions = versions.where(exp.not_(column("s_is_deleted", "f")))
    rows: exp.Query = query(
        "SELECT $values FROM $rows AS r JOIN $versions AS v ON v.s_input_id = r.s_input_id AND v.s_row_id = r.s_row_id",
        values=[merged_values.value_of(source, name, "v", "r") for name in hub_columns_of(source)],
        rows=fresh,
        versions=versions,
    )
    return rows


def deletions(source: Source, diff: HubDiff) -> exp.Query:
    """Return the versions that are deletions: only the key has a value."""
    carried = replace_scope.carried_as(source)
    values = {
        **{name: column(name, "f") for name in system_columns(source)},
        **{name: column(carried[name], "f") for name in source.refresh.key},
        "s_status": exp.Literal.string("pass"),
    }
    rows: exp.Query = query(
        "SELECT $values FROM $fresh AS f WHERE f.s_is_deleted",
        values=[alias(values.get(name, exp.null()), name) for name in hub_columns_of(source)],
        fresh=diff.insert,
    )
    return rows


def _amended_rows(session: Session, source: Source, base: TableVersion, diff: HubDiff) -> exp.Query:
    """Return the hub rows whose content stays and whose system columns change."""
    present, system = set(base.columns), system_columns(source)
    names = [
        merged_values.value_of(source, name, "a", "a" if name in system else "h")
        if name in present or name in system
        else alias(exp.null(), name)
        for name in hub_columns_of(source)
    ]
    rows: exp.Query = query(
        "SELECT $names FROM $hub AS h JOIN $amended AS a ON a.s_file = h.s_file AND a.s_position = h.s_position",
        names=names,
        hub=session.scan(base, positions=True),
        amended=diff.amend,
    )
    return rows
