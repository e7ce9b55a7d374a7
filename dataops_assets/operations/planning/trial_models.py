"""Builds the models of a plan in a private environment with their tests, and compares the tables with those before."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlglot import exp

from dataops_assets.components.dbt_catalogue import Catalogue, ModelEntry, begin_parsed, prepare
from dataops_assets.components.dbt_compiled import model_lineage
from dataops_assets.components.dbt_lineage import Origin, QueryLineage
from dataops_assets.components.personal import personal_columns
from dataops_assets.config.environment import Environment
from dataops_assets.engines.dbt import DbtProject, NodeResult, invoke, parse
from dataops_assets.engines.warehouse_reading import TwoWarehouses, WarehouseTable, two_warehouses
from dataops_assets.engines.warehouse_rows import rows_of_tables
from dataops_assets.errors import DataOpsError
from dataops_assets.operations.planning.data_differences import Identity, Side, TableDifference, compare
from dataops_assets.operations.planning.plan import Tree
from dataops_assets.operations.planning.source_work import DoneWork
from dataops_assets.operations.planning.work import Work
from dataops_assets.sql import query

_NO_OUTPUT = ["--log-level", "none"]
_EXACTLY = ["--indirect-selection", "empty", "--exclude-resource-type", "unit_test"]
_BUILT = ("success",)


@dataclass
class TriedModels:
    """The models that were built, and how their tables differ.

    `failed`: models and tests that would fail. `warned`: tests of severity warn. `not_compared`: with the reason.
    """

    work: list[DoneWork] = field(default_factory=list)
    tables: list[TableDifference] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    not_compared: list[str] = field(default_factory=list)


def build_models(
    work: Sequence[Work], tree: Tree, environments: tuple[Environment, Environment], tried: TriedModels
) -> None:
    """Build the models of some work in the warehouse of an environment, and run their tests.

    Models that these read and that have no table yet are built, too. What fails is noted, also an error of dbt itself.
    `environments`: the deployment, whose parsed project is taken, and the private one.
    """
    parent, inside = environments
    planned = {item.table: item for item in work if item.kind == "build"}
    there = rows_of_tables(Path(inside.warehouse))
    for number, (folder, catalogue) in enumerate(tree.projects):
        wanted = [model for model in catalogue.models if "/".join(model.key) in planned]
        missing = [model for model in ancestors(catalogue, wanted) if model.name not in there]
        chosen = list({model.key: model for model in [*missing, *wanted]}.values())
        if not chosen:
            continue
        project = DbtProject(folder, inside.home / "dbt" / f"trial{number}", inside)
        try:
            parsed, _ = prepare(folder, parent)
            begin_parsed(project, [parsed.artifacts])
            manifest = parse(DbtProject(folder, project.artifacts, parent))
            done = invoke(project, build_command(chosen), manifest)
        except DataOpsError as error:
            tried.failed.append(str(error))
            continue
        results = {item.unique_id: item for item in done.results}
        rows = rows_of_tables(Path(inside.warehouse))
        for model in chosen:
            result = results.get(model.unique_id)
            item = planned.get("/".join(model.key))
            if item is not None and result is not None:
                tried.work.append(_done(item, result, rows.get(model.name)))
            _note_failures(model, results, tried)


def build_command(models: Sequence[ModelEntry], *flags: str, tests: bool = True) -> list[str]:
    """Return the command of dbt that builds exactly these models, with their tests."""
    found = [test.selector for model in models for test in model.tests] if tests else []
    return ["build", *_NO_OUTPUT, *flags, *_EXACTLY, "--select", *(model.selector for model in models), *found]


def ancestors(catalogue: Catalogue, models: Sequence[ModelEntry]) -> list[ModelEntry]:
    """Return the models that some models read, directly or through others, in the order of the catalogue."""
    known = {model.key: model for model in catalogue.models}
    found: set[tuple[str, ...]] = set()
    waiting = [key for model in models for key in model.reads]
    while waiting:
        key = waiting.pop()
        if key in known and key not in found:
            found.add(key)
            waiting += known[key].reads
    return [model for model in catalogue.models if model.key in found]


def compare_models(
    work: Sequence[Work], tree: Tree, environments: tuple[Environment, Environment], before: Path, tried: TriedModels
) -> None:
    """Compare the tables of the models of some work in the warehouse file `before` with those that were built.

    `environments`: the deployment, whose lineage tells which columns are personal, and the private one.
    """
    parent, inside = environments
    planned = {item.table for item in work if item.kind == "build"}
    skipped = {text.partition(":")[0] for text in tried.not_compared}
    with two_warehouses(before, Path(inside.warehouse), before.parent / "views") as both:
        for folder, catalogue in tree.projects:
            compared = [model for model in catalogue.models if "/".join(model.key) in planned]
            wanted = [model.unique_id for model in [*ancestors(catalogue, compared), *compared]]
            lineage = model_lineage(folder, parent, wanted)
            personal = personal_of_models(catalogue, lineage, set(personal_columns(tree.declared)))
            for model in compared:
                table = "/".join(model.key)
                if table not in skipped:
                    tried.tables += _difference(both, model, table, personal[model.key])


def personal_of_models(
    catalogue: Catalogue, lineage: Mapping[str, QueryLineage], personal: Collection[Origin]
) -> Mapping[tuple[str, ...], frozenset[str] | None]:
    """Return by model the columns, in lower case, whose values may not be shown; None for all of them.

    Those that are declared as personal, and those made of such a column. Where the lineage is not known, all.
    """
    found: dict[tuple[str, ...], frozenset[str] | None] = {}
    known = set(personal)
    waiting = {model.key: model for model in catalogue.models}
    while ready := [one for one in waiting.values() if not waiting.keys() & set(one.reads) - {one.key}]:
        for model in ready:
            del waiting[model.key]
            read = lineage.get(model.unique_id, QueryLineage())
            declared = {item.name.lower() for item in model.columns if item.personal}
            made = {
                name.lower()
                for name, origins in read.columns.items()
                if any((key, column.lower()) in known for key, column in origins)
            }
            hidden = frozenset(declared | made)
            found[model.key] = hidden if read.is_read else None
            names = hidden if read.is_read else [item.name.lower() for item in model.columns]
            known |= {(model.key, name) for name in names}
    return {**dict.fromkeys(waiting), **found}


def earlier_project(folder: Path, changed: Mapping[str, str], artifacts: Path, target: Path) -> list[str]:
    """Copy a dbt project with the earlier SQL of its changed models; return the models whose SQL is not known any more.

    `changed`: by model the hash of its SQL, as dagster-dbt computes it. It is looked for in the manifests that the
    deployment keeps below `artifacts`. Macros are those of the project as it is.
    """
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("target", "logs"))
    left = dict(changed)
    for manifest in sorted(artifacts.glob("*/manifest.json")) if left else ():
        for node in json.loads(manifest.read_bytes())["nodes"].values():
            text = node.get("raw_code", "")
            if left.get(node["name"]) == hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest():
                (target / node["original_file_path"]).write_text(text)
                del left[node["name"]]
    return list(left)


def _done(item: Work, result: NodeResult, rows: int | None) -> DoneWork:
    error = "" if result.status in _BUILT else result.message or f"it was {result.status}"
    seconds = round(result.seconds, 3)
    return DoneWork(item.kind, item.subject, item.table, item.rows, item.seconds, rows, None, seconds, error)


def _note_failures(model: ModelEntry, results: Mapping[str, NodeResult], tried: TriedModels) -> None:
    for test in model.tests:
        result = results.get(test.unique_id)
        if result is None or result.status in ("pass", "skipped"):
            continue
        told = f"check {test.name} of {'/'.join(model.key)}: {result.message or result.status}"
        (tried.failed if test.blocking else tried.warned).append(told)


def _difference(
    both: TwoWarehouses, model: ModelEntry, table: str, personal: Collection[str] | None
) -> Iterator[TableDifference]:
    reference = exp.to_table(model.relation)
    sides = [_side(both, one) for one in both.tables(reference.name, reference.db)]
    if all(one is None for one in sides):
        return
    names = list(dict.fromkeys(name for one in sides if one is not None for name in one.columns))
    keys = _identifying(both, model.grain, sides)
    hidden = {name for name in names if personal is None or name.lower() in personal}
    yield compare(both.session, table, sides, Identity(keys, keys), hidden)


def _side(both: TwoWarehouses, table: WarehouseTable | None) -> Side | None:
    if table is None:
        return None
    counted = query("SELECT count(*) AS n FROM $rows AS r", rows=table.rows)
    return Side(table.rows, table.columns, int(both.session.fetch(counted).to_pylist()[0]["n"]))


def _identifying(both: TwoWarehouses, grain: Sequence[str], sides: Sequence[Side | None]) -> list[str]:
    """Return the columns of the grain as the tables name them; nothing if they do not identify the rows of both."""
    found: list[str] = []
    for side in sides:
        if side is None:
            continue
        named = {name.lower(): name for name in side.columns}
        found = [named[name.lower()] for name in grain if name.lower() in named]
        if not grain or len(found) < len(grain):
            return []
        several = query(
            "SELECT count(*) AS n FROM (SELECT 1 FROM $rows AS r GROUP BY $keys HAVING count(*) > 1) AS d",
            rows=side.rows,
            keys=[exp.column(name, table="r", quoted=True) for name in found],
        )
        if both.session.fetch(several).to_pylist()[0]["n"]:
            return []
    return found
