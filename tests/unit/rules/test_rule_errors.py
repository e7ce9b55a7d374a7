"""Every wrong rule is refused when it is compiled, with its source, its name, and the place that is wrong."""

from __future__ import annotations

import pytest
from declared import source
from rule_cases import STORES, compiled, current, rule, sales

from dataops_assets.config.source import Source
from dataops_assets.errors import ConfigError, RuleError
from dataops_assets.rules.compiler import compile_rules
from dataops_assets.rules.functions import FUNCTIONS, REASONS


def refused(expression: str, mode: str = "snapshot") -> RuleError:
    with pytest.raises(RuleError) as caught:
        compiled(rule(expression, mode=mode))
    assert caught.value.at.source == "sales"
    assert caught.value.at.rule == "r"
    assert "source 'sales', rule 'r'" in str(caught.value)
    return caught.value


def marked(error: RuleError) -> str:
    """The text above the carets."""
    shown, carets = error.at.excerpt.split("\n")
    return shown[carets.index("^") : len(carets)]


@pytest.mark.parametrize(
    ("expression", "problem", "place"),
    [
        ("Slaes / 2", "no column or rule 'Slaes', did you mean 'Sales'?", "Slaes"),
        ("sales + CUSTOMRES", "did you mean 'Customers'?", "CUSTOMRES"),
        ('Note = "NY"', "a text is written in single quotes: 'NY'", '"NY"'),
        ("stroe.Region", "no relation 'stroe', did you mean 'store'?", "stroe"),
        ("store.Regoin", "source 'stores' has no column or rule 'Regoin', did you mean 'Region'?", "Regoin"),
        ("store.region.cuontry", "source 'regions' has no column or rule 'cuontry'", "cuontry"),
        ("store.regoin.country", "source 'stores' has no relation 'regoin', did you mean 'region'?", "regoin"),
        ("sales.Store", "source 'sales' has no relation 'sales'", "sales"),
        ("region", "no column or rule 'region'", "region"),
        ("store.Age", "store.Age is a keep_current rule of source 'stores'", "Age"),
        ("store.region.x.y.z.country", "too many parts", "store.region.x.y.z.country"),
        ("upperr(Note)", "unknown function 'upperr', did you mean 'upper'?", "upperr"),
        ("zzzzzz(Note)", "unknown function 'zzzzzz'; known: abs,", "zzzzzz"),
        ("Sales +", "something is missing", "+"),
        ("abs(Sales", "expecting ) after 'Sales'", "Sales"),
        ("Sales )", "unexpected ')'", ")"),
        ("'open", "cannot be read", "'open"),
        ("Sales as x", "not part of the rule language", "Sales as x"),
        ("Sales x", "not part of the rule language", "Sales x"),
        ("Sales; 1", "not part of the rule language", "Sales; 1"),
        ("Note collate nocase", "not part of the rule language", "Note"),
        ("[Sales]", "not part of the rule language", "Sales"),
        ("{'a': Sales}", "not part of the rule language", "Sales"),
        ("Note[1]", "not part of the rule language", "Note"),
        ("(Sales, 1)", "not part of the rule language", "Sales, 1"),
        ("*", "'*' is not part", "*"),
        ("store.*", "not part of the rule language", "*"),
        ("$1", "not part of the rule language", "$1"),
        ("?", "not part of the rule language", "?"),
        ("Note -> 'a'", "not part of the rule language", "Note"),
        ("Note.upper()", "called with a dot", "upper"),
        ("main.upper(Note)", "called with a dot", "upper"),
        ("Sales IN Note", "IN takes a list of values", "Sales IN Note"),
        ("Sales::json", "cast to unknown type 'JSON'", "Sales"),
        ("Sales::int[]", "cast to unknown type 'INT[]'", "Sales"),
        ("date '2015-13-01'", "'2015-13-01' is no date", "date '2015-13-01'"),
        ("'x'::integer + Sales", "'x' is no int", "'x'::integer + Sales"),
        ("upper(Sales)", "No function matches the given name and argument types 'upper(BIGINT)'", "upper(Sales"),
        ("Customers + abs(Note)", "No function matches", "abs(Note"),
        ("Date - At + Note", "No function matches", "Date - At + Note"),
        ("1 + Sales // 2.5", "// divides whole numbers, here one is DECIMAL(2,1)", "Sales // 2.5"),
        ("interval 1 day", "gives INTERVAL, which no column can hold", "interval 1 day"),
        ("Date - At", "gives INTERVAL", "Date - At"),
        ("sum(Sales)", "'SUM(Sales)' needs OVER", "sum(Sales"),
        ("Sales / max(Sales)", "'MAX(Sales)' needs OVER", "Sales"),
        ("rank()", "'RANK()' needs OVER", "rank"),
        ("sum(Sales) over ()", "a snapshot rule sees one row", "sum(Sales"),
        ("s_status", "s_status is known only once the row is in the hub", "s_status"),
        ("s_updated_at", "known only once the row is in the hub", "s_updated_at"),
        ("", "the expression is empty", None),
        ("  \n ", "the expression is empty", None),
    ],
)
def test_wrong_expression_is_shown_where_it_is_wrong(expression: str, problem: str, place: str | None) -> None:
    error = refused(expression)
    assert problem in str(error)
    if place is not None:
        assert marked(error) == place


