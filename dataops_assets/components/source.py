"""The component that turns one declared source into assets, checks, partitions and, if declared, a schedule."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import dagster as dg
from pydantic import BaseModel

from dataops_assets.components.assets import SourceAssets
from dataops_assets.components.declarations import Declaration, Declarations, declared_sources
from dataops_assets.components.load_checks import require_usable
from dataops_assets.components.look_sensors import source_schedule
from dataops_assets.components.scaffold import SourceScaffolder
from dataops_assets.config.templates import SourceDeclaration
from dataops_assets.errors import ConfigError


@dg.scaffold_with(SourceScaffolder)
class SourceComponent(dg.Component):
    """One feed with a table shape: its connection, schema contract, refresh type, relations, rules and checks.

    It makes the assets raw/<name>, lake/<name>, lake/<name>_quarantine, lake/<name>_changes, hub/<name>_enriched,
    hub/<name> and, with keep-current rules, hub/<name>_current; their checks; a partition for every input; and, if it
    declares one, a schedule that finds new inputs. The sensors of the code location look at all other sources.
    """

    def __init__(self, name: str) -> None:
        # as written in the file; it has tokens if the file declares several sources
        self.name = name

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """Return the model of the YAML attributes; dg and editors use it for completion and checks."""
        return SourceDeclaration

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """Return the description of the component that dg shows."""
        return dg.ComponentTypeSpec(
            description="A feed: from its files to a merged, checked and enriched table.",
            tags=["dataops", "ingestion"],
            produces=["asset", "asset_check", "schedule"],
        )

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """Create the component from a valid declaration. Raises ConfigError if the file declares nothing."""
        if not isinstance(attributes, SourceDeclaration):
            raise ConfigError(
                f"reading {context.path}",
                received="no attributes",
                known=list(SourceDeclaration.model_fields),
                next_step="declare at least name, area, connection, columns and refresh below 'attributes:'",
            )
        return cls(attributes.name)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Build the definitions of the source or sources. Raises ConfigError if one does not fit the other sources."""
        return source_definitions(self.name, context.component_tree)

    @classmethod
    def get_code_references_for_yaml(cls, *_: Any) -> Sequence[Any]:
        """Return nothing: the assets name their place themselves."""
        return []


class _Loading:
    """The component tree that is being loaded, with its declarations: files are read once, not once for each source.

    It is state of the process, because Dagster builds each component on its own and keeps no value for one load. A
    cache with the tree as its key would not do: Dagster compares trees by their folders, so a reload would find the
    old files.
    """

    tree: dg.ComponentTree | None = None
    declared: Declarations
    assets: ClassVar[dict[str, SourceAssets]] = {}


def declared_once(tree: dg.ComponentTree) -> Declarations:
    """Return the declarations below the folder of a tree; the tree that is loaded now is read once."""
    # compared by identity: the next load of the same folder makes another tree
    if _Loading.tree is not tree:
        _Loading.declared = declared_sources(tree.defs_module_path)
        _Loading.assets = {}
        _Loading.tree = tree
    return _Loading.declared


def source_definitions(name: str, tree: dg.ComponentTree) -> dg.Definitions:
    """Build the definitions of the sources that a declaration makes; `name` is the name that is written in the file.

    Raises ConfigError if one does not fit the other sources.
    """
    declared = declared_once(tree)
    return dg.Definitions.merge(*(_definitions(item, declared) for item in declared.made_of(name)))


def declared_at(file: Path, line: int) -> dg.CodeReferencesMetadataValue:
    """Return the place of a declaration, which the UI links to."""
    with warnings.catch_warnings():
        # Dagster itself adds these to the assets of all other components
        warnings.simplefilter("ignore", dg.BetaWarning)
        place = dg.LocalFileCodeReference(file_path=str(file), line_number=line)
        return dg.CodeReferencesMetadataValue(code_references=[place])


def source_assets(tree: dg.ComponentTree) -> dict[str, SourceAssets]:
    """Return the assets of all sources below the folder of a tree, by name. They are made once for the tree."""
    declared = declared_once(tree)
    return {name: _assets(item, declared) for name, item in declared.by_name.items()}


def _assets(item: Declaration, declared: Declarations) -> SourceAssets:
    name = item.source.name
    if name not in _Loading.assets:
        place = declared_at(item.file, item.line)
        rules = declared.rules(name)
        _Loading.assets[name] = SourceAssets(item.source, declared.sources, rules, declared.databases, place)
    return _Loading.assets[name]


def _definitions(item: Declaration, declared: Declarations) -> dg.Definitions:
    assets = _assets(item, declared)
    require_usable(item, declared, assets.nodes)
    schedules = [source_schedule(assets)] if item.source.discovery.schedule else []
    return dg.Definitions(assets=assets.definitions(), schedules=schedules)
