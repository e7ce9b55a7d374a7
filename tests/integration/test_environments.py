"""A private environment begins with its parent's tables, and from then on neither sees what the other does."""

from __future__ import annotations

import datetime as dt
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from code_location import CodeLocation, loaded, orders
from command_line import Ended, dataops
from planned_cases import EDITS, NOW, Deployment, declarations, deliver

from dataops_assets.components.automation import when_published
from dataops_assets.components.local import LocalRunner
from dataops_assets.components.platform import Platform
from dataops_assets.config.source import Source
from dataops_assets.connections.discovery import discover
from dataops_assets.errors import ConfigError, StorageError
from dataops_assets.metadata.declaration_store import Declaration
from dataops_assets.metadata.plan_store import StoredPlan
from dataops_assets.operations import environments, project
from dataops_assets.operations.planning import apply
from dataops_assets.operations.planning.plan import make_plan
from dataops_assets.operations.planning.trial import try_plan
from dataops_assets.operations.run import run_due
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage.examine import Damage, examine
from dataops_assets.storage.links import Linked, is_private, link_tree
from dataops_assets.storage.vacuum import vacuum

LATER = "sales_2024-01-03.csv"


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    deliver(tmp_path / "landing")
    made = Deployment(tmp_path / "home", tmp_path / "landing")
    tree = made.write(declarations())
    assert made.run(tree) == []
    made.platform.metadata.declarations.record(tree.state)
    monkeypatch.setattr(project, "environment", lambda: made.environment)
    return made


def does(contexts: list[SourceContext], *words: str) -> Ended:
    return dataops(contexts, "env", *words, "--json")


def inside(parent: Deployment, name: str) -> Deployment:
    """The deployment of an environment, with the variables that its command prints."""
    found = environments.environment_named(parent.environment, name)
    return Deployment(Path(found.home), Path(found.landing))


def test_parent_and_environment_share_files_and_nothing_else(parent: Deployment, tmp_path: Path) -> None:
    tree = parent.write(declarations())
    contexts = parent.contexts(tree)
    before = parent.rows(tree)
    made = does(contexts, "create", "pr-42", "--keep-days", "7", "--by", "a person")
    assert (made.code, made.data["created_by"]) == (0, "a person"), made.err
    assert made.data["variables"]["DATAOPS_HOME"] == made.data["home"]
    assert does(contexts, "create", "pr-42").code == 2, "the name is taken"
    assert does(contexts, "create", "../x").code == 2
    child = inside(parent, "pr-42")
    assert is_private(child.home)
    changed = declarations()
    changed["sales"]["rules"][0]["expression"] = "amount * 3"
    child_tree = child.write(changed)
    assert child.rows(child_tree) == before
    # what is done there is not done here: a changed rule, a late file, a vacuum that removes all old versions
    assert make_plan(child_tree, child.contexts(child_tree), child.platform.metadata).effect == "recalculates"
    assert child.run(child_tree) == [], "what was done in the parent is done"
    # a tree is compared with what the environment runs, by a command of the parent
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(project, "tree", lambda: tree)
        compared = dataops(contexts, "plan", "--against", "pr-42", "--json")
        assert (compared.code, compared.data["against"], compared.data["changes"]) == (0, "pr-42", []), compared.err
        child.platform.metadata.declarations.record(child_tree.state)
        compared = dataops(contexts, "plan", "--against", "pr-42", "--json")
        assert [item["name"] for item in compared.data["changes"]] == ["sales.doubled"], compared.err
        assert dataops(contexts, "plan", "--against", "pr-43").code == 2
        with pytest.raises(ConfigError, match="can only be read"):
            apply.begin(compared.data["plan_id"], tree, contexts, contexts[0].metadata, "a person")
        assert "dataops apply" not in dataops(contexts, "plan", "--against", "pr-42").out
    (tmp_path / "landing" / LATER).write_text("id,at,shop,amount,note,extra\n1,9,a,100,x,p\n")
    os.utime(tmp_path / "landing" / LATER, (1_704_200_000, 1_704_200_000))
    assert child.run(child_tree) == []
    ahead = child.rows(child_tree)
    assert [row["doubled"] for row in ahead["hub/sales"] if row["id"] == 1] == [300.0]
    assert parent.rows(tree) == before
    own = next(item for item in does(contexts, "list").data if item["name"] == "pr-42")["own_bytes"]
    assert own > 0
    # the parent goes on, and removes what it does not need: the environment still has it
    assert parent.run(tree) == []
    _vacuum_everything(contexts)
    assert child.rows(child_tree) == ahead
    assert [
        damage for one in child.contexts(child_tree) for table in one.tables for damage in examine(table, deep=True)
    ] == []
    _vacuum_everything(child.contexts(child_tree))
    after = parent.rows(tree)
    assert [row["doubled"] for row in after["hub/sales"] if row["id"] == 1] == [200.0]
    assert does(contexts, "drop", "pr-42").data.keys() == {"pr-42"}
    assert parent.rows(tree) == after
    assert damages(contexts) == []
    assert not list((parent.home / "environments").iterdir())


