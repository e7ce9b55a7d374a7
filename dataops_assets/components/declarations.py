"""The declared sources of a code location, read from its YAML files.

Dagster loads one file at a time; rules and relations look across files, and so does everything outside Dagster. Both
read the declarations here.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from pydantic import ValidationError

from dataops_assets.config.source import Source
from dataops_assets.errors import ConfigError, RuleError
from dataops_assets.rules.compiler import CompiledRules, compile_rules
from dataops_assets.rules.resolve import related_source

# the short name that is shown to users, and where the class is
SOURCE_TYPES = ("dataops_assets.components.SourceComponent", "dataops_assets.components.source.SourceComponent")
# what the steps add to a source's name to name their tables
_ENDINGS = ("_quarantine", "_changes", "_enriched", "_current")
_FILES = ("defs.yaml", "defs.yml")
_Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Declaration:
    """One declared source and where it is declared. `lines` are lines (from 1) by path below `attributes`."""

    source: Source
    file: Path
    lines: Mapping[_Path, int] = field(repr=False)

    def place(self, *path: str | int) -> str:
        """File, line and field of a part of the declaration; of the nearest part around it where it has none."""
        return _place(self.file, self.lines, path)


@dataclass(frozen=True)
class Declarations:
    """All sources of a code location, by name."""

    by_name: Mapping[str, Declaration]

    @functools.cached_property
    def sources(self) -> Mapping[str, Source]:
        """The sources by name."""
        return {name: declared.source for name, declared in self.by_name.items()}

    def rules(self, name: str) -> CompiledRules:
        """The compiled rules of a source.

        Raises ConfigError that adds file and line to whatever is wrong with a rule, validation or relation.
        """
        declared = self.by_name[name]
        for relation in declared.source.relations:
            try:
                related_source(declared.source, relation, self.sources)
            except ConfigError as error:
                raise ConfigError(f"{declared.place('relations', relation)}: {error}") from error
        try:
            return compile_rules(declared.source, self.sources)
        except RuleError as error:
            # the rules of a related source are compiled as well
            declared = self.by_name.get(error.source, declared)
            raise ConfigError(f"{declared.place(*_part(declared.source, error))}: {error}") from error


def declared_sources(folder: Path) -> Declarations:
    """The sources that the YAML files below `folder` declare; read again only when a file has changed.

    Raises ConfigError with file, line and field for a wrong declaration, and for a name that is declared twice.
    """
    files = sorted(path for name in _FILES for path in folder.rglob(name))
    return _read(tuple((path, *_version(path)) for path in files))


def _version(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size


@functools.lru_cache(maxsize=4)
def _read(files: tuple[tuple[Path, int, int], ...]) -> Declarations:
    by_name: dict[str, Declaration] = {}
    for path, *_ in files:
        for declared in _declarations(path):
            other = by_name.setdefault(declared.source.name, declared)
            if other is not declared:
                raise ConfigError(
                    f"{declared.place('name')}: the source is declared twice",
                    received=declared.source.name,
                    next_step=f"rename one; the other is at {other.place('name')}",
                )
    for name, declared in by_name.items():
        for ending in _ENDINGS:
            base = name.removesuffix(ending)
            if base != name and base in by_name:
                raise ConfigError(
                    f"{declared.place('name')}: a table of {base!r} may go by this name",
                    received=name,
                    next_step=f"rename one; the other is at {by_name[base].place('name')}",
                )
    return Declarations(by_name)


def _declarations(path: Path) -> list[Declaration]:
    try:
        documents = list(yaml.compose_all(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ConfigError(f"reading {path}", received=str(error)) from error
    found = []
    for document in documents:
        parts = _children(document)
        kind, attributes = parts.get("type"), parts.get("attributes")
        if kind is None or kind.value not in SOURCE_TYPES or attributes is None:
            continue
        lines: dict[_Path, int] = {}
        _collect(attributes, (), lines)
        try:
            source = Source.model_validate(_value(attributes))
        except ValidationError as error:
            raise ConfigError(_told(path, lines, error)) from error
        found.append(Declaration(source, path, lines))
    return found


def _children(node: yaml.Node | None) -> Mapping[str, yaml.Node]:
    return {key.value: value for key, value in node.value} if isinstance(node, yaml.MappingNode) else {}


def _value(node: yaml.Node) -> object:
    # a loader of no text: it only makes values of nodes
    return yaml.SafeLoader("").construct_object(node, deep=True)


def _collect(node: yaml.Node, path: _Path, lines: dict[_Path, int]) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            lines[(*path, key.value)] = key.start_mark.line + 1
            _collect(value, (*path, key.value), lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _collect(value, (*path, index), lines)


def _place(file: Path, lines: Mapping[_Path, int], path: Sequence[str | int]) -> str:
    known = tuple(path)
    while known and known not in lines:
        known = known[:-1]
    return f"{file}:{lines[known]} attributes{''.join(f'.{part}' for part in path)}"


def _told(file: Path, lines: Mapping[_Path, int], error: ValidationError) -> str:
    return "\n".join(
        f"{_place(file, lines, item['loc'])}: {item['msg']}; received: {item['input']!r}"
        for item in error.errors(include_url=False)
    )


def _part(source: Source, error: RuleError) -> _Path:
    """Where in a declaration an error of the rules belongs."""
    names = {"rules": [item.name for item in source.rules], "validations": [item.name for item in source.validations]}
    return next(((key, known.index(error.rule)) for key, known in names.items() if error.rule in known), ())
