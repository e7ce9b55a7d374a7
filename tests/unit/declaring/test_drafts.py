"""Each part of a draft, decided from files."""

from __future__ import annotations

import datetime as dt
import io
import json
from pathlib import Path

import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from drafting import Drafting
from pandera.errors import SchemaErrors

from dataops_assets.components.declarations import declared_sources
from dataops_assets.config.connection import CsvFormat
from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.declaring.declaration_text import declaration_text
from dataops_assets.declaring.draft import Draft
from dataops_assets.errors import ConfigError, InputError
from dataops_assets.operations.declare import Place, init_source
from dataops_assets.operations.views.declare import drafted_as_data
from dataops_assets.quality.contracts import load_contract


def types(made: Draft) -> dict[str, str]:
    return {item.declared.name: item.declared.type for item in made.columns}


def source_of(made: Draft) -> Source:
    return Source.model_validate(yaml.safe_load(declaration_text(made))["attributes"])


def days(count: int, first: int = 1) -> list[str]:
    return [f"2024-01-{day:02}" for day in range(first, first + count)]


def test_csv_with_marks_of_another_country(drafted: Drafting) -> None:
    made = drafted(
        {"o.csv": "id;zip;price;day\n1;01234;1.234,50;31.01.2024\n2;54321;5,00;01.02.2024\n".encode("cp1252")}
    )
    assert types(made) == {"id": "integer", "zip": "text", "price": "decimal(18,2)", "day": "date"}
    assert source_of(made).connection.format.model_dump(exclude_defaults=True) == {
        "delimiter": ";",
        "decimal_mark": ",",
        "thousands_mark": ".",
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "latin-1"])
def test_the_encoding_of_a_text(drafted: Drafting, encoding: str) -> None:
    quotes = "“Zürich”" if encoding == "cp1252" else "Zürich"
    made = drafted({"o.csv": f"id,city\n1,{quotes}\n2,Bern\n".encode(encoding)})
    assert dict(made.columns[1].facts.values) == {quotes: 1, "Bern": 1}
    assert source_of(made).connection.format.encoding == encoding.replace("-sig", "")


def test_json_lines_a_document_and_a_nested_document(drafted: Drafting, tmp_path: Path) -> None:
    rows = [{"id": 1, "code": "007"}, {"id": 2, "code": "008"}]
    made = drafted({"o.jsonl": "".join(json.dumps(row) + "\n" for row in rows)})
    assert (made.layout.type, types(made)) == ("jsonl", {"id": "integer", "code": "text"})


def test_yaml_by_the_ending_of_the_file(drafted: Drafting) -> None:
    made = drafted({"o.yml": "- {id: 1, code: 007}\n- {id: 2, code: 008}\n"})
    assert (made.layout.type, types(made)) == ("yaml", {"id": "integer", "code": "text"})


@pytest.mark.parametrize(("document", "path"), [("[]", ""), ('{"a": {"rows": []}, "n": 2}', "a.rows")])
def test_the_records_of_a_document(drafted: Drafting, document: str, path: str) -> None:
    rows = '[{"id": 1, "x": 1.5}, {"id": 2, "x": 2.25}]'
    made = drafted({"o.json": document.replace("[]", rows)})
    assert (made.layout.type, getattr(made.layout, "records", None)) == ("json", path)
    assert types(made) == {"id": "integer", "x": "decimal(18,2)"}


def test_parquet_keeps_its_types(drafted: Drafting) -> None:
    out = io.BytesIO()
    pq.write_table(
        pa.table(
            {"id": pa.array([1, 2, 3], pa.int32()), "n": ["1", "2", "3"], "t": pa.array([dt.date(2024, 1, 1)] * 3)}
        ),
        out,
    )
    made = drafted({"o.parquet": out.getvalue()})
    assert types(made) == {"id": "integer", "n": "text", "t": "date"}
    assert [(item.column, item.kind) for item in made.findings] == [("n", "numbers_as_text")]


def test_a_workbook(drafted: Drafting) -> None:
    book = openpyxl.Workbook()
    for row in (["id", "day", "price"], [1, dt.date(2024, 1, 1), 1.5], [2, dt.date(2024, 1, 2), 2.25]):
        book.active.append(row)
    out = io.BytesIO()
    book.save(out)
    assert types(drafted({"o.xlsx": out.getvalue()})) == {"id": "integer", "day": "date", "price": "decimal(18,2)"}


def test_null_words_belong_to_the_format_unless_a_text_has_them(drafted: Drafting) -> None:
    made = drafted({"o.csv": "id,n,c\n1,5,x\n2,NA,y\n3,7,z\n"})
    assert source_of(made).connection.format.null_words == ("", "NA")


