"""The commands that write declarations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dataops_assets.operations import project
from dataops_assets.operations.answer import Answer
from dataops_assets.operations.command import Commands
from dataops_assets.operations.output import output

app = Commands(panel="Declarations")


@app.command(example="dataops init orders .dataops/landing/shop/orders --area shop")
def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new source.")],
    file: Annotated[list[Path], typer.Argument(metavar="FILE", help="Files of the feed, or folders of files.")],
    area: Annotated[str, typer.Option(help="Subject area; default: the name of the source.")] = "",
) -> Answer:
    """Draft a source from files: write its defs.yaml, and list what looks unhealthy. Never writes over a file."""
    from dataops_assets.operations.declare import Place, init_source
    from dataops_assets.operations.views import declare as view

    defs = Place(project.DEFS, ".".join(project.DEFS.relative_to(project.PROJECT).parts))
    made = init_source(project.environment(), defs, name, area or name, file, output().begin)
    return Answer(view.drafted_as_data(made), [*view.drafted(made)])
