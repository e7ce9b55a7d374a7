"""The workflows for GitHub and GitLab: their own steps are executed, on a small deployment whose gate then fails."""

from __future__ import annotations

import shlex
import string
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from code_location import CodeLocation, declaration, loaded, orders
from command_line import Ended, dataops

from dataops_assets.components.declarations import declared_sources
from dataops_assets.components.declared_state import declared_parts
from dataops_assets.components.local import LocalRunner
from dataops_assets.config.source import Source
from dataops_assets.operations import code_version, project
from dataops_assets.operations.commands import daily

PROJECT = Path(__file__).resolve().parents[2]
WORKFLOWS = PROJECT / "deploy" / "ci"
HEAD = "id,customer,amount\n"
OLD = orders(relations={}, rules=[{"name": "doubled", "expression": "amount * 2"}])
NEW = orders(
    relations={},
    rules=[{"name": "doubled", "expression": "amount * 20"}],
    validations=[{"name": "sells", "expression": "amount >= 0", "severity": "fail"}],
)
JOBS = ("check", "plan", "deploy")
VARIABLES = {
    "BEFORE": "old",
    "COMMIT": "new",
    "PULL_REQUEST": "7",
    "WATCH": "0",
    "CI_API_V4_URL": "https://git.example.com/api/v4",
    "CI_PROJECT_ID": "1",
    "CI_MERGE_REQUEST_IID": "7",
    "DATAOPS_GITLAB_TOKEN": "t",
}
CODE: Mapping[str, Mapping[str, Any]] = {"old": OLD, "new": NEW}


def github(job: str) -> Iterator[tuple[str, bool]]:
    """The commands of a job, and whether each is for the case that another failed."""
    for step in yaml.safe_load((WORKFLOWS / "github.yml").read_text())["jobs"][job]["steps"]:
        if "run" in step:
            yield step["run"], "failure()" in step.get("if", "")


def gitlab(job: str) -> Iterator[tuple[str, bool]]:
    jobs = yaml.safe_load((WORKFLOWS / "gitlab.yml").read_text())
    for line in [*jobs[job]["script"], *jobs[job].get("after_script", ())]:
        yield line, False
    if job == "deploy":
        yield from ((line, True) for line in jobs["rollback"]["script"])


class Machine:
    """Runs the commands of steps as the shell of a runner would, on one deployment; `code` is what is checked out."""

    def __init__(self, home: Path, instance: dg.DagsterInstance, definitions: Mapping[str, dg.Definitions]) -> None:
        self._here = {name: CodeLocation(made, instance, home) for name, made in definitions.items()}
        self.home, self.code, self.deployed, self.told = home, "new", "old", [""]

    @property
    def here(self) -> CodeLocation:
        """What runs."""
        return self._here[self.deployed]

    def check_out(self, code: str) -> None:
        self.code = code
        file = self.home / "defs" / "orders" / "defs.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(declaration(CODE[code]))

    def deploy(self) -> None:
        """What sensors of the new code do first: record the declarations that run from now on."""
        self.deployed = self.code
        self.here.platform.metadata.declarations.record(declared_parts(declared_sources(self.home / "defs")))

    def does(self, words: Sequence[str]) -> Ended:
        here, source = self._here[self.code], Source.model_validate(CODE[self.code])
        runner = LocalRunner(here.definitions, here.instance, here.environment.home / "automation.json", str)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(daily, "open_runner", lambda: nullcontext(runner))
            return dataops([here.platform.source_context(source, {source.name: source})], *words)

    def run(self, line: str) -> int:
        """Run one command; the result is its exit code."""
        program, *words = shlex.split(string.Template(line).substitute(VARIABLES))
        if program == ".venv/bin/dataops":
            ended = self.does(words)
            self.told.append(ended.out + ended.err)
            return ended.code
        if program == "make":
            # what the targets do, .ci/run and the tests of the demo execute; here each must be one
            made = subprocess.run(["make", "--dry-run", *words], cwd=PROJECT, capture_output=True, text=True)
            if words == ["deploy"]:
                self.deploy()
            return made.returncode
        if program == "git":
            assert words[:2] == ["checkout", "--detach"]
            self.check_out(words[2])
            return 0
        # the comment of a pull request
        assert program in ("gh", "curl"), line
        assert "plan.md" in " ".join(words)
        self.told.append((self.home / "plan.md").read_text())
        return 0


def test_a_change_is_planned_deployed_and_rolled_back_when_a_gate_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = github
    monkeypatch.setattr(project, "PROJECT", tmp_path)
    monkeypatch.setattr(project, "DEFS", tmp_path / "defs")
    monkeypatch.setenv("DATAOPS_ENV", "test")
    monkeypatch.setenv("DATAOPS_HOME", str(tmp_path))
    monkeypatch.setenv(code_version.VARIABLE, "abc")
    monkeypatch.chdir(tmp_path)
    with loaded(OLD) as old, loaded(NEW) as new, dg.instance_for_test() as instance:
        machine = Machine(tmp_path, instance, {"old": old, "new": new})
        machine.check_out("old")
        machine.deploy()
        machine.here.land("orders", "orders_2024-01-01.csv", f"{HEAD}1,7,5\n2,7,400\n")
        machine.here.settle("orders")
        before = machine.here.rows("hub/orders", "id", "doubled")
        assert before == [(1, 10.0), (2, 800.0)]

        machine.check_out("new")
        for job in ("check", "plan"):
            for line, on_failure in commands(job):
                assert not on_failure
                assert machine.run(line) == 0, (line, machine.told[-1])
        assert "doubled" in machine.told[-1], "the comment is the plan"
        assert machine.here.rows("hub/orders", "id", "doubled") == before

        steps, done = list(commands("deploy")), []
        failed = False
        for line, on_failure in steps:
            if on_failure != failed:
                continue
            if "watch" in line:
                assert machine.here.rows("hub/orders", "id", "doubled") == [(1, 100.0), (2, 8000.0)]
                # the first file after the deployment does not pass its new gate
                machine.here.land("orders", "orders_2024-01-02.csv", f"{HEAD}3,7,-8\n")
                machine.here.settle("orders")
            code = machine.run(line)
            assert code == (1 if "watch" in line else 0), (line, machine.told[-1])
            done.append(line)
            failed = failed or code != 0
        assert done == [line for line, _ in steps]
        assert (machine.code, machine.deployed) == ("old", "old")
        assert machine.here.rows("hub/orders", "id", "doubled") == before
        # the old code takes what the new one refused
        machine.here.settle("orders")
        assert machine.here.rows("hub/orders", "id", "doubled") == [*before, (3, -16.0)]

        # what GitLab runs besides, and the same commands in the same order
        for job in JOBS:
            executed = [line for line, _ in github(job)]
            left = iter(executed)
            for line, _ in gitlab(job):
                if line not in executed:
                    assert machine.run(line) == 0, (line, machine.told[-1])
                elif line.startswith(".venv"):
                    assert line in left, f"{line} comes earlier than on GitHub"
            assert {line for line in executed if line.startswith(".venv")} <= {line for line, _ in gitlab(job)}


def test_every_step_runs_on_the_machine_of_a_developer() -> None:
    """Neither platform has a step that is more than one command, or that only it can run."""
    for commands in (github, gitlab):
        for line, _ in (item for job in JOBS for item in commands(job)):
            program = shlex.split(line)[0]
            assert program in (".venv/bin/dataops", "make", "git", "gh", "curl"), line
            assert not set(";|&<>`") & set(line.replace("https://", "")), line
