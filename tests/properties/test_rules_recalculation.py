"""The law of recalculation: after any sequence of changes, what is kept current equals computing everything anew.

Schemas, relations and rules are drawn; what must come out is worked out by `rule_reference`, which knows nothing of the
platform, and by the platform's own computation of everything.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from declared import arrived, unchecked_source
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from rule_cases_drawn import OWN, Draw, drawn
from rule_reference import Ambiguous, Column, Place, Row, Rows, Rule, Table, Window, World, computed, touched
from sqlglot import exp

from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.engines.base import Session
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.errors import InputError
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.report import StepReport
from dataops_assets.rules.compiler import compile_rules
from dataops_assets.rules.query import evaluate
from dataops_assets.rules.types import described
from dataops_assets.sql import DIALECT, alias, column, columns, query
from dataops_assets.steps.cdc import cdc
from dataops_assets.steps.enrich import enrich
from dataops_assets.steps.enriching.look_ups import RelatedHubs, rows_cast_or_null
from dataops_assets.steps.recalculate import recalculate
from dataops_assets.steps.refresh import refresh, remove
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage import publish
from dataops_assets.storage.delta import TableChange
from dataops_assets.storage.vacuum import vacuum

NOON = dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC)
IDENTITY = ("s_input_id", "s_row_id")
# every try is a whole story with tables: making a failing one smaller takes longer than reading it
NO_SHRINK = (Phase.explicit, Phase.reuse, Phase.generate)
NUMBERS = st.integers(0, 2**40)


def story(most: int) -> Any:
    return settings(max_examples=most, deadline=None, phases=NO_SHRINK)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    home = tmp_path_factory.mktemp("engine")
    return DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))


# --- what is drawn, as the platform knows it --------------------------------------------------------------------------


def declared(table: Table, rules: Sequence[Rule]) -> Source:
    relations = {
        name: {
            "source": relation.target,
            "on": {own: other for own, is_, other in relation.joins if is_ == "="},
            "where": [{"column": own, "is": is_, "related": other} for own, is_, other in relation.joins if is_ != "="],
            "cardinality": "to_many" if relation.many else "to_one",
        }
        for name, relation in table.relations.items()
    }
    return unchecked_source(
        table.name,
        table.columns,
        refresh={"type": "key", "key": list(table.key)} if table.key else {"type": "append"},
        relations=relations,
        rules=[{"name": rule.name, "expression": rule.expression.sql, "mode": rule.mode} for rule in rules],
    )


class Story:
    """A world, and the platform's tables that must follow it."""

    def __init__(self, home: str, engine: DuckDBEngine, case: Draw) -> None:
        self.case = case
        self.rules = list(case.rules)
        self.world: World = {name: {} for name in case.tables}
        # what the published table was computed from
        self.before: tuple[World, list[Rule], dict[Place, dict[str, Any]]] | None = None
        environment = environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": home}, Path(home))
        metadata = MetadataStore(environment.metadata_url)
        metadata.migrate()
        self.context = SourceContext(environment, declared(case.tables[OWN], self.rules), {}, engine, metadata)
        self.declare()

    def declare(self) -> None:
        sources = {name: declared(table, self.rules if name == OWN else ()) for name, table in self.case.tables.items()}
        space = self.context
        self.context = SourceContext(space.environment, sources[OWN], sources, space.engine, space.metadata)

    def space(self, name: str) -> SourceContext:
        space = self.context
        return SourceContext(space.environment, space.sources[name], space.sources, space.engine, space.metadata)

    @property
    def kept(self) -> list[Rule]:
        return [rule for rule in self.rules if rule.mode == "keep_current"]

    def expected(self) -> dict[Place, dict[str, Any]]:
        return computed(self.world, self.case.tables, self.case.tables[OWN], self.kept)

    def check(self, *, is_bound: bool = True) -> None:
        """Recalculate: the result is that of the reference, and no other rows were computed than must be."""
        report = recalculate(self.context)
        try:
            expected = self.expected()
        except Ambiguous:
            assert [type(item.error) for item in report.failures] == [InputError]
            return
        assert [str(item.error) for item in report.failures] == []
        names = [*self.case.tables[OWN].columns, *(rule.name for rule in self.rules)]
        assert published(self.context, names) == {p: {n: row[n] for n in names} for p, row in expected.items()}
        if is_bound:
            self.require_bound(report, expected)
        self.before = self.world, list(self.rules), expected
        assert recalculate(self.context).version == report.version, "it is at rest"

    def require_bound(self, report: StepReport, expected: Mapping[Place, Row]) -> None:
        if self.before is None:
            return
        world, rules, former = self.before
        if rules != self.rules:
            return
        concerned = touched(world, self.world, self.case.tables, self.case.tables[OWN], self.kept)
        windows = [part for rule in self.kept for part in rule.expression.all() if isinstance(part, Window)]
        if windows:
            parts = windows[0].partition
            windowed = windowed_rules(self.kept)
            if not parts or any(item.partition != parts or windowed & names_of(item) for item in windows):
                # a change may be seen anywhere
                return
            gone = {place for place in former if place not in expected}
            places = [(rows, place) for rows in (former, expected) for place in {*concerned, *gone} if place in rows]
            stirred = {tuple(rows[place][part] for part in parts) for rows, place in places}
            concerned = {p for p, row in expected.items() if tuple(row[part] for part in parts) in stirred}
        assert report.inputs[0].counts["rows_seen"] <= len(concerned)


