"""The catalogue of a dbt project: models, tests and the tables they read, as dagster-dbt translates them for Dagster.

Every process that loads the code location must be quick, but the import of dagster-dbt (with dbt) takes two seconds and
parsing the project four more. So both happen once for each state of the project, in a separate process. The result is a
small file, named by the hash of everything it depends on: files, settings that the project reads, versions, and this
module. Any change gives another hash, so a catalogue is never out of date.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from dataops_assets.config.environment import Environment
from dataops_assets.engines.dbt import DbtProject
from dataops_assets.errors import ConfigError
from dataops_assets.storage import durable
from dataops_assets.storage.file_lock import waited_for

if TYPE_CHECKING:
    from dagster_dbt import DagsterDbtTranslator

# output of dbt and of other tools in the project's folder
_NOT_SOURCE = {"target", "logs", "dbt_packages", ".user.yml"}
_PACKAGES = ("dbt-core", "dbt-adapters", "dbt-duckdb", "dagster-dbt", "dagster")
_ENVIRONMENT_VARIABLE = re.compile(r"env_var\(\s*['\"](\w+)['\"]")
_KEPT = 4
_SETTINGS = ("incremental_strategy", "materialized", "on_schema_change", "unique_key")
FILE = "catalogue.json"
"""The name of the file with the catalogue, in the folder of the artifacts."""
# the files of the project and their hashes
_FILES = "files.json"
_PREPARING = "dataops_assets.components.dbt_preparing"
# what dbt reads again of a project that it has parsed
_PARSED = "partial_parse.msgpack"
# tests that say which columns identify a row, with the argument that names these
_GRAIN_TESTS = {"grain": "columns", "unique_combination_of_columns": "combination_of_columns", "unique": "column_name"}


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ColumnEntry(_Value):
    """A declared column; `type` is as the project writes it. `personal`: it has the tag `pii`."""

    name: str
    type: str
    description: str
    personal: bool = False


class TestEntry(_Value):
    """A dbt test on a model. `selector` selects it alone; `others` are the asset keys it also reads.

    `column` is the column that it is about; '' if it is about rows.
    """

    name: str
    unique_id: str
    selector: str
    description: str | None
    blocking: bool
    others: tuple[tuple[str, ...], ...]
    column: str = ""


class TableEntry(_Value):
    """A table that the project knows: its asset key, its name in SQL and its declared columns."""

    key: tuple[str, ...]
    relation: str
    columns: tuple[ColumnEntry, ...]


class SourceEntry(TableEntry):
    """A table that the project reads but does not make; `file` is the file of the project that declares it."""

    file: str


class ModelEntry(TableEntry):
    """A model (or seed, or snapshot). `selector` selects it alone; `reads` are the asset keys it depends on.

    `macros` are the hashes of the project's macros that it uses, also through others; `settings` those of its
    configuration that decide how its table is made. `grain` are the columns that a test says to identify a row, or the
    configured `unique_key`; empty if nothing says it.
    """

    name: str
    unique_id: str
    selector: str
    reads: tuple[tuple[str, ...], ...]
    description: str
    group: str
    owners: tuple[str, ...]
    tags: dict[str, str]
    kinds: tuple[str, ...]
    code_version: str | None
    materialized: str
    tests: tuple[TestEntry, ...]
    macros: dict[str, str] = {}
    settings: dict[str, Any] = {}
    grain: tuple[str, ...] = ()


class Catalogue(_Value):
    """A parsed dbt project. `disabled` are the names of models that it has, but not for this target."""

    dialect: str
    models: tuple[ModelEntry, ...]
    sources: tuple[SourceEntry, ...]
    disabled: tuple[str, ...] = ()


def prepare(folder: Path, environment: Environment) -> tuple[DbtProject, Catalogue]:
    """Return the project in `folder` and its catalogue; make the catalogue first if there is none (ten seconds).

    Any number of processes may prepare at once: one does, and the others wait for it. Raises ConfigError with dbt's
    message if the project is not valid.
    """
    settled = DbtProject(folder, environment.home / "dbt" / "unknown", environment)
    artifacts = environment.home / "dbt" / _state(settled)
    project = DbtProject(folder, artifacts, environment)
    if not (artifacts / FILE).exists():
        _make(project)
    return project, Catalogue.model_validate_json((artifacts / FILE).read_bytes())


def _make(project: DbtProject) -> None:
    """Make the catalogue of a project, or wait until another process has made it."""
    others = project.artifacts.parent
    with waited_for(others / "lock"):
        if (project.artifacts / FILE).exists():
            return
        with tempfile.TemporaryDirectory(dir=others, prefix="preparing-") as scratch:
            made = Path(scratch) / "made"
            apart = DbtProject(project.folder, made, project.environment)
            begin_parsed(apart, [other for other in newest_first(others) if _has_same_files(other, project.folder)])
            make_apart(_PREPARING, apart, "parsing", "dbt parse", str(others))
            (made / _FILES).write_text(json.dumps(_digests(project.folder)))
            # otherwise there can be an empty catalogue after a power cut, which would be taken for a complete one
            durable.sync_files(made)
            made.rename(project.artifacts)
            durable.sync_folders(others)
        _forget_old(project.artifacts)


def models_below(catalogue: Catalogue, touched: Iterable[tuple[str, ...]]) -> list[ModelEntry]:
    """Return the models that are among the `touched` tables, or read one of them, directly or through others."""
    reached = set(touched)
    found: list[ModelEntry] = []
    waiting = list(catalogue.models)
    while ready := [model for model in waiting if reached & {model.key, *model.reads}]:
        found += ready
        reached |= {model.key for model in ready}
        waiting = [model for model in waiting if model.key not in reached]
    return found


def begin_parsed(project: DbtProject, others: Sequence[Path]) -> None:
    """Let dbt parse only those files of a project that differ from an earlier state of it, or from this one.

    `others`: folders with the artifacts of other states, the best first.
    """
    project.artifacts.mkdir(parents=True, exist_ok=True)
    for other in others:
        if (other / _PARSED).exists():
            shutil.copyfile(other / _PARSED, project.artifacts / _PARSED)
            return


def _has_same_files(earlier: Path, folder: Path) -> bool:
    """Return whether an earlier state of a project differs from it in nothing but the SQL of models.

    Otherwise dbt parses all of it: after a removed model, what dbt reads again still has tests of it.
    """
    if not (earlier / _FILES).exists():
        return False
    before, now = json.loads((earlier / _FILES).read_bytes()), _digests(folder)
    differing = [name for name in now if before.get(name) != now[name]]
    return before.keys() == now.keys() and all(
        name.startswith("models/") and name.endswith(".sql") for name in differing
    )


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in _files(folder)
    }


def newest_first(folder: Path) -> list[Path]:
    """Return the folders with the artifacts of the states of a project, the newest first."""
    found = [path for path in folder.iterdir() if (path / FILE).exists()]
    return sorted(found, key=lambda item: (item / FILE).stat().st_mtime, reverse=True)


def _state(project: DbtProject) -> str:
    """Return a hash of everything that the catalogue depends on."""
    digest = hashlib.sha256()
    variables = {**os.environ, **project.variables}
    for path in [*_files(project.folder), Path(__file__)]:
        content = path.read_bytes()
        # seeds can be in any encoding
        read = variables_in(content.decode("latin-1"))
        item = [path.name, hashlib.sha256(content).hexdigest(), [[name, variables.get(name)] for name in read]]
        digest.update(json.dumps([str(path.parent), *item]).encode())
    versions = [[name, importlib.metadata.version(name)] for name in _PACKAGES]
    digest.update(json.dumps([versions, sorted(project.variables.items())]).encode())
    return digest.hexdigest()[:16]


def variables_in(text: str) -> list[str]:
    """Return the names of the environment's variables that a file of a project reads, sorted."""
    return sorted(set(_ENVIRONMENT_VARIABLE.findall(text)))


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in _NOT_SOURCE:
            continue
        if path.is_dir():
            yield from _files(path)
        else:
            yield path


