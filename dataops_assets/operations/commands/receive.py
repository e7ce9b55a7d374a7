"""The command that takes requests of others: webhooks, and files that agents push."""

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
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 for all addresses of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8080,
) -> Answer:
    """Receive signed requests (webhooks) and pushed files for sources with `receive`. Each is stored, then answered."""
    from dataops_assets.connections.receiving import inboxes, uploads
    from dataops_assets.errors import ConfigError
    from dataops_assets.operations.receiving import application, serve

    declared, environment = project.declared(), project.environment()
    posted, pushed = inboxes(declared, environment), uploads(declared, environment)
    if not posted and not pushed:
        raise ConfigError(
            "receiving requests",
            received="no source with connection.receive",
            next_step="declare it in a source of type files; see docs/webhooks.md and docs/push.md",
        )
    for name in posted:
        output().say(f"POST http://{host}:{port}/receive/{name}")
    for name in pushed:
        output().say(f"dataops push http://{host}:{port}/uploads/{name}")
    serve(application(posted, pushed, os.environ), host, port)
    return Answer({"sources": sorted([*posted, *pushed])}, [])
