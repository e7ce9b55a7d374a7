"""What the platform costs by the number of inputs, sources and columns. Run by hand: `make benchmark-scale`.

Grain of the output: one table a question, one line a size, with CPU seconds or bytes; and the growth exponent between
the smallest and the largest size (1: in proportion to the size; 0: the size does not matter). CPU seconds and not
seconds, so that a busy machine matters little. All deployments are made here, in a temporary folder.
"""

from __future__ import annotations

import argparse
import datetime as dt
import functools
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from dataops_assets.components.graph import nodes
from dataops_assets.components.platform import Platform
from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.connections.discovery import discover
from dataops_assets.connections.files import Files
from dataops_assets.connections.look import ReadingTime
from dataops_assets.report import PER_INPUT, Input
from dataops_assets.rules.compiler import compile_rules
from dataops_assets.steps.recording import run_recorded
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep import lost_data

SOURCE_TYPE = "dataops_assets.components.SourceComponent"
# 100,000 days fit before today
FIRST_DAY = dt.date(1700, 1, 1)
AT_ONCE = 2_000
PACKAGE = Path(__file__).resolve().parents[2] / "dataops_assets"
LOAD = """
import time
from dataops_assets.definitions import defs
defs().get_repository_def()
print("cpu", time.process_time())
"""


WITHOUT_CONTROL = {"volume": {"enabled": False}, "distribution": {"enabled": False}}


def declared(number: int = 0, columns: int = 10) -> dict[str, Any]:
    """A source of some columns; `number` tells it from others."""
    return {
        "name": f"things_{number}",
        "area": f"area_{number % 20}",
        "connection": {
            "type": "files",
            "path": f"things_{number}/*.csv",
            "extract_time": {"pattern": "things_%Y-%m-%d.csv"},
            "settle_seconds": 0,
        },
        "columns": [
            {"name": "id", "type": "integer", "nullable": False},
            *({"name": f"value_{index}", "type": "double"} for index in range(columns - 1)),
        ],
        "refresh": {"type": "key", "key": ["id"]},
    }


class Deployment:
    """One source with a history of inputs, driven step by step as a run does."""

    def __init__(self, home: Path, columns: int = 10, checks: Mapping[str, Any] | None = None) -> None:
        self.source = Source.model_validate(declared(columns=columns) | {"checks": checks or {}})
        self.environment = environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home)
        self.platform = Platform(self.environment)
        self.landing = home / "landing" / self.source.name
        self.landing.mkdir(parents=True)
        rules = compile_rules(self.source, {self.source.name: self.source})
        self._steps = {node.name: node.as_step for node in nodes(self.source, rules)}
        self._columns = columns
        self._landed = 0

    @property
    def context(self) -> SourceContext:
        return self.platform.source_context(self.source, {self.source.name: self.source})

    def land(self, files: int, rows: int = 1) -> None:
        """Deliver files, one a day, each with rows of its own."""
        header = ",".join(item.name for item in self.source.columns)
        for number in range(self._landed, self._landed + files):
            lines = (",".join([str(number * rows + row), *["1.5"] * (self._columns - 1)]) for row in range(rows))
            path = self.landing / f"things_{FIRST_DAY + dt.timedelta(number)}.csv"
            path.write_text("\n".join([header, *lines]) + "\n")
        self._landed += files

    def look(self) -> list[Input]:
        found = discover(
            self.source, self.environment, self.platform.metadata, now=dt.datetime.now(dt.UTC), limit=ReadingTime(3600)
        )
        return list(found.new)

    def see_that_all_is_quiet(self) -> None:
        """What a sensor does at most ticks: nothing was written since the last look, so it does not look."""
        self.platform.metadata.state_of_file()
        Files(self.source.connection, self.environment.landing, os.environ).local_state()

    def look_as_a_sensor(self) -> None:
        """What a sensor asks at a whole look, but Dagster's part of it."""
        metadata, name = self.platform.metadata, self.source.name
        self.look()
        lost_data.lost(self.context)
        metadata.input_ids(name)
        metadata.unfinished(name)
        metadata.inputs_of_one_time(name)
        metadata.done_steps(name, PER_INPUT)

    def run(self, inputs: Sequence[Input]) -> None:
        """All steps for these inputs together."""
        for name in PER_INPUT:
            self.step(name, inputs)

    def step(self, name: str, inputs: Sequence[Input]) -> None:
        ids = [item.input_id for item in inputs]
        report = run_recorded(self.context, self._steps[name], list(inputs), ids, "benchmark")
        assert not report.failures, report.failures[0].error

    def take(self, files: int) -> None:
        """Deliver files, and bring them to the hub."""
        self.land(files)
        found = self.look()
        for start in range(0, len(found), AT_ONCE):
            self.run(found[start : start + AT_ONCE])

    def commit_bytes(self) -> int:
        """The bytes of the newest commits of the source's tables, without the lines about files."""
        tables = (self.context.lake, self.context.changes, self.context.enriched, self.context.hub)
        heads = [sorted(Path(table.uri, "_delta_log").glob("*.json"))[-1] for table in tables]
        return sum(len(head.read_bytes().partition(b"\n")[0]) for head in heads)


