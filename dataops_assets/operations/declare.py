"""Writes the declaration of a source that is drafted from files."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataops_assets.config.environment import Environment
from dataops_assets.declaring.contract_text import CONTRACT, contract_text
from dataops_assets.declaring.declaration_text import declaration_text
from dataops_assets.declaring.draft import Draft, Request, draft, files_of
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.errors import ConfigError


@dataclass(frozen=True)
class Place:
    """The folder of the declarations, and its name as a Python package; without a name no contract is written."""

    folder: Path
    package: str = ""


@dataclass(frozen=True)
class Drafted:
    """A draft, and the files that it was written to: the declaration, and the contract if there is one."""

    draft: Draft
    file: Path
    contract: Path | None = None


def init_source(
    environment: Environment,
    defs: Place,
    name: str,
    area: str,
    given: Sequence[Path],
    begin: Callable[[str], None] = lambda _: None,
) -> Drafted:
    """Write the drafted declaration of a source to `<defs>/<area>/<name>/defs.yaml`, and its contract beside it.

    `begin` tells what is being done.

    Raises ConfigError if the file exists, and for a wrong name. Raises InputError for files that cannot be read. Then
    nothing is written.
    """
    folder = defs.folder / area / name
    target, contract = folder / "defs.yaml", folder / "contracts.py"
    for path in (target, contract):
        if path.exists():
            raise ConfigError(
                f"drafting the source {name!r}",
                received=f"{path} exists",
                next_step="take another name, or remove the file",
            )
    files = files_of(given)
    begin(f"reading {len(files):,} file{'' if len(files) == 1 else 's'}")
    request = Request(name, area, files, environment.landing, dt.datetime.now(dt.UTC))
    made = draft(DuckDBEngine(environment), request)
    demands = contract_text(made) if defs.package else ""
    module = ".".join((defs.package, *area.split("/"), name, contract.stem))
    folder.mkdir(parents=True, exist_ok=True)
    # not over a file that appeared meanwhile
    with target.open("x", encoding="utf-8") as stream:
        stream.write(declaration_text(made, f"{module}:{CONTRACT}" if demands else ""))
    if not demands:
        return Drafted(made, target)
    with contract.open("x", encoding="utf-8") as stream:
        stream.write(demands)
    return Drafted(made, target, contract)
