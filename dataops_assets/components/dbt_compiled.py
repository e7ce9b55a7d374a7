"""Column lineage of all models of a dbt project before any of them is built, from their compiled SQL.

dbt compiles in a separate process, into an empty warehouse of its own: no warehouse is opened, and none is locked. The
result is kept beside the catalogue, so it is made once for each state of the project.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataops_assets.components.dbt_catalogue import Catalogue, make_apart, prepare
from dataops_assets.components.dbt_lineage import LineageReader, QueryLineage
from dataops_assets.config.environment import Environment, environment_from
from dataops_assets.engines.dbt import DbtProject, invoke
from dataops_assets.errors import DataOpsError

_FILE = "lineage.json"
# neither hooks nor tests; one thread, because dbt closes all connections when the first one ends
_COMPILE = ["--quiet", "compile", "--no-introspect", "--threads", "1"]
_COMPILE += ["--select", "resource_type:model", "resource_type:snapshot"]


def model_lineage(folder: Path, environment: Environment) -> Mapping[str, QueryLineage]:
    """Return the lineage of each model by its unique id. A model that could not be compiled has none.

    Raises ConfigError with dbt's message if the project is not valid.
    """
    project, _ = prepare(folder, environment)
    kept = project.artifacts / _FILE
    if not kept.exists():
        make_apart(__name__, project, "compiling", "dbt compile")
    found = json.loads(kept.read_bytes())
    return {unique_id: _read(item) for unique_id, item in found.items()}


def main(folder: str, artifacts: str) -> None:
    """Compile the project, and write the lineage of its models into the folder of its artifacts."""
    deployment = environment_from(os.environ, Path(folder).parent)
    catalogue = Catalogue.model_validate_json((Path(artifacts) / "catalogue.json").read_bytes())
    with tempfile.TemporaryDirectory(prefix="compiling-") as scratch:
        # of the same name, because the name is part of the names of tables
        empty = Path(scratch) / Path(deployment.warehouse).name
        target = Path(scratch) / "target"
        alone = deployment.model_copy(update={"warehouse": str(empty)})
        try:
            done = invoke(DbtProject(Path(folder), target, alone), _COMPILE)
        except DataOpsError as error:
            sys.exit(error.received)
    reader = LineageReader(catalogue)
    found = {
        result.unique_id: _written(reader.read(result.compiled))
        for result in done.results
        if result.unique_id.startswith(("model.", "snapshot.")) and result.compiled
    }
    unfinished = Path(artifacts) / f".{_FILE}.{os.getpid()}"
    unfinished.write_text(json.dumps(found))
    unfinished.replace(Path(artifacts) / _FILE)


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
