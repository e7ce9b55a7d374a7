"""Finds the rows that see a changed row through a window, so that only these are computed again."""

from __future__ import annotations

from collections.abc import Iterable

from sqlglot import exp

from dataops_assets.engines.base import Session
from dataops_assets.rules.query import Related, evaluate
from dataops_assets.rules.stage import Stage
from dataops_assets.rules.windows import Reach
from dataops_assets.sql import Relation, alias, column, columns, conjunction, query

_ORDER = "s_order_value"


def moved_rows(
    session: Session,
    reach: Reach,
    new: exp.Query,
    old: exp.Query,
    differs: exp.Expr,
) -> Relation:
    """Return the rows that only `new` or only `old` has, or for which `differs` (over aliases n, o) is true.

    Both have s_input_id and s_row_id, which name a row, s_key and the columns of `reach`; `old` has s_file and
    s_position. Columns: s_input_id (null: gone), s_old_key, s_file, s_position, and the row's place in the windows now
    and before.
    """
    places = _places(reach)
    names = [place.alias for place in places]
    return session.create(
        query(
            """
            SELECT n.s_input_id, o.s_key AS s_old_key, o.s_file, o.s_position, $now, $before
            FROM (SELECT r.*, $places FROM $new AS r) AS n FULL JOIN (SELECT r.*, $places FROM $old AS r) AS o
              ON o.s_input_id = n.s_input_id AND o.s_row_id = n.s_row_id
            WHERE n.s_input_id IS NULL OR o.s_input_id IS NULL OR $differs
            """,
            now=[alias(column(name, "n"), f"{name}.now") for name in names],
            before=[alias(column(name, "o"), f"{name}.before") for name in names],
            places=places,
            new=new,
            old=old,
            differs=differs,
        ),
    )


def rows_in_reach(
    session: Session, stage: Stage, reach: Reach, rows: exp.Query, related: Related, moved: Relation
) -> Relation:
    """Return the identity of those of `rows` that see a `moved` row (`s_is_seen`), and of the rows that these see."""
    places = _places(reach)
    parts = [place.alias for place in places if place.alias != _ORDER]
    bounds = [alias(exp.func(end, column(_ORDER, "s")), f"s_{end}") for end in ("min", "max")] if reach.order else []
    touched = query(
        "SELECT count(*) AS s_rows, $kept FROM $states AS s",
        kept=[*columns(parts, "s"), *bounds],
        states=exp.union(
            _state(moved, places, "now", "s_input_id"), _state(moved, places, "before", "s_file"), distinct=False
        ),
    )
    stirred = session.create(touched.group_by(*columns(parts, "s")) if parts else touched)
    same = (
        query("$mine IS NOT DISTINCT FROM $touched", mine=column(name, "r"), touched=column(name, "t"))
        for name in parts
    )
    return session.create(
        query(
            """
            SELECT r.s_input_id, r.s_row_id, $seen AS s_is_seen
            FROM (SELECT r.s_input_id, r.s_row_id, $places FROM $placed AS r) AS r JOIN $stirred AS t ON $same
            WHERE t.s_rows > 0 AND $near
            """,
            places=places,
            stirred=stirred,
            placed=evaluate(stage.only(reach.columns), rows, related),
            same=conjunction(same),
            # a row sees `back` below and `forward` above itself, so it is seen from `forward` below and `back` above
            seen=_between(reach, reach.forward, reach.back),
            near=_between(reach, reach.forward + reach.back, reach.back + reach.forward),
        ),
    )


def with_reach(rows: exp.Query, near: Relation) -> exp.Query:
    """Return those of `rows` that are in `near` (of `rows_in_reach`), with `s_is_seen`."""
    found: exp.Query = query(
        """
        SELECT h.*, n.s_is_seen FROM $rows AS h
        JOIN $near AS n ON n.s_input_id = h.s_input_id AND n.s_row_id = h.s_row_id
        """,
        rows=rows,
        near=near,
    )
    return found


def _places(reach: Reach) -> list[exp.Alias]:
    """Return the place of a row in the windows: `s_part.0`, ... and `s_order_value`."""
    parts = [alias(part, f"s_part.{index}") for index, part in enumerate(reach.partition)]
    return [*parts, *([alias(reach.order, _ORDER)] if reach.order is not None else [])]


def _state(moved: Relation, places: Iterable[exp.Alias], when: str, present: str) -> exp.Select:
    """Return the places of the moved rows that exist at that time (`now` or `before`)."""
    selected = [alias(column(f"{place.alias}.{when}", "m"), place.alias) for place in places]
    state: exp.Select = query("SELECT $selected FROM $moved AS m", selected=selected, moved=moved)
    return state.where(column(present, "m").is_(exp.null()).not_())


def _between(reach: Reach, below: int, above: int) -> exp.Expr:
    """Return the condition that a row's order value is within the widened bounds of a touched partition.

    A null is always within them.
    """
    if reach.order is None:
        return exp.true()
    within: exp.Expr = query(
        """
        coalesce(r.s_order_value >= TRY(t.s_min - $below), TRUE)
        AND coalesce(r.s_order_value <= TRY(t.s_max + $above), TRUE)
        """,
        below=below,
        above=above,
    )
    return within