def test_a_null_word_that_is_a_text_elsewhere_belongs_to_its_column(drafted: Drafting) -> None:
    made = source_of(drafted({"o.csv": "id,n,c\n1,5,NA\n2,NA,y\n3,7,z\n"}))
    assert made.connection.format.null_words == ("",)
    assert [item.null_words for item in made.columns] == [None, ("", "NA"), None]


def test_names_that_the_lake_cannot_have_get_another_name(drafted: Drafting) -> None:
    made = source_of(drafted({"o.csv": "id,s_total,filename,ID\n1,2,x,3\n4,5,y,6\n"}))
    assert [(item.name, item.raw_name) for item in made.columns] == [
        ("id", "id"),
        ("column_s_total", "s_total"),
        ("column_filename", "filename"),
        ("ID_2", "ID"),
    ]


# --- keys and refresh types ------------------------------------------------------------------------------------------


def test_full_where_each_file_has_the_keys_of_the_one_before(drafted: Drafting) -> None:
    made = drafted(
        {
            f"o_{day}.csv": "id,name\n" + "".join(f"{n},{n}{day}\n" for n in range(20 + day))
            for day in (2020, 2021, 2022)
        }
    )
    assert made.refresh.declared == {"type": "full", "key": ["id"]}


def test_key_with_order_where_rows_come_again_later(drafted: Drafting) -> None:
    files = {
        f"o_{day}.csv": "id,updated_at,v\n" + "".join(f"{n},{day} 0{n % 10}:00:00,{n}\n" for n in some)
        for day, some in zip(days(3), (range(30), range(20, 40), range(35, 60)), strict=True)
    }
    assert drafted(files).refresh.declared == {"type": "key", "key": ["id"], "order_by": "updated_at"}


def test_timestamp_where_each_file_has_its_own_days(drafted: Drafting) -> None:
    files = {
        f"o_{day}.csv": "id,day,v\n" + "".join(f"{100 * place + n},{day},{n % 7}\n" for n in range(30))
        for place, day in enumerate(days(3))
    }
    assert drafted(files).refresh.declared == {"type": "timestamp", "range_by": "day"}


def test_timestamp_where_files_have_moving_windows(drafted: Drafting) -> None:
    files = {
        f"o_{days(1, last)[0]}.csv": "id,day,v\n"
        + "".join(f"{10 * day + n},2024-01-{day:02},{n}\n" for day in range(last - 6, last + 1) for n in range(3))
        for last in (10, 11, 12)
    }
    assert drafted(files).refresh.declared == {"type": "timestamp", "range_by": "day"}


def test_key_where_files_have_different_keys_and_no_times(drafted: Drafting) -> None:
    files = {f"{name}.csv": "id,v\n" + "".join(f"{name}{n},{n}\n" for n in range(9)) for name in "abc"}
    assert drafted(files).refresh.declared == {"type": "key", "key": ["id"]}


def test_append_where_nothing_identifies_a_row(drafted: Drafting) -> None:
    files = {f"{name}.csv": "color,v\n" + f"red,{place}\n" * 9 for place, name in enumerate("abc")}
    assert drafted(files).refresh.declared == {"type": "append"}


def test_a_compound_key_is_proved_on_all_files(drafted: Drafting) -> None:
    rows = [f"{store},2024-01-{day:02},{(store * day) % 5}\n" for store in range(1, 13) for day in range(1, 20)]
    made = drafted({"o.csv": "store,day,sales\n" + "".join(rows)})
    assert made.refresh.declared == {"type": "full", "key": ["store", "day"]}
    assert [item.declared.name for item in made.columns if not item.declared.nullable] == ["store", "day"]


def test_one_repeated_row_in_one_file_is_no_key(drafted: Drafting) -> None:
    rows = "".join(f"{n},x\n" for n in range(50))
    made = drafted({"a.csv": "id,v\n" + rows, "b.csv": "id,v\n" + rows + "7,y\n"})
    assert not [key for key in made.keys if key.is_sure]


def test_rows_that_differ_by_chance_are_no_sure_key(drafted: Drafting) -> None:
    made = drafted({"o.csv": "color,size,v\nred,1,5\nred,2,5\nblue,1,5\n"})
    assert "key" not in made.refresh.declared


# --- the command -----------------------------------------------------------------------------------------------------


def test_init_writes_a_declaration_that_loads_and_never_over_another(tmp_path: Path) -> None:
    home = environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(tmp_path / "home")}, tmp_path)
    landed = Path(home.landing) / "shop" / "orders_2024-01-01.csv"
    landed.parent.mkdir(parents=True)
    landed.write_text("id,status\n" + "".join(f"{n},{'open' if n % 2 else 'closed'}\n" for n in range(60)))
    made = init_source(home, Place(tmp_path / "defs"), "orders", "shop", [landed])
    loaded = declared_sources(tmp_path / "defs").sources["orders"]
    assert loaded.connection.path == "shop/orders_*.csv"
    assert [item.expression for item in loaded.validations] == ["status IN ('closed', 'open')"]
    assert drafted_as_data(made)["attributes"]["refresh"] == {"type": "full", "key": ["id"]}
    before = made.file.read_bytes()
    with pytest.raises(ConfigError, match="exists"):
        init_source(home, Place(tmp_path / "defs"), "orders", "shop", [landed])
    assert made.file.read_bytes() == before


