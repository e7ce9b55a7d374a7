"""The declared sources of a code location, read from its YAML files.

Dagster loads one file at a time, but rules and relations refer to other files, and the command line needs all files.
Both read the declarations with this module.
"""

from __future__ import annotations

import datetime as dt
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from dataops_assets.components.expansion import Expanded, Shared, expand
from dataops_assets.config.connection import FileConnection
from dataops_assets.config.data_products import DataProduct, DataProducts
from dataops_assets.config.databases import AnyConnection, Connections
from dataops_assets.config.incidents import Incidents
from dataops_assets.config.outputs import FilesTarget, Output
from dataops_assets.config.publications import Publication, Publications
from dataops_assets.config.source import Source
from dataops_assets.config.templates import SourceDeclaration, Templates
from dataops_assets.config.warehouse import Warehouse
from dataops_assets.connections.secrets import secret_options, secret_variables
from dataops_assets.errors import ConfigError, RuleError, nearest
from dataops_assets.masking import remember_variables

if TYPE_CHECKING:
    from dataops_assets.rules.compiler import CompiledRules, RulesCompiler

# the short name that users see, and the full path of the class
SOURCE_TYPES = ("dataops_assets.components.SourceComponent", "dataops_assets.components.source.SourceComponent")
TEMPLATE_TYPES = (
    "dataops_assets.components.TemplatesComponent",
    "dataops_assets.components.templates.TemplatesComponent",
)
PRODUCT_TYPES = (
    "dataops_assets.components.DataProductsComponent",
    "dataops_assets.components.data_products.DataProductsComponent",
)
PUBLICATION_TYPES = (
    "dataops_assets.components.PublicationsComponent",
    "dataops_assets.components.publications.PublicationsComponent",
)
INCIDENT_TYPES = (
    "dataops_assets.components.IncidentsComponent",
    "dataops_assets.components.incidents.IncidentsComponent",
)
OUTPUT_TYPES = ("dataops_assets.components.OutputComponent", "dataops_assets.components.output.OutputComponent")
CONNECTION_TYPES = (
    "dataops_assets.components.ConnectionsComponent",
    "dataops_assets.components.connections.ConnectionsComponent",
)
WAREHOUSE_TYPES = (
    "dataops_assets.components.WarehouseComponent",
    "dataops_assets.components.warehouse.WarehouseComponent",
)
# endings that the steps add to a source's name to name their tables
_ENDINGS = ("_quarantine", "_changes", "_enriched", "_current")
_FILES = ("defs.yaml", "defs.yml")
_Path = tuple[str | int, ...]
_Model = TypeVar("_Model", bound=BaseModel)
_AS_WRITTEN = Expanded({})


@dataclass(frozen=True)
class Declaration:
    """One declared source with its place in a YAML file. `lines` are line numbers by path below `attributes`.

    `written` is the name in the file. It differs from the source's name if `for_each` makes several sources.
    """

    source: Source
    file: Path
    lines: Mapping[_Path, int] = field(repr=False)
    written: str
    expanded: Expanded = field(repr=False)

    def place(self, *path: str | int) -> str:
        """Return file, line and field of a part of the declaration, or the line of the nearest part around it."""
        return _place(self.file, self.lines, path, self.expanded)

    @property
    def line(self) -> int:
        """Return the line where the declaration begins."""
        return self.lines[()]


@dataclass(frozen=True)
class OutputDeclaration:
    """One declared output with its place in a YAML file."""

    output: Output
    file: Path
    lines: Mapping[_Path, int] = field(repr=False)

    def place(self, *path: str | int) -> str:
        """Return file, line and field of a part of the declaration, or the line of the nearest part around it."""
        return _place(self.file, self.lines, path)

    @property
    def line(self) -> int:
        """Return the line where the declaration begins."""
        return self.lines[()]


