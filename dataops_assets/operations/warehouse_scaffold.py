"""Writes the first model of a source into the dbt project: its entry in sources.yml, its SQL and its YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dataops_assets.config.names import NAME
from dataops_assets.config.source import Source
from dataops_assets.declaring.output_models import HubTable, model_name, output_model, with_table
from dataops_assets.errors import ConfigError
from dataops_assets.rules.compiler import compile_rules

_PLATFORM = "s_"


@dataclass(frozen=True)
class Scaffolded:
    """The files that were written: those of the model, and sources.yml if it got an entry."""

    model: str
    table: str
    written: tuple[Path, ...]


def scaffold_model(project: Path, source: Source, sources: Mapping[str, Source], model: str = "") -> Scaffolded:
    """Write the model of a source into the dbt project in the folder `project`.

    Raises ConfigError, and writes nothing, if one of the model's files exists or the name is wrong.
    """
    name = model or model_name(source)
    attempted = f"scaffolding the model {name!r}"
    if not NAME.match(name):
        raise ConfigError(attempted, received="the name", next_step="take small letters, digits and _")
    others = [path for path in (project / "models").rglob(f"{name}.*") if path.suffix in (".sql", ".yml", ".yaml")]
    if others:
        raise ConfigError(
            attempted,
            received=f"{others[0]} exists",
            next_step="give another name with --model, or remove the file",
        )
    table = hub_table(source, sources)
    made = output_model(table, name)
    folder = project / "models" / "outputs" / source.area
    listed = project / "models" / "sources.yml"
    before = listed.read_text(encoding="utf-8") if listed.exists() else ""
    after = with_table(before, table)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for ending, text in (("sql", made.sql), ("yml", made.properties)):
        with (folder / f"{name}.{ending}").open("x", encoding="utf-8") as stream:
            stream.write(text)
        written.append(folder / f"{name}.{ending}")
    if after != before:
        listed.write_text(after, encoding="utf-8")
        written.append(listed)
    return Scaffolded(name, f"hub/{table.name}", tuple(written))


def hub_table(source: Source, sources: Mapping[str, Source]) -> HubTable:
    """Return the table that models of a source read: the recalculated one if it has keep-current rules."""
    # the package of the components imports Dagster, which takes seconds
    from dataops_assets.components.graph import column_descriptions, nodes

    last = nodes(source, compile_rules(source, sources))[-1]
    columns = {name: kind for name, kind in last.columns.items() if not name.startswith(_PLATFORM)}
    return HubTable(source, last.key.partition("/")[2], columns, column_descriptions(source))
