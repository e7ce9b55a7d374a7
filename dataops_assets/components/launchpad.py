"""Links to the launchpad of a job that is filled in with a configuration, for jobs with one op."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from typing import Any

import dagster as dg
import yaml

LOCATION = "dataops_assets"
"""Name of the code location where a run does not say it."""


def as_yaml(op: str, config: Mapping[str, Any]) -> str:
    """Return the configuration of a job's only op as the launchpad shows it."""
    return yaml.safe_dump({"ops": {op: {"config": dict(config)}}}, sort_keys=False, allow_unicode=True)


def launchpad(run: dg.DagsterRun | None, job: str, op: str, config: Mapping[str, Any]) -> str:
    """Return the address of the job's launchpad, filled in with this configuration.

    `run` is a run of the same code location.
    """
    origin = run.remote_job_origin if run is not None else None
    location = origin.repository_origin.code_location_origin.location_name if origin else LOCATION
    filled = urllib.parse.quote(as_yaml(op, config), safe="")
    return f"/locations/{urllib.parse.quote(location)}/jobs/{job}/playground/setup?config={filled}"
