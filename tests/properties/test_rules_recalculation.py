"""The law of recalculation: after any sequence of changes, what is kept current equals computing everything anew."""

from __future__ import annotations

import datetime as dt
import operator
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from declared import unchecked_source
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from sqlglot import exp

from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.engines.base import Session
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.rules.compiler import compile_rules
from dataops_assets.rules.query import evaluate
from dataops_assets.sql import DIALECT, alias, column, columns, query
from dataops_assets.steps.lookups import RelatedHubs, conformed
from dataops_assets.steps.recalculate import recalculate
from dataops_assets.steps.workspace import Workspace
from dataops_assets.storage import publish
from dataops_assets.storage.vacuum import vacuum

FIRST = dt.date(2024, 1, 1)
SALES = {"Store": "integer", "Date": "date", "Sales": "integer", "Tag": "text"}
STORES = {"Id": "integer", "Kind": "text"}
BY_STORE = "over (partition by Store order by Date"
RULES = {
    "days before": f"sum(Sales) {BY_STORE} range between interval 3 day preceding and interval 1 day preceding)",
    "one day": f"max(Sales) {BY_STORE} range between interval 2 day preceding and interval 2 day preceding)",
    "days after": f"count(Sales) {BY_STORE} range between interval 1 day following and interval 2 day following)",
    "around": f"stddev_samp(Sales) {BY_STORE} range between interval 2 day preceding and interval 1 day following)",
    "so far": f"sum(Sales) {BY_STORE})",
    "rows": f"avg(Sales) {BY_STORE} rows between 1 preceding and current row)",
    "previous": f"lag(Sales) {BY_STORE})",
    "whole": "sum(Sales) over (partition by Store, Tag)",
    "everything": "count(*) over ()",
    "no partition": "sum(Sales) over (order by Date range between interval 1 day preceding and current row)",
    "by rule": "count(*) over (partition by kind)",
    "by look-up": "count_if(store.Kind = 'a') over (partition by Store)",
    "look-up after": "sum(Sales) over (partition by Store) + length(coalesce(store.Kind, ''))",
    "window on window": "sum(so_far) over (partition by Tag)",
    "cascade": "coalesce(whole, 0) + 1",
}


def sales_with(names: Sequence[str], with_kind: bool) -> Source:
    wanted = {*names, *(["so far"] if "window on window" in names else []), *(["whole"] if "cascade" in names else [])}
    rules = [{"name": name.replace(" ", "_"), "expression": RULES[name]} for name in RULES if name in wanted]
    # changed look-ups are found through a row rule that has them, and without one they must be found all the same
    if with_kind or "by rule" in names:
        rules.append({"name": "kind", "expression": "store.Kind"})
    return unchecked_source(
        "sales",
        SALES,
        relations={"store": {"source": "stores", "on": {"Store": "Id"}}},
        rules=[rule | {"mode": "keep_current"} for rule in rules],
    )


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    home = tmp_path_factory.mktemp("engine")
    return DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))


# --- hubs as sets of rows, and what happens to them ------------------------------------------------------------------

# most rows are of one store and have neighbours: a change of one row is seen by some of the others, not by all
SALE = st.fixed_dictionaries(
    {
        "Store": st.sampled_from([1, 1, 1, 2, None]),
        "Date": st.one_of(st.none(), *[st.integers(0, 14).map(lambda day: FIRST + dt.timedelta(days=day))] * 5),
        "Sales": st.one_of(st.none(), st.integers(0, 50), st.integers(0, 50)),
        "Tag": st.sampled_from(["x", "x", "y", None]),
    }
)
# each change: rows put at some places (None: taken away), stores redefined or left alone
CHANGE = st.tuples(
    st.dictionaries(st.integers(0, 19), st.one_of(st.none(), SALE), min_size=1, max_size=2),
    st.one_of(st.none(), st.none(), st.dictionaries(st.sampled_from([1, 2]), st.sampled_from(["a", "b"]), max_size=2)),
)


def sale(store: int, day: int, sales: int) -> dict[str, Any]:
    return {"Store": store, "Date": FIRST + dt.timedelta(days=day), "Sales": sales, "Tag": "x"}


