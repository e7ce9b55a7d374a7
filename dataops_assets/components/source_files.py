"""Prepare Dagster's component tree for a load whose cost is in proportion to the number of sources.

On its own, Dagster looks for a component by walking the whole tree, parses YAML in Python, and makes the assets of a
file a second time to add the place of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
import yaml

from dataops_assets.components.declarations import SOURCE_TYPES
from dataops_assets.components.source import source_definitions

_SPECIAL = ("post_processing", "requirements", "template_vars_module")


class SourceFile(dg.Component):
    """A YAML file that declares sources and nothing else. `names` are the sources' names as written in it."""

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Build the definitions of the file's sources. Raises ConfigError if a declaration is wrong."""
        return dg.Definitions.merge(*(source_definitions(name, context.component_tree) for name in self.names))


def find_once(tree: dg.ComponentTree) -> None:
    """Tell the tree where each component is declared, and which files declare nothing but sources.

    Dagster looks for each component by walking the whole tree, so the time to load would grow with the square of the
    number of sources.
    """
    try:
        with _parsed_in_c():
            root = tree.find_root_decl()
    except yaml.YAMLError:
        # the parser in Python shows the wrong line
        root = tree.find_root_decl()
    for top in root.iterate_child_component_decls():
        for place, declaration in top.iterate_loc_component_decl_pairs():
            parts: list[Any] = list(declaration.iterate_child_component_decls())
            known: dict[str, Any] = {"component_decl": declaration}
            if parts and all(map(_is_source, parts)):
                known["component"] = SourceFile([part.component_file_model.attributes["name"] for part in parts])
            tree.state_tracker.set_cache_data(place, **known)


def _is_source(declaration: Any) -> bool:
    """Return whether a part of a YAML file is a source, without anything that only Dagster knows about it."""
    model = getattr(declaration, "component_file_model", None)
    if model is None or model.type not in SOURCE_TYPES or any(getattr(model, name) for name in _SPECIAL):
        return False
    return isinstance((model.attributes or {}).get("name"), str)


@contextmanager
def _parsed_in_c() -> Iterator[None]:
    """Let Dagster parse YAML with libyaml in this block: it takes a fifth of the time of the parser in Python.

    Dagster derives its loader, which notes the line of each value, from this class of PyYAML, and gives no choice.
    """
    in_python = yaml.SafeLoader
    yaml.SafeLoader = yaml.CSafeLoader  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        yaml.SafeLoader = in_python  # type: ignore[misc]
