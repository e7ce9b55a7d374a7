"""The commands for tokens: which version of a table a consumer took, and whether it is still approved."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from dataops_assets.operations import project
from dataops_assets.operations.answer import Answer
from dataops_assets.operations.command import Commands
from dataops_assets.operations.commands.words import By

app = Commands(help="Take the newest approved version of a table; see which were revoked.", no_args_is_help=True)


@app.command(example="dataops tokens take hub/orders --consumer churn_model")
def take(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="Asset key, such as hub/orders or warehouse/daily.")],
    consumer: Annotated[str, typer.Option(help="Who uses it, such as the name of a model.")],
    by: By = "",
) -> Answer:
    """Take the newest version of a table that a release has and no rollback revoked, and record who took it."""
    from dataops_assets.operations import tokens as work
    from dataops_assets.operations.views import tokens as view

    found = work.take(project.environment(), project.migrated_metadata(), table, consumer, by or getpass.getuser())
    return Answer(view.as_data(found), [*view.shown([found])])


@app.command(example="dataops tokens check 3f9a1c0b7e2d4a51")
def check(token: Annotated[str, typer.Argument(metavar="TOKEN", help="A token that was taken.")]) -> Answer:
    """Check that a token is still approved. If it is revoked, print the reason and exit with 2."""
    from dataops_assets.operations import tokens as work
    from dataops_assets.operations.views import tokens as view

    found = work.require_approved(project.migrated_metadata(), token)
    return Answer(view.as_data(found), [*view.shown([found])])


@app.command("list", example="dataops tokens list", found="a token is revoked")
def list_() -> Answer:
    """List the tokens, the newest first, with those that are revoked."""
    from dataops_assets.operations.views import tokens as view

    found = project.migrated_metadata().tokens.tokens()
    is_revoked = any(item.revoked_at is not None for item in found)
    return Answer([view.as_data(item) for item in found], [*view.shown(found)], found=is_revoked)
