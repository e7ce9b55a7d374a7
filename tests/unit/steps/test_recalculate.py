"""Recalculate on real tables: what is kept current follows every hub, and only the difference is committed."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from declared import unchecked_source
from rule_steps import context, fill_hub, table_rows

from dataops_assets.errors import ConfigError, GateFailed, InputError
from dataops_assets.report import StepReport
from dataops_assets.rules.compiler import compile_rules
from dataops_assets.steps.recalculate import recalculate
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep.outdated import outdated

SALES = {"Store": "integer", "Date": "date", "Sales": "integer", "Ratio": "double"}
STORES = unchecked_source("stores", {"Id": "integer", "Kind": "text"}, refresh={"type": "key", "key": ["Id"]})
HISTORIC = unchecked_source(
    "stores", {"Id": "integer", "Kind": "text"}, refresh={"type": "key", "key": ["Id"], "history": True}
)
RELATION = {"store": {"source": "stores", "on": {"Store": "Id"}}}
WEEK = "over (partition by Store order by Date range between interval 7 day preceding and interval 1 day preceding)"


def rule(expression: str, name: str = "r", **declared: Any) -> dict[str, Any]:
    return {"name": name, "expression": expression, "mode": "keep_current", **declared}


def sales(home: Path, *rules: dict[str, Any], **declared: Any) -> SourceContext:
    return context(home, unchecked_source("sales", SALES, rules=list(rules), relations=RELATION, **declared), STORES)


def day(number: int) -> dt.date:
    return dt.date(2024, 1, 1) + dt.timedelta(days=number)


def on(store: int, *numbers: int, **more: Any) -> list[dict[str, Any]]:
    """Rows of a store, one for each day, that sell as much as the day's number."""
    rows = [
        {"Store": store, "Date": day(number), "Sales": number, "s_row_id": store * 1000 + number} for number in numbers
    ]
    return [row | {"s_key": str(row["s_row_id"])} | more for row in rows]


def values(space: SourceContext, name: str = "r") -> list[Any]:
    return [row[name] for row in table_rows(space, "hub/sales_current", [name])]


def receipt(report: StepReport) -> tuple[int, int]:
    (only,) = report.inputs
    assert only.input_id == ""
    return only.counts["rows_seen"], only.counts["rows_changed"]


def test_the_current_table_is_the_hub_with_its_rules(tmp_path: Path) -> None:
    space = sales(tmp_path, rule(f"sum(Sales) {WEEK}"), rule("r + store.Id", "s"))
    fill_hub(space, "stores", [{"Id": 1, "Kind": "a"}])
    fill_hub(space, "sales", on(1, 1, 2, 9) + on(2, 2))
    report = recalculate(space)
    assert values(space) == [None, 1, 2, None]
    assert values(space, "s") == [None, 2, 3, None]
    rows = table_rows(space, "hub/sales_current")
    assert list(rows[0])[-3:] == ["s_status", "r", "s"]
    assert [row["Sales"] for row in rows] == [1, 2, 9, 2]
    assert (report.step, report.asset, report.rows, report.version) == ("recalculate", "hub/sales_current", 4, 0)
    assert receipt(report) == (4, 4)
    assert report.columns["r"] == "BIGINT"


def test_nothing_new_commits_nothing(tmp_path: Path) -> None:
    space = sales(tmp_path, rule(f"avg(Sales) {WEEK}"), rule("store.Kind", "k"))
    fill_hub(space, "sales", on(1, 1, 2, 3))
    recalculate(space)
    again = recalculate(space)
    assert (again.version, receipt(again)) == (0, (0, 0))
    # new versions of the hubs with the same rows: looked at, and found to be the same
    fill_hub(space, "sales", on(1, 1, 2, 3))
    fill_hub(space, "stores", [{"Id": 5}])
    looked = recalculate(space)
    assert (looked.version, receipt(looked)[1]) == (0, 0)