def windowed_rules(rules: Sequence[Rule]) -> set[str]:
    """The rules that see other rows, themselves or through another rule."""
    found: set[str] = set()
    for rule in rules:
        parts = list(rule.expression.all())
        if any(isinstance(part, Window) or (isinstance(part, Column) and part.sql in found) for part in parts):
            found.add(rule.name)
    return found


def names_of(window: Window) -> set[str]:
    return {*window.partition, window.order or "", window.argument.sql}


def published(context: SourceContext, names: Sequence[str]) -> dict[Place, dict[str, Any]]:
    current = context.current.snapshot()
    assert current is not None
    with context.engine.session() as session:
        return by_place(session, query("SELECT * FROM $t AS t", t=session.scan(current)), names)


def computed_anew(context: SourceContext, names: Sequence[str]) -> dict[Place, dict[str, Any]]:
    """All rules over the whole hub by the platform, without a table of results."""
    rules = compile_rules(context.source, context.sources)
    hub = context.hub.snapshot()
    assert hub is not None
    with context.engine.session() as session:
        rows = rows_cast_or_null(session, hub, rules.hub_columns, "all")
        return by_place(session, evaluate(rules.current, rows, RelatedHubs(context, session, rules.current)), names)


def by_place(session: Session, rows: exp.Query, names: Sequence[str]) -> dict[Place, dict[str, Any]]:
    wanted = columns([*IDENTITY, *names], "r")
    found = session.fetch(query("SELECT $names FROM $rows AS r", names=wanted, rows=rows)).to_pylist()
    keyed = {(row["s_input_id"], row["s_row_id"]): {name: row[name] for name in names} for row in found}
    assert len(keyed) == len(found), "rows are doubled"
    return keyed


def typed(session: Session, rows: Sequence[Row], kinds: Mapping[str, str]) -> exp.Query:
    given = session.register(pa.table({item: pa.array([row.get(item) for row in rows]) for item in kinds}))
    selected = [alias(exp.cast(column(item), kind, dialect=DIALECT), item) for item, kind in kinds.items()]
    found: exp.Query = query("SELECT $typed FROM $given AS g", typed=selected, given=given)
    return found


def rewrite(context: SourceContext, name: str) -> None:
    """Put a hub's rows into new files, as compaction does."""
    table = context.table(f"hub/{name}")
    base = table.snapshot()
    if base is None or not base.files:
        return
    with context.engine.session() as session:
        rows = session.write(session.scan(base), table.uri, base.columns)
        change = TableChange(
            operation="OPTIMIZE",
            columns=base.columns,
            add=rows,
            remove=base.files,
            info=base.info,
            data_change=False,
        )
        table.commit(base, change)


# --- hubs that are written as refresh writes them ---------------------------------------------------------------------


