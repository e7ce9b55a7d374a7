"""Settings and secrets that an environment lacks are told with their place and what to do, and no secret is shown."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
import yaml
from code_location import standalone
from command_line import dataops
from planned_cases import Deployment, declarations, deliver

from dataops_assets.operations import project
from dataops_assets.storage.examine import examine
from dataops_assets.storage.vacuum import vacuum

SECRET = "hidden-from-all-readers"


def written(folder: Path, kind: str, attributes: dict[str, Any]) -> None:
    place = folder / kind
    place.mkdir(parents=True)
    text = yaml.safe_dump({"type": f"dataops_assets.components.{kind}Component", "attributes": attributes})
    (place / "defs.yaml").write_text(text)


def test_doctor_names_what_is_missing_and_how_to_set_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = {"type": "postgres", "host": "h", "database": "d", "user": "u"}
    rest = {"type": "rest", "url": "https://api.example.com"}
    connections = {
        "there": {**server, "password": {"env": "SHOP_PASSWORD"}},
        "unset": {**server, "password": {"env": "OTHER_PASSWORD"}},
        "empty": {**server, "password": {"file": str(tmp_path / "empty")}},
        "no_file": {**server, "password": {"file": str(tmp_path / "nowhere")}},
        "api": {**rest, "auth": {"type": "bearer", "token": {"env": "API_TOKEN"}}},
    }
    source = standalone()
    source["connection"]["encryption"] = {"type": "zip", "password": {"env": "ZIP_PASSWORD"}}
    source["connection"]["storage_options"] = {"key": "${STORE_KEY}", "secret": "${STORE_SECRET}"}
    channels = {"chat": {"url": "${CHAT_URL}"}}
    to_files = {"name": "for_crm", "area": "crm", "from": "hub/orders", "columns": [{"name": "id"}]}
    written(tmp_path / "defs", "Connections", {"connections": connections})
    written(tmp_path / "defs", "Source", source)
    written(tmp_path / "defs", "Incidents", {"channels": channels, "routes": [{"to": ["chat"]}]})
    written(tmp_path / "defs", "Output", {**to_files, "to": {"type": "files", "path": "crm"}})
    (tmp_path / "empty").write_text("\n")
    monkeypatch.setattr(project, "DEFS", tmp_path / "defs")
    place = str(tmp_path / "there")
    for name in ("STORAGE", "LANDING", "METADATA_URL", "WAREHOUSE"):
        monkeypatch.setenv(f"DATAOPS_{name}", place)
    for name, value in {
        "DATAOPS_ENV": "staging",
        "DATAOPS_DBT_TARGET": "snowflake",
        "DATAOPS_STORGE": place,
        "SHOP_PASSWORD": SECRET,
        "STORE_KEY": SECRET,
        "SNOWFLAKE_ACCOUNT": "a",
    }.items():
        monkeypatch.setenv(name, value)
    ended = dataops([], "doctor", "--json")
    assert ended.code == 1, ended.err
    found = {item["place"].rpartition("/")[2]: item for item in ended.data if item["place"] != "dbt target snowflake"}
    assert set(found) == {
        "setting DATAOPS_STORGE",
        "connection unset, password",
        "connection empty, password",
        "connection no_file, password",
        "connection api, auth.token",
        "channel chat of incidents",
        "output for_crm",
        *(name for name in found if "storage_options" in name or "encryption" in name),
    }
    assert "did you mean" in found["setting DATAOPS_STORGE"]["problem"]
    assert "set OTHER_PASSWORD in the environment" in found["connection unset, password"]["next_step"]
    assert f"{tmp_path / 'empty'} is empty" in found["connection empty, password"]["problem"]
    assert str(tmp_path / "nowhere") in found["connection no_file, password"]["problem"]
    assert "API_TOKEN" in found["connection api, auth.token"]["problem"]
    assert "CHAT_URL" in found["channel chat of incidents"]["problem"]
    assert "DATAOPS_OUTPUTS" in found["output for_crm"]["next_step"]
    (store,) = [item for place, item in found.items() if "storage_options" in place]
    assert (store["source"], "STORE_SECRET" in store["problem"]) == ("orders", True)
    (zipped,) = [item for place, item in found.items() if "connection.encryption" in place]
    assert "ZIP_PASSWORD" in zipped["problem"]
    unset = [item["problem"] for item in ended.data if item["place"] == "dbt target snowflake"]
    assert len(unset) == 5
    assert SECRET not in ended.out + ended.err


def test_places_may_be_written_as_urls_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # what took such a URL for a name wrote below the folder that it ran in
    monkeypatch.chdir(tmp_path)
    (tmp_path / "the landing").mkdir()
    deliver(tmp_path / "the landing")
    here = Deployment(
        tmp_path / "home",
        tmp_path,
        DATAOPS_STORAGE=f"file://{tmp_path}/the%20storage",
        DATAOPS_LANDING=f"file://localhost{tmp_path}/the%20landing",
        DATAOPS_WAREHOUSE=f"file://{tmp_path}/w.duckdb",
    )
    tree = here.write(declarations())
    assert here.run(tree) == []
    assert len(here.rows(tree)["hub/sales"]) == 3
    for context in here.contexts(tree):
        assert [damage for table in context.tables for damage in examine(table, deep=True)] == []
        assert sum(vacuum(table, retention=dt.timedelta(0)).removed for table in context.tables) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"home", "the storage", "the landing"}
    assert here.environment.warehouse == str(tmp_path / "w.duckdb")
