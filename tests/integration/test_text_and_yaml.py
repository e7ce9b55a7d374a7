"""Logs by pattern and YAML: what was written is in the lake as it was written, or refused with a reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from declared import unchecked_source
from hypothesis import given, settings
from hypothesis import strategies as st
from parsed_inputs import Parsed, parsed_inputs

from dataops_assets.config.environment import environment_from
from dataops_assets.engines.duckdb import DuckDBEngine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    home = tmp_path_factory.mktemp("engine")
    return DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))


def read(
    engine: DuckDBEngine,
    home: Path,
    layout: Mapping[str, Any],
    kinds: Mapping[str, str],
    files: Mapping[str, bytes],
    **declared: Any,
) -> Parsed:
    connection = {"type": "files", "path": "x/*", "format": layout, **declared}
    columns = [{"name": name.split(".")[-1], "source_name": name, "type": kind} for name, kind in kinds.items()]
    found = unchecked_source("orders", {}, connection=connection, columns=columns, drift={"missing_column": "ignore"})
    return parsed_inputs(engine, home, found, files)


LOG = {
    "type": "text",
    "pattern": r"(?P<at>\S+ \S+) (?P<level>[A-Z]+) (?:\[(?P<thread>\w+)\] )?(?P<message>.*)",
    "start": r"\d{4}-",
    "encoding": "latin-1",
}
LINES = """a banner

2024-01-01 10:00:00 INFO [main] started
2024-01-01 10:00:01 ERROR Zoë failed
Traceback:
  2024-01-01 no start

  ValueError: x

2024-01-01 cut
  its stack
2024-01-01 10:00:02 WARN \t
"""


def test_lines_after_the_first_belong_to_its_record(engine: DuckDBEngine, tmp_path: Path) -> None:
    kinds = {"at": "timestamp", "level": "text", "thread": "text", "message": "text"}
    content = LINES.replace("\n", "\r\n").encode("latin-1")
    trace = "Traceback:\n  2024-01-01 no start\n\n  ValueError: x"
    made = read(engine, tmp_path, LOG, kinds, {"app.log": content})
    assert made.rows("level", "thread", "message") == [
        ("INFO", "main", "started"),
        ("ERROR", None, f"Zoë failed\n{trace}"),
        ("WARN", None, "\t"),
    ]
    assert made.rejected("s_row_id", "s_line") == [(0, 1), (3, 10)]
    assert made.counts["app.log"] == {"rows": 3, "rejected": 2, "records": 5}
    apart = read(engine, tmp_path / "apart", {**LOG, "rest": "trace"}, {**kinds, "trace": "text"}, {"app.log": content})
    assert apart.rows("message", "trace") == [("started", None), ("Zoë failed", trace), ("\t", None)]
    limited = read(engine, tmp_path / "limited", LOG, kinds, {"app.log": content}, limits={"record_bytes": 60})
    assert "a record of more than 60 bytes (limits.record_bytes) at line 4" in limited.errors["app.log"]


DOCUMENT = b"""# a comment
result:
  base: &base {country: no, rate: 1.10}
  orders:
    - {<<: *base, id: 1, at: 12:30, code: 010, amount: 90071992547409.93, tags: [a, no, 1e3]}
    - <<: [{country: se}, *base]
      id: "2"
      text: |
        two
        lines
    - {id: 3, id: 4}
    - 5
    - &last {id: 6, code: ~, home: *base}
    - *last
"""
HOSTILE = {
    "bomb": (
        b"a0: &a0 [x, x]\n" + b"".join(b"a%d: &a%d [*a%d, *a%d]\n" % (n, n, n - 1, n - 1) for n in range(1, 60)),
        "with all aliases resolved",
    ),
    "python": (b"- !!python/object/apply:os.mkdir ['never']\n- {id: 1}\n", ""),
    "deep": (b"[" * 5000, "more than 100 levels"),
    "cycle": (b"- &a {id: 1, me: *a}\n", "a value that contains itself"),
    "merges": (
        b"a0: &a0 {x: 1}\n" + b"".join(b"a%d: &a%d {<<: [*a%d, *a%d]}\n" % (n, n, n - 1, n - 1) for n in range(1, 60)),
        "",
    ),
    "keys": (b"- {[1, 2]: 3}\n", "a key that is no text in line 1"),
    "damaged": (b"- {id: 1\n", "damaged YAML"),
    "bytes": (b"- id: \xff\n", "damaged YAML"),
    "large": (b"- id: 1" + b" " * 9000, "more than an eighth of limits.document_bytes (8,192)"),
}


def test_values_of_yaml_are_read_as_they_are_written(engine: DuckDBEngine, tmp_path: Path) -> None:
    layout = {"type": "yaml", "records": "result.orders"}
    kinds = {"id": "integer", "country": "text", "at": "text", "code": "text", "tags": "text"}
    kinds |= {"amount": "decimal(20,2)", "text": "text", "home.rate": "decimal(4,2)"}
    made = read(engine, tmp_path, layout, kinds, {"orders.yaml": DOCUMENT})
    assert made.errors == {"orders.yaml": ""}
    assert made.rows("id", "country", "at", "code", "tags", "text") == [
        (1, "no", "12:30", "010", '["a","no","1e3"]', None),
        (2, "se", None, None, None, "two\nlines\n"),
        (6, None, None, None, None, None),
        (6, None, None, None, None, None),
    ]
    assert [str(amount) for (amount,) in made.rows("amount")] == ["90071992547409.93", "None", "None", "None"]
    assert [str(rate) for (rate,) in made.rows("rate")] == ["None", "None", "1.10", "1.10"]
    assert made.counts["orders.yaml"] == {"rows": 4, "rejected": 2, "records": 6}


def test_hostile_yaml_is_refused_or_harmless(engine: DuckDBEngine, tmp_path: Path) -> None:
    files = {f"{name}.yaml": content for name, (content, _) in HOSTILE.items()}
    limits = {"document_bytes": 8 << 13}
    made = read(engine, tmp_path, {"type": "yaml"}, {"id": "integer", "x": "text"}, files, limits=limits)
    reasons = {f"{name}.yaml": reason for name, (_, reason) in HOSTILE.items()}
    assert {name: error for name, error in made.errors.items() if reasons[name] not in error} == {}
    assert made.counts["python.yaml"] == {"rows": 1, "rejected": 1, "records": 2}
    assert not Path("never").exists()


# the writer leaves some line ends of YAML as they are, so that any reader folds them
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x85\u2028\u2029"), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | TEXTS | st.dates()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))


@settings(max_examples=3, deadline=None)
@given(rows=st.lists(VALUES, min_size=20, max_size=60))
def test_any_value_survives(engine: DuckDBEngine, tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    content = yaml.safe_dump([{"value": row} for row in rows], allow_unicode=True).encode()
    made = read(engine, tmp_path_factory.mktemp("yaml"), {"type": "yaml"}, {"value": "text"}, {"a.yaml": content})
    assert made.errors == {"a.yaml": ""}
    found = [text for (text,) in made.rows("value")]
    for row, text in zip(rows, found, strict=True):
        if isinstance(row, list | dict):
            assert text is not None
            assert json.loads(text) == json.loads(json.dumps(row, default=str))
        elif isinstance(row, bool):
            assert text == str(row).lower()
        else:
            # the empty text is no null word of YAML
            assert text == (None if row is None else str(row))