def test_the_contract_loads_and_says_what_all_rows_fulfil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(tmp_path / "home")}, tmp_path)
    landed = tmp_path / "orders.csv"
    landed.write_text("id,code,n,note\n" + "".join(f"{n},K{n:03},{n % 9},{'x' * (n % 3)}\n" for n in range(60)))
    defs = Place(tmp_path / "drafted_defs", "drafted_defs")
    made = init_source(home, defs, "orders", "shop/north", [landed])
    assert made.contract == tmp_path / "drafted_defs" / "shop" / "north" / "orders" / "contracts.py"
    declared = declared_sources(defs.folder).sources["orders"]
    assert declared.gates.lake is not None
    assert declared.gates.lake.severity == "warn"
    monkeypatch.syspath_prepend(str(tmp_path))
    contract = load_contract(declared.gates.lake.contract)
    assert contract.unique == ["id"]
    assert {name: item.nullable for name, item in contract.columns.items()} == {"id": False, "code": False, "n": False}
    rows = pd.DataFrame({"id": range(60), "code": [f"K{n:03}" for n in range(60)], "n": [n % 9 for n in range(60)]})
    contract.validate(rows)
    with pytest.raises(SchemaErrors):
        contract.validate(rows.assign(code="K1"), lazy=True)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("o.csv", "", "an empty file"),
        ("o.csv", "id,id\n1,2\n3,4\n", "more than one column"),
        ("o.png", b"\x89PNG\r\n\x1a\n", "a PNG image"),
    ],
)
def test_files_that_cannot_be_declared_are_refused(
    drafted: Drafting, name: str, content: str | bytes, words: str
) -> None:
    with pytest.raises((InputError, ConfigError)) as caught:
        drafted({name: content})
    assert words in str(caught.value)


def test_a_mixture_of_formats_is_refused(drafted: Drafting) -> None:
    with pytest.raises(ConfigError, match="declare a source for the files of each format"):
        drafted({"a.csv": "id,x\n1,2\n", "b.json": '[{"id": 1}]'})


def test_every_suggestion_says_why(drafted: Drafting) -> None:
    text = declaration_text(drafted({"o_2024-01-01.csv": "id,n\n1,5\n2,NA\n3,7\n"}))
    assert text.count("# suggested:") >= 4


RECORDS = (
    "HDR;20240105;0012\r\n"
    'DTL;1;"Ann; Berlin";12,50\r\nDTL;2;Bob;7,00\r\nADJ;1;-0,50\r\nDTL;3;Eve;1.204,00\r\nADJ;3;-4,00\r\n'
    "TRL;3;1.223,50\r\n"
)


@pytest.mark.parametrize(
    ("record_type", "types", "others"),
    [
        ("", ["text", "integer", "text", "decimal(6,2)"], ("ADJ", "HDR", "TRL")),
        ("ADJ", ["text", "integer", "decimal(3,2)"], ("DTL", "HDR", "TRL")),
    ],
)
def test_records_of_several_types_are_several_sources(
    drafted: Drafting, record_type: str, types: list[str], others: tuple[str, ...]
) -> None:
    found = drafted({"a_2024-01-05.csv": RECORDS, "a_2024-01-06.csv": RECORDS}, record_type=record_type)
    assert isinstance(found.layout, CsvFormat)
    assert found.layout.record_type is not None
    assert found.layout.record_type.values == (record_type or "DTL",)
    assert [item.declared.type.split("(")[0] for item in found.columns] == [kind.split("(")[0] for kind in types]
    assert (set(found.other_types), found.rows) == (set(others), 4 if record_type else 6)
    text = declaration_text(found)
    assert "--record-type" in text
    assert Source.model_validate(yaml.safe_load(text)["attributes"]).filters_rows


@pytest.mark.parametrize(
    "text",
    [
        "kind,amount\na,1\nb,2\na,3\n",
        "a,1,x\nb,2,y\na,3,z\nb,4,w\n",
        "id,name,note\n1,Ann,x\n2,Bob\n3,Eve,y\n",
        "1;Ann;2\n2;Bob;3\nSUM;5\n",
    ],
)
def test_an_ordinary_table_has_records_of_one_type(drafted: Drafting, text: str) -> None:
    assert drafted({"a.csv": text}).other_types == ()
    with pytest.raises(ConfigError, match="whose records have one type"):
        drafted({"a.csv": text}, record_type="DTL")
