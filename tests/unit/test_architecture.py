"""The laws of the code's structure, read from its syntax trees, and proven by importing it in a fresh interpreter."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from dataops_assets.report import PER_INPUT
from dataops_assets.sql import DIALECT

PROJECT = Path(__file__).resolve().parents[2]
PACKAGE = "dataops_assets"

# From the bottom up: a module imports from its own layer and the ones before it, never from a later one. The report and
# the profiles are the vocabulary in which every layer speaks of inputs and outcomes. The package has a circle nowhere:
# its middle packages (`metadata` to `quality`) are a layer each, in the order in which they may use each other.
LAYERS = (
    {"errors", "local_time", "masking", "profiles", "report", "sql"},
    {"config"},
    {"metadata"},
    {"storage"},
    {"rules"},
    {"engines"},
    {"connections"},
    {"quality"},
    {"steps"},
    {"outputs"},
    {"incidents"},
    {"reporting"},
    {"declaring"},
    {"components"},
    {"definitions", "defs"},
    {"demo", "operations"},
)
EDGE = {"components", "definitions", "defs"}
# Packages of the group 'spark', which not every deployment has
OPTIONAL = {"py4j", "pyspark"}

# Queries and changes of data or structure. A session's settings (SET, CREATE SECRET) take no expressions.
SQL_TEXT = re.compile(
    r"\b(SELECT|FROM|WHERE|INSERT|DELETE|UPDATE|MERGE|DROP|ALTER|ATTACH|COPY|GROUP BY|ORDER BY)\b"
    r"|\bCREATE\b.*\b(TABLE|VIEW|SCHEMA|MACRO)\b"
    r"|\b(select\b.*\bfrom|insert into|delete from|update\b.*\bset|merge into|(create|drop|alter) (table|view))\b"
)

MOST_LINES = 60
MOST_PARAMETERS = 7

MODULES = {
    ".".join((PACKAGE, *path.relative_to(PROJECT / PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted((PROJECT / PACKAGE).rglob("*.py"))
}


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


@cache
def nodes_of(module: str) -> Sequence[ast.AST]:
    """All nodes of its tree; most laws look at them."""
    return list(ast.walk(tree_of(module)))


@cache
def imports(module: str) -> Sequence[str]:
    """Every module that `module` imports, also inside functions and under TYPE_CHECKING."""
    return list(_imports(module))


def _imports(module: str) -> Iterator[str]:
    for node in nodes_of(module):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{module}: imports are absolute"
            # `from package import module` imports the module
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                yield inner if inner in MODULES else node.module


def layer(module: str) -> int:
    inner = module.removeprefix(f"{PACKAGE}.")
    for rank, names in enumerate(LAYERS):
        if inner in names:
            return rank
    area = inner.partition(".")[0]
    return next(rank for rank, names in enumerate(LAYERS) if area in names)


def inside(modules: Sequence[str]) -> set[str]:
    return {module for module in modules if module.startswith(f"{PACKAGE}.")}


def canonical(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def names_in(node: ast.expr) -> set[str]:
    return {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}


def joined_texts(node: ast.AST) -> Sequence[ast.expr]:
    """The parts of a text that is put together: an f-string, `+`, `%` or `.format()`."""
    if isinstance(node, ast.JoinedStr):
        return node.values
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        return [node.left, node.right]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        return [node.func.value]
    return []


def test_every_module_has_a_layer() -> None:
    areas = {module.split(".")[1] for module in MODULES if module != PACKAGE}
    assert areas <= set().union(*LAYERS)


def test_imports_go_one_way() -> None:
    upward = [
        (module, other)
        for module in MODULES
        for other in inside(imports(module))
        if module == PACKAGE or layer(other) > layer(module)
    ]
    assert not upward


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {module: inside(imports(module)) & set(MODULES) - {module} for module in MODULES}
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


def test_no_module_of_the_steps_imports_a_door() -> None:
    """The doors are entered from outside. What two of them need is in a room or beside them."""
    doors = {f"{PACKAGE}.steps.{name}" for name in (*PER_INPUT, "recalculate")}
    assert doors <= set(MODULES)
    steps = [module for module in MODULES if module.startswith(f"{PACKAGE}.steps.")]
    assert not [(module, other) for module in steps for other in doors & set(imports(module))]


def functions(module: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in nodes_of(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The number of parameters, with `self`."""
    given = function.args
    named = (*given.posonlyargs, *given.args, *given.kwonlyargs)
    return len(named) + len([item for item in (given.vararg, given.kwarg) if item is not None])