@pytest.mark.parametrize(
    "expression",
    [
        "(select 1)",
        "select Sales",
        "from sales",
        "Sales in (select 1)",
        "exists(select 1)",
        "Sales = any(select 1)",
        "Sales > all(select Sales from sales)",
        "case when (select true) then 1 end",
        "with t as (select 1) select * from t",
        "table sales",
        "values (1)",
        "Sales in (from sales)",
        "copy sales to 'x'",
        "attach 'x.db'",
        "detach x",
        "install httpfs",
        "load httpfs",
        "pragma version",
        "set threads = 1",
        "drop table sales",
        "create table t as select 1",
        "insert into t values (1)",
        "export database 'x'",
        "call pragma_version()",
        "summarize sales",
        "unnest([1])",
        "1; drop table sales",
        "Sales union select 1",
        "Sales) from sales; drop table sales; --",
    ],
)
def test_queries_and_statements_are_no_expressions(expression: str) -> None:
    refused(expression)


@pytest.mark.parametrize(
    "expression",
    [
        *(
            "read_csv('/etc/passwd')",
            "read_parquet('s3://b/x')",
            "read_text('/etc/passwd')",
            "read_blob('x')",
            "glob('*')",
        ),
        *("read_json('x')", "\"read_csv\"('x')", "READ_CSV('x')", "/**/read_csv/**/('x')", "main.read_csv('x')"),
        *("getenv('HOME')", "getvariable('x')", "current_setting('threads')", "nextval('s')", "query('select 1')"),
        *("query_table('t')", "duckdb_secrets()", "which_secret('a', 'b')", "pragma_table_info('t')", "range(10)"),
        *(
            "generate_series(1, 9)",
            "columns('a')",
            "COLUMNS(*)",
            "list_transform([1], x -> x)",
            "apply([1], lambda x: x)",
        ),
        *(
            "write_log('x')",
            "error('x')",
            "try(Sales)",
            "eval('1')",
            "version()",
            "current_user",
            "session_user",
            "user()",
        ),
    ],
)
def test_nothing_outside_the_row_is_reached(expression: str) -> None:
    refused(expression)


@pytest.mark.parametrize(
    "expression",
    [
        *("now()", "today()", "current_date", "current_date()", "current_timestamp", "current_time", "localtimestamp"),
        *(
            "transaction_timestamp()",
            "get_current_timestamp()",
            "random()",
            "uuid()",
            "gen_random_uuid()",
            "setseed(1)",
        ),
        *("age(At)", "any_value(Sales) over ()", "arg_max(Sales, Date) over ()", "first(Sales) over ()"),
    ],
)
def test_the_same_row_gives_the_same_value(expression: str) -> None:
    refused(expression, mode="keep_current")


def test_reasons_are_given_for_names_that_are_not_functions() -> None:
    assert not set(REASONS) & set(FUNCTIONS)
    assert "it gives another answer each time" in str(refused("now()"))
    assert "nothing outside its row" in str(refused("read_csv('x')"))
    assert "isodow counts from Monday = 1" in str(refused("dayofweek(Date)"))


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("lag(Sales) over (partition by Store)", "needs ORDER BY"),
        ("row_number() over ()", "needs ORDER BY"),
        ("sum(Sales) over (rows between 1 preceding and current row)", "needs ORDER BY"),
        ("sum(Sales) over w", "a named window is not known here"),
        ("upper(Note) over ()", "takes no window"),
        ("sum(sum(Sales) over ()) over ()", "a window inside a window"),
        ("sum(max(Sales)) over ()", "needs OVER"),
        (
            "first_value(Sales) over (order by Date range between interval 7 day preceding and current row)",
            "the first or last row is not defined",
        ),
    ],
)
def test_windows_that_leave_something_to_chance(expression: str, problem: str) -> None:
    assert problem in str(refused(expression, mode="keep_current"))


@pytest.mark.parametrize(
    ("rules", "path"),
    [
        ([rule("b", "a"), rule("a", "b")], "a → b → a"),
        ([rule("a + 1", "a")], "a → a"),
        ([rule("Sales", "x"), rule("x + c", "a"), rule("a", "b"), rule("b", "c")], "a → c → b → a"),
        ([current("b", "a"), current("sum(a) over ()", "b")], "a → b → a"),
    ],
)
def test_cycle_is_shown_as_a_path(rules: list[dict[str, str]], path: str) -> None:
    with pytest.raises(RuleError, match=f"rules need each other: {path}"):
        compiled(*rules)


