"""A wrong declaration stops the load and says where it is wrong, what was given, and what is known."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from code_location import CUSTOMERS, declaration, loaded, standalone, told_by
from dagster.components.core.component_tree import ComponentTreeException
from pandera.pandas import Check, Column, DataFrameSchema

from dataops_assets.components.declarations import declared_sources
from dataops_assets.errors import ConfigError

PLACE = re.compile(r"(?P<file>\S+defs\.yaml):(?P<line>\d+)")
ids_are_texts = DataFrameSchema({"id": Column(None, Check.isin(["a"]))})


def column(index: int, **changes: Any) -> dict[str, Any]:
    source = standalone()
    source["columns"][index] |= changes
    return source


def connection(**changes: Any) -> dict[str, Any]:
    source = standalone()
    source["connection"] |= changes
    return source


def csv(**layout: Any) -> dict[str, Any]:
    return connection(format={"type": "csv", **layout})


def with_(**changes: Any) -> dict[str, Any]:
    return {**standalone(), **changes}


def without(*path: str) -> dict[str, Any]:
    source = standalone()
    part = source
    for name in path[:-1]:
        part = part[name]
    del part[path[-1]]
    return source


def keyed(**settings: Any) -> dict[str, Any]:
    return with_(refresh={"type": "key", "key": ["id"], **settings})


def related(**on: str) -> dict[str, Any]:
    return with_(relations={"who": {"source": "customers", "on": on}})


# (what is declared, the field that is named, the text of the line that is named, what else is said)
WRONG: dict[str, tuple[dict[str, Any], str, str, tuple[str, ...]]] = {
    "unknown field": (
        with_(colour="red"),
        "colour",
        "colour: red",
        ("unknown field", "known: name, area, desc", "red"),
    ),
    "near-miss field": (with_(rule=[]), "rule", "rule: []", ("did you mean 'rules'?",)),
    "near-miss field of a part": (
        column(1, typ="x"),
        "columns.1.typ",
        "typ: x",
        ("did you mean 'type'?", "known: name, type, source_name"),
    ),
    "near-miss option of a format": (
        csv(delimeter=";"),
        "connection.format.delimeter",
        "delimeter: ;",
        ("did you mean 'delimiter'?",),
    ),
    "unknown field of a refresh whose type is a field's name": (
        keyed(keys=3),
        "refresh.keys",
        "keys: 3",
        ("did you mean 'key'?",),
    ),
    "unknown gate": (
        with_(gates={"lakes": {"contract": "a:b"}}),
        "gates.lakes",
        "lakes:",
        ("did you mean 'lake'?; known: lake, hub, current",),
    ),
    "wrong type": (with_(columns="id"), "columns", "columns: id", ("valid array", "'id'")),
    "wrong type of a flag": (
        column(1, nullable="perhaps"),
        "columns.1.nullable",
        "nullable: perhaps",
        ("valid boolean", "'perhaps'"),
    ),
    "wrong type in a list": (keyed(key=["id", 3]), "refresh.key.1", "- 3", ("valid string", "3")),
    "no columns": (with_(columns=[]), "columns", "columns: []", ("at least 1 item", "[]")),
    "missing part": (without("refresh"), "refresh", "attributes:", ("Field required",)),
    "missing field of a part": (
        without("connection", "path"),
        "connection.path",
        "connection:",
        ("Field required",),
    ),
    "missing key": (with_(refresh={"type": "key"}), "refresh.key", "refresh:", ("Field required",)),
    "unknown refresh type": (
        with_(refresh={"type": "keys", "key": ["id"]}),
        "refresh",
        "refresh:",
        ("'keys'", "'full', 'key', 'timestamp', 'sequence', 'append', 'custom'"),
    ),
    "unknown connection type": (
        connection(type="file"),
        "connection",
        "connection:",
        ("'file'", "'files', 'python'"),
    ),
    "unknown format": (
        connection(format={"type": "cvs"}),
        "connection.format",
        "format:",
        (
            "'cvs'",
            "'csv', 'fixed_width', 'text', 'json', 'jsonl', 'xml', 'yaml', 'parquet', 'orc', 'avro', 'excel'",
        ),
    ),
    "unknown compression": (
        connection(compression="gz"),
        "connection.compression",
        "compression: gz",
        ("'infer', 'none', 'gzip', 'zip' or 'zstd'", "'gz'"),
    ),
    "unknown encoding": (csv(encoding="utf-9"), "connection.format.encoding", "encoding: utf-9", ("utf-8 or latin-1",)),
    "empty delimiter": (csv(delimiter=""), "connection.format.delimiter", "delimiter: ''", ("at least 1 character",)),
    "equal number marks": (
        csv(decimal_mark=",", thousands_mark=","),
        "connection.format",
        "format:",
        ("received: ',' and ','", "two different single characters"),
    ),
    "unknown column type": (
        column(2, type="float"),
        "columns.2.type",
        "type: float",
        ("'float'", "known: text, boolean, integer, double"),
    ),
    "column with a system name": (
        column(2, name="s_amount"),
        "columns.2.name",
        "name: s_amount",
        ("'s_amount'", "the prefix 's_' belongs to system columns"),
    ),
    "column declared twice": (column(2, name="ID"), "columns.2.name", "name: ID", ("'ID' is declared twice",)),
    "relation declared twice": (
        with_(relations={name: {"source": "customers", "on": {"customer": "id"}} for name in ("who", "Who")}),
        "relations.Who",
        "Who:",
        ("relation 'Who' is declared twice",),
    ),
    "unknown date format": (
        column(1, type="date", date_format="%Q"),
        "columns.1.date_format",
        "date_format: '%Q'",
        ("received: '%Q': '%Q' is no directive", "use strptime directives"),
    ),
    "date format without a year": (
        column(1, type="date", date_format=["%d.%m.%Y", "%d.%m."]),
        "columns.1.date_format",
        "date_format:",
        ("received: '%d.%m.': it has no year",),
    ),
    "default that is no literal": (
        column(1, default="now()"),
        "columns.1.default",
        "default: now()",
        ("received: 'now()'", "give a SQL literal"),
    ),
    "default of another type": (
        column(1, default="'zero'"),
        "columns.1.default",
        "default: '''zero'''",
        ("which is no integer",),
    ),
    "key of an unknown column": (
        keyed(key=["idd"]),
        "refresh.key",
        "key:",
        ("names 'idd', did you mean 'id'?; known columns: id, customer, amount",),
    ),
    "order by an unknown column": (
        keyed(order_by="at"),
        "refresh.order_by",
        "order_by: at",
        ("names 'at'; known columns: id, customer, amount",),
    ),
    "delete marker of an unknown column": (
        keyed(delete_when="amuont < 0"),
        "refresh.delete_when",
        "delete_when: amuont < 0",
        ("did you mean 'amount'?; known: id, customer, amount", "^^^^^^"),
    ),
    "filter of an unknown column": (
        with_(keep_when="amuont < 0"),
        "keep_when",
        "keep_when: amuont < 0",
        ("did you mean 'amount'?; known: id, customer, amount", "^^^^^^"),
    ),
    "computed from an unknown column": (
        with_(
            columns=[
                *standalone()["columns"],
                {"name": "net", "expression": "customer"},
                {"name": "tax", "expression": "amuont * 2"},
            ]
        ),
        "columns.4.expression",
        "expression: amuont * 2",
        ("did you mean 'amount'?", "^^^^^^"),
    ),
    "computed from other rows": (
        with_(columns=[*standalone()["columns"], {"name": "all", "expression": "sum(amount) over ()"}]),
        "columns.3.expression",
        "expression: sum(amount) over ()",
        ("sees one row, but a window function needs other rows",),
    ),
    "computed from personal data": (
        with_(columns=[*standalone()["columns"], {"name": "who", "expression": "customer + 1"}]),
        "columns.3.expression",
        "expression: customer + 1",
        ("computed from a column tagged pii", "tag this column, too"),
    ),
    "computed in a circle": (
        with_(columns=[*standalone()["columns"], {"name": "a", "expression": "b"}, {"name": "b", "expression": "a"}]),
        "columns.3.expression",
        "expression: b",
        ("rules need each other: a → b → a",),
    ),
    "computed and read": (
        with_(columns=[*standalone()["columns"], {"name": "net", "expression": "amount", "source_name": "net"}]),
        "columns.3",
        "name: net",
        ("is computed by its expression, so it has no source_name",),
    ),
    "merge of an unknown column": (
        keyed(merge={"amuont": "last"}),
        "refresh.merge.amuont",
        "amuont: last",
        ("did you mean 'amount'?",),
    ),
    "unknown way to merge": (
        keyed(merge={"amount": "newest"}),
        "refresh.merge.amount.take",
        "amount: newest",
        ("'last', 'first', 'greatest', 'least', 'sum', 'counter' or 'union'",),
    ),
    "merge of the key": (keyed(merge={"id": "last"}), "refresh.merge.id", "id: last", ("column of the key",)),
    "sum of doubles": (
        with_(
            columns=[{"name": "id"}, {"name": "weight", "type": "double"}],
            refresh={"type": "key", "key": ["id"], "merge": {"weight": "sum"}},
            rules=[],
            validations=[],
            relations={},
        ),
        "refresh.merge.weight",
        "weight: sum",
        ("needs integer or decimal, which have no rounding",),
    ),
    "merge without a key": (
        with_(refresh={"type": "full", "merge": {"amount": "last"}}),
        "refresh.merge",
        "merge:",
        ("declare refresh.key",),
    ),
    "condition of a merge of an unknown column": (
        keyed(merge={"amount": {"take": "last", "when": "custmer = 1"}}),
        "refresh.merge.amount.when",
        "when: custmer = 1",
        ("did you mean 'customer'?",),
    ),
    "update in place of the key": (
        keyed(update_in_place=["id"]),
        "refresh.update_in_place.0",
        "- id",
        ("column of the key, which never changes",),
    ),
    "update in place that is ignored": (
        keyed(update_in_place=["amount"], ignore_changes_in=["amount"]),
        "refresh.update_in_place.0",
        "- amount",
        ("in ignore_changes_in, too",),
    ),
    "counter of extracts": (
        with_(refresh={"type": "full", "key": ["id"], "merge": {"amount": "counter"}}),
        "refresh.merge.amount",
        "amount: counter",
        ("each extract would read all earlier ones",),
    ),
    "union of numbers": (
        keyed(merge={"amount": "union"}),
        "refresh.merge.amount",
        "amount: union",
        ("lists are JSON text, in a column of type text",),
    ),
    "ties without deletes": (
        keyed(ties="delete"),
        "refresh.ties",
        "ties: delete",
        ("declare delete_when or group_deletes",),
    ),
    "snapshot rule on a merged column": (
        keyed(merge={"*": "last"}) | {"rules": [{"name": "twice", "expression": "Amount * 2"}]},
        "rules.0.expression",
        "expression: Amount * 2",
        ("amount, in an expression that is computed once", "mode: keep_current"),
    ),
    "validation of a merged column": (
        keyed(update_in_place=["amount"]) | {"validations": [{"name": "sane", "expression": "amount > 0"}]},
        "validations.0",
        "name: sane",
        ("amount, in an expression that is computed once", "gates.current"),
    ),
    "merge of a column that is ignored": (
        keyed(merge={"amount": "last"}, ignore_changes_in=["amount"]),
        "refresh.merge.amount",
        "amount: last",
        ("in ignore_changes_in, too",),
    ),
    "retention with merged values": (
        keyed(merge={"amount": "last"}) | {"retention": {"superseded_inputs": "1 day"}},
        "retention.superseded_inputs",
        "superseded_inputs: 1 day",
        ("any row can give a value",),
    ),
    "relation on an unknown column": (
        related(custmer="id"),
        "relations.who.on",
        "'on':",
        ("names 'custmer', did you mean 'customer'?",),
    ),
    "relation to an unknown column": (
        related(customer="idd"),
        "relations.who",
        "who:",
        ("source 'customers' has no column 'idd', did you mean 'id'?; known: id, name",),
    ),
    "relation to an unknown source": (
        with_(relations={"who": {"source": "customer", "on": {"customer": "id"}}}),
        "relations.who",
        "who:",
        ("unknown source 'customer', did you mean 'customers'?; known: customers, orders",),
    ),
    "rule with an unknown column": (
        with_(rules=[{"name": "double", "expression": "amuont * 2"}]),
        "rules.0",
        "- name: double",
        ("has no column or rule 'amuont', did you mean 'amount'?; known: id, customer, amount", "^^^^^^"),
    ),
    "validation that is no expression": (
        with_(validations=[{"name": "positive", "expression": "amount >"}]),
        "validations.0",
        "- name: positive",
        ("syntax error, something is missing",),
    ),
    "distribution of an unknown column": (
        with_(checks={"distribution": {"ignore": ["id", "amuont"]}}),
        "checks.distribution.ignore.1",
        "- amuont",
        ("did you mean 'amount'?",),
    ),
    "contract of an unknown module": (
        with_(gates={"lake": {"contract": "no.such:contract"}}),
        "gates.lake.contract",
        "contract: no.such:contract",
        ("no module 'no'",),
    ),
    "contract that is none": (
        with_(gates={"hub": {"contract": f"{__name__}:ids_are_text"}}),
        "gates.hub.contract",
        f"contract: {__name__}:ids_are_text",
        ("no contract 'ids_are_text'; known: ids_are_texts; next: did you mean 'ids_are_texts'?",),
    ),
    "contract that does not fit the columns": (
        with_(gates={"lake": {"contract": f"{__name__}:ids_are_texts"}}),
        "gates.lake.contract",
        f"contract: {__name__}:ids_are_texts",
        ("check isin of column 'id'", "'a' for a column of type integer"),
    ),
    "gate on a table that is never made": (
        with_(gates={"current": {"contract": f"{__name__}:ids_are_texts"}}),
        "gates.current",
        "current:",
        ("no rule has the mode keep_current; known: lake, hub",),
    ),
    "extract time with an unknown directive": (
        connection(extract_time={"pattern": "orders_%Q.csv"}),
        "connection.extract_time.pattern",
        "pattern: orders_%Q.csv",
        ("received: '%Q'", "known: %Y, %G, %y, %m"),
    ),
    "extract time without a year": (
        connection(extract_time={"pattern": "orders_%m-%d.csv"}),
        "connection.extract_time.pattern",
        "pattern: orders_%m-%d.csv",
        ("no year; known: %Y, %G, %y",),
    ),
    "extract time otherwise": (
        connection(extract_time={"pattern": "%Y", "otherwise": "yesterday"}),
        "connection.extract_time.otherwise",
        "otherwise: yesterday",
        ("'yesterday'; known: an ISO 8601 time, 'modified'",),
    ),
    "Python hook that is not there": (
        with_(connection={"type": "python", "function": "json:lods"}),
        "connection.function",
        "function: json:lods",
        ("module 'json' has no function 'lods'", "did you mean 'loads'?"),
    ),
    "format of one's own that is not there": (
        with_(
            connection={
                "type": "files",
                "path": "x/*",
                "format": {"type": "python", "function": "json:loads", "count": "json:lods"},
            }
        ),
        "connection.format.count",
        "count: json:lods",
        ("module 'json' has no function 'lods'", "did you mean 'loads'?"),
    ),
    "name with capitals": (with_(name="Orders"), "name", "name: Orders", ("'Orders' must match",)),
    "area with a dash": (with_(area="my-shop"), "area", "area: my-shop", ("'my-shop' must match",)),
    "owner that is nobody": (
        with_(owners=["bob"]),
        "owners.0",
        "bob",
        ("owner 'bob' is neither an e-mail address nor 'team:name'",),
    ),
    "freshness that fails before it warns": (
        with_(checks={"freshness": {"warn_after_hours": 50}}),
        "checks.freshness",
        "freshness:",
        ("warn_after_hours (50.0) must be below fail_after_hours (48.0)",),
    ),
    "unknown time zone": (
        with_(discovery={"timezone": "Mars/Olympus"}),
        "discovery.timezone",
        "timezone: Mars/Olympus",
        ("received: 'Mars/Olympus'", "Europe/Berlin"),
    ),
    "schedule that is no cron expression": (
        with_(discovery={"schedule": "soon"}),
        "discovery.schedule",
        "schedule: soon",
        ("received: soon", "5 fields"),
    ),
}


def named_line(text: str, source: Mapping[str, Any]) -> str:
    """The line of the declaration that an error names."""
    place = PLACE.search(text)
    assert place is not None, text
    assert place["file"].endswith(f"{source['area']}/{source['name']}/defs.yaml")
    return declaration(source).splitlines()[int(place["line"]) - 1].strip()


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_declaration_says_where_and_why(what: str) -> None:
    source, field, line, words = WRONG[what]
    others = [CUSTOMERS] if "relations" in source else []
    with pytest.raises(ComponentTreeException) as caught, loaded(*others, source):
        pass
    text = told_by(caught.value)
    assert re.search(rf"attributes\.{re.escape(field)}(?![\w.])", text), text
    found = named_line(text, source)
    assert found.removeprefix("- ").startswith(line.removeprefix("- ")), (found, text)
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    "what", ["unknown field", "near-miss option of a format", "missing field of a part", "key of an unknown column"]
)
def test_whoever_reads_the_declarations_is_told_the_same_place(what: str, tmp_path: Path) -> None:
    source, field, line, words = WRONG[what]
    file = tmp_path / source["area"] / source["name"] / "defs.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(declaration(source))
    with pytest.raises(ConfigError) as caught:
        declared_sources(tmp_path)
    text = str(caught.value)
    assert f" attributes.{field}: " in text
    assert named_line(text, source).startswith(line)
    for word in words:
        assert word in text


def test_all_faults_of_a_file_are_told_at_once() -> None:
    source = {**connection(compression="gz"), "owners": ["bob"], "area": "my-shop"}
    with pytest.raises(ComponentTreeException) as caught, loaded(source):
        pass
    text = told_by(caught.value)
    for field in ("owners.0", "area", "connection.compression"):
        assert f"attributes.{field} at " in text


def test_a_name_is_taken_once() -> None:
    with pytest.raises(ComponentTreeException) as caught, loaded(CUSTOMERS, {**CUSTOMERS, "area": "other"}):
        pass
    text = told_by(caught.value)
    assert "declared twice; received: customers" in text
    assert re.search(r"shop/customers/defs\.yaml:3 attributes\.name", text)
    assert re.search(r"other/customers/defs\.yaml:3 attributes\.name", text)


def test_a_name_is_not_that_of_another_source_s_table() -> None:
    with (
        pytest.raises(ComponentTreeException) as caught,
        loaded(standalone(), {**standalone(), "name": "orders_changes"}),
    ):
        pass
    text = told_by(caught.value)
    assert "a table of 'orders' may go by this name; received: orders_changes" in text
    assert re.search(r"orders_changes/defs\.yaml:3 attributes\.name", text)