def test_functions_are_short_and_take_few_parameters() -> None:
    """A longer function has parts with names of their own; more parameters are a value of their own."""
    beyond = [
        f"{module.removeprefix(PACKAGE)[1:]}.{function.name}: {lines} lines, {parameters(function)} parameters"
        for module in MODULES
        if not module.startswith(f"{PACKAGE}.metadata.migrations")
        for function in functions(module)
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > MOST_LINES
        or parameters(function) > MOST_PARAMETERS
    ]
    assert not beyond


def test_only_the_edge_knows_dagster() -> None:
    known = [
        (module, name)
        for module in MODULES
        for name in imports(module)
        if name.split(".")[0].startswith("dagster") and not set(module.split(".")[1:2]) & EDGE
    ]
    assert not known


def test_nothing_private_of_dagster_is_used() -> None:
    private = [
        (module, name)
        for module in MODULES
        for name in imports(module)
        if name.startswith("dagster") and any(part.startswith("_") for part in name.split("."))
    ]
    assert not private


# Whatever the reading of one input raises stops that input alone; no other place takes an exception it does not name
TAKES_ANY = f"{PACKAGE}.connections.formats.isolated_input"


def test_excepts_name_what_they_expect() -> None:
    broad = [
        f"{module}:{node.lineno}"
        for module in MODULES
        if module != TAKES_ANY
        for node in nodes_of(module)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or names_in(node.type) & {"Exception", "BaseException"})
    ]
    assert not broad


def test_errors_of_inputs_are_in_one_module() -> None:
    """The metadata has the name of an error alone; whether a retry can help is looked up there by this name."""
    of_inputs = {"InputError", "InputHeld", "InputWaits", "GateFailed"}
    assert not [
        f"{module}: {node.name}"
        for module in MODULES
        if module != "dataops_assets.errors"
        for node in nodes_of(module)
        if isinstance(node, ast.ClassDef) and of_inputs & {ast.unparse(base) for base in node.bases}
    ]


def test_queries_are_not_united_one_by_one() -> None:
    """Each `exp.union` copies the queries before it, so in a loop its time grows with the square: use `all_rows`."""
    found = [
        f"{module}:{part.lineno}"
        for module in MODULES
        for loop in nodes_of(module)
        if isinstance(loop, ast.For | ast.While)
        for part in ast.walk(loop)
        if isinstance(part, ast.Assign) and isinstance(part.value, ast.Call) and part.value.args
        if ast.unparse(part.value.func) == "exp.union"
        if ast.unparse(part.targets[0]) == ast.unparse(part.value.args[0])
    ]
    assert not found


def test_sql_is_never_put_together_from_text() -> None:
    found = [
        f"{module}:{node.lineno}: {part.value!r}"
        for module in MODULES
        for node in nodes_of(module)
        for part in joined_texts(node)
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and SQL_TEXT.search(part.value)
    ]
    assert not found


def sql_templates(module: str) -> Iterator[tuple[int, str]]:
    """The SQL texts that a module gives to `query`."""
    for node in nodes_of(module):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "query"):
            continue
        if node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
            yield node.lineno, node.args[0].value


def tables_named_in(template: str) -> set[str]:
    """The tables that a template names itself; placeholders, functions and its own WITH queries are none."""
    tree = sqlglot.parse_one(template, dialect=DIALECT)
    own = {item.alias for item in tree.find_all(exp.CTE)}
    return {table.name for table in tree.find_all(exp.Table) if isinstance(table.this, exp.Identifier)} - own


def is_engine(module: str) -> bool:
    return module.startswith(f"{PACKAGE}.engines")


def test_no_module_names_a_temporary_table() -> None:
    """The session chooses the name and returns a handle, which functions pass on."""
    named = [
        f"{module}:{line}: {sorted(found)}"
        for module in MODULES
        if not is_engine(module)
        for line, template in sql_templates(module)
        if (found := tables_named_in(template))
    ]
    assert not named


