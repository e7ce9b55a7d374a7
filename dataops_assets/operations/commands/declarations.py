"""The commands that move declarations: export, import, clone, and read those of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from dataops_assets.errors import ConfigError
from dataops_assets.operations import project
from dataops_assets.operations.answer import Answer
from dataops_assets.operations.command import Commands
from dataops_assets.operations.completion import connection_names, environment_names, source_names

if TYPE_CHECKING:
    from dataops_assets.declaring.foreign.translated import Translation
    from dataops_assets.operations.moving.bundle import Bundle

app = Commands(
    help="Export, import and clone declarations; read those of dbt, dlt and DataForge.", no_args_is_help=True
)

Areas: TypeAlias = Annotated[list[str] | None, typer.Option("--area", help="Subject areas; repeat it for several.")]
SomeSources: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--source", help="Sources; repeat it for several.", autocompletion=source_names),
]
Write: TypeAlias = Annotated[bool, typer.Option("--write", help="Write the files, after the preview.")]
_DIFFERS = "something would change, and --write was not given"


@app.command(example="dataops declarations export erp.yaml --area erp")
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The bundle to write: one YAML document.")],
    area: Areas = None,
    source: SomeSources = None,
    in_force: Annotated[
        bool, typer.Option("--in-force", help="Export what the deployment runs, not the files of this folder.")
    ] = False,
    env: Annotated[
        str, typer.Option(help="Export what this private environment runs.", autocompletion=environment_names)
    ] = "",
) -> Answer:
    """Write declarations to one file, with their contracts: all, or those of areas and sources."""
    from dataops_assets.operations.moving.bundle import bundle_of, bundle_of_recorded
    from dataops_assets.operations.moving.recorded import in_force_of

    if in_force or env:
        if area or source:
            raise ConfigError("exporting what is in force", received="--area or --source", next_step="leave them out")
        made = bundle_of_recorded(in_force_of(project.environment(), env))
    else:
        made = bundle_of(project.DEFS, project.declarations(), area or (), source or ())
    file.write_text(made.text())
    shown = [f"wrote {len(made.files)} files to {file}", *(f"note: {note}" for note in made.notes)]
    return Answer({"file": str(file), "files": sorted(made.files), "notes": list(made.notes)}, shown)


@app.command("import", example="dataops declarations import erp.yaml --write", found=_DIFFERS)
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A bundle that export wrote.")],
    write: Write = False,
    delete: Annotated[
        bool,
        typer.Option(
            "--delete", help="Also delete files that are in the folders of the bundle, but not in the bundle."
        ),
    ] = False,
) -> Answer:
    """Show what a bundle would insert, update, delete and leave unchanged; with --write, do it: all or nothing."""
    from dataops_assets.operations.moving.bundle import read_bundle

    return _moved(read_bundle(file), write=write, delete=delete)


@app.command(example="dataops declarations clone --area erp_de --replace erp_de=erp_fr --replace DE=FR", found=_DIFFERS)
def clone(
    replace: Annotated[
        list[str],
        typer.Option(metavar="OLD=NEW", help="Replace a word, or a part of names, by another; repeat it for several."),
    ],
    area: Areas = None,
    source: SomeSources = None,
    write: Write = False,
) -> Answer:
    """Clone a group of sources by parameters, such as the same ERP for another country; run it again after changes."""
    from dataops_assets.operations.moving.bundle import bundle_of
    from dataops_assets.operations.moving.cloning import cloned, parameters_of

    if not area and not source:
        raise ConfigError("cloning declarations", received="no --area and no --source", next_step="give one")
    group = bundle_of(project.DEFS, project.declarations(), area or (), source or ())
    return _moved(cloned(group, parameters_of(replace)), write=write)


@app.command(example="dataops declarations read-dbt shop_dbt --area shop --database shop", found=_DIFFERS)
def read_dbt(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="Folder of a dbt project, its manifest, or a YAML file.")
    ],
    area: Annotated[str, typer.Option(help="Subject area of the sources.")],
    database: Annotated[
        str, typer.Option(help="The declared database that has the tables.", autocompletion=connection_names)
    ],
    write: Write = False,
) -> Answer:
    """Make first declarations from the sources and snapshots of a dbt project."""
    from dataops_assets.declaring.foreign.dbt_sources import read_dbt as read

    return _begun(read(path, area, database), area, f"the dbt project {path.name}", write=write)


@app.command(example="dataops declarations read-dlt shop.schema.yaml --area shop", found=_DIFFERS)
def read_dlt(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A schema of dlt, YAML or JSON.")],
    area: Annotated[str, typer.Option(help="Subject area of the sources.")],
    write: Write = False,
) -> Answer:
    """Make first declarations from a schema of dlt."""
    from dataops_assets.declaring.foreign.dlt_schema import read_dlt as read

    return _begun(read(path, area), area, f"the dlt schema {path.name}", write=write)


@app.command(example="dataops declarations read-dataforge shop --area shop --database shop", found=_DIFFERS)
def read_dataforge(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Folder of a DataForge project, with its meta.yaml.")],
    area: Annotated[str, typer.Option(help="Subject area of the sources.")],
    database: Annotated[
        str, typer.Option(help="The declared database that has the tables.", autocompletion=connection_names)
    ],
    write: Write = False,
) -> Answer:
    """Make first declarations from the sources, relations and rules of a DataForge project."""
    from dataops_assets.declaring.foreign.dataforge import read_dataforge as read

    return _begun(read(path, area, database), area, f"the DataForge project {path.name}", write=write)


def _begun(found: Translation, area: str, origin: str, *, write: bool) -> Answer:
    from dataops_assets.declaring.foreign.translated import declaration_of
    from dataops_assets.operations.moving.bundle import Bundle

    files = {f"{area}/{item.name}/defs.yaml": declaration_of(item, origin) for item in found.sources}
    notes = [f"{item.name}: {note}" for item in found.sources for note in item.notes]
    return _moved(Bundle(files, (), [*notes, *(f"not translated: {text}" for text in found.left_out)]), write=write)


def _moved(bundle: Bundle, *, write: bool, delete: bool = False) -> Answer:
    from dataops_assets.operations.moving import importing
    from dataops_assets.operations.views import declarations as view

    work = importing.write if write else importing.preview
    found = work(project.DEFS, bundle, delete=delete)
    return Answer(view.as_data(found), [*view.preview(found)], found=found.differs and not found.written)
