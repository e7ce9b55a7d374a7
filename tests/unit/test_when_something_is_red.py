"""The page about red things has every check, state and error of the code, and the pages about decisions are exact."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import dagster as dg
import pytest
import yaml

from dataops_assets import errors
from dataops_assets.components.person_jobs import person_jobs
from dataops_assets.components.status import State
from dataops_assets.config.source import Source
from dataops_assets.report import CheckKind

DOCS = Path(__file__).resolve().parents[2] / "docs"
ORDERS = Source.model_validate(
    {
        "name": "orders",
        "area": "shop",
        "connection": {"type": "files", "path": "orders_*.csv"},
        "columns": [{"name": "id", "type": "integer", "nullable": False}],
        "refresh": {"type": "key", "key": ["id"]},
    }
)


def first_cells(heading: str) -> set[str]:
    """The names in the first column of the table below a heading."""
    text = (DOCS / "when-something-is-red.md").read_text(encoding="utf-8")
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE))


def test_every_check_is_explained() -> None:
    assert first_cells("A check fails") == set(get_args(CheckKind))


def test_every_state_of_an_input_is_explained() -> None:
    assert first_cells("The state of an input") == set(get_args(State))


def test_every_error_is_explained() -> None:
    kinds = {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.DataOpsError) and kind is not errors.DataOpsError
    }
    assert first_cells("Errors") == kinds


def configurations() -> list[tuple[str, str]]:
    text = (DOCS / "approve-repair-remove.md").read_text(encoding="utf-8")
    return re.findall(r"^```yaml\n# job (\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("name", "config"), configurations(), ids=lambda value: value.split("\n")[0])
def test_a_shown_configuration_of_a_job_is_accepted(name: str, config: str) -> None:
    jobs = {job.name: job for job in person_jobs({"orders": ORDERS})}
    given = yaml.safe_load(config)
    assert dg.validate_run_config(jobs[name], given)
    (values,) = given["ops"].values()
    values["config"]["nothing"] = 1
    with pytest.raises(dg.DagsterInvalidConfigError):
        dg.validate_run_config(jobs[name], given)


def test_every_job_is_shown() -> None:
    assert {name for name, _ in configurations()} == {job.name for job in person_jobs({"orders": ORDERS})}