def damages(contexts: list[SourceContext]) -> list[Damage]:
    return [damage for one in contexts for table in one.tables for damage in examine(table, deep=True)]


def _vacuum_everything(contexts: list[SourceContext]) -> None:
    at_once: Any = {
        "retention": dt.timedelta(0),
        "young": dt.timedelta(0),
        "now": dt.datetime.now(dt.UTC) + dt.timedelta(1),
    }
    removed = [vacuum(table, **at_once).removed for context in contexts for table in context.tables]
    assert sum(removed) > 0


def test_environments_end_and_leftovers_go(parent: Deployment) -> None:
    contexts = parent.contexts(parent.write(declarations()))
    left = parent.home / "environments" / f".b.{'0' * 32}"
    left.mkdir(parents=True)
    assert does(contexts, "create", "a", "--keep-days", "0").code == 0
    assert does(contexts, "create", "b").code == 0
    assert not left.exists()
    listed = does(contexts, "list")
    assert (listed.code, [(item["name"], item["is_expired"]) for item in listed.data]) == (
        1,
        [("a", True), ("b", False)],
    )
    assert does(contexts, "drop", "--expired").data.keys() == {"a"}
    assert does(contexts, "drop").code == 2
    assert "did you mean" in does(contexts, "drop", "bb").err
    shell = dataops(contexts, "env", "variables", "b").out
    assert f"export DATAOPS_HOME={parent.home}/environments/b\n" in shell


