"""An error of a declaration names its cause: what YAML or another tool means by what was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataops_assets.components.declarations import declared_sources
from dataops_assets.errors import ConfigError

DECLARED = """\
type: dataops_assets.components.SourceComponent
attributes:
  name: orders
  area: shop
  connection: {type: files, path: "orders_*.csv"}
  columns:
    - {name: id, type: integer}
    - {name: amount, type: double}
  refresh: {type: key, key: [id]}
"""


def refused(home: Path, text: str) -> str:
    file = home / "shop" / "orders" / "defs.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        declared_sources(home)
    return str(caught.value)


def test_the_declaration_itself_is_right(tmp_path: Path) -> None:
    file = tmp_path / "orders" / "defs.yaml"
    file.parent.mkdir()
    file.write_text(DECLARED)
    assert list(declared_sources(tmp_path).sources) == ["orders"]


@pytest.mark.parametrize(
    ("written", "instead", "advice"),
    [
        (
            "type: double",
            "type: decimal(12,2)",
            "put the value in quotes, because it has a comma: type: 'decimal(12,2)'",
        ),
        ("type: double", "type: float", "did you mean 'double'?"),
        ("type: double", "type: 'NUMERIC(12,2)'", "did you mean 'decimal(12,2)'?"),
        ("type: double", "type: varchar(20)", "did you mean 'text'?"),
        ("type: double", "type: datetime", "did you mean 'timestamp'?"),
        ("type: double", "typ: double", "did you mean 'type'?"),
        ("name: amount", "name: no", "put it in quotes, because YAML reads yes, no, on, off"),
        ("name: amount", "name: 2024", "put it in quotes, because YAML reads it as a number or date"),
        ("key: [id]", "key: [ID]", "did you mean 'id'?"),
        ("  area: shop", "\tarea: shop", "line 4 begins with a tab: YAML takes spaces alone"),
    ],
)
def test_the_error_names_the_cause(tmp_path: Path, written: str, instead: str, advice: str) -> None:
    assert written in DECLARED
    assert advice in refused(tmp_path, DECLARED.replace(written, instead))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (f"{DECLARED}  area: sales\n", "defs.yaml:10 area: the key is given twice"),
        (DECLARED.replace("type: double", "type: double, name: amount"), "defs.yaml:8 name: the key is given twice"),
        (f"{DECLARED}type: dataops_assets.components.SourceComponent\n", "defs.yaml:10 type: the key is given twice"),
        (f"{DECLARED}  ? [a, b]\n  : c\n", "defs.yaml:10: a key is a list or a mapping"),
        (f"{DECLARED}? {{a: b}}\n: c\n", "defs.yaml:10: a key is a list or a mapping"),
    ],
)
def test_a_key_that_yaml_would_not_take_or_take_silently_is_refused(tmp_path: Path, text: str, place: str) -> None:
    told = refused(tmp_path, text)
    assert place in told
    assert "remove or rename one; the other is at" in told or "write a text as key" in told
