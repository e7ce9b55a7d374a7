"""Rows that are kept out of the hub are listed with rule, value and origin, repaired, and replayed at their place."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from code_location import CodeLocation, checks, failures, loaded, standalone
from command_line import dataops

from dataops_assets.config.source import Source
from dataops_assets.operations.cli import main
from dataops_assets.steps.parse import parse

HEADER = "id,customer,amount,note\n"
FROM_PARSE = ["lake/orders", "lake/orders_quarantine", "lake/orders_changes", "hub/orders_enriched", "hub/orders"]
SANE = {"name": "sane", "expression": "amount < 1000", "severity": "quarantine"}
ODD = {"name": "odd", "expression": "amount <> 13 or note is null", "severity": "quarantine"}


def orders(**changes: Any) -> dict[str, Any]:
    declared = standalone()
    columns = [*declared["columns"], {"name": "note"}]
    return declared | {"columns": columns, "validations": [SANE, ODD], **changes}


@pytest.fixture(scope="module")
def shop() -> Iterator[dg.Definitions]:
    with loaded(orders()) as definitions:
        yield definitions


def day(number: int) -> str:
    return f"orders_2024-01-{number:02}.csv"


class Person:
    """Who works with the command line; what was written and said stays."""

    def __init__(
        self, here: CodeLocation, declared: Mapping[str, Any] | None = None, *others: Mapping[str, Any]
    ) -> None:
        source, *further = [Source.model_validate(given) for given in (declared or orders(), *others)]
        self.context = here.platform.source_context(source, {item.name: item for item in (source, *further)})
        self.written = ""
        self.said: list[str] = []

    def does(self, *words: str) -> int:
        """`dataops quarantine <words>`."""
        act, *rest = words
        ended = dataops([self.context], "quarantine", act, "orders", *rest)
        self.written = ended.out
        self.said = [*ended.err.splitlines(), *(line for line in ended.lines if not line.endswith(" ..."))]
        return ended.code

    def lists(self, *words: str) -> list[dict[str, Any]]:
        self.does("list", "--json", *words)
        found: list[dict[str, Any]] = json.loads(self.written)
        as_format = dataops([self.context], "quarantine", "list", "orders", "--format", "json", *words)
        assert as_format.data == found
        return found

    def cannot(self, *words: str) -> str:
        assert self.does(*words) == 2
        return self.said[0]


@pytest.fixture
def here(shop: dg.Definitions, instance_of_commands: dg.DagsterInstance, tmp_path: Path) -> CodeLocation:
    return CodeLocation(shop, instance_of_commands, tmp_path)


def bad_day(here: CodeLocation) -> str:
    """Two inputs; the first has a row that does not parse, a torn one, and one that two validations keep out."""
    here.land("orders", day(1), HEADER + "1,7,5,\nx,7,1,\n3,7,9999,\n4,7\n5,7,13,odd\n")
    here.land("orders", day(2), HEADER + "6,7,2,\n3,7,8,\n")
    results = here.settle("orders")
    assert all(result.success for result in results), [failures(result) for result in results]
    return here.partitions("orders")[0]


@pytest.fixture(scope="module")
def settled(shop: dg.Definitions, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CodeLocation]:
    """Where nothing is changed any more."""
    with dg.instance_for_test() as instance:
        made = CodeLocation(shop, instance, tmp_path_factory.mktemp("settled"))
        bad_day(made)
        yield made


def test_rows_are_listed_with_rule_value_and_origin(settled: CodeLocation) -> None:
    bad = settled.partitions("orders")[0]
    person = Person(settled)
    found = person.lists()
    file = str(settled.landing / "orders" / day(1))
    assert [(row["input"], row["row"], row["line"], row["origin"]) for row in found] == [
        (bad, 1, 3, file),
        (bad, 2, 4, file),
        (bad, 3, 5, file),
        (bad, 4, 6, file),
        (bad, 4, 6, file),
    ]
    told = [(row["step"], row["rule"], row["column"], row["value"]) for row in found]
    assert told[0] == ("parse", "id: not an integer of 64 bits", "id", "x")
    assert told[1] == ("enrich", "sane", "amount", "9999.0")
    # a record that may hold what is tagged pii is not shown
    assert (told[2][0], told[2][2:]) == ("parse", (None, "***"))
    assert told[3:] == [("enrich", "odd", "amount", "13.0"), ("enrich", "odd", "note", "odd")]
    assert "1 rows: sane" in person.said
    assert len(person.lists("--rule", "odd")) == 2
    assert person.lists("--input", settled.partitions("orders")[1]) == []
    assert [row["row"] for row in person.lists("--limit", "1")] == [1, 2]
    assert "did you mean 'sane'?" in person.cannot("list", "--rule", "sanne")
    assert "not registered" in person.cannot("list", "--input", "nothing")


def test_the_ui_counts_what_each_rule_keeps_out(settled: CodeLocation) -> None:
    bad = settled.partitions("orders")[0]

    def told(asset: str) -> list[dict[str, Any]]:
        table = settled.materialized(asset)[bad].metadata["kept out by"]
        assert isinstance(table, dg.TableMetadataValue)
        return [dict(record.data) for record in table.records]

    assert told("hub/orders_enriched") == [{"rule": "odd", "rows": 1}, {"rule": "sane", "rows": 1}]
    assert {"rule": "id: not an integer of 64 bits", "rows": 1} in told("lake/orders_quarantine")


def test_a_repaired_row_takes_its_place_and_dagster_is_told(here: CodeLocation) -> None:
    bad = bad_day(here)
    before = len(list(here.instance.fetch_materializations(dg.AssetKey(["hub", "orders"]), limit=100).records))
    person = Person(here)
    assert person.does("repair", "--input", bad, "--row", "1", "--set", "id=2", "--by", "ann") == 0
    assert person.said[0] == "recorded: 1 rows of 1 inputs, by ann"
    # the torn record gets all its columns, a null where nothing is given
    sets = [word for text in ("id=4", "customer=", "amount=1.5") for word in ("--set", text)]
    assert person.does("repair", "--input", bad, "--row", "3", *sets) == 0
    assert here.rows("hub/orders", "id", "amount", "s_row_id") == [
        (1, 5.0, 0), (2, 1.0, 1), (3, 8.0, 1), (4, 1.5, 3), (6, 2.0, 0)
    ]  # fmt: skip
    assert [row["rule"] for row in person.lists()] == ["sane", "odd", "odd"]
    after = len(list(here.instance.fetch_materializations(dg.AssetKey(["hub", "orders"]), limit=100).records))
    assert after == before + 2
    assert here.tick("orders").skip_message == "no new input"
    # who and when, beside the raw bytes, which are as they were
    first, second = person.context.corrections.repairs([bad])
    assert (first.made_by, first.rows) == ("ann", {1: {"id": "2"}})
    assert first.made_at < second.made_at
    with person.context.raw.open(person.context.metadata.inputs("orders", [bad])[0]) as stream:
        assert b"\nx,7,1," in stream.read()


def test_a_correction_is_applied_whoever_runs_the_steps(here: CodeLocation) -> None:
    bad = bad_day(here)
    person = Person(here)
    person.does("repair", "--input", bad, "--row", "2", "--set", "amount=7")
    # an older row than that of the second day
    expected = [(1, 5.0), (3, 8.0), (6, 2.0)]
    assert here.rows("hub/orders", "id", "amount") == expected
    result = here.materialize(FROM_PARSE, {"dagster/partition": bad})
    assert result.success, failures(result)
    assert here.rows("hub/orders", "id", "amount") == expected
    assert [row["rule"] for row in person.lists()] == [
        "id: not an integer of 64 bits", person.lists()[1]["rule"], "odd", "odd"
    ]  # fmt: skip


def test_a_list_is_corrected_and_given_back(here: CodeLocation, tmp_path: Path) -> None:
    bad_day(here)
    person = Person(here)
    person.does("list", "--format", "csv", "--rule", "sane")
    cells = list(csv.DictReader(io.StringIO(person.written)))
    assert [cell["value"] for cell in cells] == ["9999.0"]
    as_given = tmp_path / "as_given.csv"
    as_given.write_text(person.written)
    assert person.does("repair", "--from", str(as_given)) == 1, "nothing was corrected"
    assert person.said[-1].startswith("still kept out: row 2 of input")
    mended = tmp_path / "mended.csv"
    mended.write_text(as_given.read_text().replace("9999.0", "99"))
    assert person.does("repair", "--from", str(mended)) == 0
    values = tmp_path / "values.json"
    bad = here.partitions("orders")[0]
    values.write_text(json.dumps([{"input": bad, "row": 4, "column": "note", "value": None}]))
    assert person.does("repair", "--from", str(values)) == 0
    assert here.rows("hub/orders", "id", "amount")[-2:] == [(5, 13.0), (6, 2.0)]


HOSTILE = "'; DROP TABLE x; --\x1b[31m\n\u202e\U0001f600\"$"


def test_hostile_values_are_data(here: CodeLocation, tmp_path: Path) -> None:
    here.land("orders", day(1), HEADER + f'1,7,9999,"{HOSTILE.replace(chr(34), chr(34) * 2)}"\n')
    here.settle("orders")
    (bad,) = here.partitions("orders")
    person = Person(here, orders(validations=[{**SANE, "expression": "amount < 1000 or note is null"}]))
    assert [row["value"] for row in person.lists()] == ["9999.0", HOSTILE]
    person.does("list")
    assert "\x1b" not in person.written
    given = tmp_path / "given.json"
    cells = [
        {"input": bad, "row": 0, "column": "amount", "value": "1"},
        {"input": bad, "row": 0, "column": "note", "value": HOSTILE * 2},
    ]
    given.write_text(json.dumps(cells))
    assert person.does("repair", "--from", str(given)) == 0
    assert here.rows("hub/orders", "id", "note") == [(1, HOSTILE * 2)]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--row", "9", "--set", "id=1"], "has no row 9"),
        (["--row", "-1", "--set", "id=1"], "has no row -1"),
        (["--row", "0", "--set", "id=1"], "row 0 of input BAD is in the hub and fails nothing"),
        (["--row", "1", "--set", "idd=1"], "no column 'idd', did you mean 'id'?"),
        (["--row", "1", "--set", "s_row_id=1"], "no column 's_row_id'"),
        (["--row", "1", "--set", "id=1.5"], "column 'id': '1.5' is no integer"),
        (["--row", "1", "--set", "id=9223372036854775808"], "is no integer"),
        (["--row", "1", "--set", "customer=secret"], "column 'customer': *** is no integer"),
        (["--row", "1", "--set", "id="], "column 'id' must have a value"),
        (["--row", "1", "--set", "id"], "write column=value"),
        (["--row", "1"], "no row or no correction"),
        (["--row", "1", "--set", "id=1", "--withdraw"], "no row or no correction"),
        (["--from", "missing.csv", "--row", "1"], "give one of the two"),
    ],
)
def test_what_cannot_be_repaired_says_why_and_changes_nothing(
    settled: CodeLocation, words: list[str], told: str
) -> None:
    bad = settled.partitions("orders")[0]
    before = settled.rows("hub/orders", "id", "amount")
    person = Person(settled)
    assert told.replace("BAD", bad) in person.cannot("repair", "--input", bad, *words)
    assert person.context.corrections.repairs([bad]) == []
    assert settled.rows("hub/orders", "id", "amount") == before


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("absent.csv", None, "No such file"),
        ("empty.csv", "", "no corrections"),
        ("wrong.json", "{", "give JSON"),
        ("object.json", "{}", "no corrections"),
        ("columns.csv", "input,row\na,1\n", "give each correction input, row, column, value"),
        ("row.csv", "input,row,column,value\na,x,id,1\n", "correction 1: row 'x'"),
        ("twice.csv", "input,row,column,value\nBAD,1,id,1\nBAD,1,id,2\n", "id of row 1 has two values"),
        ("part.csv", "input,row,column,value\nBAD,1,id,1\nBAD,77,id,2\n", "has no row 77"),
        ("unknown.csv", "input,row,column,value\nnobody,1,id,1\n", "not registered"),
        ("hidden.json", '[{"input": "BAD", "row": 1, "column": "customer", "value": "***"}]', "is what is shown of it"),
    ],
)
def test_a_wrong_file_of_corrections_says_where_and_changes_nothing(
    settled: CodeLocation, tmp_path: Path, name: str, content: str | None, told: str
) -> None:
    bad = settled.partitions("orders")[0]
    if content is not None:
        (tmp_path / name).write_text(content.replace("BAD", bad))
    person = Person(settled)
    assert told in person.cannot("repair", "--from", str(tmp_path / name))
    assert person.context.corrections.repairs([bad]) == []


def test_a_correction_is_corrected_and_withdrawn(here: CodeLocation) -> None:
    bad = bad_day(here)
    person = Person(here)
    for amount in ("6", "7"):
        person.does("repair", "--input", bad, "--row", "4", "--set", f"amount={amount}")
        assert (5, float(amount)) in here.rows("hub/orders", "id", "amount")
    assert person.does("repair", "--input", bad, "--row", "4", "--withdraw") == 1
    assert [row["rule"] for row in person.lists()][-2:] == ["odd", "odd"]
    assert here.rows("hub/orders", "id") == [(1,), (3,), (6,)]


def test_a_changed_rule_is_replayed(here: CodeLocation) -> None:
    bad_day(here)
    loose = orders(validations=[{**SANE, "severity": "warn"}, ODD])
    person = Person(here, loose)
    assert person.does("replay") == 0
    assert [row["rule"] for row in person.lists() if row["step"] == "enrich"] == ["odd", "odd"]
    # the older 9999 stands no more, but it did: nothing of it is in the hub of latest rows
    assert here.rows("hub/orders", "id", "s_status") == [(1, "pass"), (3, "pass"), (6, "pass")]
    nothing = Person(here, orders(validations=[]))
    assert nothing.does("replay", "--input", here.partitions("orders")[0]) == 0
    assert (5, 13.0) in here.rows("hub/orders", "id", "amount")


def test_a_contract_that_takes_the_row_is_replayed(instance_of_commands: dg.DagsterInstance, tmp_path: Path) -> None:
    declared = orders(validations=[])
    columns = declared["columns"]
    with loaded(declared | {"columns": [*columns[:-1], {"name": "note", "nullable": False}]}) as definitions:
        here = CodeLocation(definitions, instance_of_commands, tmp_path)
        here.land("orders", day(1), HEADER + "1,7,5,\n")
        here.settle("orders")
        assert here.rows("hub/orders", "id") == []
        assert Person(here, declared).does("replay") == 0
        assert here.rows("hub/orders", "id") == [(1,)]


def test_a_repaired_extract_deletes_again_and_is_guarded(
    instance_of_commands: dg.DagsterInstance, tmp_path: Path
) -> None:
    full = orders(refresh={"type": "full", "key": ["id"]}, validations=[])
    with loaded(full) as definitions:
        here = CodeLocation(definitions, instance_of_commands, tmp_path)
        rows = [f"{number},7,1,\n" for number in range(100)]
        here.land("orders", day(1), HEADER + "".join(rows))
        here.land("orders", day(2), HEADER + "".join(rows[:98]) + "x,7,1,\n")
        here.land("orders", day(3), HEADER + "".join(rows[:9]) + "x,7,1,\n")
        here.settle("orders")
        assert len(here.rows("hub/orders", "id")) == 100, "incomplete extracts delete nothing"
        person = Person(here, full)
        second, third = here.partitions("orders")[1:]
        assert person.does("repair", "--input", second, "--row", "98", "--set", "id=98") == 0
        assert [row[0] for row in here.rows("hub/orders", "id")] == list(range(99)), "99 is gone"
        # complete, it would delete ninety
        assert person.does("repair", "--input", third, "--row", "9", "--set", "id=9") == 1
        assert any("it waits for a person's approval" in line for line in person.said)
        assert len(here.rows("hub/orders", "id")) == 99
        here.platform.metadata.decisions.approve("orders", [third], "ann")
        (approved,) = here.settle("orders")
        assert approved.success, failures(approved)
        assert checks(approved)["lake/orders_changes:deletes"].passed is False
        assert [row[0] for row in here.rows("hub/orders", "id")] == list(range(10))


def test_a_row_that_stops_its_input_is_repaired(instance_of_commands: dg.DagsterInstance, tmp_path: Path) -> None:
    strict = orders(validations=[{**SANE, "severity": "fail"}])
    with loaded(strict) as definitions:
        here = CodeLocation(definitions, instance_of_commands, tmp_path)
        here.land("orders", day(1), HEADER + "1,7,9999,\n2,7,1,\n")
        (result,) = here.settle("orders")
        assert not result.success
        (bad,) = here.partitions("orders")
        person = Person(here, strict)
        assert person.does("repair", "--input", bad, "--row", "0", "--set", "amount=9") == 0
        assert here.rows("hub/orders", "id", "amount") == [(1, 9.0), (2, 1.0)]
        assert here.tick("orders").skip_message == "no new input"


def test_a_correction_of_a_column_that_is_no_more_is_told(here: CodeLocation) -> None:
    bad = bad_day(here)
    person = Person(here)
    person.does("repair", "--input", bad, "--row", "4", "--set", "note=")
    declared = orders()
    person = Person(here, orders(columns=declared["columns"][:-1], validations=[SANE]))
    report = parse(person.context, person.context.metadata.inputs("orders", [bad]))
    assert report.notes["corrections of no column"] == "note"


def test_nothing_to_replay_is_no_error(here: CodeLocation) -> None:
    here.land("orders", day(1), HEADER + "1,7,5,\n")
    here.settle("orders")
    person = Person(here)
    assert person.does("replay") == 0
    assert person.said == ["no row is kept out of hub/orders"]
    assert person.lists() == []
    assert person.cannot("list", "--rule", "sane")
    assert "not registered" in person.cannot("replay", "--input", "nobody")


def test_what_is_below_follows_a_repair(instance_of_commands: dg.DagsterInstance, tmp_path: Path) -> None:
    total = {"name": "total", "expression": "sum(amount) over ()", "mode": "keep_current"}
    declared = orders(rules=[total])
    with loaded(declared) as definitions:
        here = CodeLocation(definitions, instance_of_commands, tmp_path)
        bad = bad_day(here)
        current = dg.AssetKey(["hub", "orders_current"])
        found = dg.evaluate_automation_conditions(here.definitions, instance_of_commands)
        assert found.get_num_requested(current) == 1
        assert here.materialize(["hub/orders_current"], {}).success
        found = dg.evaluate_automation_conditions(here.definitions, instance_of_commands, cursor=found.cursor)
        assert found.get_num_requested(current) == 0
        assert Person(here, declared).does("repair", "--input", bad, "--row", "1", "--set", "id=2") == 0
        found = dg.evaluate_automation_conditions(here.definitions, instance_of_commands, cursor=found.cursor)
        assert found.get_num_requested(current) == 1


def test_the_command_names_the_sources_it_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATAOPS_ENV", "test")
    monkeypatch.setenv("DATAOPS_HOME", str(tmp_path))
    assert main(["quarantine", "list", "slaes"]) == 2
    assert "quarantine of 'slaes'" in capsys.readouterr().err
    assert main(["quarantine", "list", "sales"]) == 0
    assert capsys.readouterr().err == "no row is kept out of hub/sales\n"
