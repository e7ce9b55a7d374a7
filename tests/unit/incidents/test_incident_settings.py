"""The settings of incidents are declared once for a deployment, and a wrong one is refused with its place."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from dataops_assets.components.declarations import declared_sources
from dataops_assets.config.incidents import Incidents
from dataops_assets.errors import ConfigError

DECLARED = """\
type: dataops_assets.components.IncidentsComponent
attributes:
  reopen_within: 2 hours
  channels:
    chat: {url: "${CHAT_URL}"}
  routes:
    - {to: [chat], hours: {begin: 08:00, end: 18:30}}
"""


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).mkdir()
    (folder / name / "defs.yaml").write_text(text)


def test_the_settings_of_a_deployment_are_read(tmp_path: Path) -> None:
    assert declared_sources(tmp_path).incidents == Incidents()
    write(tmp_path, "incidents", DECLARED)
    found = declared_sources(tmp_path).incidents
    assert found.reopen_within == dt.timedelta(hours=2)
    assert found.channels["chat"].variable == "CHAT_URL"
    assert found.routes[0].hours is not None
    # YAML reads 18:30 as a number
    assert (found.routes[0].hours.begin, found.routes[0].hours.end) == (dt.time(8), dt.time(18, 30))


def test_settings_in_two_files_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "one", DECLARED)
    write(tmp_path, "two", DECLARED)
    with pytest.raises(ConfigError, match=r"declared twice.*the other is at .*one"):
        declared_sources(tmp_path)


def test_a_wrong_setting_is_refused_with_its_line_and_without_its_secret(tmp_path: Path) -> None:
    write(tmp_path, "incidents", DECLARED.replace("${CHAT_URL}", "json://user:s3cr3t-t0ken@example.com"))
    with pytest.raises(ConfigError, match=r"defs.yaml:5 attributes\.channels\.chat\.url") as refused:
        declared_sources(tmp_path)
    assert "s3cr3t-t0ken" not in str(refused.value)