def write_hub(context: SourceContext, name: str, rows: Rows) -> None:
    """Bring a hub to exactly these rows as refresh does: unchanged rows stay where they are."""
    kinds = dict(compile_rules(context.sources[name], context.sources).hub_columns)
    table = context.table(f"hub/{name}")
    given_rows = [
        {**row, "s_key": f"{place}", "s_input_id": place[0], "s_row_id": place[1], "s_status": "pass"}
        for place, row in rows.items()
    ]
    with context.engine.session() as session:
        wanted = session.create(typed(session, given_rows, kinds))
        base = table.snapshot()
        if base is None:
            publish.apply(
                session,
                table,
                None,
                publish.RowChange(columns=kinds, insert=query("SELECT w.* FROM $wanted AS w", wanted=wanted)),
            )
            return
        same = exp.and_(*[query("$w IS NOT DISTINCT FROM $h", w=column(n, "w"), h=column(n, "h")) for n in kinds])
        remove_ = query(
            "SELECT h.s_file, h.s_position FROM $hub AS h ANTI JOIN $wanted AS w ON $same",
            wanted=wanted,
            hub=session.scan(base, positions=True),
            same=same,
        )
        insert = query(
            "SELECT w.* FROM $wanted AS w ANTI JOIN $hub AS h ON $same",
            wanted=wanted,
            hub=session.scan(base),
            same=same,
        )
        removed = session.create(remove_)
        publish.apply(
            session,
            table,
            base,
            publish.RowChange(
                columns=kinds, remove=query("SELECT r.* FROM $removed AS r", removed=removed), insert=insert
            ),
        )


def moved(case: Draw, table: Table, rows: Rows, number: int) -> dict[Place, Row]:
    """The rows after some came, went, or changed in one column or all; of each key there is one."""
    after = dict(rows)
    for _ in range(number):
        place = ("i", case.random.randint(0, 15))
        act = case.random.choice(["put", "put", "go", "change", "change"])
        if act == "put" or place not in after:
            after[place] = case.row(table)
        elif act == "go":
            del after[place]
        else:
            name = case.random.choice(list(table.columns))
            after[place] = {**after[place], name: case.row(table)[name]}
    if not table.key:
        return after
    by_key = {tuple(row[name] for name in table.key): place for place, row in after.items()}
    return {place: after[place] for place in by_key.values()}


@story(32)
@given(NUMBERS)
def test_what_is_kept_current_equals_computing_it_anew(engine: DuckDBEngine, number: int) -> None:
    """Rows come, change and go in any of the hubs, rules are declared otherwise; files are rewritten or vacuumed."""
    case = drawn(number, with_inputs=False)
    with tempfile.TemporaryDirectory() as home:
        told = Story(home, engine, case)
        told.world = {name: moved(case, table, {}, 20 if name == OWN else 8) for name, table in case.tables.items()}
        absent = case.random.choice([None, None, *case.tables])
        for name in case.tables:
            # a hub that nothing has reached yet is not there
            if name == OWN or name != absent:
                write_hub(told.context, name, told.world[name])
            else:
                told.world = {**told.world, name: {}}
        told.check()
        for _ in range(3):
            after = dict(told.world)
            for name in case.random.sample(sorted(case.tables), case.random.choice([1, 1, 2])):
                after[name] = moved(case, case.tables[name], after[name], case.random.choice([1, 1, 2]))
                write_hub(told.context, name, after[name])
            told.world = after
            files = case.random.choice(["kept", "kept", "kept", "rewritten", "vacuumed"])
            for name in case.tables if files != "kept" else ():
                rewrite(told.context, name)
                if files == "vacuumed":
                    vacuum(told.context.table(f"hub/{name}"), retention=dt.timedelta(0), young=dt.timedelta(0))
            if case.random.random() < 0.25:
                last = told.rules.pop()
                case.rules = list(told.rules)
                told.rules.append(case.rule(last.name, "keep_current"))
                told.declare()
            told.check(is_bound=files != "vacuumed")
        names = [rule.name for rule in told.rules]
        if told.before is not None and told.before[0] is told.world:
            assert published(told.context, names) == computed_anew(told.context, names)