def test_a_changed_row_changes_only_the_rows_that_see_it(tmp_path: Path) -> None:
    space = sales(tmp_path, rule(f"sum(Sales) {WEEK}"))
    fill_hub(space, "sales", on(1, *range(30)) + on(2, *range(30)))
    recalculate(space)
    fill_hub(space, "sales", on(1, *range(10)) + on(1, 10, Sales=1000) + on(1, *range(11, 30)) + on(2, *range(30)))
    report = recalculate(space)
    assert receipt(report) == (8, 8)
    assert report.notes["computed"] == "touched rows"
    assert values(space)[10:18] == [42, 1039, 1046, 1053, 1060, 1067, 1074, 1081]
    assert values(space)[18] == sum(range(11, 18))


def test_rows_that_stay_as_they_are_stay_where_they_are(tmp_path: Path) -> None:
    space = sales(tmp_path, rule(f"sum(Sales) {WEEK}"))
    fill_hub(space, "sales", on(1, *range(30)) + on(2, *range(30)))
    recalculate(space)
    before = space.current.snapshot()
    assert before is not None
    (whole,) = before.files
    fill_hub(space, "sales", on(1, *range(29)) + on(1, 29, Sales=1000) + on(2, *range(30)))
    recalculate(space)
    after = space.current.snapshot()
    assert after is not None
    # the table is the same one, its file as well but for the one row that is written again
    assert (after.version, after.metadata["id"]) == (before.version + 1, before.metadata["id"])
    assert {file.path: (file.rows, file.deleted) for file in after.files}[whole.path] == (60, 1)
    assert sorted(file.rows for file in after.files) == [1, 60]


def test_removed_and_added_rows_are_seen_by_their_neighbours(tmp_path: Path) -> None:
    space = sales(tmp_path, rule(f"count(*) {WEEK}"), rule(f"max(Sales) {WEEK}", "m"))
    fill_hub(space, "sales", on(1, 1, 2, 3, 20))
    recalculate(space)
    fill_hub(space, "sales", on(1, 1, 3, 4, 20))
    report = recalculate(space)
    assert values(space) == [0, 1, 2, 0]
    assert values(space, "m") == [None, 1, 3, None]
    assert report.rows == 4
    fill_hub(space, "sales", [])
    assert recalculate(space).rows == 0
    fill_hub(space, "sales", on(1, 1))
    assert recalculate(space).rows == 1


def test_a_row_that_moves_to_another_partition_is_missed_in_the_old_one(tmp_path: Path) -> None:
    space = sales(tmp_path, rule("count(*) over (partition by Store)"))
    fill_hub(space, "sales", on(1, 1, 2) + on(2, 1) + on(3, 1))
    recalculate(space)
    moved = [row | ({"Store": 2} if row["s_row_id"] == 1002 else {}) for row in on(1, 1, 2)]
    fill_hub(space, "sales", moved + on(2, 1) + on(3, 1))
    report = recalculate(space)
    assert values(space) == [1, 2, 2, 1]
    assert receipt(report) == (3, 3)


def test_a_changed_related_row_changes_the_rows_that_point_to_it(tmp_path: Path) -> None:
    space = sales(tmp_path, rule("store.Kind"), rule("count(*) over (partition by r)", "n"))
    fill_hub(space, "stores", [{"Id": 1, "Kind": "a"}, {"Id": 2, "Kind": "b"}])
    fill_hub(space, "sales", on(1, 1, 2) + on(2, 1, 2, 3))
    recalculate(space)
    assert values(space, "n") == [2, 2, 3, 3, 3]
    fill_hub(space, "stores", [{"Id": 1, "Kind": "b"}, {"Id": 2, "Kind": "b"}])
    report = recalculate(space)
    assert values(space) == ["b"] * 5
    assert values(space, "n") == [5] * 5
    assert report.notes["computed"] == "touched rows"