def test_environments_that_are_made_at_once_are_each_complete(
    parent: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts = parent.contexts(parent.write(declarations()))
    files = [path for path in (parent.home / "storage").rglob("*") if path.is_file()]
    link, others = os.link, list[Ended]()

    def interrupted(origin: Path, target: Path) -> None:
        link(origin, target)
        if not others:
            monkeypatch.setattr(os, "link", link)
            others.extend(does(contexts, *words) for words in (("create", "a"), ("create", "a.b"), ("create", "a")))

    monkeypatch.setattr(os, "link", interrupted)
    made = does(contexts, "create", "a.b")
    assert made.code == 0, made.err
    assert [ended.code for ended in others] == [0, 2, 2]
    assert "another process makes it, drops it or works in it" in others[1].err
    for name in ("a", "a.b"):
        storage = inside(parent, name).home / "storage"
        assert len([path for path in storage.rglob("*") if path.is_file()]) == len(files)
    assert made.data["files"] == len(files)


def test_a_file_that_a_vacuum_removed_is_left_out_and_a_lost_folder_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = tmp_path / "origin"
    for name in ("a", "b", "c"):
        (origin / name).mkdir(parents=True)
        (origin / name / "file").write_text("x")
    link = os.link

    def while_linking(act: Callable[[], object]) -> None:
        def linked(source: Path, target: Path) -> None:
            if source.parent.name == "b":
                act()
            link(source, target)

        monkeypatch.setattr(os, "link", linked)

    while_linking(lambda: shutil.rmtree(tmp_path / "lost" / "b"))
    with pytest.raises(StorageError, match="something else removes files there"):
        link_tree(origin, tmp_path / "lost")
    while_linking((origin / "b" / "file").unlink)
    assert link_tree(origin, tmp_path / "target") == Linked(2, 2)


def test_the_first_run_in_an_environment_makes_only_what_is_declared_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models defer to those of the parent: what did not change is neither copied row by row nor built again."""
    built: list[str] = []
    code = {"same": "1", "changed": "1", "below": "1"}
    monkeypatch.setattr(Platform, "declared_now", lambda _: [Declaration("source", "orders", {}), *models_of(code)])

    def run(home: Path, definitions: dg.Definitions) -> tuple[CodeLocation, list[str]]:
        (home / "dagster").mkdir(exist_ok=True)
        (home / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
        built.clear()
        with dg.DagsterInstance.get() as instance:
            here = CodeLocation(definitions, instance, home)
            everything = dg.Definitions.merge(here.definitions, dg.Definitions(assets=models(built)))
            (home / "local").mkdir(exist_ok=True)
            runner = LocalRunner(everything, instance, home / "local" / "automation.json", str)
            assert all(done.succeeded for done in run_due(runner, here.platform.metadata, ()) if hasattr(done, "what"))
            return here, sorted(built)

    source = orders(relations={}, rules=[{"name": "n", "expression": "count(*) over ()", "mode": "keep_current"}])
    with loaded(source) as definitions:
        landing = tmp_path / "landing" / "orders"
        landing.mkdir(parents=True)
        (landing / "orders_2024-01-01.csv").write_text("id,customer,amount\n1,7,5\n")
        here, made = run(tmp_path, definitions)
        assert made == ["below", "changed", "same"]
        assert run(tmp_path, definitions)[1] == []
        here.platform.metadata.declarations.record(here.platform.declared_now())
        wanted = environments.described(here.environment, "pr-7", "a person", None)
        environments.create(here.environment, here.platform.metadata, ["orders"], wanted)
        inside = Path(wanted.home)
        code["changed"] = "2"
        child, made = run(inside, definitions)
        assert made == ["below", "changed"]
        newest = child.platform.source_context(Source.model_validate(source), {}).current.newest()
        assert newest is not None
        assert newest.version == 0, "the recalculated hub is the parent's"
        assert run(inside, definitions)[1] == []
        (inside / "landing" / "orders").mkdir(parents=True)
        (inside / "landing" / "orders" / "orders_2024-01-02.csv").write_text("id,customer,amount\n2,7,5\n")
        assert run(inside, definitions)[1] == ["below", "changed", "same"]


def models_of(code: Mapping[str, str]) -> list[Declaration]:
    return [Declaration("model", name, {"code": text}) for name, text in code.items()]


def models(built: list[str]) -> list[dg.AssetsDefinition]:
    """Two models of a recalculated hub, with a blocking check each, and one that is below both."""

    def model(name: str, reads: list[list[str]]) -> dg.AssetsDefinition:
        key = dg.AssetKey(["warehouse", name])
        check = dg.AssetCheckSpec("filled", asset=key, blocking=True)

        @dg.asset(
            key=key,
            deps=[dg.AssetKey(one) for one in reads],
            automation_condition=when_published(),
            check_specs=[check],
        )
        def made():  # type: ignore[no-untyped-def]  # Dagster reads the annotation, which is a text in this module
            built.append(name)
            return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True, check_name="filled")])

        return made

    hub = [["hub", "orders_current"]]
    return [
        model("same", hub),
        model("changed", hub),
        model("below", [["warehouse", "same"], ["warehouse", "changed"]]),
    ]


def test_an_environment_shows_one_moment(parent: Deployment) -> None:
    contexts = parent.contexts(parent.write(declarations()))
    context = next(item for item in contexts if item.source.name == "sales")
    discover(context.source, parent.environment, context.metadata, now=NOW)
    one = context.metadata.input_ids("sales")[0]
    context.metadata.start("sales", "parse", [one], "a run")
    refused = does(contexts, "create", "c")
    assert (refused.code, "parse of sales is running in run a run" in refused.err) == (2, True)
    assert environments.environments(parent.environment) == []


@pytest.mark.parametrize("edit", ["a filter", "history", "a validation lets rows in", "a wider type"])
def test_a_trial_says_what_an_apply_then_does(parent: Deployment, edit: str) -> None:
    changed = declarations()
    EDITS[edit](changed)
    tree = parent.write(changed)
    contexts, metadata = parent.contexts(tree), parent.platform.metadata
    plan = make_plan(tree, contexts, metadata)
    before = parent.rows(tree)
    tried = try_plan(plan, tree, contexts, parent.home, str)
    assert tried.errors == []
    assert parent.rows(tree) == before
    metadata.plans.save(StoredPlan(plan.plan_id, NOW, "", "", plan.load_id, plan.declared, plan.as_data()))
    applying = apply.begin(plan.plan_id, tree, contexts, metadata, "a person")
    list(apply.carry_out(applying, contexts, metadata, lambda _tables: {}, str))
    after = parent.rows(tree)
    assert {item.table for item in tried.tables} >= {"hub/sales", "hub/sales_current"}
    for item in tried.tables:
        old, new = (keyed(rows.get(item.table, []), edit) for rows in (before, after))
        common = [name for name in item_columns(old) if name in item_columns(new) and not name.startswith("s_")]
        differing = {name: sum(old[key][name] != new[key][name] for key in old.keys() & new.keys()) for name in common}
        assert (item.added, item.removed) == (len(new.keys() - old.keys()), len(old.keys() - new.keys())), item
        if edit != "a wider type":
            assert {one.name: one.changed for one in item.columns} == {key: n for key, n in differing.items() if n}


def item_columns(rows: dict[Any, dict[str, Any]]) -> list[str]:
    return list(next(iter(rows.values()), {}))


def keyed(rows: list[dict[str, Any]], edit: str) -> dict[Any, dict[str, Any]]:
    """Rows by key; if history is new, only the current ones."""
    return {row["s_key"]: row for row in rows if edit != "history" or row.get("s_valid_to") is None}
