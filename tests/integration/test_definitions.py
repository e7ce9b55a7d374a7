"""The code location loads as a run's process and the UI load it: in a fresh interpreter, with nothing deprecated."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
LOADED = """
import gc, json, os, sys, warnings
import dagster as dg
import yaml

walks = []
find_root_decl = dg.ComponentTree.find_root_decl
dg.ComponentTree.find_root_decl = lambda tree: walks.append(tree) or find_root_decl(tree)
parsed_in_python = []
compose = yaml.composer.Composer.compose_document
yaml.composer.Composer.compose_document = lambda loader: parsed_in_python.append(loader) or compose(loader)
made_again = []
with_attributes = dg.AssetsDefinition.with_attributes
dg.AssetsDefinition.with_attributes = lambda made, **given: made_again.append(made) or with_attributes(made, **given)

warnings.simplefilter("error", dg.SupersessionWarning)
warnings.filterwarnings("error", category=DeprecationWarning, message=".*(?i:dagster|will be removed).*")
from dataops_assets.definitions import defs, prepare_runs

heavy = sorted({"dagster_dbt", "openpyxl", "pandas", "pandera", "pyspark"} & set(sys.modules))
collected = []
gc.callbacks.append(lambda phase, told: collected.append(phase))
declared = defs()
while_loading = len(collected)
of_load = len(parsed_in_python)
repository = declared.get_repository_def()
sales = repository.asset_graph.get(dg.AssetKey(["hub", "sales"])).metadata["dagster/code_references"]
prepare_runs()
os.environ["SET_AT_THE_START_OF_A_RUN"] = "value"
print(json.dumps({
    "kept": defs() is declared,
    "assets": sorted("/".join(key.path) for key in repository.asset_graph.get_all_asset_keys()),
    "sensors": sorted(sensor.name for sensor in repository.sensor_defs),
    "jobs": sorted(job.name for job in repository.get_all_jobs() if not job.name.startswith("__")),
    "heavy": heavy,
    "walks": len(walks),
    "parsed_in_python": of_load,
    "made_again": sorted({made.key.path[0] for assets in made_again for made in assets.specs}),
    "sales": [[place.file_path, place.line_number] for place in sales.code_references],
    "collected": [while_loading, gc.isenabled()],
}))
"""


def test_the_code_location_loads_in_a_fresh_interpreter_without_deprecated_parts(tmp_path: Path) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER_", "DATAOPS_"))}
    done = subprocess.run(
        [sys.executable, "-c", LOADED],
        cwd=PROJECT,
        env=inherited | {"DATAOPS_ENV": "test", "DATAOPS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=3000,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, "what Dagster warns of its own code would fill the first screens of `make dev`"
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["kept"], "each run would load everything again"
    steps = ["raw/{}", "lake/{}", "lake/{}_quarantine", "lake/{}_changes", "hub/{}_enriched", "hub/{}"]
    sources = ["airlines", "airports", "flights", "planes", "sales", "stores", "weather"]
    expected = {step.format(source) for step in steps for source in sources}
    assert expected | {"hub/sales_current", "hub/flights_current", "warehouse/fct_flights"} <= set(found["assets"])
    assert found["jobs"] == [
        "approve_inputs",
        "examine_storage",
        "incidents",
        "plan_changes",
        "remove_inputs",
        "repair_rows",
    ]
    # packages that only some sources need are imported for these only: each run's process pays for an import
    assert found["heavy"] == []
    # once for all components, and not once for each
    assert found["walks"] == 1
    # libyaml parses what people declare
    assert found["parsed_in_python"] == 0
    # Dagster makes the assets of other components once more, to add the place of their file
    assert not {"raw", "lake", "hub"} & set(found["made_again"])
    [(file, line)] = found["sales"]
    assert Path(file).read_text().splitlines()[line - 1] == "attributes:"
    # the first objects of the load may be more than Python makes without looking for garbage
    count, is_enabled = found["collected"]
    assert count <= 20
    assert is_enabled
    assert set(found["sensors"]) == {
        "automation",
        "incidents",
        "left_undone",
        "looks_at_flights",
        "looks_at_rossmann",
    }