def test_a_look_up_inside_a_window_is_followed(tmp_path: Path) -> None:
    space = sales(tmp_path, rule("count_if(store.Kind = 'a') over (partition by Date)"))
    fill_hub(space, "stores", [{"Id": 1, "Kind": "a"}, {"Id": 2, "Kind": "b"}])
    fill_hub(space, "sales", on(1, 1) + on(2, 1))
    recalculate(space)
    assert values(space) == [1, 1]
    fill_hub(space, "stores", [{"Id": 1, "Kind": "a"}, {"Id": 2, "Kind": "a"}])
    report = recalculate(space)
    assert values(space) == [2, 2]
    assert report.notes["computed"] == "touched rows"


def test_self_relations_are_kept_current(tmp_path: Path) -> None:
    people = unchecked_source(
        "people",
        {"id": "integer", "boss": "integer", "name": "text"},
        refresh={"type": "key", "key": ["id"]},
        relations={"boss_of": {"source": "people", "on": {"boss": "id"}}},
        rules=[rule("boss_of.name", "boss_name"), rule("boss_of.boss_of.name", "grand")],
    )
    space = context(tmp_path, people)
    fill_hub(
        space, "people", [{"id": 1, "name": "A"}, {"id": 2, "boss": 1, "name": "B"}, {"id": 3, "boss": 2, "name": "C"}]
    )
    recalculate(space)
    rows = table_rows(space, "hub/people_current", ["boss_name", "grand"])
    assert rows == [
        {"boss_name": None, "grand": None},
        {"boss_name": "A", "grand": None},
        {"boss_name": "B", "grand": "A"},
    ]


def bought(home: Path, *rules: dict[str, Any]) -> SourceContext:
    orders = unchecked_source("orders", {"Store": "integer", "Amount": "integer", "Note": "text"})
    relation = {"orders": {"source": "orders", "on": {"Store": "Store"}, "cardinality": "to_many"}}
    return context(home, unchecked_source("sales", SALES, rules=list(rules), relations=relation), orders)


def test_a_changed_row_of_many_touches_the_rows_that_point_to_it_now_or_before(tmp_path: Path) -> None:
    space = bought(tmp_path, rule("sum(orders.Amount)"), rule("r > 10", "much"))
    orders = [{"Store": store, "Amount": amount} for store, amount in ((1, 5), (1, 7), (2, 1), (None, 9))]
    fill_hub(space, "orders", orders)
    fill_hub(space, "sales", on(1, 1, 2) + on(2, 1) + on(3, 1))
    recalculate(space)
    assert values(space) == [12, 12, 1, None]
    # moved from store 1 to store 3; what no rule reads does not count
    orders[1] = {"Store": 3, "Amount": 7}
    orders[2] = orders[2] | {"Note": "x"}
    fill_hub(space, "orders", orders)
    report = recalculate(space)
    assert (values(space), values(space, "much")) == ([5, 5, 1, 7], [False, False, False, False])
    assert receipt(report) == (3, 3)
    assert [(item.rule, item.rows_seen, item.rows_changed) for item in report.receipts] == [("r", 3, 3), ("much", 3, 3)]
    fill_hub(space, "orders", [])
    assert receipt(recalculate(space)) == (4, 4)
    assert values(space) == [None] * 4


def test_a_changed_rule_is_computed_alone_with_what_depends_on_it(tmp_path: Path) -> None:
    first = bought(tmp_path, rule("sum(orders.Amount)"), rule("Sales + 1", "more"), rule("more * 2", "double"))
    fill_hub(first, "orders", [{"Store": 1, "Amount": 5}])
    fill_hub(first, "sales", on(1, 1, 2) + on(2, 1))
    recalculate(first)
    then = bought(tmp_path, rule("sum(orders.Amount)"), rule("Sales + 2", "more"), rule("more * 2", "double"))
    # and a related row has changed meanwhile
    fill_hub(then, "orders", [{"Store": 1, "Amount": 5}, {"Store": 2, "Amount": 3}])
    report = recalculate(then)
    assert (values(then), values(then, "double")) == ([5, 5, 3], [6, 8, 6])
    assert [(item.rule, item.rows_seen, item.rows_changed) for item in report.receipts] == [
        *(("r", 1, 1), ("more", 3, 3), ("double", 3, 3)),
    ]
    before, after = (compile_rules(item.source, item.sources).current.versions for item in (first, then))
    assert [name for name in after if before[name] == after[name]] == ["r"]


