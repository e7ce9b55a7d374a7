"""Tries a rule on the rows of a hub before it is declared, without writing anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from dataops_assets.config.rules import Rule
from dataops_assets.config.source import Source
from dataops_assets.engines.base import Session
from dataops_assets.errors import InputError
from dataops_assets.rules.compiler import CompiledRules, compile_rules
from dataops_assets.rules.lineage import ColumnReference
from dataops_assets.rules.query import CAST_PREFIX, evaluate
from dataops_assets.rules.stage import CompiledRule
from dataops_assets.sql import Relation, column, columns, query
from dataops_assets.steps.enriching.look_ups import RelatedHubs, refuse_ambiguous, rows_cast_or_null, versions_of
from dataops_assets.steps.evolved_columns import evolving_now
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage.delta import TableVersion

HIDDEN = "***"
_SHOWN = 5
_IDENTITY = ("s_input_id", "s_row_id")


@dataclass(frozen=True)
class Change:
    """Comparison of the tried rule with the column that has its name now: row counts and examples.

    `became_null` and `were_null` are among the `changed` ones. An example is (input id, row, before, after).
    """

    column: str
    same: int
    changed: int
    became_null: int
    were_null: int
    examples: Sequence[tuple[str, int, Any, Any]]


@dataclass(frozen=True)
class Trial:
    """Result of a tried rule over `rows` rows. `examples` are (input id, row, value).

    Values that come from personal data are replaced by `HIDDEN`. `change` is None if no column has the rule's name.
    """

    type: str
    lineage: frozenset[ColumnReference]
    rows: int
    nulls: int
    failed_casts: int
    distinct: int
    least: Any
    most: Any
    examples: Sequence[tuple[str, int, Any]]
    change: Change | None


def try_rule(context: SourceContext, expression: str, name: str = "", sample: int | None = None) -> Trial:
    """Compute `expression` over the hub, or over `sample` of its rows (the same ones each time), and compare.

    `name` is a declared rule that it would replace, with its mode and type, or a column to compare with. Windows see
    only the rows of the sample. Raises RuleError like loading the rule, InputError if there is no hub or if a row
    matches several rows of a to-one look-up.
    """
    context = evolving_now(context)
    known = next((rule for rule in context.source.rules if rule.name == name), None)
    tried = _unused(context.source)
    # first compile it as it would be declared, so that the same errors are raised
    is_new = bool(name) and name not in context.source.column_names
    compile_rules(_declaring(context.source, expression, name if is_new else tried, known), context.sources)
    asked = Rule(name=tried, expression=expression, mode="keep_current", type=known.type if known else "")
    source = context.source.model_copy(update={"rules": (*context.source.rules, asked)})
    rules = compile_rules(source, {**context.sources, source.name: source})
    hub = context.hub.snapshot()
    if hub is None:
        raise InputError(
            f"trying a rule of {source.name!r}", received="no hub", next_step=f"materialize hub/{source.name} first"
        )
    stage = rules.current.only([tried])
    with context.engine.session() as session:
        rows = rows_cast_or_null(session, hub, rules.hub_columns, versions_of(source))
        if sample is not None:
            rows = query(
                "SELECT r.* FROM $rows AS r ORDER BY r.s_row_hash, r.s_input_id, r.s_row_id LIMIT $most",
                rows=rows,
                most=sample,
            )
        taken: exp.Query = query("SELECT * FROM $rows", rows=session.create(rows))
        related = RelatedHubs(context, session, stage)
        for error in refuse_ambiguous(session, stage, taken, related).values():
            raise error
        rule = stage.rules[tried]
        failed = column(CAST_PREFIX + tried, "r") if rule.failed_cast is not None else exp.false()
        computed = evaluate(stage, taken, related)
        values = session.create(
            query(
                "SELECT r.s_input_id, r.s_row_id, $value AS s_value, $failed AS s_failed FROM $rows AS r",
                value=column(tried, "r"),
                failed=failed,
                rows=computed,
            )
        )
        return _trial(context, session, rules, rule, _Tried(values, name))


@dataclass(frozen=True)
class _Tried:
    """The values of the tried rule (`s_value`), and the column that it is compared with ('' for none)."""

    values: Relation
    name: str


def _declaring(source: Source, expression: str, name: str, known: Rule | None) -> Source:
    if known is None:
        added = Rule(name=name, expression=expression, mode="keep_current")
        return source.model_copy(update={"rules": (*source.rules, added)})
    changed = known.model_copy(update={"expression": expression})
    return source.model_copy(update={"rules": tuple(changed if rule is known else rule for rule in source.rules)})


def _unused(source: Source) -> str:
    taken = {name.lower() for name in (*source.column_names, *(rule.name for rule in source.rules))}
    name = "tried"
    while name in taken:
        name += "_"
    return name


def _trial(context: SourceContext, session: Session, rules: CompiledRules, rule: CompiledRule, tried: _Tried) -> Trial:
    hidden = rule.personal
    facts = session.fetch(
        query(
            """
            SELECT count(*) AS rows, count(*) - count(t.s_value) AS nulls,
                   count(CASE WHEN t.s_failed THEN 1 END) AS failed, count(DISTINCT t.s_value) AS distinct_values,
                   min(t.s_value) AS least, max(t.s_value) AS most
            FROM $tried AS t
            """,
            tried=tried.values,
        )
    ).to_pylist()[0]
    examples = session.fetch(
        query(
            """
            SELECT t.s_input_id, t.s_row_id, t.s_value FROM $tried AS t WHERE NOT t.s_value IS NULL
            ORDER BY t.s_input_id, t.s_row_id LIMIT $most
            """,
            most=_SHOWN,
            tried=tried.values,
        )
    ).to_pylist()
    return Trial(
        type=rule.type,
        lineage=rule.lineage,
        rows=facts["rows"],
        nulls=facts["nulls"],
        failed_casts=facts["failed"],
        distinct=facts["distinct_values"],
        least=HIDDEN if hidden else facts["least"],
        most=HIDDEN if hidden else facts["most"],
        examples=[(row["s_input_id"], row["s_row_id"], HIDDEN if hidden else row["s_value"]) for row in examples],
        change=_change(context, session, rules, tried, hidden=hidden),
    )


def _change(
    context: SourceContext, session: Session, rules: CompiledRules, tried: _Tried, *, hidden: bool
) -> Change | None:
    name = tried.name
    table = context.current if name in rules.current.rules else context.hub
    snapshot = table.snapshot()
    if not name or snapshot is None or name not in snapshot.columns:
        return None
    known = {item.name: "pii" in item.tags for item in rules.source.columns}
    known |= {rule.name: rule.personal for rule in (*rules.snapshot.rules.values(), *rules.current.rules.values())}
    compared = _compared(session, snapshot, tried)
    counts = session.fetch(
        query(
            """
            SELECT count(CASE WHEN NOT c.s_differs THEN 1 END) AS same,
                   count(CASE WHEN c.s_differs THEN 1 END) AS changed,
                   count(CASE WHEN c.s_value IS NULL AND NOT c.s_before IS NULL THEN 1 END) AS became_null,
                   count(CASE WHEN c.s_before IS NULL AND NOT c.s_value IS NULL THEN 1 END) AS were_null
            FROM $compared AS c
            """,
            compared=compared,
        )
    ).to_pylist()[0]
    return Change(name, examples=_examples(session, compared, hidden=hidden or known.get(name, False)), **counts)


def _compared(session: Session, snapshot: TableVersion, tried: _Tried) -> Relation:
    """Return the tried values beside the values of the column in the table, and whether they differ."""
    before = query(
        "SELECT $identity, $value AS s_before FROM $rows AS b",
        identity=columns(_IDENTITY, "b"),
        value=column(tried.name, "b"),
        rows=session.scan(snapshot),
    )
    if "s_is_current" in snapshot.columns:
        before = before.where(query("s_is_current"))
    values: Mapping[str, exp.Expr] = {"value": query("t.s_value"), "before": query("b.s_before")}
    if snapshot.columns[tried.name] != tried.values.columns["s_value"]:
        # values of two types are compared as texts
        values = {side: exp.cast(value, "VARCHAR") for side, value in values.items()}
    return session.create(
        query(
            """
            SELECT t.s_input_id, t.s_row_id, t.s_value, b.s_before, $value IS DISTINCT FROM $before AS s_differs
            FROM $tried AS t LEFT JOIN $before_rows AS b
              ON b.s_input_id = t.s_input_id AND b.s_row_id = t.s_row_id
            """,
            tried=tried.values,
            before_rows=before,
            **values,
        )
    )


def _examples(session: Session, compared: Relation, *, hidden: bool) -> list[tuple[str, int, Any, Any]]:
    found = session.fetch(
        query(
            """
            SELECT c.s_input_id, c.s_row_id, c.s_before, c.s_value FROM $compared AS c WHERE c.s_differs
            ORDER BY c.s_input_id, c.s_row_id LIMIT $most
            """,
            compared=compared,
            most=_SHOWN,
        )
    ).to_pylist()
    return [
        (
            row["s_input_id"],
            row["s_row_id"],
            HIDDEN if hidden else row["s_before"],
            HIDDEN if hidden else row["s_value"],
        )
        for row in found
    ]
