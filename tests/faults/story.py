"""A source with every kind of write in it, and what processes do with it: run its steps, be killed, read the result.

Everything of a story lies below one folder: `engine` (DuckDB's extensions, for all copies), `landing`, and `now`, which
holds tables and metadata and is what a test copies, breaks and compares.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import multiprocessing
import os
import pickle
import shutil
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.report import Input, StepReport
from dataops_assets.sql import query
from dataops_assets.steps.cdc import cdc
from dataops_assets.steps.enrich import enrich
from dataops_assets.steps.ingest import ingest
from dataops_assets.steps.parse import parse
from dataops_assets.steps.recalculate import recalculate
from dataops_assets.steps.refresh import refresh
from dataops_assets.steps.source_context import SourceContext

STEPS = ("ingest", "parse", "cdc", "enrich", "refresh", "recalculate")
TABLES = (
    "lake/sales",
    "lake/sales_quarantine",
    "lake/sales_changes",
    "hub/sales_enriched",
    "hub/sales",
    "hub/sales_current",
)
WRITES: dict[str, tuple[str, ...]] = {
    "ingest": (),
    "parse": ("lake/sales", "lake/sales_quarantine"),
    "cdc": ("lake/sales_changes",),
    "enrich": ("hub/sales_enriched",),
    "refresh": ("hub/sales",),
    "recalculate": ("hub/sales_current",),
}
"""The tables that each step writes."""
Tables = dict[str, list[tuple[Any, ...]] | None]
_START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
_PER_INPUT = {"ingest": ingest, "parse": parse, "cdc": cdc, "enrich": enrich, "refresh": refresh}
# The server finds no module of the tests' own folders, so what those import is named here; and pandas, which Arrow
# imports when it makes the first array
_PRELOADED = [
    *(f"dataops_assets.steps.{name}" for name in ("ingest", "parse", "cdc", "enrich", "refresh", "recalculate")),
    "dataops_assets.metadata.upgrade",
    "pandas",
    "pytest",
]

SALES = {
    "name": "sales",
    "area": "tests",
    "connection": {"type": "files", "path": "sales_*.csv"},
    "columns": [
        {"name": "id", "type": "integer"},
        {"name": "at", "type": "integer"},
        {"name": "shop", "type": "text"},
        {"name": "amount", "type": "double"},
        {"name": "op", "type": "text"},
    ],
    "refresh": {"type": "key", "key": ["id"], "order_by": "at", "delete_when": "op = 'D'", "history": True},
    "rules": [
        {"name": "is_big", "expression": "amount > 50"},
        {"name": "of_shop", "expression": "sum(amount) over (partition by shop)", "mode": "keep_current"},
    ],
    "validations": [{"name": "sells", "expression": "amount >= 0", "severity": "quarantine"}],
}
"""A row that cannot be parsed, one that a validation quarantines, deletes, history, a window: all steps write."""


@dataclass(frozen=True)
class Story:
    """One source below `root`; picklable, so that any process can go on with it."""

    root: Path
    settings: Mapping[str, Any]
    storage: str = ""
    metadata_url: str = ""

    @property
    def now(self) -> Path:
        """The state that steps change."""
        return self.root / "now"

    def source_context(self) -> SourceContext:
        """What the steps of this process work with."""
        environment = environment_from(
            {
                "DATAOPS_ENV": "test",
                "DATAOPS_HOME": str(self.root / "engine"),
                "DATAOPS_LANDING": str(self.root / "landing"),
                "DATAOPS_STORAGE": self.storage or str(self.now / "storage"),
                "DATAOPS_METADATA_URL": self.metadata_url or f"sqlite:///{self.now}/metadata.db",
            },
            self.root,
        )
        source = Source.model_validate(self.settings)
        metadata = MetadataStore(environment.metadata_url)
        metadata.migrate()
        metadata.contracts.register(source)
        return SourceContext(environment, source, {source.name: source}, DuckDBEngine(environment), metadata)

    def deliver(self, day: int, lines: Sequence[str]) -> Input:
        """A file of day `day`, with these lines below the header."""
        header = ",".join(column["name"] for column in self.settings["columns"])
        path = self.root / "landing" / f"{self.settings['name']}_{day}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([header, *lines]) + "\n")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        time = _START + dt.timedelta(days=day)
        input_id = f"{time:%Y%m%dT%H%M%SZ}-{digest[:12]}"
        return Input(time, time, input_id, digest, str(path), path.stat().st_size, content=digest)


def prepare(root: Path, settings: Mapping[str, Any] = SALES) -> Story:
    """A story without inputs."""
    root.mkdir(exist_ok=True)
    (root / "now").mkdir()
    return Story(root, settings)


def big_day(story: Story, day: int, rows: int = 60) -> Input:
    """An input of `SALES` that adds, changes and deletes rows; one does not parse, and one fails a validation."""
    lines = [
        f"{(day * 7 + n) % 80},{day},shop {n % 4},{(n * 31 + day) % 100},{'D' if n % 11 == day else 'U'}"
        for n in range(rows)
    ]
    return story.deliver(day, [*lines, f"{900 + day},{day},shop 1,-5,U", f"{950 + day},{day},shop 1,much,U"])


def run(story: Story, inputs: Sequence[Input], steps: Sequence[str] = STEPS, run_id: str = "run") -> list[str]:
    """Run steps as a run of the platform does, with their start and end on record; the result are all errors."""
    source_context = story.source_context()
    name = source_context.source.name
    if "ingest" in steps:
        source_context.metadata.register_inputs(name, inputs)
    errors = []
    for step in steps:
        ids = [item.input_id for item in inputs] if step != "recalculate" else [""]
        source_context.metadata.start(name, step, ids, run_id)
        report = one_step(source_context, step, inputs)
        source_context.metadata.finish(name, report, run_id)
        errors += [str(item.error) for item in report.failures]
    return errors


def one_step(source_context: SourceContext, step: str, inputs: Sequence[Input]) -> StepReport:
    """Run one step by its name."""
    return recalculate(source_context) if step == "recalculate" else _PER_INPUT[step](source_context, inputs)


def rows_of(source_context: SourceContext, key: str) -> list[tuple[Any, ...]] | None:
    """A table's rows as a standard Delta reader sees them, sorted; None where it does not exist."""
    snapshot = source_context.table(key).snapshot()
    if snapshot is None:
        return None
    with source_context.engine.session() as session:
        found = session.fetch(query("SELECT * FROM $t AS t", t=session.scan(snapshot))).to_pylist()
    assert len(found) == snapshot.rows
    names = sorted(snapshot.columns)
    return sorted((tuple(row[name] for name in names) for row in found), key=repr)