def test_a_column_that_comes_back_does_not_show_its_old_values(tmp_path: Path) -> None:
    fill = on(1, 1, 2, 3)
    space = sales(tmp_path, rule("Sales"), rule("Sales", "s"))
    fill_hub(space, "sales", fill)
    recalculate(space)
    recalculate(sales(tmp_path, rule("Sales", "s")))
    back = sales(tmp_path, rule("Sales", "s"), rule("case when Sales > 2 then Sales end"))
    recalculate(back)
    assert values(back) == [None, None, 3]


def test_an_ambiguous_period_is_told_with_its_condition(tmp_path: Path) -> None:
    periods = unchecked_source("periods", {"Since": "date", "Name": "text"})
    relation = {"period": {"source": "periods", "where": [{"column": "Date", "is": ">=", "related": "Since"}]}}
    own = unchecked_source("sales", SALES, rules=[rule("period.Name")], relations=relation)
    space = context(tmp_path, own, periods)
    fill_hub(space, "periods", [{"Since": day(1), "Name": "a"}, {"Since": day(5), "Name": "b"}])
    fill_hub(space, "sales", on(1, 1, 2))
    assert recalculate(space).failures == ()
    fill_hub(space, "sales", on(1, 1, 2, 7))
    error = str(recalculate(space).failures[0].error)
    assert "Since<=datetime.date(2024, 1, 8) matches 2 rows of hub/periods" in error
    assert "declare 'cardinality: to_many'" in error
    assert values(space) == ["a", "a"]


def test_a_changed_rule_recalculates_all_rows_but_commits_the_difference(tmp_path: Path) -> None:
    space = sales(tmp_path, rule("Sales + 1"))
    fill_hub(space, "sales", on(1, 1, 2, 3))
    recalculate(space)
    changed = sales(tmp_path, rule("case when Sales = 2 then 0 else Sales + 1 end"))
    report = recalculate(changed)
    assert receipt(report) == (3, 1)
    assert values(changed) == [2, 0, 4]


def test_rules_come_go_and_change_their_type(tmp_path: Path) -> None:
    space = sales(tmp_path, rule("Sales + 1"))
    fill_hub(space, "sales", on(1, 1, 2))
    recalculate(space)
    more = sales(tmp_path, rule("Sales + 1"), rule("Sales * 2", "twice"), rule("Ratio", "copy"))
    assert receipt(recalculate(more)) == (2, 2)
    assert values(more, "twice") == [2, 4]
    fewer = sales(tmp_path, rule("Sales * 2", "twice"))
    report = recalculate(fewer)
    assert list(report.columns)[-2:] == ["s_status", "twice"]
    assert list(table_rows(fewer, "hub/sales_current")[0])[-2:] == ["s_status", "twice"]
    text = sales(tmp_path, rule("'n' || Sales::text", "twice"))
    assert receipt(recalculate(text)) == (2, 2)
    assert values(text, "twice") == ["n1", "n2"]
    back = sales(tmp_path, rule("Sales + 1"), rule("'n' || Sales::text", "twice"))
    recalculate(back)
    assert values(back) == [2, 3]


def test_floating_point_noise_is_no_change(tmp_path: Path) -> None:
    space = sales(tmp_path, rule("sum(Ratio) over (partition by Date)"))
    parts = [0.1, 0.2, 0.3, 1e5, 1 / 3, 0.7]
    rows = [{"Ratio": part, "s_row_id": place, "s_key": str(place)} for place, part in enumerate(parts)]
    fill_hub(space, "sales", rows)
    recalculate(space)
    for start in (1, 3, 5):
        # a changed row has its whole partition computed again, in another order
        rows[0] = rows[0] | {"Sales": start}
        fill_hub(space, "sales", rows[start:] + rows[:start])
        assert receipt(recalculate(space)) == (6, 1)
    fill_hub(space, "sales", [*rows[:-1], rows[-1] | {"Ratio": 0.70001}])
    assert receipt(recalculate(space)) == (6, 6)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 0.0])
