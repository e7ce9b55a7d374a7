"""An input that the declaration or a table refused, and not its content, is merged when these have changed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from code_location import CUSTOMERS, CodeLocation, standalone
from declared_home import declare, does, running

ID = {"name": "id", "type": "integer", "nullable": False}


def of_files(name: str, **changes: Any) -> dict[str, Any]:
    connection = {
        "type": "files",
        "path": f"{name}/*",
        "extract_time": {"pattern": f"{name}_%Y-%m-%d.csv"},
        "settle_seconds": 0,
    }
    return standalone() | {"name": name, "connection": connection, "columns": [ID, {"name": "v"}]} | changes


def with_new_column(name: str) -> dict[str, Any]:
    columns = [ID, {"name": "v"}, {"name": "w", "type": "integer"}]
    return of_files(name, columns=columns, drift={"missing_column": "ignore"})


def is_well(here: CodeLocation, sources: list[dict[str, Any]]) -> bool:
    """`dataops run`: whether all is well."""
    return does(here, sources, "run").code == 0


def planned(here: CodeLocation, sources: list[dict[str, Any]]) -> dict[str, str]:
    """Of what sources `dataops plan` says that inputs are judged again, and why."""
    told = does(here, sources, "plan", "--json")
    assert told.out, told.err
    return {item["subject"]: item["why"] for item in told.data["work"] if item["kind"] == "judge again"}


def input_of(here: CodeLocation, sources: list[dict[str, Any]], source: str) -> Mapping[str, Any]:
    (status,) = does(here, sources, "status", source, "--json").data
    (item,) = status["inputs"]
    return item  # type: ignore[no-any-return]


def test_an_input_that_asked_for_a_rebuild_is_merged_after_a_rebuild_or_an_apply(
    home: Path, instance_of_commands: dg.DagsterInstance
) -> None:
    names = ("rebuilt", "applied")
    before = [of_files(name, drift={"missing_column": "ignore"}) for name in names]
    declare(home, *before)
    with running(home, instance_of_commands, *before) as here:
        for name in names:
            here.land(name, f"{name}_2024-01-02.csv", "id,v,w\n1,a,5\n2,b,6\n")
        # records the declarations, too, as the daemon does
        assert does(here, before, "apply", "--now").code == 0
    now = [with_new_column(name) for name in names]
    declare(home, *now)
    with running(home, instance_of_commands, *now) as here:
        for name in names:
            here.land(name, f"{name}_2024-01-03.csv", "id,v,w\n3,c,7\n")
        assert not is_well(here, now)
        failed = input_of(here, now, "rebuilt")
        assert (failed["state"], failed["step"]) == ("failed", "cdc")
        assert failed["next_step"].endswith("dataops rebuild rebuilt")
        assert planned(here, now) == dict.fromkeys(names, "1 refused inputs are tried again, and may be merged then")
        assert does(here, now, "rebuild", "rebuilt").code == 0
        due = input_of(here, now, "rebuilt")
        assert (due["state"], due["next_step"]) == ("to do", "dataops run rebuilt")
        assert due["message"].startswith("it was refused, and is tried again")
        applied = does(here, now, "apply", "--now")
        assert applied.code == 0, applied.out + applied.err
        assert is_well(here, now)
        assert does(here, now, "plan").code == 0
        for name in names:
            assert here.rows(f"hub/{name}", "id", "v", "w") == [(1, "a", 5), (2, "b", 6), (3, "c", 7)]


def test_an_input_that_a_related_table_refused_is_merged_when_that_table_is_mended(
    home: Path, instance_of_commands: dg.DagsterInstance
) -> None:
    people = copy.deepcopy(CUSTOMERS) | {"refresh": {"type": "full"}}
    looking = of_files(
        "u",
        relations={"who": {"source": "customers", "on": {"v": "name"}}},
        rules=[{"name": "customer", "expression": "who.id"}],
    )
    sources = [people, looking]
    with running(home, instance_of_commands, *sources) as here:
        here.land("customers", "customers_2024-01-01.csv", "id,name\n7,Ann\n8,Ann\n")
        here.land("u", "u_2024-01-02.csv", "id,v\n1,Ann\n")
        assert not is_well(here, sources)
        assert input_of(here, sources, "u")["step"] == "enrich"
        again = does(here, sources, "run", "--json")
        assert (again.code, again.data["runs"]) == (1, []), "nothing has changed, so nothing is due"
        here.land("customers", "customers_2024-01-03.csv", "id,name\n7,Ann\n")
        assert is_well(here, sources)
        assert here.rows("hub/u", "id", "customer") == [(1, 7)]


def test_an_input_that_the_declaration_refused_is_merged_with_another_declaration(
    home: Path, instance_of_commands: dg.DagsterInstance
) -> None:
    def declared(*, is_mended: bool) -> list[dict[str, Any]]:
        severity = "warn" if is_mended else "fail"
        rule = {"name": "known", "expression": "v = 'a'", "severity": severity}
        drift = {"missing_column": "ignore" if is_mended else "fail"}
        return [
            of_files("validated", validations=[rule]),
            of_files(
                "keyed",
                refresh={"type": "key", "key": ["v" if is_mended else "id"]},
                columns=[{**ID, "nullable": True}, {"name": "v"}],
            ),
            of_files("drifting", drift=drift),
        ]

    contents = {"validated": "id,v\n1,b\n", "keyed": "id,v\n,b\n", "drifting": "id\n1\n"}
    with running(home, instance_of_commands, *declared(is_mended=False)) as here:
        for name, content in contents.items():
            here.land(name, f"{name}_2024-01-02.csv", content)
        assert not is_well(here, declared(is_mended=False))
        steps = {name: input_of(here, declared(is_mended=False), name)["step"] for name in contents}
        assert steps == {"validated": "enrich", "keyed": "cdc", "drifting": "parse"}
    now = declared(is_mended=True)
    declare(home, *now)
    with running(home, instance_of_commands, *now) as here:
        assert is_well(here, now)
        assert [len(here.rows(f"hub/{name}", "id")) for name in contents] == [1, 1, 1]