def tables_of(story: Story, keys: Sequence[str] = TABLES) -> Tables:
    """The rows of the source's tables."""
    source_context = story.source_context()
    return {key: rows_of(source_context, key) for key in keys}


def metadata_of(story: Story) -> dict[str, Any]:
    """What the metadata structure says, but for times and run ids."""
    source_context = story.source_context()
    store, name = source_context.metadata, source_context.source.name
    # of a recalculation that was killed after its commit, the commit has the receipt: another one finds nothing to do
    attempts = [
        (item.step, item.input_id, item.status, item.asset, item.counts if item.input_id else {}, item.error)
        for item in store.processes(name)
    ]
    checks = {
        (check.step, check.outcome.asset, check.outcome.check, check.outcome.input_id): check.outcome
        for check in store.check_results(name)
    }
    assets = [f"raw/{name}", *(key.replace("sales", name) for key in TABLES)]
    return {
        "inputs": store.inputs(name),
        "raw": source_context.raw.inputs(),
        "processes": attempts,
        "checks": checks,
        "profiles": {asset: store.profiles.newest(name, asset) for asset in assets},
    }


# --- processes -------------------------------------------------------------------------------------------------------


class ChildFailed(AssertionError):
    """A process ended in an exception."""


def processes() -> Any:
    """Where processes come from: forks of one that has loaded the platform, and has no threads, yet nothing open."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def begin(function: Callable[..., Any], *arguments: Any, answer: Path | None = None) -> Any:
    """Start `function` in a process of its own; what it returns is put into the file `answer`."""
    process = processes().Process(target=_call, args=(function, arguments, answer, dict(os.environ)), daemon=True)
    process.start()
    return process


def in_child(function: Callable[..., Any], *arguments: Any, answer: Path) -> Any:
    """What `function` returns in a fresh process. Raises ChildFailed with the process's traceback."""
    process = begin(function, *arguments, answer=answer)
    process.join()
    return outcome(process, answer)


def outcome(process: Any, answer: Path) -> Any:
    """What a process that `begin` started returned. Raises ChildFailed with the process's traceback."""
    process.join()
    result = pickle.loads(answer.read_bytes()) if answer.exists() else f"exit code {process.exitcode}"  # noqa: S301
    answer.unlink(missing_ok=True)
    if process.exitcode != 0:
        raise ChildFailed(result)
    return result


def _call(
    function: Callable[..., Any], arguments: Sequence[Any], answer: Path | None, variables: Mapping[str, str]
) -> None:
    os.environ.update(variables)
    try:
        result = function(*arguments)
    except BaseException:
        if answer is not None:
            answer.write_bytes(pickle.dumps(traceback.format_exc()))
        raise
    if answer is not None:
        answer.write_bytes(pickle.dumps(result))


def put_back(saved: Path, story: Story) -> None:
    """Make `saved` the state of the story."""
    shutil.rmtree(story.now)
    shutil.copytree(saved, story.now, copy_function=shutil.copy2)


def files_below(folder: Path) -> set[str]:
    """Paths of all files, relative to `folder`."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
