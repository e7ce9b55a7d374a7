"""The code location's entry point: everything that is declared below `defs`, and what all of it shares."""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from dataops_assets.components.assets import PLATFORM
from dataops_assets.components.automation_sensor import automation_sensor
from dataops_assets.components.dbt_catalogue import prepare
from dataops_assets.components.declared_state import declared_state
from dataops_assets.components.incident_job import incident_job
from dataops_assets.components.incident_sensor import incident_sensor
from dataops_assets.components.look_sensors import look_sensors
from dataops_assets.components.migrations_once import read_migrations_once
from dataops_assets.components.output import blocking_checks, relations, require_models
from dataops_assets.components.person_jobs import person_jobs
from dataops_assets.components.plan_job import plan_job
from dataops_assets.components.platform import Platform
from dataops_assets.components.project_state import project_files
from dataops_assets.components.publications import publications_sensor, require_published_models
from dataops_assets.components.quality_report import report_asset, report_schedule
from dataops_assets.components.source import declared_once, source_assets
from dataops_assets.components.source_files import find_once
from dataops_assets.components.stale_tables import left_undone_sensor
from dataops_assets.components.statements_once import compile_statements_once
from dataops_assets.components.storage_job import storage_job, storage_schedule
from dataops_assets.components.warm_start.executable import start_runs_warm
from dataops_assets.config.environment import environment_from
from dataops_assets.engines.dbt import read_once
from dataops_assets.masking import mask_logs, remember_variables

PROJECT = Path(__file__).resolve().parents[1]


class _Loaded:
    """The definitions that this process has loaded, and what they were loaded from.

    A code server asks for them twice when it starts. A run that a preloader has forked finds them loaded.
    """

    definitions: dg.Definitions | None = None
    made_of: Any = None
    is_kept: bool = False


@dg.definitions
def defs() -> dg.Definitions:
    """All assets, checks, sensors and schedules of this deployment. Raises ConfigError for a wrong declaration.

    They are loaded again only if a file or an environment variable has changed, and never after `prepare_runs`.
    """
    mask_logs()
    remember_variables(os.environ)
    read_migrations_once()
    compile_statements_once()
    if _Loaded.definitions is None or not (_Loaded.is_kept or _Loaded.made_of == _state()):
        _Loaded.definitions = _load()
        # some imports set variables
        _Loaded.made_of = _state()
    start_runs_warm(PROJECT, environment_from(os.environ, PROJECT).home, f"{__name__}:defs")
    return _Loaded.definitions


def prepare_runs() -> None:
    """Let dbt read its projects once, and use what is loaded for the rest of this process.

    A preloader calls this before it forks for runs. It compares files and variables itself. Its forks must not compare
    again, because Dagster sets variables of its own at the start of a run.
    """
    tree = defs().component_tree
    environment = environment_from(os.environ, PROJECT)
    for warehouse in declared_once(tree).warehouses if tree is not None else ():
        read_once(prepare(PROJECT / warehouse.project, environment)[0])
    _Loaded.is_kept = True


def _state() -> tuple[Any, dict[str, str]]:
    return project_files(PROJECT), dict(os.environ)


def _load() -> dg.Definitions:
    # What `load_from_defs_folder` does, but for a list of all component types that are installed: making it imports
    # every Dagster integration, which costs each run's process as much time as all the rest of loading
    _hide_warnings_of_dagster_about_itself()
    with _without_garbage_collection():
        tree = dg.ComponentTree.for_project(Path(__file__))
        find_once(tree)
        declared = tree.build_defs(tree.defs_module_path)
    automated = [
        spec.key
        for asset in declared.assets or ()
        if isinstance(asset, dg.AssetsDefinition)
        for spec in asset.specs
        if spec.automation_condition is not None and spec.partitions_def is None
    ]
    everything = declared_once(tree)
    made = [spec.key for item in declared.assets or () if isinstance(item, dg.AssetsDefinition) for spec in item.specs]
    require_models(everything, made)
    environment = environment_from(os.environ, PROJECT)
    require_published_models(everything, {"/".join(key.path): None for key in made}, environment.dbt_target)
    sources = everything.sources
    storage_jobs = [storage_job(sources)] if sources else []
    shared = dg.Definitions(
        component_tree=tree,
        sensors=[
            *look_sensors(source_assets(tree)),
            automation_sensor(declared),
            *([left_undone_sensor(dg.AssetSelection.assets(*automated))] if automated else []),
            *([incident_sensor(sources, everything.incidents)] if sources else []),
            *([publications_sensor(everything)] if everything.publications else []),
        ],
        jobs=[*person_jobs(sources), *storage_jobs, *([incident_job(), plan_job()] if sources else [])],
        assets=[report_asset(sources, everything.data_products, everything.incidents.link, declared)]
        if sources
        else [],
        schedules=[*(storage_schedule(job) for job in storage_jobs), *([report_schedule()] if sources else [])],
        resources={
            PLATFORM: Platform(
                environment,
                blocking_checks(declared.assets or ()),
                lambda: declared_state(everything, PROJECT, environment)[0],
                relations(declared.assets or ()),
            )
        },
        # A run is one chain of steps, and each is a query that uses all cores: a process a step would only cost its
        # start. Runs themselves are processes of their own. See docs/decisions/0002-executor.md.
        executor=dg.in_process_executor,
    )
    return dg.Definitions.merge(declared, shared)


def _hide_warnings_of_dagster_about_itself() -> None:
    """Hide what Dagster warns of where Dagster's own code calls new parts of Dagster.

    Nobody here can change it, and it would fill the first screens of `make dev`. Warnings about our code stay.
    """
    for category in (dg.BetaWarning, dg.PreviewWarning):
        warnings.filterwarnings("ignore", category=category, module=r"dagster(\.|_)")


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Collect no garbage in this block, and never among the objects that it makes.

    All objects that a load makes stay. Looking for garbage among them again and again takes a fifth of the load.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
