"""`dataops check` refuses what the load refuses, with the same words, and takes what the load takes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from code_location import CUSTOMERS, declaration, loaded, orders

from dataops_assets.components.declarations import declared_sources
from dataops_assets.components.load_checks import faults
from dataops_assets.errors import ConfigError
from dataops_assets.operations import project
from dataops_assets.operations.cli import main

Edit = Callable[[dict[str, Any]], Any]
FAULTS: dict[str, tuple[str, Edit]] = {
    "an unknown field": ("colums", lambda source: source.update(colums=[])),
    "a field of the wrong kind": ("columns.0.type", lambda source: source["columns"][0].update(type="int")),
    "a rule of an unknown column": (
        "rules.0",
        lambda source: source.update(rules=[{"name": "twice", "expression": "amuont * 2"}]),
    ),
    "a cycle of rules": (
        "rules",
        lambda source: source.update(
            rules=[{"name": "a", "expression": "b + 1"}, {"name": "b", "expression": "a + 1"}]
        ),
    ),
    "a relation to nothing": (
        "relations",
        lambda source: source.update(
            rules=[], validations=[], relations={"shop": {"source": "shops", "on": {"customer": "id"}}}
        ),
    ),
    "a date format": (
        "columns.3.date_format",
        lambda source: source.update(
            rules=[], validations=[], columns=[*source["columns"], {"name": "day", "type": "date", "date_format": "%Q"}]
        ),
    ),
    "a default": ("columns.2.default", lambda source: source["columns"][2].update(default="much")),
    "a time zone": ("discovery.timezone", lambda source: source.update(discovery={"timezone": "Europe/Berln"})),
    "a schedule": ("discovery.schedule", lambda source: source.update(discovery={"schedule": "every day"})),
    "a wait for nothing": (
        "waits_for",
        lambda source: source.update(waits_for=[{"source": "custmers", "within": "1 day"}]),
    ),
    "a database": (
        "connection.database",
        lambda source: source.update(connection={"type": "database", "database": "shop", "table": "orders"}),
    ),
    "a contract": ("contracts", lambda source: source.update(contracts={"lake": "no_such_module:Schema"})),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_the_load_refuses_is_refused_with_the_same_words(tmp_path: Path, fault: str) -> None:
    place, edit = FAULTS[fault]
    source = copy.deepcopy(orders())
    edit(source)
    with pytest.raises(Exception, match=r"(?s).") as refused, loaded(CUSTOMERS, source) as definitions:
        definitions.get_repository_def()
    of_load = _words(refused.value)
    folder = tmp_path / str(source["area"]) / str(source["name"])
    folder.mkdir(parents=True)
    (folder / "defs.yaml").write_text(declaration(source))
    (tmp_path / "customers").mkdir()
    (tmp_path / "customers" / "defs.yaml").write_text(declaration(CUSTOMERS))
    found = _found(tmp_path)
    assert len(found) == 1
    assert place in found[0]
    # without the place: Dagster itself writes it of fields that the schema knows
    reason = found[0].split("attributes.", 1)[1].split(": ", 1)[1].split("; received")[0]
    assert any(reason in text for text in of_load), (reason, of_load)


def _found(folder: Path) -> list[str]:
    try:
        return faults(declared_sources(folder))
    except ConfigError as error:
        return [str(error)]


def _words(error: BaseException | None) -> list[str]:
    found = []
    while error is not None:
        found.append(str(error))
        error = error.__cause__ or error.__context__
    return found


def test_the_command_lists_every_wrong_source_and_ends_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(project, "DEFS", tmp_path)
    written = {"a": CUSTOMERS, "b": orders(rules=[{"name": "twice", "expression": "amuont * 2"}])}
    written["c"] = CUSTOMERS | {"name": "others", "discovery": {"timezone": "Mars"}}
    for name, source in written.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "defs.yaml").write_text(declaration(source))
    assert main(["check"]) == 1
    told = capsys.readouterr().out
    assert "b/defs.yaml" in told
    assert "c/defs.yaml" in told
    for name in ("b", "c"):
        (tmp_path / name / "defs.yaml").write_text(yaml.safe_dump({"type": "other.Component"}))
    assert main(["check"]) == 0
    assert "1 sources and 0 outputs are well declared" in capsys.readouterr().out
