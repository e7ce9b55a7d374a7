"""A bundle: the files of some declarations in one YAML document, so that they can be moved and read."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from dataops_assets.components.declarations import Declarations
from dataops_assets.components.declared_state import PARSED_AS
from dataops_assets.declaring.yaml_flow import flow
from dataops_assets.errors import ConfigError, InputError, nearest
from dataops_assets.metadata.declaration_store import Declaration

_VERSION = "dataops_declarations"
_EXPORT = "write one with: dataops declarations export FILE"
_COMPONENT = "dataops_assets.components."
# kind of a recorded declaration: type of the component, key around its content, one document for all of the kind
_KINDS: Mapping[str, tuple[str, str]] = {
    "source": ("SourceComponent", ""),
    "output": ("OutputComponent", ""),
    "database": ("ConnectionsComponent", "connections"),
    "publication": ("PublicationsComponent", "publications"),
    "data products": ("DataProductsComponent", ""),
    "incidents": ("IncidentsComponent", ""),
    "warehouse": ("WarehouseComponent", ""),
}


@dataclass(frozen=True)
class Bundle:
    """The texts of files by their path below the folder of declarations.

    `scope` are the folders that it has completely: what is there and not in the bundle is not declared any more.
    """

    files: Mapping[str, str]
    scope: Sequence[str] = ()
    notes: Sequence[str] = field(default=())

    def text(self) -> str:
        """Return the bundle as a YAML document."""
        document = {_VERSION: 1, "scope": list(self.scope), "files": dict(self.files)}
        return yaml.dump(document, Dumper=_Blocks, sort_keys=False, allow_unicode=True, width=10_000)


class _Blocks(yaml.SafeDumper):
    """Writes texts of several lines as they are, so that the difference of two bundles is readable."""


def _as_block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Blocks.add_representer(str, _as_block)


def read_bundle(path: Path) -> Bundle:
    """Return a bundle. Raises InputError for a file that is none, or with a path outside the declarations."""
    attempted = f"reading the bundle {path}"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(attempted, received=f"{type(error).__name__}: {error}", next_step=_EXPORT) from error
    if not isinstance(content, Mapping) or content.get(_VERSION) != 1:
        raise InputError(attempted, received=f"no `{_VERSION}: 1`", next_step=_EXPORT)
    files, scope = content.get("files") or {}, content.get("scope") or []
    if not isinstance(files, Mapping) or not isinstance(scope, list):
        raise InputError(attempted, received="files that are no mapping, or a scope that is no list", next_step=_EXPORT)
    for name in map(str, (*files, *scope)):
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise InputError(
                attempted,
                received=f"the path {name}, which leaves the folder of declarations",
                next_step="write paths below that folder, without `..` and without a / at the beginning",
            )
    return Bundle({str(name): str(text) for name, text in files.items()}, tuple(map(str, scope)))


def bundle_of(defs: Path, declared: Declarations, areas: Collection[str], sources: Collection[str]) -> Bundle:
    """Return the files of these sources and areas (default: all) below `defs`.

    A whole area, or all, is a scope. Raises ConfigError for an unknown name.
    """
    known = {item.source.area for item in declared.by_name.values()}
    for what, names, there in (("area", areas, known), ("source", sources, declared.by_name)):
        for name in names:
            if name not in there:
                raise ConfigError(
                    f"exporting the {what} {name!r}", known=sorted(there), next_step=nearest(name, sorted(there))
                )
    if not areas and not sources:
        return Bundle({str(path.relative_to(defs)): path.read_text() for path in _files(defs)}, (".",))
    chosen = [item for name, item in declared.by_name.items() if name in sources or item.source.area in areas]
    folders = sorted({item.file.parent for item in chosen})
    files = {str(path.relative_to(defs)): path.read_text() for folder in folders for path in _files(folder)}
    tops = {str(item.file.relative_to(defs).parts[0]) for item in chosen if item.source.area in areas}
    others = {
        str(item.file.relative_to(defs).parts[0]) for item in declared.by_name.values() if item.source.area not in areas
    }
    return Bundle(files, tuple(sorted(tops - others)))


def bundle_of_recorded(recorded: Iterable[Declaration]) -> Bundle:
    """Return a bundle of what a deployment runs, as its metadata have it; contracts and models are named in notes."""
    files: dict[str, str] = {}
    together: dict[tuple[str, str], dict[str, Any]] = {}
    notes = []
    for item in recorded:
        component, key = _KINDS.get(item.kind, ("", ""))
        content = item.content
        if not component:
            notes.append(f"{item.kind} {item.name}: it is code, which is moved with git")
        elif key:
            together.setdefault((component, key), {})[item.name] = content
        elif item.kind == "source":
            attributes = {name: value for name, value in content.items() if name != PARSED_AS}
            files[f"{content['area']}/{item.name}/defs.yaml"] = _document(component, attributes)
        else:
            folder = re.sub(r"[^a-z0-9_]+", "_", item.kind if item.kind != "output" else f"outputs/{item.name}")
            files[f"{folder}/defs.yaml"] = _document(component, content)
    for (component, key), items in together.items():
        files[f"{key}/defs.yaml"] = _document(component, {key: items})
    return Bundle(files, (".",), notes)


def _document(component: str, attributes: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps(attributes))
    lines = [f"type: {_COMPONENT}{component}", "attributes:" if plain else "attributes: {}"]
    for key, value in plain.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            lines += [f"  {key}:", *(f"    - {flow(item)}" for item in value)]
        else:
            lines.append(f"  {key}: {flow(value)}")
    return "\n".join(lines) + "\n"


def _files(folder: Path) -> list[Path]:
    found = [*folder.rglob("*.yaml"), *folder.rglob("*.yml"), *folder.rglob("*.py")]
    return sorted(path for path in found if path.parent != folder or path.name != "__init__.py")
