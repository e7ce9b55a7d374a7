"""Reduces a private environment to a few inputs of each source, as if the deployment had got no others.

So a plan is tried on a sample: what was before is made of the sample, too, with the declarations and the SQL of models
that are in force. Otherwise sums over a sample would be compared with sums over all rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dataops_assets.components.declared_state import PARSED_AS
from dataops_assets.components.platform import Platform
from dataops_assets.config.environment import Environment
from dataops_assets.config.source import Source
from dataops_assets.engines.dbt import DbtProject, invoke
from dataops_assets.errors import DataOpsError
from dataops_assets.metadata.declaration_store import by_name
from dataops_assets.operations.planning.apply import ordered
from dataops_assets.operations.planning.plan import Plan, Tree
from dataops_assets.operations.planning.source_work import Begin
from dataops_assets.operations.planning.trial_models import TriedModels, ancestors, build_command, earlier_project
from dataops_assets.operations.rerun import inputs_to_make, make_again
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep.reset import forget

_RUN = "dataops plan --sample"


def reduce_sources(platform: Platform, names: Sequence[str], size: int, say: Begin) -> Iterator[str]:
    """Keep the newest `size` inputs of these sources and of all that they look up; yield what stopped some of them."""
    load = platform.metadata.declarations.in_force()
    declared = by_name(load.declarations) if load is not None else {}
    sources = {
        name: Source.model_validate({key: value for key, value in content.items() if key != PARSED_AS})
        for (kind, name), content in declared.items()
        if kind == "source"
    }
    wanted = _with_related(sources, names)
    contexts = [platform.source_context(sources[name], sources) for name in wanted]
    for context in ordered(contexts):
        yield from _reduced(context, size, say)


def _with_related(sources: Mapping[str, Source], names: Sequence[str]) -> list[str]:
    found: dict[str, None] = {}
    waiting = [name for name in names if name in sources]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = None
            waiting += [item.source for item in sources[name].relations.values() if item.source in sources]
    return list(found)


def _reduced(context: SourceContext, size: int, say: Begin) -> Iterator[str]:
    source = context.source.name
    usable, settled = inputs_to_make(context)
    newest = usable[-size:]
    forget(context, "parse", [*usable, *settled])
    say(f"{source}: {len(newest)} of {len(usable) + len(settled)} inputs")
    errors = make_again(context, newest, _RUN, lambda _step: None)
    yield from (f"{source}: input {input_id}: {error}" for input_id, error in errors.items())


def sources_of(plan: Plan, tree: Tree) -> list[str]:
    """Return the sources that a plan has work in, or that the models which it builds read."""
    names = {item.subject for item in plan.work if item.kind != "build"}
    planned = {item.table for item in plan.work if item.kind == "build"}
    tables = {
        key[-1]
        for _, catalogue in tree.projects
        for wanted in [[model for model in catalogue.models if "/".join(model.key) in planned]]
        for model in [*wanted, *ancestors(catalogue, wanted)]
        for key in model.reads
        if key[0] in ("hub", "lake")
    }
    endings = ("", "_quarantine", "_current")
    return sorted(names | {name for name in tree.declared.sources if any(f"{name}{one}" in tables for one in endings)})


def build_earlier_models(
    plan: Plan, tree: Tree, environments: tuple[Environment, Environment], tried: TriedModels
) -> None:
    """Build the models of a plan, and what they read, from the sample, with the SQL that is in force.

    A model whose SQL in force is not known is not compared; nor is one that could not be built. `environments`: the
    deployment, whose parsed projects have the earlier SQL, and the private one.
    """
    parent, inside = environments
    planned = {item.table for item in plan.work if item.kind == "build" and not item.is_new}
    earlier = _earlier_code(plan)
    for number, (folder, catalogue) in enumerate(tree.projects):
        wanted = [model for model in catalogue.models if "/".join(model.key) in planned]
        changed = {model.name: earlier[model.name] for model in wanted if model.name in earlier}
        copy = inside.home / "before" / f"project{number}"
        unknown = earlier_project(folder, changed, parent.home / "dbt", copy)
        tried.not_compared += [f"warehouse/{name}: the SQL that is in force is not kept any more" for name in unknown]
        chosen = {model.key: model for model in [*ancestors(catalogue, wanted), *wanted] if model.name not in unknown}
        if not chosen:
            continue
        project = DbtProject(copy, inside.home / "dbt" / f"before{number}", inside)
        try:
            done = invoke(project, build_command(list(chosen.values()), "--full-refresh", tests=False))
        except DataOpsError as error:
            tried.not_compared += [f"{'/'.join(model.key)}: {error}" for model in chosen.values()]
            continue
        built = {item.unique_id for item in done.results if item.status == "success"}
        tried.not_compared += [
            f"{'/'.join(model.key)}: it could not be built of the sample as it is in force"
            for model in chosen.values()
            if model.unique_id not in built
        ]


def _earlier_code(plan: Plan) -> Mapping[str, str]:
    """Return by model the hash of its SQL in force, of the models whose SQL changes."""
    return {
        item.subject: field.before
        for item in plan.changes
        if item.kind == "model" and item.action == "changed"
        for field in item.fields
        if field.name == "code" and field.before
    }


def warehouse_before(inside: Environment) -> Path:
    """Return where the warehouse of a private environment is kept as it was before the work of a plan."""
    return inside.home / "before" / Path(inside.warehouse).name