# --- hubs that are made by the steps ----------------------------------------------------------------------------------


class Arrivals:
    """The inputs of all tables, taken through change capture, enrichment and refresh, and the world that they make."""

    def __init__(self, told: Story) -> None:
        self.told = told
        self.inputs: dict[str, dict[str, list[Row]]] = {name: {} for name in told.case.tables}
        self.frozen: dict[Place, Row] = {}

    def arrive(self, name: str, day: int) -> None:
        """One input of a table; it may be late."""
        case, space = self.told.case, self.told.space(name)
        table = case.tables[name]
        item = arrived(NOON + dt.timedelta(days=day), f"day-{day:02}", f"{name}{day}".ljust(64, "0"), "drawn", 0)
        rows = [case.row(table) for _ in range(case.random.randint(0, 4))]
        space.metadata.contracts.register(space.source)
        space.metadata.register_inputs(name, [item])
        kinds = {item_: described(kind) for item_, kind in table.columns.items()}
        kinds |= {"s_input_id": "VARCHAR", "s_row_id": "BIGINT"}
        landed = [{**row, "s_input_id": item.input_id, "s_row_id": place} for place, row in enumerate(rows)]
        with space.engine.session() as session:
            publish.replace_inputs(session, space.lake, typed(session, landed, kinds), [item.input_id])
        for step in (cdc, enrich, refresh):
            report = step(space, [item])
            assert [str(failure.error) for failure in report.failures] == []
        self.inputs[name][item.input_id] = list(rows)
        if name == OWN:
            self.freeze(item.input_id, rows)
        self.settle()

    def go(self, name: str, input_id: str) -> None:
        """An input is taken out."""
        remove(self.told.space(name), [input_id])
        del self.inputs[name][input_id]
        self.settle()

    def freeze(self, input_id: str, rows: Sequence[Row]) -> None:
        snapshot = [rule for rule in self.told.rules if rule.mode == "snapshot"]
        given_rows = {(input_id, place): row for place, row in enumerate(rows)}
        world = {**self.told.world, OWN: given_rows}
        tables = self.told.case.tables
        for place, row in computed(world, tables, tables[OWN], snapshot).items():
            self.frozen[place] = {rule.name: row[rule.name] for rule in snapshot}

    def settle(self) -> None:
        self.told.world = {name: self.hub(table) for name, table in self.told.case.tables.items()}

    def hub(self, table: Table) -> dict[Place, Row]:
        """What the inputs say together, in order of their extract times."""
        found: dict[Any, tuple[Place, Row]] = {}
        for input_id, rows in sorted(self.inputs[table.name].items()):
            for position, row in enumerate(rows):
                place = (input_id, position)
                key = tuple(row[name] for name in table.key) if table.key else place
                # a row that says what is known changes nothing
                if key not in found or found[key][1] != row:
                    found[key] = (place, row)
        own = self.frozen if table.name == OWN else {}
        return {place: {**row, **own.get(place, {})} for place, row in found.values()}


@story(4)
@given(NUMBERS)
def test_hubs_made_by_the_steps_are_followed(engine: DuckDBEngine, number: int) -> None:
    """Inputs in time and late, and removals, on any of the tables; snapshot rules stay as they were."""
    case = drawn(number, with_inputs=True)
    with tempfile.TemporaryDirectory() as home:
        told = Story(home, engine, case)
        arrivals = Arrivals(told)
        days = {name: case.random.sample(range(20), 8) for name in case.tables}
        for name in sorted(case.tables, reverse=True):
            arrivals.arrive(name, days[name].pop())
        told.check()
        for _ in range(4):
            name = case.random.choice(sorted(case.tables))
            if case.random.random() < 0.25 and len(arrivals.inputs[name]) > 1:
                arrivals.go(name, case.random.choice(sorted(arrivals.inputs[name])))
            else:
                arrivals.arrive(name, days[name].pop())
            # what stands may be known longer for a late input: then a row is another, though not in what the world has
            told.check(is_bound=not case.tables[OWN].key)