def make_apart(module: str, project: DbtProject, attempted: str, command: str, *words: str) -> None:
    """Run a module that makes a file of a dbt project, in a separate process; it gets the `words` as arguments.

    So this process does not keep the hundreds of modules of dbt. Raises ConfigError with dbt's message; `command` is
    the one of dbt that shows the fault, too.
    """
    package = Path(__file__).resolve().parents[2]
    done = subprocess.run(  # noqa: S603  a module of this package, by this interpreter
        [sys.executable, "-m", module, str(project.folder), str(project.artifacts), *words],
        env={**os.environ, **project.variables},
        cwd=package,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ConfigError(
            f"{attempted} the dbt project {project.folder.name}",
            received=done.stderr.strip(),
            next_step=f"correct the fault that dbt names; `{command}` in that folder shows it, too",
        )


def _forget_old(current: Path) -> None:
    """Delete old catalogues, except the newest ones: a run that began before a change still uses its catalogue."""
    others = [path for path in newest_first(current.parent) if path != current]
    for path in others[_KEPT:]:
        shutil.rmtree(path, ignore_errors=True)


def translate(manifest: Mapping[str, Any]) -> Catalogue:
    """Translate a dbt manifest into a catalogue, as dagster-dbt does."""
    from dagster import AssetKey
    from dagster_dbt import DagsterDbtTranslator

    class Translator(DagsterDbtTranslator):
        """Gives a model the asset key `warehouse/<model>` and the group of its folder, which is the subject area."""

        def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> AssetKey:
            if dbt_resource_props["resource_type"] == "source":
                return super().get_asset_key(dbt_resource_props)
            return AssetKey(["warehouse", dbt_resource_props["name"]])

        def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
            return super().get_group_name(dbt_resource_props) or dbt_resource_props["fqn"][-2]

    translator = Translator()
    nodes = manifest["nodes"]
    return Catalogue(
        dialect=manifest["metadata"]["adapter_type"],
        models=tuple(
            _model(translator, manifest, unique_id)
            for unique_id, node in sorted(nodes.items())
            if node["resource_type"] in ("model", "seed", "snapshot") and node["config"]["materialized"] != "ephemeral"
        ),
        sources=tuple(
            SourceEntry(
                key=tuple(translator.get_asset_key(source).path),
                relation=source["relation_name"],
                columns=_columns(source),
                file=f"{manifest['metadata']['project_name']}/{source['original_file_path']}",
            )
            for _, source in sorted(manifest["sources"].items())
        ),
        disabled=tuple(
            sorted(
                node["name"]
                for nodes_of_id in manifest["disabled"].values()
                for node in nodes_of_id
                if node["resource_type"] == "model"
            )
        ),
    )


def _model(translator: DagsterDbtTranslator, manifest: Mapping[str, Any], unique_id: str) -> ModelEntry:
    node = manifest["nodes"][unique_id]
    spec = translator.get_asset_spec(manifest, unique_id, None)
    tests = []
    for test_id in manifest["child_map"][unique_id]:
        # None if it is not a test, or a test of another model
        check = translator.get_asset_check_spec(spec, manifest, test_id, None) if test_id.startswith("test.") else None
        if check is not None:
            test = manifest["nodes"][test_id]
            tests.append(
                TestEntry(
                    name=check.name,
                    unique_id=test_id,
                    selector=_selector(test),
                    description=check.description or test.get("description") or None,
                    blocking=check.blocking,
                    others=tuple(sorted(tuple(other.asset_key.path) for other in check.additional_deps)),
                    column=_column_of(test),
                )
            )
    return ModelEntry(
        key=tuple(spec.key.path),
        relation=node["relation_name"],
        columns=_columns(node),
        name=node["name"],
        unique_id=unique_id,
        selector=_selector(node),
        reads=tuple(sorted(tuple(dependency.asset_key.path) for dependency in spec.deps)),
        description=spec.description or "",
        group=spec.group_name or "",
        owners=tuple(spec.owners),
        tags={name: value for name, value in spec.tags.items() if not name.startswith("dagster/kind/")},
        kinds=tuple(sorted(spec.kinds)),
        code_version=spec.code_version,
        materialized=node["config"]["materialized"],
        tests=tuple(sorted(tests, key=lambda test: test.name)),
        macros=_macros(manifest, node),
        settings={name: node["config"].get(name) for name in _SETTINGS},
        grain=tuple(_grain(manifest, unique_id)),
    )


def _column_of(test: Mapping[str, Any]) -> str:
    """Return the column of a test, which can be an argument of it; '' if it has none."""
    arguments = (test.get("test_metadata") or {}).get("kwargs", {})
    return test.get("column_name") or arguments.get("column_name") or ""


def _grain(manifest: Mapping[str, Any], unique_id: str) -> Sequence[str]:
    """Return the columns that identify a row of a model, by its tests or its configuration."""
    for test_id in manifest["child_map"][unique_id]:
        test = manifest["nodes"].get(test_id, {})
        told = test.get("test_metadata") or {}
        argument = _GRAIN_TESTS.get(told.get("name", ""))
        if argument and test["attached_node"] == unique_id:
            return _names(told["kwargs"].get(argument))
    return _names(manifest["nodes"][unique_id]["config"].get("unique_key"))


def _names(value: object) -> Sequence[str]:
    return [value] if isinstance(value, str) else list(value) if isinstance(value, list) else []


def _macros(manifest: Mapping[str, Any], node: Mapping[str, Any]) -> dict[str, str]:
    """Return the project's own macros that a node uses, with a hash of each."""
    own, known = manifest["metadata"]["project_name"], manifest["macros"]
    waiting = list(node["depends_on"].get("macros", ()))
    # dbt finds the macro of an incremental strategy by its name
    strategy = node["config"].get("incremental_strategy")
    waiting += [f"macro.{own}.get_incremental_{strategy}_sql"] if strategy else []
    found: dict[str, str] = {}
    while waiting:
        name = waiting.pop()
        macro = known.get(name)
        if macro is None or macro["package_name"] != own or macro["name"] in found:
            continue
        found[macro["name"]] = hashlib.sha256(macro["macro_sql"].encode()).hexdigest()[:16]
        waiting += macro["depends_on"]["macros"]
    return dict(sorted(found.items()))


def _selector(node: Mapping[str, Any]) -> str:
    return f"fqn:{'.'.join(node['fqn'])}"


def _columns(node: Mapping[str, Any]) -> tuple[ColumnEntry, ...]:
    return tuple(
        ColumnEntry(
            name=column["name"],
            type=column.get("data_type") or "",
            description=column.get("description") or "",
            personal="pii" in column.get("tags", ()),
        )
        for column in node["columns"].values()
    )
