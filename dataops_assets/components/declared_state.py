"""All declarations of a code location as JSON values. They are recorded when it runs, and compared by a plan.

What is as by default is left out: a setting that a new version of the software brings is no change of a declaration.
It contains no secret: declarations only name the variables and files that hold them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from dataops_assets.components.dbt_catalogue import Catalogue, ModelEntry, prepare
from dataops_assets.components.declarations import Declarations
from dataops_assets.config.environment import Environment
from dataops_assets.config.source import Source
from dataops_assets.metadata.declaration_store import Declaration
from dataops_assets.steps.parsing.declared_as import parsed_as

PARSED_AS = "parsed_as"
"""Key in the content of a source: the hash of what decides its parsed rows."""


def declared_state(
    declared: Declarations, project: Path, environment: Environment
) -> tuple[list[Declaration], Sequence[tuple[Path, Catalogue]]]:
    """Return all declarations, and the folder and catalogue of each dbt project.

    Raises ConfigError for a contract that cannot be loaded or a dbt project that is not valid.
    """
    found = [*declared_parts(declared), *_contracts(declared)]
    projects = []
    for warehouse in declared.warehouses:
        _, catalogue = prepare(project / warehouse.project, environment)
        projects.append((project / warehouse.project, catalogue))
        found += [Declaration("model", model.name, _model(model)) for model in catalogue.models]
    return found, projects


def declared_parts(declared: Declarations) -> list[Declaration]:
    """Return what the YAML files declare, without contracts and models, which are code."""
    found = [Declaration("source", name, _source(source)) for name, source in declared.sources.items()]
    found += [
        Declaration("database", name, item.model_dump(mode="json", by_alias=True, exclude_defaults=True))
        for name, item in declared.databases.items()
    ]
    found += [
        Declaration("output", name, item.output.model_dump(mode="json", by_alias=True, exclude_defaults=True))
        for name, item in declared.outputs.items()
    ]
    if declared.incidents.model_fields_set:
        found.append(
            Declaration(
                "incidents",
                "incidents",
                declared.incidents.model_dump(mode="json", by_alias=True, exclude_defaults=True),
            )
        )
    if declared.data_products.model_fields_set:
        content = declared.data_products.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        found.append(Declaration("data products", "data products", content))
    found += [
        Declaration("publication", name, item.model_dump(mode="json", by_alias=True, exclude_defaults=True))
        for name, item in declared.publications.items()
    ]
    found += [
        Declaration("warehouse", item.project, item.model_dump(mode="json", by_alias=True, exclude_defaults=True))
        for item in declared.warehouses
    ]
    return found


def _source(source: Source) -> dict[str, object]:
    return {**source.model_dump(mode="json", by_alias=True, exclude_defaults=True), PARSED_AS: parsed_as(source)}


def _contracts(declared: Declarations) -> Iterator[Declaration]:
    """Return the pandera schemas that gates check."""
    # a process that only loads the code location needs no pandera
    from dataops_assets.quality.contracts import described, load_contract

    gates = (
        gate
        for source in declared.sources.values()
        for gate in (source.gates.lake, source.gates.hub, source.gates.current)
        if gate is not None
    )
    for reference in sorted({gate.contract for gate in gates}):
        yield Declaration("contract", reference, described(load_contract(reference)))


def _model(model: ModelEntry) -> dict[str, object]:
    return {
        "columns": [item.model_dump(exclude_defaults=True) for item in model.columns],
        "reads": ["/".join(key) for key in model.reads],
        # dagster-dbt adds the query
        "description": model.description.partition("#### Raw SQL")[0].strip(),
        "group": model.group,
        "owners": list(model.owners),
        "tags": dict(model.tags),
        "code": model.code_version,
        "macros": dict(model.macros),
        "settings": {**model.settings, "materialized": model.materialized},
        "tests": {item.name: {"description": item.description, "blocking": item.blocking} for item in model.tests},
    }
