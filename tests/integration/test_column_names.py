"""A column can have any name, or the declaration is refused; what data brings gets a name that works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from refresh_scenarios import Scenario

from dataops_assets.config.contract import Column
from dataops_assets.config.source import Source
from dataops_assets.steps.evolved_columns import evolved, evolved_name

REFUSED = [
    "filename",
    "FILE_ROW_NUMBER",
    "file_index",
    "rowid",
    "_metadata",
    "_change_type",
    "_commit_version",
    "_commit_timestamp",
    "s_key",
    "S_x",
    "",
    " ",
    " x",
    "x ",
    "x\ny",
    "x\0",
    "z" * 256,
]
# words of SQL, names that queries of ours use, and signs that mean something to one of the parts
WORDS = (
    "select from where order group table null true all rowids input_file_name current_date key value count hash file "
    "path v0 t0 f0 t v p u m g r i k q e s b c d n w0 h0 given made line position version kind rank 1 1st "
    "dot.ted quo\"te apo'strophe back`tick semi;colon com,ma (x) {y} [z] =eq %s $x :y ?q *all a-b a/b a\\b #h @i a&b "
    "\u043a\u043b\u044e\u0447 \u540d \u00df \u0130 \u00e9 e\u0301 \U0001f600"
)
WORKS = [*WORDS.split(), "two words", "z" * 255]


@pytest.mark.parametrize("name", REFUSED)
def test_a_name_that_cannot_work_is_refused_when_it_is_declared(name: str) -> None:
    with pytest.raises(ValidationError, match="set source_name and another name"):
        Column(name=name)


@pytest.mark.parametrize("history", [False, True])
def test_columns_of_any_other_name_go_through_all_steps(tmp_path: Path, history: bool) -> None:
    names = list(dict.fromkeys(WORKS))
    columns = {"id": "integer", **dict.fromkeys(names, "text")}
    settings = {"type": "key", "key": ["dot.ted", "id"], "history": history}
    scenario = Scenario(tmp_path, settings, columns)
    texts = {number: [f"{number} {name}" for name in names] for number in (1, 2)}
    for row in texts.values():
        row[names.index("dot.ted")] = "the key"
    first = [(1, *texts[1]), (2, *texts[1]), (3, *texts[1])]
    assert scenario.arrives(1, first) == []
    # keys beside the one that changes stay
    assert scenario.arrives(2, [(2, *texts[2])]) == []
    shown = scenario.rows("id", *names)
    changed = [(1, *texts[1]), (2, *texts[2]), (3, *texts[1])]
    assert shown == sorted([*changed, *([(2, *texts[1])] if history else [])], key=repr)


def source(**fields: Any) -> Source:
    return Source.model_validate(
        {
            "name": "things",
            "area": "tests",
            "connection": {"type": "files", "path": "things_*.csv"},
            "columns": [{"name": "id"}],
            "refresh": {"type": "append"},
            "drift": {"new_column": "evolve"},
            **fields,
        }
    )


@pytest.mark.parametrize("raw_name", [*filter(None, REFUSED), *WORKS, "ID", "--", "new_id"])
def test_a_column_that_data_brings_gets_a_name_that_works(raw_name: str) -> None:
    declared = source()
    name = evolved_name(declared, raw_name)
    assert Column(name=name).name == name
    assert name.lower() != "id"
    assert evolved(declared, None, [raw_name]).columns[-1].raw_name == raw_name
