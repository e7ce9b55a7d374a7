"""Changes one thing in a module, runs the tests that concern it, and says which changes no test noticed.

    python tests/mutations/mutate.py --of dataops_assets/quality/gates.py --by tests/unit/quality/test_gates.py

A change is one operator, constant, condition, argument or statement. Each is tried in a process of its own that was
forked from one with all packages loaded, so it costs what its tests cost. No file is changed: the process compiles the
changed module where it would be imported. `--most` tries a sample that follows from the module's name. The plan that
`make mutations` runs is in `plan.txt`; docs/mutations.md tells what was found.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import io
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PLAN = Path(__file__).with_name("plan.txt")
# what takes long to load, and is the same for every change
LOADED = ("dagster", "deltalake", "duckdb", "hypothesis", "pandas", "pandera.pandas", "pyarrow.parquet", "sqlalchemy")
# a change may make a loop endless; of CPU time, so a busy machine changes nothing
CPU_SECONDS = 120
COMPARED = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
COMPUTED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.Div: ast.Mult}
_Edit = tuple[ast.AST, Callable[[], object]]
NAMED = {"any": "all", "all": "any", "min": "max", "max": "min"}


@dataclass(frozen=True)
class Change:
    """One change of a module: its line, what is changed there, how, and the whole module with it."""

    line: int
    was: str
    tree: ast.Module
    how: str


def changes(tree: ast.Module) -> Iterator[Change]:
    """Every change of a module that is tried."""
    for place, node in enumerate(ast.walk(tree)):
        for number, (part, _) in enumerate(_others(node)):
            changed = copy.deepcopy(tree)
            twin = next(item for index, item in enumerate(ast.walk(changed)) if index == place)
            list(_others(twin))[number][1]()
            yield Change(getattr(part, "lineno", getattr(node, "lineno", 0)), _told(part), changed, _told(twin))


def _others(node: ast.AST) -> Iterator[_Edit]:
    """What may be changed at a node, each with what changes it."""
    yield from _of_expression(node)
    yield from _of_statement(node)


def _of_expression(node: ast.AST) -> Iterator[_Edit]:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARED:
        yield node, lambda: node.ops.__setitem__(0, COMPARED[type(node.ops[0])]())
    elif isinstance(node, ast.BoolOp):
        yield node, lambda: setattr(node, "op", ast.And() if isinstance(node.op, ast.Or) else ast.Or())
    elif isinstance(node, ast.BinOp) and type(node.op) in COMPUTED:
        yield node, lambda: setattr(node, "op", COMPUTED[type(node.op)]())
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int):
        yield node, lambda: setattr(node, "value", not node.value if isinstance(node.value, bool) else node.value + 1)
    elif isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name) and node.func.id in NAMED:
            yield node.func, lambda: setattr(node.func, "id", NAMED[node.func.id])
        for index, argument in enumerate(node.keywords):
            if argument.arg:
                yield argument, lambda index=index: node.keywords.pop(index)


def _of_statement(node: ast.AST) -> Iterator[_Edit]:
    if isinstance(node, ast.IfExp | ast.If | ast.While) or (isinstance(node, ast.comprehension) and node.ifs):
        yield node, lambda: _negate(node)
    if isinstance(node, ast.FunctionDef | ast.If | ast.For | ast.While | ast.With):
        for index, statement in enumerate(node.body):
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
                yield statement, lambda index=index: node.body.__setitem__(index, ast.Pass())
    if isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
        yield node, lambda: setattr(node, "value", ast.Constant(None))


def _negate(node: ast.AST) -> None:
    if isinstance(node, ast.comprehension):
        node.ifs[0] = ast.UnaryOp(ast.Not(), node.ifs[0])
    elif isinstance(node, ast.IfExp | ast.If | ast.While):
        node.test = ast.UnaryOp(ast.Not(), node.test)


def _told(node: ast.AST) -> str:
    text = ast.unparse(ast.fix_missing_locations(copy.deepcopy(node)))
    return text.split("\n")[0][:90]


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives the changed module where it is imported."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        self.name, self.path, self.tree = name, path, tree

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, self.path, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(ast.fix_missing_locations(self.tree), self.path, "exec"), module.__dict__)  # noqa: S102


def is_noticed(module: Path, tree: ast.Module, tests: Sequence[str]) -> bool:
    """Whether a test fails when the module at `module` is what `tree` says; in a process of its own."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGVTALRM, lambda *_: os._exit(1))
        signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
        name = ".".join(module.relative_to(PROJECT).with_suffix("").parts)
        sys.meta_path.insert(0, _Changed(name, module, tree))
        os.environ["HYPOTHESIS_PROFILE"] = "ci"
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            status = pytest.main(["-q", "-x", "-p", "no:cacheprovider", *tests])
        os._exit(int(bool(status)))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0


def run(module: Path, tests: Sequence[str], most: int) -> None:
    """Try changes of a module and print those that no test noticed."""
    tree = ast.parse(module.read_text())
    if is_noticed(module, tree, tests):
        sys.exit(f"the tests of {module.relative_to(PROJECT)} fail without a change")
    known = list(changes(tree))
    tried = sorted(random.Random(module.name).sample(known, min(most, len(known))), key=lambda item: item.line)
    survived = [change for change in tried if not is_noticed(module, change.tree, tests)]
    print(f"{module.relative_to(PROJECT)}: {len(tried)} of {len(known)} changes tried, {len(survived)} not noticed")
    for change in survived:
        print(f"    line {change.line}: {change.was}  ->  {change.how}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--of", type=Path, help="the module to change; without it, those of the plan")
    parser.add_argument("--by", nargs="+", default=[], help="the tests that concern it")
    parser.add_argument("--most", type=int, default=40, help="how many changes to try of a module")
    given = parser.parse_args()
    os.chdir(PROJECT)
    for name in LOADED:
        importlib.import_module(name)
    lines = [line.split() for line in PLAN.read_text().splitlines() if line and not line.startswith("#")]
    plan = [(given.of, given.by)] if given.of else [(Path(module), tests) for module, *tests in lines]
    for module, tests in plan:
        run((PROJECT / module).resolve(), tests, given.most)


if __name__ == "__main__":
    main()