@dataclass(frozen=True)
class Declarations:
    """All that is declared, by name: sources, databases, outputs, data products, publications, warehouses."""

    by_name: Mapping[str, Declaration]
    incidents: Incidents = field(default_factory=Incidents)
    databases: Mapping[str, AnyConnection] = field(default_factory=dict)
    outputs: Mapping[str, OutputDeclaration] = field(default_factory=dict)
    warehouses: Sequence[Warehouse] = ()
    data_products: DataProducts = field(default_factory=DataProducts)
    publications: Mapping[str, Publication] = field(default_factory=dict)
    _compiled: dict[str, CompiledRules] = field(default_factory=dict, repr=False)

    @functools.cached_property
    def _compiler(self) -> RulesCompiler:
        # it imports DuckDB, for which the completion of the command line does not wait
        from dataops_assets.rules.compiler import RulesCompiler

        return RulesCompiler(self.sources)

    @functools.cached_property
    def sources(self) -> Mapping[str, Source]:
        """Return the sources by name."""
        return {name: declared.source for name, declared in self.by_name.items()}

    def made_of(self, written: str) -> list[Declaration]:
        """Return the sources that a declaration makes, found by the name that is written in the file."""
        return self._by_written.get(written, [])

    @functools.cached_property
    def _by_written(self) -> Mapping[str, list[Declaration]]:
        found: dict[str, list[Declaration]] = {}
        for declared in self.by_name.values():
            found.setdefault(declared.written, []).append(declared)
        return found

    def outputs_at(self, place: tuple[str, ...]) -> list[OutputDeclaration]:
        """Return the outputs that need a place for themselves (see `Output.place`)."""
        return self._by_place.get(place, [])

    @functools.cached_property
    def _by_place(self) -> Mapping[tuple[str, ...] | None, list[OutputDeclaration]]:
        found: dict[tuple[str, ...] | None, list[OutputDeclaration]] = {}
        for declared in self.outputs.values():
            found.setdefault(declared.output.place, []).append(declared)
        return found

    @functools.cached_property
    def secret_variables(self) -> Sequence[str]:
        """Return the names of the environment variables that hold secrets of connections, stores and channels."""
        connections = [item.connection for item in self.sources.values()]
        targets = [item.output.to for item in self.outputs.values()]
        stores = [item for item in (*connections, *targets) if isinstance(item, FileConnection | FilesTarget)]
        return [
            *(name for item in (*self.databases.values(), *connections, *targets) for name in secret_variables(item)),
            *(name for item in stores for name in secret_options(item.storage_options)),
            *(channel.variable for channel in self.incidents.channels.values()),
        ]

    def rules(self, name: str) -> CompiledRules:
        """Return the compiled rules of a source.

        Raises ConfigError with file and line if a rule, validation or relation is wrong.
        """
        if name not in self._compiled:
            self._compiled[name] = self._compile(self.by_name[name])
        return self._compiled[name]

    def _compile(self, declared: Declaration) -> CompiledRules:
        from dataops_assets.rules.resolve import related_source

        for relation in declared.source.relations:
            try:
                related_source(declared.source, relation, self.sources)
            except ConfigError as error:
                raise ConfigError(f"{declared.place('relations', relation)}: {error}") from error
        try:
            return self._compiler.compile(declared.source)
        except RuleError as error:
            # the rules of a related source are compiled as well
            declared = self.by_name.get(error.at.source, declared)
            raise ConfigError(f"{declared.place(*_part(declared.source, error))}: {error}") from error


def declared_sources(folder: Path) -> Declarations:
    """Read the sources that the YAML files below `folder` declare; read again only if a file has changed.

    Raises ConfigError with file, line and field for a wrong declaration, and for a name that is declared twice.
    """
    files = sorted(path for name in _FILES for path in folder.rglob(name))
    found = _read(tuple((path, *_version(path)) for path in files))
    remember_variables(os.environ, found.secret_variables)
    return found


