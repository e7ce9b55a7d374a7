"""The command that takes requests of others (webhooks)."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from dataops_assets.operations import project
from dataops_assets.operations.answer import Answer
from dataops_assets.operations.command import Commands
from dataops_assets.operations.output import output

app = Commands(panel="Every day")


@app.command("receive", example="dataops receive --port 8080")
def received(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all of this machine.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8080,
) -> Answer:
    """Take signed requests (webhooks) for the sources with `receive`, and store each before it is answered."""
    from dataops_assets.connections.receiving import inboxes
    from dataops_assets.errors import ConfigError
    from dataops_assets.operations.receiving import serve

    found = inboxes(project.declared(), project.environment())
    if not found:
        raise ConfigError(
            "receiving requests",
            received="no source with connection.receive",
            next_step="declare it in a source of type files; see docs/webhooks.md",
        )
    for name in found:
        output().say(f"POST http://{host}:{port}/receive/{name}")
    serve(found, os.environ, host, port)
    return Answer({"sources": sorted(found)}, [])