def test_snapshot_cannot_depend_on_keep_current() -> None:
    with pytest.raises(RuleError, match="snapshot rule 'a' depends on keep_current rule 'b'"):
        compiled(rule("b + 1", "a"), current("Sales", "b"))
    with pytest.raises(
        RuleError, match=r"validation 'v' depends on keep_current rule 'b'(?s:.*)use the gate 'current'"
    ):
        compiled(current("Sales", "b"), validations=[{"name": "v", "expression": "b > 0"}])
    compiled(current("a + 1", "b"), rule("Sales", "a"))


def test_several_lines_are_counted() -> None:
    error = refused("case\n\twhen Open then Slaes\nend")
    assert (error.at.line, error.at.column) == (2, 17)
    assert error.at.excerpt == "  \twhen Open then Slaes\n  \t               ^^^^^"
    assert "line 2, column 17" in str(error)


def test_each_type_that_is_told_as_known_can_be_cast_to() -> None:
    with pytest.raises(RuleError) as error:
        compiled(rule("Sales::json"))
    for kind in error.value.known:
        compiled(rule(f"try_cast(null as {kind.replace('p,s', '9,2')})"))


def test_declared_names_and_types() -> None:
    with pytest.raises(RuleError, match="the prefix 's_' belongs to system columns"):
        compiled(rule("Sales", "S_mine"))
    with pytest.raises(RuleError, match="unknown type 'number'; known: text"):
        compiled(rule("Sales", type="number"))
    with pytest.raises(RuleError, match="a validation is true or false, this gives BIGINT"):
        compiled(validations=[{"name": "v", "expression": "Sales"}])
    with pytest.raises(RuleError, match="without commas"):
        compiled(validations=[{"name": "a, b", "expression": "Open"}])
    with pytest.raises(RuleError, match="declared twice"):
        compiled(validations=[{"name": "v", "expression": "Open"}, {"name": "v", "expression": "Open"}])
    with pytest.raises(RuleError, match=r"validation 'v'.*needs other rows"):
        compiled(validations=[{"name": "v", "expression": "count(*) over () > 1"}])


def related_to(relation: dict[str, object], target: Source = STORES) -> None:
    found = sales(relations={"store": relation})
    compile_rules(found, {"sales": found, target.name: target})


def test_relations_are_checked_even_if_no_rule_uses_them() -> None:
    with pytest.raises(ConfigError, match="unknown source 'store', did you mean 'stores'"):
        related_to({"source": "store", "on": {"Store": "Id"}})
    with pytest.raises(ConfigError, match="source 'stores' has no column 'Idd', did you mean 'Id'"):
        related_to({"source": "stores", "on": {"Store": "Idd"}})
    with pytest.raises(ConfigError, match="column 'Note' is text, column 'Id' of 'stores' is integer"):
        related_to({"source": "stores", "on": {"Note": "Id"}})
    with pytest.raises(ConfigError, match="letters, digits and underscores"):
        compiled(relations={"a.b": {"source": "stores", "on": {"Store": "Id"}}})


def test_snapshot_look_ups_that_lead_back_are_refused() -> None:
    a = source("a", {"k": "integer"}, relations={"b": {"source": "b", "on": {"k": "k"}}}, rules=[rule("b.k", "x")])
    b = source("b", {"k": "integer"}, relations={"a": {"source": "a", "on": {"k": "k"}}}, rules=[rule("a.k", "y")])
    with pytest.raises(RuleError, match=r"snapshot look-ups form a cycle: a → b → a"):
        compile_rules(a, {"a": a, "b": b})
    boss = {"boss": {"source": "people", "on": {"boss_id": "id"}}}
    people = source("people", {"id": "integer", "boss_id": "integer"}, relations=boss, rules=[rule("boss.id")])
    with pytest.raises(RuleError, match=r"snapshot look-ups form a cycle: people → people.*mode: keep_current"):
        compile_rules(people, {"people": people})


def test_an_error_in_a_related_source_names_that_source() -> None:
    broken = source("stores", {"Id": "integer"}, rules=[rule("Idd", "x")])
    found = sales(rule("store.x"))
    with pytest.raises(RuleError, match="source 'stores', rule 'x'"):
        compile_rules(found, {"sales": found, "stores": broken})


@pytest.mark.parametrize(
    "expression",
    [
        "(" * 3000 + "1" + ")" * 3000,
        "coalesce(" * 900 + "1" + ")" * 900,
        "not " * 2000 + "Open",
        "Sales" + " + 1" * 2000,
        "case when Open then " * 300 + "1" + " end" * 300,
    ],
)
def test_deep_expressions_are_refused_and_not_followed(expression: str) -> None:
    assert "nested too deeply" in str(refused(expression))


def test_endless_expressions_are_refused() -> None:
    assert "the expression has 20,001 characters; known: at most 10,000" in str(refused("1" + " + 1" * 5000))