def test_special_doubles_are_equal_to_themselves(tmp_path: Path, value: float) -> None:
    space = sales(tmp_path, rule("sum(Ratio) over (partition by Store)"))
    fill_hub(space, "sales", [{"Store": 1, "Ratio": value}])
    recalculate(space)
    fill_hub(space, "stores", [{"Id": 1}])
    fill_hub(space, "sales", [{"Store": 1, "Ratio": value}])
    assert receipt(recalculate(space))[1] == 0


def test_only_current_versions_of_a_history_are_kept_current(tmp_path: Path) -> None:
    space = sales(
        tmp_path,
        rule("count(*) over (partition by Store)"),
        refresh={"type": "key", "key": ["Store"], "history": True},
    )
    fill_hub(space, "sales", [*on(1, 1, s_is_current=False), *on(1, 2, s_is_current=True)])
    recalculate(space)
    assert table_rows(space, "hub/sales_current", ["Sales", "r"]) == [{"Sales": 2, "r": 1}]


def test_a_row_follows_the_version_that_was_valid_at_its_moment(tmp_path: Path) -> None:
    stores = unchecked_source(
        "stores",
        {"Id": "integer", "Kind": "text"},
        refresh={"type": "key", "key": ["Id"], "order_by": "Since", "history": True},
        columns=[{"name": "Id", "type": "integer"}, {"name": "Kind"}, {"name": "Since", "type": "date"}],
    )
    relation = {"store": RELATION["store"] | {"as_of": "Date"}}
    space = context(tmp_path, unchecked_source("sales", SALES, rules=[rule("store.Kind")], relations=relation), stores)
    fill_hub(space, "sales", on(1, 1, 3, 5) + on(2, 3))

    def version(kind: str, start: int, end: int | None, *, gone: bool = False) -> dict[str, Any]:
        validity = {"s_valid_from": day(start), "s_valid_to": None if end is None else day(end), "s_is_deleted": gone}
        return {"Id": 1, "Kind": kind, "Since": day(start), "s_is_current": end is None, **validity}

    fill_hub(space, "stores", [version("old", 2, None)])
    recalculate(space)
    assert values(space) == [None, "old", "old", None]
    # a newer version, a late one, and a deletion: each touches only the rows of its time
    fill_hub(space, "stores", [version("old", 2, 5), version("new", 5, None)])
    assert receipt(recalculate(space))[1] == 1
    assert values(space) == [None, "old", "new", None]
    fill_hub(space, "stores", [version("old", 2, 3), version("late", 3, 5), version("", 5, None, gone=True)])
    assert receipt(recalculate(space)) == (2, 2)
    assert values(space) == [None, "late", None, None]


@pytest.mark.parametrize(
    ("stores", "moment", "message"),
    [
        (STORES, "Date", "'stores' keeps no versions.*history: true"),
        (HISTORIC, "Date", "'Date' is DATE, versions of 'stores' are valid from a TIMESTAMP WITH TIME ZONE"),
        (HISTORIC, "When", "did you mean|known columns"),
    ],
)
def test_a_moment_that_cannot_be_compared_is_refused(stores: Any, moment: str, message: str) -> None:
    relation = {"store": RELATION["store"] | {"as_of": moment}}

    def compiled() -> None:
        own = unchecked_source("sales", SALES, rules=[rule("store.Kind")], relations=relation)
        compile_rules(own, {"stores": stores})

    with pytest.raises((ConfigError, ValueError), match=message):
        compiled()