@contextmanager
def temporary() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        yield Path(folder)


def cpu(act: Callable[[], Any], times: int = 1) -> float:
    """The CPU seconds of an act: the least of several, because the first one also imports and compiles."""
    found = []
    for _ in range(times):
        started = time.process_time()
        act()
        found.append(time.process_time() - started)
    return min(found)


def table(title: str, unit: str, found: dict[int, float]) -> None:
    """Print the figures by size, and how they grow."""
    print(f"\n{title}")
    for size, value in found.items():
        print(f"  {size:>9,}  {value:>12,.3f} {unit}")
    (first, low), (last, high) = min(found.items()), max(found.items())
    if low > 0 and high > 0 and first != last:
        print(f"  exponent {math.log(high / low) / math.log(last / first):.2f}", flush=True)


def of_inputs(sizes: Sequence[int]) -> None:
    """By the inputs that a source has already: a look, one more input, 500 more, the metadata of the commits."""
    quiet: dict[int, float] = {}
    looks: dict[int, float] = {}
    one_more: dict[int, float] = {}
    many_more: dict[int, float] = {}
    commits: dict[int, float] = {}
    for size in sizes:
        with temporary() as home:
            here = Deployment(home)
            here.take(size)
            quiet[size] = cpu(here.see_that_all_is_quiet, 3)
            looks[size] = cpu(here.look_as_a_sensor, 3)
            one_more[size] = cpu(functools.partial(here.take, 1), 4)
            commits[size] = here.commit_bytes() / 1000
            many_more[size] = cpu(functools.partial(here.take, 500))
    table("A tick with nothing new, by known inputs", "CPU s", quiet)
    table("A whole look with nothing new, by known inputs", "CPU s", looks)
    table("One more input, all steps, by known inputs", "CPU s", one_more)
    table("500 more inputs, all steps, by known inputs", "CPU s", many_more)
    table("What a run records in its commits, by known inputs", "kB", commits)


def of_process_control(sizes: Sequence[int]) -> None:
    """By the inputs that a source has already: what process control adds to one more input and to 500 more.

    Both deployments take the same inputs in turn, so that a machine that is busy for some time is busy for both.
    """
    for size in sizes:
        with temporary() as first, temporary() as second:
            controlled, plain = Deployment(first), Deployment(second, checks=WITHOUT_CONTROL)
            for here in (controlled, plain):
                here.take(size)
            one: dict[bool, list[float]] = {True: [], False: []}
            many: dict[bool, list[float]] = {True: [], False: []}
            for files, times, found in ((1, 7, one), (500, 3, many)):
                for _ in range(times):
                    found[True].append(cpu(functools.partial(controlled.take, files)))
                    found[False].append(cpu(functools.partial(plain.take, files)))
        for title, found in (("One more input", one), ("500 more inputs", many)):
            on, off = (statistics.median(found[key]) for key in (True, False))
            print(f"\n{title}, all steps, {size:,} known inputs, with and without process control")
            print(f"  {on:.3f} and {off:.3f} CPU s: {on / off:.2f} times", flush=True)


