"""Makes window functions deterministic, so that they depend only on the set of rows, and lets them share sorts.

SQL does not define three things, or they depend on the engine's arithmetic. They are fixed here before a rule runs:

* Rows that are equal in ORDER BY come in any order. Where that matters (`lag`, `row_number`, ROWS frames, ...) they are
  ordered by input and row position.
* A RANGE frame in days over a date is computed on day numbers: the same rows, three times as fast on DuckDB, and
  every window over the date shares one sort.
* The variance of n integers is a whole number over n (n - 1). The engine adds floating-point numbers in an order of
  its own (Welford's method, merged pairwise: no cancellation, but the last digits vary); rounding to that whole number
  gives the exact value, and so the same digits each time, as long as the whole number is well below 2^53.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from sqlglot import exp

from dataops_assets.rules.parse import windowed
from dataops_assets.rules.semantics import attempt
from dataops_assets.rules.source_text import Place, span_of
from dataops_assets.rules.types import INTEGERS
from dataops_assets.sql import DIALECT, column, query

WINDOW_PREFIX = "s_window."

TypeOf = Callable[[exp.Expr], str]

_ORDERED_FUNCTIONS = (exp.FirstValue, exp.Lag, exp.LastValue, exp.Lead, exp.NthValue, exp.Ntile, exp.RowNumber)
_ROW_IDENTITY = ("s_input_id", "s_row_id")
_DAYS = {"DAY": 1, "DAYS": 1, "WEEK": 7, "WEEKS": 7}
_SAMPLE = (exp.Stddev, exp.StddevSamp, exp.Variance)
_DEVIATIONS = (exp.Stddev, exp.StddevSamp, exp.StddevPop)
_SPREADS = (*_DEVIATIONS, exp.Variance, exp.VariancePop)


def deterministic_windows(place: Place, expression: exp.Expr, type_of: TypeOf) -> exp.Expr:
    """Return `expression` with every window made deterministic.

    Raises RuleError for a window whose result would still depend on the order of equal rows.
    """
    return expression.transform(
        lambda node: _settled(place, node, type_of) if isinstance(node, exp.Window) else node, copy=True
    )


def hoist(expressions: Iterable[exp.Expr], prefix: str) -> tuple[list[exp.Expr], dict[str, exp.Expr]]:
    """Return the expressions with each window replaced by a column, and these columns. Equal windows share a column.

    The names of the columns begin with `prefix`, which no other level of the stage may use.
    """
    found: dict[str, tuple[str, exp.Expr]] = {}

    def replaced(node: exp.Expr) -> exp.Expr:
        if not isinstance(node, exp.Window):
            return node
        name, _ = found.setdefault(node.sql(DIALECT), (f"{prefix}{len(found)}", node))
        return column(name)

    rewritten = [expression.transform(replaced) for expression in expressions]
    return rewritten, dict(found.values())


def is_inexact(expression: exp.Expr, type_of: TypeOf) -> bool:
    """Whether the last digits depend on the order in which a window adds floating-point numbers."""
    return any(adds_inexactly(windowed(window), type_of) for window in expression.find_all(exp.Window))


def adds_inexactly(function: exp.Expr, type_of: TypeOf) -> bool:
    """Whether the last digits of an aggregate depend on the order in which it takes its rows."""
    if isinstance(function, (exp.Sum, exp.Avg)):
        return type_of(_argument(function)) in ("DOUBLE", "FLOAT")
    return isinstance(function, _SPREADS)


def _argument(function: exp.Expr) -> exp.Expr:
    argument = function.this
    return argument.expressions[0] if isinstance(argument, exp.Distinct) else argument


def _settled(place: Place, window: exp.Window, type_of: TypeOf) -> exp.Expr:
    spec = window.args.get("spec")
    frame = str(spec.args.get("kind", "")).upper() if spec else ""
    offsets = [spec.args.get(end) for end in ("start", "end")] if spec else []
    has_offset = any(isinstance(offset, exp.Expr) for offset in offsets)
    function = windowed(window)
    order = window.args.get("order")
    ordered = isinstance(function, _ORDERED_FUNCTIONS) or frame == "ROWS"
    if ordered and order is None:
        raise place.error(
            "a window whose result depends on the order of rows needs ORDER BY",
            span_of(window),
            next_step="write OVER (PARTITION BY ... ORDER BY ...)",
        )
    if isinstance(function, _ORDERED_FUNCTIONS) and frame == "RANGE" and has_offset:
        raise place.error(
            "if two rows of a RANGE frame are equal in ORDER BY, the first or last row is not defined",
            span_of(window),
            next_step="use min, max or another aggregate over the RANGE frame, or a ROWS frame",
        )
    _number_days(window, frame if has_offset else "", type_of)
    _guard(window, function)
    if ordered and order is not None:
        for name in _ROW_IDENTITY:
            order.append("expressions", exp.Ordered(this=column(name), nulls_first=False))
    if isinstance(function, _SPREADS) and _is_of_integers(function, type_of):
        return _exact_spread(window, function)
    return window


def _is_of_integers(function: exp.Expr, type_of: TypeOf) -> bool:
    return not isinstance(function.this, exp.Distinct) and type_of(function.this) in INTEGERS


def _exact_spread(window: exp.Window, function: exp.Expr) -> exp.Expr:
    sample = isinstance(function, _SAMPLE)
    count = _over(window, query("count($x)", x=function.this))
    spread = query(
        "round($variance * $pairs) / $pairs",
        variance=_over(window, (exp.Variance if sample else exp.VariancePop)(this=function.this.copy())),
        pairs=query("(CAST($n AS DOUBLE) * ($n - $less))", n=count, less=int(sample)),
    )
    return query("sqrt($spread)", spread=spread) if isinstance(function, _DEVIATIONS) else exp.paren(spread)


def _over(window: exp.Window, aggregate: exp.Expr) -> exp.Window:
    """Return another aggregate over the same window."""
    copied = window.copy()
    windowed(copied).replace(aggregate)
    return copied


def _number_days(window: exp.Window, offset_frame: str, type_of: TypeOf) -> None:
    order = window.args.get("order")
    if order is None or any(type_of(key.this) != "DATE" for key in order.expressions[:1]):
        return
    if offset_frame == "RANGE":
        spec = window.args["spec"]
        ends = {end: spec.args.get(end) for end in ("start", "end")}
        days = {end: _in_days(offset) for end, offset in ends.items() if isinstance(offset, exp.Expr)}
        if any(number is None for number in days.values()):
            return
        for end, number in days.items():
            spec.set(end, number)
    key = order.expressions[0]
    key.set("this", query("date_diff('day', CAST('1970-01-01' AS DATE), $day)", day=key.this))


def _in_days(offset: exp.Expr) -> exp.Expr | None:
    """Return the offset as a number of days; None if it is not a whole number of days."""
    if not isinstance(offset, exp.Interval) or not isinstance(offset.this, exp.Literal) or offset.unit is None:
        return None
    factor = _DAYS.get(offset.unit.name.upper())
    if factor is None or not offset.this.name.isdigit():
        return None
    return exp.Literal.number(int(offset.this.name) * factor)


def _guard(window: exp.Window, function: exp.Expr) -> None:
    """Make a value that cannot be computed null for the window, too, because the engine would stop otherwise."""
    keys = window.args.get("order")
    parts = [*window.args.get("partition_by", ()), *(key.this for key in (keys.expressions if keys else ()))]
    if isinstance(window.this, exp.Filter):
        parts.append(window.this.expression.this)
    guard(function, parts)


def guard(function: exp.Expr, others: Iterable[exp.Expr] = ()) -> None:
    """Make the arguments of an aggregate, and `others`, null where they cannot be computed."""
    argument = function.args.get("this")
    arguments = argument.expressions if isinstance(argument, exp.Distinct) else [argument]
    for part in (*arguments, *others):
        if isinstance(part, exp.Expr) and part.find(exp.Column) is not None:
            guarded = attempt(part.copy())
            if type(guarded) is not type(part):
                part.replace(guarded)


@dataclass(frozen=True)
class Reach:
    """How far a changed row is seen through windows with the same partition.

    `partition` are the expressions of PARTITION BY. `order` is a whole number. Rows of the same partition see the
    changed row if their `order` is at most `back` above or `forward` below its `order`. Without `order`, all rows of
    the partition see it.
    """

    partition: tuple[exp.Expr, ...]
    order: exp.Expr | None = None
    back: int = 0
    forward: int = 0

    @property
    def columns(self) -> frozenset[str]:
        """Return the columns that decide partition and order."""
        parts = [*self.partition, *([self.order] if self.order is not None else [])]
        return frozenset(node.name for part in parts for node in part.find_all(exp.Column))


def reach_of(
    levels: Iterable[Mapping[str, exp.Expr]], type_of: TypeOf, kept: Collection[str], windowed: Collection[str]
) -> Reach | None:
    """Return the reach of the windows of all levels; None without windows, or if every row may see a change.

    `kept` are the columns of the result table from which the old state of a changed row is read. The columns that
    windows decide (`windowed`) are not among them.
    """
    windows = [window for level in levels for window in level.values()]
    # a window over the result of a window sees further than each of them
    if not windows or any(node.name in windowed for window in windows for node in window.find_all(exp.Column)):
        return None
    partitions = {tuple(part.sql(DIALECT) for part in window.args.get("partition_by") or ()) for window in windows}
    if len(partitions) != 1:
        return None
    partition = tuple(windows[0].args.get("partition_by") or ())
    frames = [_frame(window, type_of) for window in windows]
    reach: Reach | None = Reach(partition) if partition else None
    bounded = [frame for frame in frames if frame is not None]
    if len(bounded) == len(frames) and len({order.sql(DIALECT) for order, _, _ in bounded}) == 1:
        back, forward = max(frame[1] for frame in bounded), max(frame[2] for frame in bounded)
        reach = Reach(partition, bounded[0][0], back, forward)
    return reach if reach is not None and reach.columns <= set(kept) else None


def _frame(window: exp.Expr, type_of: TypeOf) -> tuple[exp.Expr, int, int] | None:
    """Return order, reach back and reach forward of a RANGE frame over a whole number; None for other frames."""
    spec, order = window.args.get("spec"), window.args.get("order")
    if spec is None or order is None or len(order.expressions) != 1 or str(spec.args.get("kind")).upper() != "RANGE":
        return None
    key = order.expressions[0]
    if key.args.get("desc") or type_of(key.this) not in INTEGERS:
        return None
    start = _offset(spec.args.get("start"), spec.args.get("start_side"), "PRECEDING")
    end = _offset(spec.args.get("end") or "CURRENT ROW", spec.args.get("end_side"), "FOLLOWING")
    return None if start is None or end is None else (key.this, start, end)


def _offset(bound: object, side: object, outward: str) -> int | None:
    """Return the distance of a frame's bound from the current row; None without limit."""
    if str(bound).upper() == "CURRENT ROW":
        return 0
    if not isinstance(bound, exp.Literal) or not bound.name.isdigit():
        return None
    return int(bound.name) if str(side).upper() == outward else 0