def test_an_ambiguous_look_up_publishes_nothing(tmp_path: Path) -> None:
    loose = unchecked_source("stores", {"Id": "integer", "Kind": "text"})
    space = context(tmp_path, unchecked_source("sales", SALES, rules=[rule("store.Kind")], relations=RELATION), loose)
    fill_hub(space, "sales", on(1, 1, 2))
    fill_hub(space, "stores", [{"Id": 1, "Kind": "a"}])
    recalculate(space)
    fill_hub(space, "stores", [{"Id": 1, "Kind": "a"}, {"Id": 1, "Kind": "b"}])
    report = recalculate(space)
    assert isinstance(report.failures[0].error, InputError)
    assert "2 rows with 1 such keys; e.g. Id=1 matches 2 rows of hub/stores" in str(report.failures[0].error)
    assert values(space) == ["a", "a"]


def test_a_failed_gate_publishes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gate_for_recalculate.py").write_text(
        "import pandera.pandas as pa\n"
        "most = pa.Column(int, pa.Check.le(100), nullable=True)\n"
        "current = pa.DataFrameSchema({'r': most}, unique=['Store', 'Date'])\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    space = sales(tmp_path, rule(f"sum(Sales) {WEEK}"), gates={"current": {"contract": "gate_for_recalculate:current"}})
    fill_hub(space, "sales", on(1, 1, 2, 3))
    assert recalculate(space).failures == ()
    fill_hub(space, "sales", on(1, 1) + on(1, 2, Sales=200) + on(1, 3))
    report = recalculate(space)
    assert isinstance(report.failures[0].error, GateFailed)
    assert [(check.check, check.passed) for check in report.checks] == [("contract", False)]
    assert values(space) == [None, 1, 3]
    # the gate is about the whole table, also where only some rows are computed again
    twin = on(1, 1)[0] | {"s_row_id": 77, "s_key": "77"}
    fill_hub(space, "sales", [*on(1, 1, 2, 3), twin])
    assert len(recalculate(space).failures) == 1
    fill_hub(space, "sales", on(1, 1, 2, 4))
    assert recalculate(space).failures == ()
    assert values(space) == [None, 1, 3]


def test_a_contract_that_is_declared_later_judges_the_rows_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for most in (1, 2, 3):
        (tmp_path / f"gate_of_{most}.py").write_text(
            f"import pandera.pandas as pa\nat = pa.Check.le({most})\n"
            "current = pa.DataFrameSchema({'r': pa.Column(int, at, nullable=True)})\n"
        )
    monkeypatch.syspath_prepend(str(tmp_path))
    rules = rule(f"sum(Sales) {WEEK}")
    space = sales(tmp_path, rules)
    fill_hub(space, "sales", on(1, 1, 2, 3))
    recalculate(space)

    def declared(most: int, severity: str = "fail") -> SourceContext:
        gate = {"contract": f"gate_of_{most}:current", "severity": severity}
        return sales(tmp_path, rules, gates={"current": gate})

    assert values(space) == [None, 1, 3]
    before = recalculate(space).version
    refused = recalculate(declared(2))
    assert isinstance(refused.failures[0].error, GateFailed)
    assert "the table stays as it is" in str(refused.failures[0].error)
    assert [(check.check, check.passed) for check in refused.checks] == [("contract", False)]
    assert outdated(declared(2), [], "").contract == "gate_of_2:current"
    assert refused.version == before
    # a contract that holds, or only warns, is recorded with its outcome, and judges once
    for most, severity, passed in ((3, "fail", True), (1, "warn", False)):
        assert outdated(declared(most, severity), [], "").contract
        for _ in range(2):
            report = recalculate(declared(most, severity))
            assert (report.failures, report.checks[0].passed) == ((), passed)
        assert not outdated(declared(most, severity), [], "")
    assert (before, recalculate(space).version) == (0, 2), "each contract that judged made one version"
    assert values(space) == [None, 1, 3]


def test_without_rules_or_hub_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no rule with 'mode: keep_current'.*use hub/sales"):
        recalculate(sales(tmp_path))
    with pytest.raises(InputError, match="materialize hub/sales first"):
        recalculate(sales(tmp_path, rule("Sales")))