def load_seconds(home: Path, sources: Sequence[dict[str, Any]]) -> float:
    """The CPU seconds of a process that loads a code location of these sources, from its start.

    The code location is a copy of the package in `home`, so its entry point is the one that Dagster loads.
    """
    package = home / PACKAGE.name
    if not package.exists():
        shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(PACKAGE.parent / "pyproject.toml", home)
        shutil.rmtree(package / "defs")
        for source in sources:
            place = package / "defs" / source["area"] / source["name"]
            place.mkdir(parents=True)
            (place / "defs.yaml").write_text(yaml.safe_dump({"type": SOURCE_TYPE, "attributes": source}))
    given = {**os.environ, "DATAOPS_ENV": "test", "DATAOPS_HOME": str(home / "data"), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", LOAD]
    answer = subprocess.run(command, cwd=home, env=given, capture_output=True, text=True, check=True, timeout=1800)
    return float(answer.stdout.rpartition("cpu ")[2])


def in_a_chain(length: int) -> list[dict[str, Any]]:
    """Sources that each look up a column of the one before: a snapshot rule of a snapshot rule, and so on."""
    found = [declared(number) for number in range(length)]
    for number, source in enumerate(found):
        before = f"things_{number - 1}"
        source["relations"] = {"before": {"source": before, "on": {"id": "id"}}} if number else {}
        source["rules"] = [{"name": "total", "expression": "value_0 + before.total" if number else "value_0"}]
    return found


def of_sources(sizes: Sequence[int], chains: Sequence[int]) -> None:
    """By declared sources: the load of the code location, in a process of its own."""
    loads: dict[int, float] = {}
    in_chains: dict[int, float] = {}
    # the first load also compiles the package's Python files
    for size in sizes:
        with temporary() as home:
            sources = [declared(number) for number in range(size)]
            loads[size] = min(load_seconds(home, sources) for _ in range(2))
    for size in chains:
        with temporary() as home:
            in_chains[size] = min(load_seconds(home, in_a_chain(size)) for _ in range(2))
    table("Load of the code location, by sources", "CPU s", loads)
    table("Load of the code location, by sources that look each other up in a chain", "CPU s", in_chains)


def of_columns(sizes: Sequence[int], rows: int) -> None:
    """By columns: parse of one file."""
    parses: dict[int, float] = {}
    for size in sizes:
        with temporary() as home:
            here = Deployment(home, columns=size)
            here.land(1, rows)
            found = here.look()
            here.step("ingest", found)
            parses[size] = cpu(functools.partial(here.step, "parse", found))
    table(f"Parse of {rows:,} rows, by columns", "CPU s", parses)


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--inputs", type=int, nargs="+", default=[100, 1_000, 5_000])
    given.add_argument("--control", type=int, nargs="+", default=[100, 1_000])
    given.add_argument("--sources", type=int, nargs="+", default=[10, 100, 300])
    given.add_argument("--chains", type=int, nargs="+", default=[60, 300])
    given.add_argument("--columns", type=int, nargs="+", default=[10, 100, 300])
    given.add_argument("--rows", type=int, default=10_000)
    given.add_argument("--only", choices=("inputs", "control", "sources", "columns"))
    options = given.parse_args()
    if options.only in (None, "sources"):
        of_sources(options.sources, options.chains)
    if options.only in (None, "columns"):
        of_columns(options.columns, options.rows)
    if options.only in (None, "inputs"):
        of_inputs(options.inputs)
    if options.only in (None, "control"):
        of_process_control(options.control)


if __name__ == "__main__":
    main()
