"""Every view renders every report that its types allow: also one with None wherever a value may be missing."""

from __future__ import annotations

import ast
import collections.abc
import dataclasses
import datetime as dt
import enum
import importlib
import inspect
import pkgutil
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dataops_assets.components.by_hand import Done
from dataops_assets.errors import GateFailed
from dataops_assets.operations import views
from dataops_assets.operations.views import steps
from dataops_assets.report import InputReport, StepReport

SIMPLE = {
    str: "a",
    int: 1,
    float: 1.5,
    bool: True,
    bytes: b"a",
    dt.datetime: dt.datetime(2024, 1, 2, tzinfo=dt.UTC),
    dt.date: dt.date(2024, 1, 2),
    dt.timedelta: dt.timedelta(seconds=3),
    Path: Path("a"),
    object: "a",
    Any: "a",
}

# views whose argument has rows with named values, or a part that is no dataclass: no type says what is in them
ROWS_OF_NAMES = {
    "declare.drafted",
    "declare.drafted_as_data",
    "demo.event",
    "demo.summary",
    "incidents.details",
    "incidents.table",
    "incidents.waiting",
    "plan.applied",
}


class CannotFillError(Exception):
    """A type of which no value can be made from its declaration alone."""


def names_in(module: ModuleType) -> dict[str, Any]:
    """Everything that the hints of a module can name, also what is imported for type checkers only."""
    found = dict(vars(module))
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ImportFrom) and node.module:
            there = importlib.import_module(node.module)
            found = {name.name: getattr(there, name.name) for name in node.names if hasattr(there, name.name)} | found
    return found


def filled(hint: Any, *, empty: bool) -> Any:
    """A value of a type. `empty`: None wherever the type allows it; otherwise never None."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if empty and type(None) in args:
            return None
        return filled(next(item for item in args if item is not type(None)), empty=empty)
    if origin is typing.Literal:
        return args[0]
    if hint in SIMPLE:
        return SIMPLE[hint]
    if inspect.isclass(origin):
        return filled_collection(origin, args, empty=empty)
    if inspect.isclass(hint) and issubclass(hint, enum.Enum):
        return next(iter(hint))
    if inspect.isclass(hint) and issubclass(hint, Exception):
        return hint("failed")
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint, names_in(inspect.getmodule(hint)))  # type: ignore[arg-type]
        values = {item.name: filled(hints[item.name], empty=empty) for item in dataclasses.fields(hint) if item.init}
        return hint(**values)
    raise CannotFillError(hint)


def filled_collection(origin: type, args: tuple[Any, ...], *, empty: bool) -> Any:
    if issubclass(origin, collections.abc.Mapping):
        return {filled(args[0], empty=empty): filled(args[1], empty=empty)}
    if origin is tuple and args[-1:] != (...,):
        return tuple(filled(item, empty=empty) for item in args)
    if issubclass(origin, collections.abc.Set):
        return frozenset({filled(args[0], empty=empty)})
    if issubclass(origin, collections.abc.Collection):
        return (filled(args[0], empty=empty),)
    raise CannotFillError(origin)


def all_views() -> Iterator[Callable[..., Any]]:
    for entry in pkgutil.iter_modules(views.__path__):
        module = importlib.import_module(f"{views.__name__}.{entry.name}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and not name.startswith("_"):
                yield function


def arguments(view: Callable[..., Any], *, empty: bool) -> dict[str, Any]:
    hints = typing.get_type_hints(view, names_in(importlib.import_module(view.__module__)))
    return {name: filled(hint, empty=empty) for name, hint in hints.items() if name != "return"}


def rendered(view: Callable[..., Any], *, empty: bool) -> Any:
    found = view(**arguments(view, empty=empty))
    return list(found) if isinstance(found, Iterator) else found


@pytest.mark.parametrize("empty", [True, False], ids=["none where allowed", "all there"])
def test_every_view_renders_what_its_types_allow(*, empty: bool) -> None:
    found = [
        view for view in all_views() if f"{view.__module__.rpartition('.')[2]}.{view.__name__}" not in ROWS_OF_NAMES
    ]
    assert len(found) > 40
    for view in found:
        assert rendered(view, empty=empty) is not None, view


def test_a_step_that_was_not_run_is_shown_with_the_error_of_its_input() -> None:
    error = GateFailed("running refresh for input a of 'orders'", received="its step cdc failed")
    report = StepReport("refresh", "hub/orders", (InputReport("a", error=error),), None, None, {}, 0.0)
    shown = list(steps.done(Done(report, {"a": error})))
    assert shown == [f"input a: {error}", "hub/orders: no table was made"]
