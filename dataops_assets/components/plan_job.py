"""The job `plan_changes`: what `dataops plan` says, in the UI, for the code and the declarations of this code location.

Grain: one plan a run. Nothing is changed. It starts the command in a process of its own, so it is the same plan with
the same id, and `dataops apply` takes it. A plan that has something to do is no failure of the job.

Annotations are not postponed in this module: Dagster reads those of an op's function.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from dataops_assets.components.events import failure_of
from dataops_assets.errors import ConfigError
from dataops_assets.masking import mask

JOB = "plan_changes"
_OP = "plan"
_COMMAND = [sys.executable, "-m", "dataops_assets.operations.cli"]
_SOMETHING_DIFFERS = 1


def plan_job() -> dg.JobDefinition:
    """Return the job."""

    @dg.op(
        name=_OP,
        description="Makes a plan, like `dataops plan`, and shows it as metadata of its output.",
        config_schema={
            "against": dg.Field(
                str, default_value="", description="A release or a private environment; default: what is in force."
            ),
            "data": dg.Field(
                bool, default_value=False, description="Do the work in a private environment, and compare the rows."
            ),
            "sample": dg.Field(
                int, default_value=0, description="With data: only so many inputs of each source, the newest; 0: all."
            ),
        },
        out=dg.Out(dg.Nothing),
    )
    def plan(context: dg.OpExecutionContext) -> None:
        context.add_output_metadata(_planned(context.op_config))

    @dg.job(name=JOB, description="Says what the declarations of this code location would change, like `dataops plan`.")
    def job() -> None:
        plan()

    return job


def _planned(config: dict[str, Any]) -> dict[str, Any]:
    """Make the plan and return what to show. Raises Failure with the words of the command."""
    words = ["plan", "--json", "--markdown"]
    words += ["--against", config["against"]] if config["against"] else []
    words += ["--data"] if config["data"] else []
    words += ["--sample", str(config["sample"])] if config["sample"] else []
    with tempfile.TemporaryDirectory(prefix="plan-") as scratch:
        file = Path(scratch) / "plan.md"
        code, out, err = run_command([*words, "--to", str(file)])
        if code not in (0, _SOMETHING_DIFFERS):
            raise failure_of(ConfigError("making the plan", received=mask(err.strip())))
        text, made = file.read_text(), json.loads(out)
    shown: dict[str, Any] = {
        "plan": dg.MetadataValue.md(text),
        "plan id": made["plan_id"],
        "effect": made["effect"],
        "changes": len(made["changes"]),
        "work": len(made["work"]),
        "seconds": float(made["seconds"]),
    }
    if "data" in made:
        shown["would fail"] = len(made["data"]["errors"])
    return shown


def run_command(words: Sequence[str]) -> tuple[int, str, str]:
    """Run a command of `dataops` in a process of its own; return its exit code, what it wrote, and its errors."""
    done = subprocess.run(  # noqa: S603  a module of this package, by this interpreter
        [*_COMMAND, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr
