"""Makes a plan: what the working tree would change in the deployment, found before anything happens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dataops_assets.components.dbt_catalogue import Catalogue, models_below, prepare
from dataops_assets.components.dbt_compiled import model_lineage
from dataops_assets.components.declarations import Declarations
from dataops_assets.components.declared_state import PARSED_AS, declared_state
from dataops_assets.components.other_tables import OtherTable
from dataops_assets.config.environment import Environment
from dataops_assets.engines.warehouse_rows import rows_of_tables
from dataops_assets.errors import ConfigError
from dataops_assets.metadata.declaration_store import Declaration, Load, by_name, digest_of
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.operations.planning.changes import Change, changes
from dataops_assets.operations.planning.estimate_error import EstimateError, estimate_error
from dataops_assets.operations.planning.reach import ROWS, add_others, graph_of
from dataops_assets.operations.planning.starts import starts_of
from dataops_assets.operations.planning.work import (
    BuiltModel,
    Past,
    Work,
    following_work,
    work_of_models,
    work_of_source,
)
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep.outdated import Outdated, outdated
from dataops_assets.steps.upkeep.releases import release_of

_DIGITS = 12
_NEW = "it is new"
_ENDINGS = ("_quarantine", "_changes", "_enriched", "_current")


@dataclass(frozen=True)
class Tree:
    """The declarations of a working tree, and the dbt projects that it has with their folders."""

    declared: Declarations
    state: Sequence[Declaration]
    projects: Sequence[tuple[Path, Catalogue]]

    @classmethod
    def of(cls, declared: Declarations, project: Path, environment: Environment) -> Tree:
        """Read a tree. Raises ConfigError for a declaration, rule, contract or dbt project that is not valid."""
        with ThreadPoolExecutor(max_workers=1) as beside:
            # dbt parses in a process of its own, and meanwhile rules are compiled here
            parsing = [beside.submit(prepare, project / item.project, environment) for item in declared.warehouses]
            for name in declared.sources:
                declared.rules(name)
        for one in parsing:
            one.result()
        state, projects = declared_state(declared, project, environment)
        return cls(declared, state, projects)

    @property
    def digest(self) -> str:
        """Return the hash of all that is declared."""
        return digest_of(self.state)


@dataclass(frozen=True)
class Reached:
    """A table whose values can differ, its columns, and its owners.

    `rows`: whether rows can be added or removed. `elsewhere`: whether another code location makes it.
    """

    table: str
    columns: Sequence[str]
    rows: bool
    owners: Sequence[str]
    elsewhere: bool = False


@dataclass(frozen=True)
class Plan:
    """The changes that a working tree would make to a deployment.

    * `against`: the release or environment that it was compared with; empty: what is in force. `load_id` is the load.
    * `before`, `declared`: hashes of the declarations then and in the tree.
    * `settled`: by source the number of inputs that keep their rows, because they cannot be parsed again.
    * `tables`: the commit of each table that the work reads or changes, by asset key.
    * `error`: how far the estimates of earlier plans were from the truth; None if too few were applied.
    """

    plan_id: str
    against: str
    load_id: int | None
    before: str
    declared: str
    changes: Sequence[Change]
    work: Sequence[Work]
    reached: Sequence[Reached]
    settled: Mapping[str, int]
    tables: Mapping[str, str]
    error: EstimateError | None = None

    @property
    def effect(self) -> str:
        """Return what the work does to rows, in one word: nothing, adds, recalculates or rebuilds."""
        found = {item.effect for item in self.work}
        return next((one for one in ("rebuilds", "recalculates", "adds") if one in found), "nothing")

    @property
    def owners(self) -> list[str]:
        """Return the owners of all reached tables."""
        return sorted({owner for item in self.reached for owner in item.owners})

    @property
    def seconds(self) -> float:
        """Return the estimate of the work whose time is known."""
        return round(sum(item.seconds or 0.0 for item in self.work), 1)

    @property
    def is_empty(self) -> bool:
        """Return whether nothing differs and nothing is to do."""
        return not (self.changes or self.work)

    def as_data(self) -> dict[str, Any]:
        """Return the plan as values of JSON."""
        found = {**asdict(self), "effect": self.effect, "owners": self.owners, "seconds": self.seconds}
        return {key: dict(value) if isinstance(value, Mapping) else value for key, value in found.items()}


Others = Callable[[Set[str]], Sequence[OtherTable]]
"""Returns the tables that other code locations make, which are those not among the given ones."""


def no_others(_made: Set[str]) -> Sequence[OtherTable]:
    """Return nothing: no other code location is known."""
    return ()


def make_plan(
    tree: Tree,
    contexts: Sequence[SourceContext],
    metadata: MetadataStore,
    against: str = "",
    others: Others = no_others,
) -> Plan:
    """Compare a tree with what the deployment runs, or with the release `against`. `contexts`: all sources of the tree.

    Nothing is changed. Raises InputError for an unknown release, ConfigError where it is not known with what
    declarations the deployment runs, StorageError if a table cannot be read.
    """
    before = _before(metadata, against)
    old = by_name(before.declarations) if before else {}
    found = changes(old, by_name(tree.state))
    outcomes = metadata.plans.outcomes()
    past = _past(metadata, outcomes)
    states = _outdated(tree, contexts, metadata, old)
    work = _work(tree, contexts, states, found, past)
    reached = _reached_by(tree, [item for item in work if not item.is_new], found, contexts, others)
    touched = {item.subject for item in work} | {name for item in reached for name in _names(item.table)}
    tables = dict(_commits(contexts, [states[name] for name in sorted(touched & states.keys())]))
    settled = {name: state.settled for name, state in states.items() if state.settled}
    plan = Plan(
        "",
        against,
        before.load_id if before else None,
        before.digest if before else "",
        tree.digest,
        found,
        work,
        reached,
        settled,
        tables,
        estimate_error(outcomes),
    )
    return Plan(**{**_fields(plan), "plan_id": _id(plan)})


def plan_elsewhere(name: str, tree: Tree, contexts: Sequence[SourceContext]) -> Plan:
    """Compare a tree with what a private environment runs, and its tables; such a plan is only to be read.

    Raises as `make_plan`.
    """
    made = make_plan(tree, contexts, contexts[0].metadata)
    # the load is one of the environment's metadata
    plan = Plan(**{**_fields(made), "against": name, "load_id": None})
    return Plan(**{**_fields(plan), "plan_id": _id(plan)})


def _fields(plan: Plan) -> dict[str, Any]:
    return {name: getattr(plan, name) for name in plan.__dataclass_fields__}


def _id(plan: Plan) -> str:
    # estimates of time change from run to run, and are not part of what a person agrees to
    work = [(item.kind, item.subject, list(item.columns), item.inputs) for item in plan.work]
    told = [plan.against, plan.before, plan.declared, work, sorted(plan.tables.items())]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:_DIGITS]


def _before(metadata: MetadataStore, against: str) -> Load | None:
    attempted = "comparing with the declarations in force"
    if against:
        release = release_of(metadata, against).release
        if release.load_id is None:
            raise ConfigError(
                f"comparing with the release {against!r}",
                received="a release that was made before declarations were recorded",
                next_step="compare with what is in force: dataops plan",
            )
        return metadata.declarations.load(release.load_id)
    load = metadata.declarations.in_force()
    if load is None and metadata.declarations.has_sources():
        raise ConfigError(
            attempted,
            received="a deployment that has not recorded its declarations yet",
            next_step="run `dataops run` once with its present declarations, or let its daemon look once",
        )
    return load


def _past(metadata: MetadataStore, outcomes: Sequence[Mapping[str, Any]]) -> Past:
    applied = {
        (item["kind"], item["subject"]): (int(item["rows"]), float(item["seconds"]))
        for item in outcomes
        if item.get("rows") and item.get("seconds")
    }
    return Past(metadata.step_totals(), applied)


def _outdated(
    tree: Tree, contexts: Sequence[SourceContext], metadata: MetadataStore, old: Mapping[tuple[str, str], Any]
) -> dict[str, Outdated]:
    parsed = metadata.parsed_inputs()
    found = {}
    with metadata.kept_open():
        for context in contexts:
            name = context.source.name
            metadata.contracts.require_same_zone(context.source)
            before = old.get(("source", name), {}).get(PARSED_AS, "")
            found[name] = outdated(context, parsed.get(name, ()), before, tree.declared.rules(name))
    return found


def _work(
    tree: Tree,
    contexts: Sequence[SourceContext],
    states: Mapping[str, Outdated],
    found: Sequence[Change],
    past: Past,
) -> list[Work]:
    rules = {name: tree.declared.rules(name) for name in states}
    work = [item for state in states.values() if state for item in work_of_source(state, past)]
    work += list(following_work(work, states, rules, past))
    models = list(_models(tree, found))
    if work or any(model.why for model in models):
        environment = contexts[0].environment if contexts else None
        embedded = environment is not None and environment.dbt_target == "duckdb"
        rows = rows_of_tables(Path(environment.warehouse)) if environment is not None and embedded else {}
        work += work_of_models(models, work, rows, past)
    return work


def _models(tree: Tree, found: Sequence[Change]) -> Iterator[BuiltModel]:
    why = {
        item.subject: _NEW if item.action == "added" else "its declaration changed"
        for item in found
        if item.kind in ("model", "model column") and item.weight in ("breaking", "additive")
    }
    for _, catalogue in tree.projects:
        for model in catalogue.models:
            reads = ["/".join(key) for key in model.reads]
            told = why.get(model.name, "")
            yield BuiltModel(model.name, "/".join(model.key), reads, told, told == _NEW)


def _reached_by(
    tree: Tree, work: Sequence[Work], found: Sequence[Change], contexts: Sequence[SourceContext], others: Others
) -> list[Reached]:
    if not work or not contexts:
        return []
    environment = contexts[0].environment
    # a model that reads nothing that changes is not asked for its columns
    models = [
        (known, model_lineage(folder, environment, _models_below(work, known))) for folder, known in tree.projects
    ]
    graph = graph_of(tree.declared, models)
    elsewhere = others(graph.columns.keys())
    add_others(graph, elsewhere)
    starts = [node for item in work for node in starts_of(item, found, tree.declared, graph)]
    return list(_reached(tree, graph.reached(starts), {item.table for item in elsewhere}))


def _models_below(work: Sequence[Work], catalogue: Catalogue) -> list[str]:
    """Return the unique ids of the models that are built, or that are below a table of a source with work."""
    touched = {item.table for item in work}
    for item in work:
        if item.kind != "build":
            touched |= {f"{layer}/{item.subject}{ending}" for layer in ("lake", "hub") for ending in ("", *_ENDINGS)}
    return [model.unique_id for model in models_below(catalogue, (tuple(table.split("/")) for table in touched))]


def _reached(tree: Tree, reached: Mapping[str, Sequence[str]], elsewhere: Set[str]) -> Iterator[Reached]:
    owners = {f"warehouse/{model.name}": model.owners for _, known in tree.projects for model in known.models}
    owners |= {f"output/{name}": item.output.owners for name, item in tree.declared.outputs.items()}
    default = [owner for warehouse in tree.declared.warehouses for owner in warehouse.owners]
    for table, columns in reached.items():
        of_source = [
            owner
            for name in _names(table)
            if name in tree.declared.sources
            for owner in tree.declared.sources[name].owners
        ]
        of_table = list(owners.get(table, ())) or (default if table.startswith("warehouse/") else of_source)
        named = [name for name in columns if name != ROWS]
        owned = list(dict.fromkeys(of_table)) if table not in elsewhere else []
        yield Reached(table, named, ROWS in columns, owned, table in elsewhere)


def _names(table: str) -> Iterator[str]:
    """Return the names that the source of a table can have."""
    layer, _, name = table.partition("/")
    if layer in ("raw", "lake", "hub"):
        yield name
        yield from (name.removesuffix(ending) for ending in _ENDINGS if name.endswith(ending))


def _commits(contexts: Sequence[SourceContext], states: Iterable[Outdated]) -> Iterator[tuple[str, str]]:
    for state in states:
        for uri, commit in state.tables.commits:
            yield uri.removeprefix(f"{contexts[0].environment.storage}/"), commit
