"""Writes the declaration of a source that is drafted from files."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataops_assets.config.environment import Environment
from dataops_assets.declaring.declaration_text import declaration_text
from dataops_assets.declaring.draft import Draft, Request, draft, files_of
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.errors import ConfigError


@dataclass(frozen=True)
class Drafted:
    """A draft, and the file that it was written to."""

    draft: Draft
    file: Path


def init_source(
    environment: Environment,
    defs: Path,
    name: str,
    area: str,
    given: Sequence[Path],
    begin: Callable[[str], None] = lambda _: None,
) -> Drafted:
    """Write the drafted declaration of a source to `defs/<area>/<name>/defs.yaml`; `begin` tells what is being done.

    Raises ConfigError if the file exists, and for a wrong name. Raises InputError for files that cannot be read. Then
    nothing is written.
    """
    target = defs / area / name / "defs.yaml"
    if target.exists():
        raise ConfigError(
            f"drafting the source {name!r}",
            received=f"{target} exists",
            next_step="take another name, or remove the file",
        )
    files = files_of(given)
    begin(f"reading {len(files):,} files")
    request = Request(name, area, files, environment.landing, dt.datetime.now(dt.UTC))
    made = draft(DuckDBEngine(environment), request)
    target.parent.mkdir(parents=True, exist_ok=True)
    # not over a file that appeared meanwhile
    with target.open("x", encoding="utf-8") as stream:
        stream.write(declaration_text(made))
    return Drafted(made, target)
