"""Parses a dbt project in a process of its own: writes its catalogue, and the lineage of the models that changed.

A plan asks for the lineage of changed models and of those below. They are compiled here, where dbt is imported and the
project is parsed already: to begin again in another process takes four CPU seconds.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from dataops_assets.components import dbt_catalogue, dbt_compiled
from dataops_assets.components.dbt_catalogue import Catalogue, ModelEntry, models_below, newest_first, translate
from dataops_assets.config.environment import environment_from
from dataops_assets.engines.dbt import DbtProject, parse
from dataops_assets.errors import DataOpsError

# more changed models than these are compiled when somebody asks for them
_MOST = 50


def main(folder: str, artifacts: str, states: str) -> None:
    """Parse the project into `artifacts`; `states` has the artifacts of earlier states of the project."""
    project = DbtProject(Path(folder), Path(artifacts), environment_from(os.environ, Path(folder).parent))
    earlier = newest_first(Path(states))
    try:
        manifest = parse(project)
        catalogue = translate(json.loads((project.artifacts / "manifest.json").read_bytes()))
        changed = _changed(earlier[0], catalogue) if earlier else []
        if 0 < len(changed) <= _MOST:
            found = dbt_compiled.lineage_to_keep(project, manifest, catalogue, Path(states), changed)
            (project.artifacts / dbt_compiled.FILE).write_text(json.dumps(found))
    except DataOpsError as error:
        sys.exit(error.received)
    (project.artifacts / dbt_catalogue.FILE).write_text(catalogue.model_dump_json())


def _changed(earlier: Path, catalogue: Catalogue) -> list[str]:
    """Return the unique ids of the models that differ from an earlier state, and of those below them."""
    text = (earlier / dbt_catalogue.FILE).read_bytes()
    before = {model.unique_id: _made_by(model) for model in Catalogue.model_validate_json(text).models}
    differing = [model.key for model in catalogue.models if before.get(model.unique_id) != _made_by(model)]
    return [model.unique_id for model in models_below(catalogue, differing)]


def _made_by(model: ModelEntry) -> object:
    return model.code_version, model.macros, model.settings, model.columns, model.reads


if __name__ == "__main__":
    main(*sys.argv[1:])
