"""Applies a plan: exactly the work that was read, if nothing moved since; then all that is due."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dataops_assets.components.declared_state import PARSED_AS
from dataops_assets.errors import CommitConflict, ConfigError, InputError
from dataops_assets.metadata.declaration_store import by_name
from dataops_assets.metadata.plan_store import DONE, FAILED, StoredPlan
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.operations.planning.plan import Tree
from dataops_assets.operations.planning.source_work import (
    Begin,
    Counted,
    DoneWork,
    recalculated,
    timed,
    work_in_source,
)
from dataops_assets.operations.planning.work import Work
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage.delta import Table

_SHOWN = 5

BuildTables = Callable[[Sequence[str]], Mapping[str, str]]
"""Builds models by their asset keys, and returns the error of each that failed."""


@dataclass(frozen=True)
class Applying:
    """One attempt to apply a plan. `before`: by source, how its inputs were parsed where that is not recorded."""

    plan: StoredPlan
    apply_id: int
    work: Sequence[Work]
    before: Mapping[str, str]


def begin(plan_id: str, tree: Tree, contexts: Sequence[SourceContext], metadata: MetadataStore, by: str) -> Applying:
    """Begin to apply a plan: from now on the deployment runs with the declarations of the tree.

    A plan whose apply was killed or failed is continued. Raises InputError for an unknown plan or one that is applied
    already, ConfigError if the tree or the declarations in force differ from those of the plan, CommitConflict if a
    table that its work reads or changes has another version now. Then nothing was changed.
    """
    plan = metadata.plans.plan(plan_id)
    attempted = f"applying the plan {plan_id}"
    _require_same_declarations(plan, tree, metadata, attempted)
    earlier = metadata.plans.applies(plan_id)
    if any(item.state == DONE for item in earlier):
        raise InputError(
            attempted, received="a plan that was applied already", next_step="make a new one: dataops plan"
        )
    if not earlier:
        # the tables that an attempt has changed are no reason not to continue it
        _require_same_tables(plan, contexts, attempted)
    load = by_name(metadata.declarations.load(plan.load_id).declarations) if plan.load_id is not None else {}
    before = {name: content[PARSED_AS] for (kind, name), content in load.items() if kind == "source"}
    apply_id = metadata.plans.begin(plan_id, by)
    metadata.declarations.record(tree.state)
    work = [Work(**item) for item in plan.content["work"]]
    return Applying(plan, apply_id, work, before)


def carry_out(
    applying: Applying,
    contexts: Sequence[SourceContext],
    metadata: MetadataStore,
    build: BuildTables,
    say: Begin,
) -> Iterator[DoneWork]:
    """Do the work of a plan in order, and record what becomes of it; yield each piece when it is done.

    Work that depends on failed work is left. `end` must be called afterwards.
    """
    done: list[DoneWork] = []
    for item in _all(applying, contexts, metadata, build, say):
        done.append(item)
        metadata.plans.note(applying.apply_id, [one.as_data() for one in done])
        yield item


def end(applying: Applying, metadata: MetadataStore, done: Sequence[DoneWork]) -> None:
    """Record the end of an attempt."""
    state = FAILED if any(item.error for item in done) else DONE
    metadata.plans.note(applying.apply_id, [item.as_data() for item in done], state)


def _all(
    applying: Applying,
    contexts: Sequence[SourceContext],
    metadata: MetadataStore,
    build: BuildTables,
    say: Begin,
) -> Iterator[DoneWork]:
    parsed = metadata.parsed_inputs()
    failed: set[str] = set()
    for context in ordered(contexts):
        name = context.source.name
        planned = [item for item in applying.work if item.subject == name and item.kind != "build"]
        before = applying.before.get(name, "")
        for item in work_in_source(context, planned, parsed.get(name, ()), before, say):
            failed |= {name} if item.error else set()
            yield item
    by_source = {context.source.name: context for context in contexts}
    for work in applying.work:
        if work.kind == "recalculate" and work.subject in by_source and work.subject not in failed:
            context = by_source[work.subject]
            say(f"{work.subject}: recalculate")
            yield timed(work, lambda context=context: recalculated(context))  # type: ignore[misc]
    models = [work for work in applying.work if work.kind == "build" and not work.is_new]
    if models and not failed:
        say(f"build {len(models)} models")
        yield from _built(models, build)


def _built(models: Sequence[Work], build: BuildTables) -> Iterator[DoneWork]:
    """Build models in one run, whose time they share evenly."""
    errors: dict[str, str] = {}

    def run() -> Counted:
        errors.update(build([item.table for item in models]))
        return Counted()

    whole = timed(models[0], run)
    for item in models:
        error = errors.get(item.table, whole.error)
        seconds = round(whole.seconds / len(models), 3)
        yield DoneWork(item.kind, item.subject, item.table, item.rows, item.seconds, item.rows, None, seconds, error)


def ordered(contexts: Sequence[SourceContext]) -> list[SourceContext]:
    """Return the contexts so that a source comes after those that it looks up, as far as there is such an order."""
    waiting = {context.source.name: context for context in contexts}
    found: list[SourceContext] = []
    while waiting:
        ready = [
            name
            for name, context in waiting.items()
            if not {item.source for item in context.source.relations.values()} & waiting.keys() - {name}
        ]
        # sources may look up each other, with keep-current rules
        for name in ready or list(waiting)[:1]:
            found.append(waiting.pop(name))
    return found


def _require_same_declarations(plan: StoredPlan, tree: Tree, metadata: MetadataStore, attempted: str) -> None:
    again = "make a new one, and read it: dataops plan"
    if plan.against:
        received = f"a plan that compares with {plan.against}, which can only be read"
        raise ConfigError(attempted, received=received, next_step=again)
    if tree.digest != plan.declared:
        received = "declarations of this folder that changed since the plan"
        raise ConfigError(attempted, received=received, next_step=again)
    in_force = metadata.declarations.in_force()
    # a deployment that began meanwhile to run with the declarations of the plan is what the plan expects
    if (in_force.digest if in_force else "") not in (plan.content["before"], plan.declared):
        raise ConfigError(
            attempted,
            received="a deployment that runs with other declarations than those that the plan was compared with",
            next_step=again,
        )


def _require_same_tables(plan: StoredPlan, contexts: Sequence[SourceContext], attempted: str) -> None:
    storage = contexts[0].environment.storage if contexts else ""
    moved = []
    for asset, commit in plan.content["tables"].items():
        snapshot = Table(f"{storage}/{asset}").newest()
        if snapshot is None or snapshot.commit_id != commit:
            moved.append(asset)
    if moved:
        more = f" and {len(moved) - _SHOWN} more" if len(moved) > _SHOWN else ""
        raise CommitConflict(
            attempted,
            received=f"tables that changed since the plan: {', '.join(moved[:_SHOWN])}{more}",
            next_step="make a new one, and read it: dataops plan",
        )