def test_only_the_engines_choose_the_name_of_a_temporary_table() -> None:
    named = [
        f"{module}:{node.lineno}"
        for module in MODULES
        if not is_engine(module)
        for node in nodes_of(module)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"create", "define", "register"}
        and ast.unparse(node.func.value).endswith("session")
        and (len(node.args) > 1 or node.keywords)
    ]
    assert not named


def test_every_module_says_what_it_is() -> None:
    assert not [module for module in MODULES if not ast.get_docstring(tree_of(module))]


def test_types_are_published() -> None:
    assert (PROJECT / PACKAGE / "py.typed").exists()


# What an import may not do: open a connection, start a process, write or remove a file. Bytecode is written by the
# interpreter itself, so it is told not to.
WATCHED_IMPORT = """
import importlib, json, os, sys

seen = []

def watch(event, arguments):
    if event in ("socket.connect", "subprocess.Popen", "os.mkdir", "os.remove", "os.rename", "sqlite3.connect"):
        seen.append([event, repr(arguments)[:200]])
    elif event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        seen.append([event, repr(arguments)[:200]])

# what other packages do at import is theirs, so they are imported before the watch begins
modules, outside = json.load(sys.stdin)
for name in outside:
    importlib.import_module(name)
sys.addaudithook(watch)
for name in modules:
    importlib.import_module(name)
print(json.dumps({"seen": seen, "dagster": sorted(name for name in sys.modules if name.split(".")[0] == "dagster")}))
"""


@pytest.mark.slow
def test_all_below_the_edge_is_imported_without_dagster_and_without_effects() -> None:
    # Alembic's environment is a script that Alembic runs, with a connection at hand
    modules = [
        module
        for module in MODULES
        if not set(module.split(".")) & EDGE and not module.startswith(f"{PACKAGE}.metadata.migrations")
    ]
    outside = sorted(
        name
        for name in {name for module in modules for name in imports(module) if not name.startswith(PACKAGE)}
        # what is imported only where it is used may be missing
        if name.split(".")[0] not in OPTIONAL or find_spec(name.split(".")[0])
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", WATCHED_IMPORT],
        input=json.dumps([modules, outside]),
        capture_output=True,
        text=True,
        cwd=PROJECT,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"seen": [], "dagster": []}


def test_what_is_imported_is_a_dependency_of_its_own() -> None:
    """Nothing is used that is there only because something else needs it."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    groups = project["optional-dependencies"]
    declared = [
        *project["dependencies"],
        *(needed for name in ("azure", "kafka", "sftp", "snowflake", "spark") for needed in groups[name]),
    ]
    direct = {canonical(requirement.partition("==")[0]) for requirement in declared}
    bringing = packages_distributions()
    undeclared = [
        (module, name)
        for module in MODULES
        for name in {imported.split(".")[0] for imported in imports(module)} - sys.stdlib_module_names - {PACKAGE}
        # a package of a group that is not installed goes by its own name
        if not {canonical(distribution) for distribution in bringing.get(name, [name])} & direct
    ]
    assert not undeclared


def test_spark_is_imported_only_when_a_session_is_opened() -> None:
    """A deployment without it imports all modules."""
    at_import = [
        node
        for module in MODULES
        for node in tree_of(module).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        and {(getattr(node, "module", None) or name.name).split(".")[0] for name in node.names} & OPTIONAL
    ]
    assert not at_import


def test_nothing_committed_names_a_registry_or_a_machine() -> None:
    hosts = "python" + r"hosted|pypi\.o" + r"rg|registry\.n" + r"pmjs|repo1?\.m" + "aven"
    machine = r"(^|[^a-z])/(root|tmp|work)/[a-z]"
    done = subprocess.run(
        ["git", "grep", "-nIE", f"{hosts}|{machine}"], cwd=PROJECT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 1, done.stdout or done.stderr


def test_the_lock_pins_every_package_with_hashes_and_names_no_address() -> None:
    lock = (PROJECT / "requirements.lock").read_text()
    assert "://" not in lock
    requirements = [block for block in re.split(r"\n(?=[a-z0-9])", re.sub(r"(?m)^\s*#.*\n", "", lock)) if block.strip()]
    assert len(requirements) > 150
    for requirement in requirements:
        assert re.match(r"[a-z0-9][a-z0-9.-]*(\[[a-z0-9,-]+\])?==[^\s;]+", requirement), requirement
        assert "--hash=sha256:" in requirement, requirement