def _version(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size


@functools.lru_cache(maxsize=4)
def _read(files: tuple[tuple[Path, int, int], ...]) -> Declarations:
    by_name: dict[str, Declaration] = {}
    documents = [(path, document) for path, *_ in files for document in _documents(path)]
    shared = _shared(documents)
    for path, document in documents:
        for declared in _declarations(path, document, shared):
            other = by_name.setdefault(declared.source.name, declared)
            if other is not declared:
                raise ConfigError(
                    f"{declared.place('name')}: the source is declared twice",
                    received=declared.source.name,
                    next_step=f"rename one; the other is at {other.place('name')}",
                )
    _require_own_files(by_name)
    _require_own_queues(by_name)
    for name, declared in by_name.items():
        for ending in _ENDINGS:
            base = name.removesuffix(ending)
            if base != name and base in by_name:
                raise ConfigError(
                    f"{declared.place('name')}: a table of {base!r} may go by this name",
                    received=name,
                    next_step=f"rename one; the other is at {by_name[base].place('name')}",
                )
    return Declarations(
        by_name,
        _incidents(documents),
        _databases(documents),
        _outputs(documents),
        _warehouses(documents),
        _data_products(documents, list(by_name)),
        _publications(documents, by_name),
    )


def _require_own_files(by_name: Mapping[str, Declaration]) -> None:
    """Raise ConfigError if one of several sources of one path takes the files away, which the others would miss."""
    of_path: dict[str, list[Declaration]] = {}
    for declared in by_name.values():
        if isinstance(declared.source.connection, FileConnection):
            of_path.setdefault(declared.source.connection.path, []).append(declared)
    for path, readers in of_path.items():
        for declared in readers:
            connection = declared.source.connection
            if len(readers) > 1 and isinstance(connection, FileConnection) and connection.after_pickup is not None:
                others = [item.source.name for item in readers if item is not declared]
                raise ConfigError(
                    f"{declared.place('connection', 'after_pickup')}: other sources read the same files",
                    received=f"{path!r}, which {', '.join(others)} would miss",
                    next_step="leave it out, or let one source read the files",
                )


def _require_own_queues(by_name: Mapping[str, Declaration]) -> None:
    """Raise ConfigError if two sources read one queue: each would delete messages of the other."""
    readers: dict[str, Declaration] = {}
    for declared in by_name.values():
        connection = declared.source.connection
        if not isinstance(connection, FileConnection) or connection.notifications is None:
            continue
        other = readers.setdefault(connection.notifications.queue, declared)
        if other is not declared:
            raise ConfigError(
                f"{declared.place('connection', 'notifications')}: another source reads the same queue",
                received=f"{connection.notifications.queue}, whose messages {other.source.name} deletes",
                next_step="let S3 send to a topic of SNS, and give each source a queue of its own for that topic",
            )


def _documents(path: Path) -> list[yaml.Node]:
    try:
        # libyaml's parser takes a tenth of the time of the one in Python
        return list(yaml.compose_all(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader))
    except yaml.YAMLError as error:
        raise ConfigError(f"reading {path}", received=str(error), next_step=_advice(path, error)) from error


def _advice(path: Path, error: yaml.YAMLError) -> str:
    """Return the next step for invalid YAML; empty if the cause is not known."""
    place = getattr(error, "problem_mark", None)
    if place is None:
        return ""
    line = path.read_text(encoding="utf-8").splitlines()[place.line : place.line + 1]
    if line and "\t" in line[0][: len(line[0]) - len(line[0].lstrip())]:
        return f"line {place.line + 1} begins with a tab: YAML takes spaces alone"
    return ""


def _attributes(document: yaml.Node, types: Sequence[str]) -> yaml.Node | None:
    """Return the attributes of a component, if it has one of these types."""
    parts = _children(document)
    kind = parts.get("type")
    return parts.get("attributes") if kind is not None and kind.value in types else None


def _of_types(
    documents: Sequence[tuple[Path, yaml.Node]], types: Sequence[str], model: type[_Model]
) -> Iterator[tuple[Path, Mapping[_Path, int], _Model]]:
    """Return the path, lines and attributes of each component of these types. Raises ConfigError for a wrong one."""
    for path, document in documents:
        attributes = _attributes(document, types)
        if attributes is None:
            continue
        lines = _lines(path, document)
        try:
            yield path, lines, model.model_validate(_value(attributes))
        except ValidationError as error:
            raise ConfigError(_told(path, lines, error, _AS_WRITTEN)) from error


def _shared(documents: Sequence[tuple[Path, yaml.Node]]) -> Shared:
    """Collect the templates and parameters of all files. Raises ConfigError for a name that is declared twice."""
    found: dict[str, dict[str, Any]] = {"templates": {}, "parameters": {}}
    places: dict[tuple[str, str], str] = {}
    for path, lines, declared in _of_types(documents, TEMPLATE_TYPES, Templates):
        for key, items in found.items():
            for name, item in getattr(declared, key).items():
                place = f"{path}:{lines[key, name]}"
                if name in items:
                    raise ConfigError(
                        f"{place} attributes.{key}.{name}: declared twice",
                        next_step=f"rename one; the other is at {places[key, name]}",
                    )
                items[name], places[key, name] = item, place
    return Shared(found["templates"], found["parameters"], places)


def _databases(documents: Sequence[tuple[Path, yaml.Node]]) -> dict[str, AnyConnection]:
    """Collect the databases of all files. Raises ConfigError for a name that is declared twice."""
    found: dict[str, AnyConnection] = {}
    places: dict[str, str] = {}
    for path, lines, declared in _of_types(documents, CONNECTION_TYPES, Connections):
        for name, database in declared.connections.items():
            place = f"{path}:{lines['connections', name]}"
            if name in found:
                raise ConfigError(
                    f"{place} attributes.connections.{name}: declared twice",
                    next_step=f"rename one; the other is at {places[name]}",
                )
            found[name], places[name] = database, place
    return found


def _outputs(documents: Sequence[tuple[Path, yaml.Node]]) -> dict[str, OutputDeclaration]:
    """Collect the outputs of all files. Raises ConfigError for a name that is declared twice."""
    found: dict[str, OutputDeclaration] = {}
    for path, lines, output in _of_types(documents, OUTPUT_TYPES, Output):
        declared = OutputDeclaration(output, path, lines)
        other = found.setdefault(output.name, declared)
        if other is not declared:
            raise ConfigError(
                f"{declared.place('name')}: the output is declared twice",
                received=output.name,
                next_step=f"rename one; the other is at {other.place('name')}",
            )
    return found


def _warehouses(documents: Sequence[tuple[Path, yaml.Node]]) -> list[Warehouse]:
    # unlike the others, it may be declared without any attribute
    without = [
        Warehouse()
        for _, document in documents
        if (kind := _children(document).get("type")) is not None
        and kind.value in WAREHOUSE_TYPES
        and "attributes" not in _children(document)
    ]
    return [*without, *(item for _, _, item in _of_types(documents, WAREHOUSE_TYPES, Warehouse))]


def _data_products(documents: Sequence[tuple[Path, yaml.Node]], sources: Sequence[str]) -> DataProducts:
    """Collect the data products of all files. Raises ConfigError for a repeated name or an unknown source."""
    found: dict[str, DataProduct] = {}
    for path, lines, declared in _of_types(documents, PRODUCT_TYPES, DataProducts):
        for name, product in declared.products.items():
            place = f"{path}:{lines['products', name]} attributes.products.{name}"
            if name in found:
                raise ConfigError(f"{place}: declared twice", next_step="rename one of the two")
            columns = [item.partition(".")[0] for item in product.critical_columns]
            for source in (*product.sources, *columns):
                if source not in sources:
                    raise ConfigError(
                        f"{place}: unknown source", received=source, known=sources, next_step=nearest(source, sources)
                    )
            found[name] = product
    return DataProducts(products=found)


def _publications(
    documents: Sequence[tuple[Path, yaml.Node]], sources: Mapping[str, Declaration]
) -> dict[str, Publication]:
    """Collect the publications of all files. Raises ConfigError for a repeated name or a table that no source makes."""
    found: dict[str, Publication] = {}
    known = sorted(table for declared in sources.values() for table in made_tables(declared.source))
    for path, lines, declared in _of_types(documents, PUBLICATION_TYPES, Publications):
        for name, publication in declared.publications.items():
            place = f"{path}:{lines['publications', name]} attributes.publications.{name}"
            if name in found:
                raise ConfigError(f"{place}: declared twice", next_step="rename one of the two")
            for table in publication.tables:
                # models are known to dbt alone
                if not table.startswith("warehouse/") and table not in known:
                    raise ConfigError(
                        f"{place}: no source makes this table",
                        received=table,
                        known=known,
                        next_step=nearest(table, known),
                    )
            found[name] = publication
    return found


def made_tables(source: Source) -> list[str]:
    """Return the asset keys of the lake and hub tables that readers of a source can use."""
    current = [f"hub/{source.name}_current"] if any(rule.mode == "keep_current" for rule in source.rules) else []
    return [f"lake/{source.name}", f"lake/{source.name}_quarantine", f"hub/{source.name}", *current]


def _incidents(documents: Sequence[tuple[Path, yaml.Node]]) -> Incidents:
    """Return the settings of incidents. Raises ConfigError if several files declare them."""
    found = [(path, settings) for path, _, settings in _of_types(documents, INCIDENT_TYPES, Incidents)]
    if len(found) > 1:
        raise ConfigError(
            f"{found[1][0]}: the settings of incidents are declared twice",
            next_step=f"remove one; the other is at {found[0][0]}",
        )
    return found[0][1] if found else Incidents()


def _declarations(path: Path, document: yaml.Node, shared: Shared) -> Iterator[Declaration]:
    attributes = _attributes(document, SOURCE_TYPES)
    if attributes is None:
        return
    lines = _lines(path, document)
    raw = _value(attributes)
    expanded = _AS_WRITTEN
    try:
        # first check the declaration as written, so that its errors do not name the sources made from it
        written = SourceDeclaration.model_validate(raw)
        for expanded in expand(raw, shared):
            source = Source.model_validate(expanded.attributes) if written.is_expanded else written.source
            yield Declaration(source, path, lines, str(raw["name"]), expanded)
    except ValidationError as error:
        raise ConfigError(_told(path, lines, error, expanded)) from error
    except ConfigError as error:
        part = ("for_each",) if ("for_each",) in lines else ("use",)
        raise ConfigError(f"{_place(path, lines, part)}: {error}") from error


def _children(node: yaml.Node | None) -> Mapping[str, yaml.Node]:
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return {key.value: value for key, value in pairs if isinstance(key, yaml.ScalarNode)}


def _value(node: yaml.Node) -> Any:
    # the loader reads no text; it only turns nodes into values
    return yaml.SafeLoader("").construct_object(node, deep=True)


def _lines(file: Path, document: yaml.Node) -> Mapping[_Path, int]:
    """Return the line of each part of a component's attributes, by its path.

    Raises ConfigError for a mapping with the same key twice, because YAML would silently take the last one, and for a
    key that is no text.
    """
    found: dict[_Path, int] = {}
    _collect(file, document, (), found)
    return {path[1:]: line for path, line in found.items() if path[:1] == ("attributes",)}


def _collect(file: Path, node: yaml.Node, path: _Path, lines: dict[_Path, int]) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(
                    f"{file}:{line}: a key is a list or a mapping", next_step="write a text as key, before its colon"
                )
            place = (*path, key.value)
            # a mapping may take the keys of several others
            if place in lines and key.value != "<<":
                raise ConfigError(
                    f"{file}:{line} {key.value}: the key is given twice",
                    next_step=f"remove or rename one; the other is at {file}:{lines[place]}",
                )
            lines[place] = line
            _collect(file, value, place, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _collect(file, value, (*path, index), lines)


def _place(file: Path, lines: Mapping[_Path, int], path: Sequence[str | int], expanded: Expanded = _AS_WRITTEN) -> str:
    known = tuple(path)
    made_by = ""
    if known[:2] in expanded.origins:
        known, template = expanded.origins[known[:2]]
        made_by = f", made by {template}"
    while known and known not in lines:
        known = known[:-1]
    of_entry = f" for {expanded.told}" if expanded.told else ""
    return f"{file}:{lines[known]} attributes{''.join(f'.{part}' for part in path)}{made_by}{of_entry}"


def _told(file: Path, lines: Mapping[_Path, int], error: ValidationError, expanded: Expanded) -> str:
    return "\n".join(
        f"{_place(file, lines, item['loc'], expanded)}: {item['msg']}; received: {item['input']!r}{_quoting(item)}"
        for item in error.errors(include_url=False)
    )


def _quoting(item: ErrorDetails) -> str:
    """Return the advice for a text that YAML reads as something else."""
    if item["type"] != "string_type" or not isinstance(item["input"], bool | int | float | dt.date):
        return ""
    what = (
        "yes, no, on, off, true and false as booleans" if isinstance(item["input"], bool) else "it as a number or date"
    )
    return f"; next: put it in quotes, because YAML reads {what}"


def _part(source: Source, error: RuleError) -> _Path:
    """Return the path in the declaration of the rule or validation that an error is about."""
    names = {"rules": [item.name for item in source.rules], "validations": [item.name for item in source.validations]}
    return next(((key, known.index(error.at.rule)) for key, known in names.items() if error.at.rule in known), ())