def on_days(store: int, days: int) -> dict[int, dict[str, Any]]:
    return {day: sale(store, day, day * day % 11) for day in range(days)}


# rules whose windows together reach some days, a whole partition, another partition, or anywhere
DAYS = ["days before", "one day", "days after", "around"]
PARTITION = [*DAYS, "so far", "rows", "previous", "by look-up"]
CHOSEN_RULES = st.one_of(
    st.sets(st.sampled_from(DAYS), min_size=1, max_size=2),
    st.sets(st.sampled_from(PARTITION), min_size=1, max_size=2),
    st.sets(st.sampled_from(["whole", "cascade"]), min_size=1),
    st.sets(st.sampled_from(sorted(RULES)), min_size=1, max_size=3),
)


def write_hub(workspace: Workspace, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Bring a hub to exactly these rows as refresh does: unchanged rows stay where they are."""
    kinds = dict(compile_rules(workspace.sources[name], workspace.sources).hub_columns)
    table = workspace.table(f"hub/{name}")
    given_rows = [{item: row.get(item) for item in kinds} for row in rows]
    with workspace.engine.session() as session:
        wanted = _typed(session, given_rows, kinds)
        session.create("wanted", wanted)
        base = table.snapshot()
        if base is None:
            publish.apply(session, table, None, columns=kinds, insert=query("SELECT * FROM wanted"))
            return
        same = exp.and_(*[query("$w IS NOT DISTINCT FROM $h", w=column(n, "w"), h=column(n, "h")) for n in kinds])
        remove = query(
            "SELECT h.s_file, h.s_position FROM $hub AS h ANTI JOIN wanted AS w ON $same",
            hub=session.scan(base, positions=True),
            same=same,
        )
        insert = query("SELECT w.* FROM wanted AS w ANTI JOIN $hub AS h ON $same", hub=session.scan(base), same=same)
        session.create("removed", remove)
        publish.apply(session, table, base, columns=kinds, remove=query("SELECT * FROM removed"), insert=insert)


def _typed(session: Session, rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, str]) -> exp.Query:
    given_columns = {name: pa.array([row[name] for row in rows]) for name in kinds}
    session.register("given", pa.table(given_columns))
    typed = [alias(exp.cast(column(name), kind, dialect=DIALECT), name) for name, kind in kinds.items()]
    found: exp.Query = query("SELECT $typed FROM given", typed=typed)
    return found


def sale_row(place: int, row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "s_key": str(place), "s_input_id": "i", "s_row_id": place, "s_status": "pass"}


def store_row(store: int, kind: str) -> dict[str, Any]:
    return {"Id": store, "Kind": kind, "s_key": str(store), "s_input_id": "i", "s_row_id": store, "s_status": "pass"}


def computed_anew(workspace: Workspace) -> list[dict[str, Any]]:
    """All rules over the whole hub, without a table of results."""
    rules = compile_rules(workspace.source, workspace.sources)
    hub = workspace.hub.snapshot()
    assert hub is not None
    with workspace.engine.session() as session:
        rows = conformed(session, hub, rules.hub_columns, only_current=False)
        result = evaluate(rules.current, rows, RelatedHubs(workspace, session, rules.current))
        names = columns([*rules.hub_columns, *rules.current.rules], "r")
        return _ordered(session, query("SELECT $names FROM $rows AS r", names=names, rows=result))


def published(workspace: Workspace) -> list[dict[str, Any]]:
    current = workspace.current.snapshot()
    assert current is not None
    with workspace.engine.session() as session:
        return _ordered(session, query("SELECT * FROM $t AS t", t=session.scan(current)))


def _ordered(session: Session, rows: exp.Query) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = session.fetch(query("SELECT * FROM $r AS r ORDER BY s_row_id", r=rows)).to_pylist()
    return found


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    CHOSEN_RULES,
    st.dictionaries(st.integers(0, 19), SALE, min_size=6, max_size=16),
    st.lists(CHANGE, min_size=2, max_size=3),
    st.booleans(),
    st.booleans(),
)
# a neighbour that is only there to be seen has a wrong value itself, for want of its own neighbours
@example({"around"}, on_days(1, 15), [({7: sale(1, 7, 99)}, None)], False, False)
# a look-up that only a window reads changes rows of a store none of whose sales moved
@example({"by look-up"}, on_days(1, 3) | {9: sale(2, 0, 1)}, [({9: sale(2, 0, 2)}, {1: "b"})], True, False)
def test_what_is_kept_current_equals_computing_it_anew(
    engine: DuckDBEngine,
    names: set[str],
    history: dict[int, dict[str, Any]],
    changes: list[tuple[dict[int, dict[str, Any] | None], dict[int, str] | None]],
    with_stores: bool,
    with_kind: bool,
) -> None:
    """Over all kinds of windows, with rows added, changed, moved and removed, and related rows too.

    Means are of few small whole numbers, so they are the same to the last digit.
    """
    with tempfile.TemporaryDirectory() as home:
        environment = environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": home}, Path(home))
        own, stores = (
            sales_with(sorted(names), with_kind),
            unchecked_source("stores", STORES, refresh={"type": "key", "key": ["Id"]}),
        )
        metadata = MetadataStore(environment.metadata_url)
        workspace = Workspace(environment, own, {"sales": own, "stores": stores}, engine, metadata)
        rows = dict(history)
        if with_stores:
            write_hub(workspace, "stores", [store_row(1, "a")])
        write_hub(workspace, "sales", [sale_row(place, row) for place, row in rows.items()])
        recalculate(workspace)
        for moved, redefined in changes:
            if redefined is not None:
                write_hub(workspace, "stores", [store_row(store, kind) for store, kind in redefined.items()])
            for place, row in moved.items():
                rows.pop(place, None)
                if row is not None:
                    rows[place] = row
            write_hub(workspace, "sales", [sale_row(place, row) for place, row in rows.items()])
            report = recalculate(workspace)
            assert report.failures == ()
            assert published(workspace) == computed_anew(workspace)
            # and it is at rest
            assert recalculate(workspace).version == report.version


# --- relations of every kind -----------------------------------------------------------------------------------------

VISITS = {"Store": "integer", "Day": "integer", "Tag": "text", "Value": "integer"}
SHOPS = {"Id": "integer", "Region": "text", "Size": "integer"}
REGIONS = {"Code": "text", "Name": "text"}
ORDERS = {"Store": "integer", "Day": "integer", "Tag": "text", "Amount": "integer"}
PRICES = {"Store": "integer", "Since": "integer", "Until": "integer", "Price": "integer"}
# own column, comparison, related column
JOINS: dict[str, tuple[str, list[tuple[str, str, str]]]] = {
    "shop": ("shops", [("Store", "=", "Id")]),
    "price": ("prices", [("Store", "=", "Store"), ("Day", ">=", "Since"), ("Day", "<", "Until")]),
    "orders": ("orders", [("Store", "=", "Store")]),
    "alike": ("orders", [("Store", "=", "Store"), ("Tag", "=", "Tag")]),
    "before": ("orders", [("Store", "=", "Store"), ("Day", ">", "Day")]),
    "later": ("orders", [("Day", "<", "Day")]),
    "twins": ("visits", [("Tag", "=", "Tag")]),
}
TO_ONE = {"shop", "price"}
# each with the relations that it follows
RELATED = {
    "size": ("shop.Size + 1", ["shop"]),
    "region": ("shop.region.Name", ["shop", "region"]),
    "price_then": ("Value * price.Price", ["price"]),
    "ordered": ("coalesce(sum(orders.Amount), 0)", ["orders"]),
    "number": ("count(orders.Amount)", ["orders"]),
    "kinds": ("count(distinct orders.Tag) filter (where orders.Amount > 2)", ["orders"]),
    "both": ("max(alike.Amount) - min(before.Amount)", ["alike", "before"]),
    "to_come": ("count(*) filter (where later.Amount > 1)", ["later"]),
    "of_shop": ("sum(shop.orders_of.Amount)", ["shop", "orders_of"]),
    "same_tag": ("avg(twins.Value)", ["twins"]),
    "on_rule": ("ordered * 2 + number", ["orders"]),
}
WINDOWED = {
    "running": "sum(ordered) over (partition by Store order by Day range between 2 preceding and current row)",
    "spread": "max(count(orders.Amount)) over (partition by Tag)",
}
# every try is a whole story with tables: making a failing one smaller takes longer than reading it
NO_SHRINK = (Phase.explicit, Phase.reuse, Phase.generate)
SMALL = st.one_of(st.none(), st.integers(1, 4))
TAG = st.sampled_from(["x", "y", None])
ROWS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "visits": st.fixed_dictionaries({"Store": SMALL, "Day": SMALL, "Tag": TAG, "Value": SMALL}),
    "shops": st.fixed_dictionaries({"Region": st.sampled_from(["n", "s", None]), "Size": SMALL}),
    "regions": st.fixed_dictionaries({"Name": TAG}),
    "orders": st.fixed_dictionaries({"Store": SMALL, "Day": SMALL, "Tag": TAG, "Amount": SMALL}),
    "prices": st.fixed_dictionaries({"Price": SMALL}),
}
World = dict[str, dict[int, dict[str, Any]]]
MOST = 6
# what one change does to one hub: rows put at some places, or taken away
MOVE = {
    name: st.dictionaries(st.integers(0, MOST), st.one_of(st.none(), row), min_size=1, max_size=2)
    for name, row in ROWS.items()
}
STEP = st.lists(
    st.sampled_from(sorted(ROWS)).flatmap(lambda name: st.tuples(st.just(name), MOVE[name])), min_size=1, max_size=2
)


def with_key(name: str, place: int, row: Mapping[str, Any]) -> dict[str, Any]:
    """What follows from a row's place, so that keys are unique and periods do not overlap."""
    if name == "shops":
        return {"Id": place, **row}
    if name == "regions":
        return {"Code": ["n", "s"][place % 2], **row}
    if name == "prices":
        return {"Store": 1 + place // 3, "Since": place % 3, "Until": place % 3 + 1, **row}
    return dict(row)


def visits_with(names: Sequence[str]) -> tuple[Source, dict[str, Source]]:
    relations = {
        name: {
            "source": target,
            "on": {own: other for own, is_, other in joins if is_ == "="},
            "where": [{"column": own, "is": is_, "related": other} for own, is_, other in joins if is_ != "="],
            "cardinality": "to_one" if name in TO_ONE else "to_many",
        }
        for name, (target, joins) in JOINS.items()
    }
    wanted = {
        *names,
        *(["ordered", "number"] if "on_rule" in names else []),
        *(["ordered"] if "running" in names else []),
    }
    expressions = {**{name: text for name, (text, _) in RELATED.items()}, **WINDOWED}
    rules = [{"name": n, "expression": e, "mode": "keep_current"} for n, e in expressions.items() if n in wanted]
    visits = unchecked_source("visits", VISITS, relations=relations, rules=rules)
    of_shop = {
        "region": {"source": "regions", "on": {"Region": "Code"}},
        "orders_of": {"source": "orders", "on": {"Id": "Store"}, "cardinality": "to_many"},
    }
    shops = unchecked_source("shops", SHOPS, refresh={"type": "key", "key": ["Id"]}, relations=of_shop)
    others = {
        "shops": shops,
        "regions": unchecked_source("regions", REGIONS, refresh={"type": "key", "key": ["Code"]}),
        "orders": unchecked_source("orders", ORDERS),
        "prices": unchecked_source("prices", PRICES),
    }
    return visits, {"visits": visits, **others}


def matches(own: Mapping[str, Any], joins: Sequence[tuple[str, str, str]], related: Mapping[str, Any]) -> bool:
    compare = {"=": operator.eq, "<": operator.lt, ">": operator.gt, ">=": operator.ge}
    pairs = [(own[left], compare[is_], related[right]) for left, is_, right in joins]
    return all(a is not None and b is not None and holds(a, b) for a, holds, b in pairs)


def touched(names: set[str], before: World, after: World) -> set[int]:
    """The visits that changed, or that now or before pointed to a row that changed."""

    def differing(name: str) -> list[dict[str, Any]]:
        sides = (before[name], after[name])
        places = {place for side in sides for place in side if sides[0].get(place) != sides[1].get(place)}
        return [side[place] for place in places for side in sides if place in side]

    found = {place for place in after["visits"] if before["visits"].get(place) != after["visits"][place]}
    used = {relation for name in names for relation in RELATED[name][1]}
    for place, visit in after["visits"].items():
        for relation in used & set(JOINS):
            target, joins = JOINS[relation]
            if any(matches(visit, joins, row) for row in differing(target)):
                found.add(place)
        shop = after["shops"].get(visit["Store"])
        if shop is None:
            continue
        if "region" in used and any(row["Code"] == shop["Region"] for row in differing("regions")):
            found.add(place)
        if "orders_of" in used and any(row["Store"] == shop["Id"] for row in differing("orders")):
            found.add(place)
    return found


def put(world: World, step: Sequence[tuple[str, Mapping[int, Mapping[str, Any] | None]]]) -> World:
    after = {name: dict(rows) for name, rows in world.items()}
    for name, moved in step:
        for place, row in moved.items():
            # two regions there are, as two codes
            place = place % 2 if name == "regions" else place
            after[name].pop(place, None)
            if row is not None:
                after[name][place] = with_key(name, place, row)
    return after


def write_world(workspace: Workspace, world: World, names: Collection[str]) -> None:
    for name in sorted(names):
        rows = [
            {**row, "s_key": str(n), "s_input_id": "i", "s_row_id": n, "s_status": "pass"}
            for n, row in world[name].items()
        ]
        write_hub(workspace, name, rows)


@settings(max_examples=15, deadline=None, phases=NO_SHRINK, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sets(st.sampled_from(sorted(RELATED)), min_size=1, max_size=3),
    st.sets(st.sampled_from(sorted(WINDOWED)), max_size=1),
    st.lists(STEP, min_size=6, max_size=6),
    st.lists(STEP, min_size=2, max_size=3),
    st.sampled_from(["kept", "kept", "rewritten", "vacuumed"]),
)
def test_related_rows_of_every_kind_are_followed_and_no_others_are_touched(
    engine: DuckDBEngine, names: set[str], windows: set[str], history: list[Any], changes: list[Any], files: str
) -> None:
    """To-one and to-many, by several columns, by comparisons, over two hops, and to the source itself.

    Hubs may be rewritten, or lose the files of older versions, in between: then all is computed again, to the same.
    """
    with tempfile.TemporaryDirectory() as home:
        environment = environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": home}, Path(home))
        own, sources = visits_with(sorted(names | windows))
        workspace = Workspace(environment, own, sources, engine, MetadataStore(environment.metadata_url))
        world: World = {name: {} for name in ROWS}
        for step in history:
            world = put(world, step)
        # a hub that nothing has reached yet is not there
        write_world(workspace, world, {"visits", *(name for name, rows in world.items() if rows)})
        assert recalculate(workspace).failures == ()
        for step in changes:
            before, world = world, put(world, step)
            write_world(workspace, world, {name for name, _ in step})
            if files != "kept":
                for name in sorted(ROWS):
                    rewrite(workspace, name)
            if files == "vacuumed":
                for name in ROWS:
                    vacuum(workspace.table(f"hub/{name}"), retention=dt.timedelta(0), young=dt.timedelta(0))
            report = recalculate(workspace)
            assert report.failures == ()
            assert published(workspace) == computed_anew(workspace)
            if files != "vacuumed" and not windows:
                assert report.inputs[0].counts["rows_seen"] <= len(touched(names | needed(names), before, world))
            assert recalculate(workspace).version == report.version


def needed(names: set[str]) -> set[str]:
    return {"ordered", "number"} if "on_rule" in names else set()


def rewrite(workspace: Workspace, name: str) -> None:
    """Put a hub's rows into new files, as compaction does."""
    table = workspace.table(f"hub/{name}")
    base = table.snapshot()
    if base is None or not base.files:
        return
    with workspace.engine.session() as session:
        rows = session.write(session.scan(base), table.uri)
        table.commit(
            base,
            operation="OPTIMIZE",
            columns=base.columns,
            add=rows,
            remove=base.files,
            info=base.info,
            data_change=False,
        )
