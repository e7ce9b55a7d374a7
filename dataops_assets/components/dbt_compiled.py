"""Column lineage of models of a dbt project before they are built, from their compiled SQL.

dbt compiles in a separate process, into an empty warehouse of its own: no warehouse is opened, and none is locked. Only
the models that are asked for are compiled, and each once: the lineage of a model is kept under the hash of all that its
compiled SQL depends on, so it is found again in later states of the project.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataops_assets.components import dbt_catalogue
from dataops_assets.components.dbt_catalogue import (
    Catalogue,
    begin_parsed,
    make_apart,
    newest_first,
    prepare,
    variables_in,
)
from dataops_assets.components.dbt_lineage import LineageReader, QueryLineage
from dataops_assets.config.environment import Environment, environment_from
from dataops_assets.engines.dbt import DbtProject, invoke, parse
from dataops_assets.errors import DataOpsError
from dataops_assets.storage import durable

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

FILE = "lineage.json"
"""The name of the file with the lineage of models, in the folder of the artifacts."""
# neither hooks nor tests; one thread, because dbt closes all connections when the first one ends
_COMPILE = ["--quiet", "compile", "--no-introspect", "--threads", "1", "--select"]
_KEY = "key"


def model_lineage(folder: Path, environment: Environment, wanted: Collection[str]) -> Mapping[str, QueryLineage]:
    """Return the lineage of the models with these unique ids. A model that could not be compiled has none.

    Raises ConfigError with dbt's message if the project is not valid.
    """
    project, _ = prepare(folder, environment)
    kept = project.artifacts / FILE
    missing = sorted(set(wanted) - _kept(kept).keys())
    if missing:
        make_apart(__name__, project, "compiling", "dbt compile", *missing)
    return {unique_id: _read(item) for unique_id, item in _kept(kept).items() if unique_id in wanted}


def main(folder: str, artifacts: str, *wanted: str) -> None:
    """Compile these models, and write their lineage into the folder of the project's artifacts."""
    kept = Path(artifacts)
    deployment = environment_from(os.environ, Path(folder).parent)
    catalogue = Catalogue.model_validate_json((kept / dbt_catalogue.FILE).read_bytes())
    with tempfile.TemporaryDirectory(prefix="compiling-") as scratch:
        here = DbtProject(Path(folder), Path(scratch) / "target", deployment)
        begin_parsed(here, [kept])
        try:
            found = lineage_to_keep(here, parse(here), catalogue, kept.parent, wanted)
        except DataOpsError as error:
            sys.exit(error.received)
    durable.replace_file(kept / FILE, json.dumps({**_kept(kept / FILE), **found}).encode())


def lineage_to_keep(
    project: DbtProject, manifest: Manifest, catalogue: Catalogue, states: Path, wanted: Collection[str]
) -> dict[str, Mapping[str, object]]:
    """Return the lineage of models by unique id, as the stored file has it; compile those that no earlier state has.

    `states`: the folder with the artifacts of the states of the project. Raises as `invoke`.
    """
    keys = Keys(json.loads((project.artifacts / "manifest.json").read_bytes()), project.folder)
    by_key = {item[_KEY]: item for folder in reversed(newest_first(states)) for item in _kept(folder / FILE).values()}
    found = {unique_id: by_key[key] for unique_id in wanted if (key := keys.of(unique_id)) in by_key}
    left = sorted(set(wanted) - found.keys())
    if not left:
        return found
    # of the same name, because the name is part of the names of tables
    empty = project.artifacts.parent / Path(project.environment.warehouse).name
    alone = project.environment.model_copy(update={"warehouse": str(empty)})
    selectors = [f"fqn:{'.'.join(manifest.nodes[unique_id].fqn)}" for unique_id in left]
    done = invoke(DbtProject(project.folder, project.artifacts, alone), [*_COMPILE, *selectors], manifest)
    reader = LineageReader(catalogue)
    compiled = {item.unique_id: item.compiled for item in done.results if item.compiled}
    for unique_id in left:
        lineage = reader.read(compiled[unique_id]) if unique_id in compiled else QueryLineage()
        found[unique_id] = {_KEY: keys.of(unique_id), **_written(lineage)}
    return found


class Keys:
    """The hashes of all that the lineage of the models of a parsed project depends on.

    Of a model: its SQL and configuration, and name and columns of what it reads. Of the project: macros, sources,
    variables, settings that come from the environment.
    """

    def __init__(self, manifest: Mapping[str, Any], folder: Path) -> None:
        """Take a manifest of dbt as values of JSON, and the folder of the project."""
        self._nodes: Mapping[str, Any] = {**manifest["nodes"], **manifest["sources"]}
        files = [folder / name for name in ("dbt_project.yml", "packages.yml", "profiles.yml")]
        texts = [item["macro_sql"] for _, item in sorted(manifest["macros"].items())]
        texts += [file.read_text() for file in files if file.exists()]
        self._common = _hash(
            [
                texts,
                [_settings(text) for text in texts],
                sorted((name, _told(item)) for name, item in manifest["sources"].items()),
                manifest["metadata"].get("dbt_version"),
                Path(__file__).with_name("dbt_lineage.py").read_text(),
            ]
        )

    def of(self, unique_id: str) -> str:
        """Return the key of a model."""
        node = self._nodes[unique_id]
        return _hash([self._common, self._own(unique_id), list(self._read(node))])

    def _own(self, unique_id: str) -> object:
        node = self._nodes[unique_id]
        text = node.get("raw_code") or ""
        return [unique_id, text, _settings(text), node.get("config"), *_told(node)]

    def _read(self, node: Mapping[str, Any]) -> Iterator[object]:
        for name in sorted((node.get("depends_on") or {}).get("nodes", ())):
            read = self._nodes.get(name)
            if read is None:
                continue
            yield [name, *_told(read)]
            if read.get("config", {}).get("materialized") == "ephemeral":
                # its SQL is a part of the model's
                yield self._own(name)
                yield from self._read(read)


def _told(node: Mapping[str, Any]) -> list[object]:
    columns = node.get("columns") or {}
    return [node.get("relation_name"), [[name, item.get("data_type")] for name, item in columns.items()]]


def _settings(text: str) -> list[object]:
    return [[name, os.environ.get(name)] for name in variables_in(text)]


def _hash(values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:24]


def _kept(file: Path) -> dict[str, Mapping[str, Any]]:
    return json.loads(file.read_bytes()) if file.exists() else {}


def _written(found: QueryLineage) -> dict[str, object]:
    return {
        "columns": {name: sorted([list(table), column] for table, column in of) for name, of in found.columns.items()},
        "conditions": sorted([list(table), column] for table, column in found.conditions),
        "is_read": found.is_read,
    }


def _read(item: Mapping[str, Any]) -> QueryLineage:
    return QueryLineage(
        {name: frozenset((tuple(table), column) for table, column in of) for name, of in item["columns"].items()},
        frozenset((tuple(table), column) for table, column in item["conditions"]),
        bool(item["is_read"]),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
