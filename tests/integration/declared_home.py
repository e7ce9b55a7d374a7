"""A home whose sources are declared again and again, and the commands that a person runs in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from code_location import CodeLocation, declaration, loaded
from command_line import Ended, dataops

from dataops_assets.components.local import LocalRunner
from dataops_assets.config.source import Source
from dataops_assets.operations import project
from dataops_assets.operations.commands import daily


def declare(home: Path, *sources: Mapping[str, Any]) -> None:
    for source in sources:
        file = home / "defs" / str(source["name"]) / "defs.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(declaration(source))


@contextmanager
def running(home: Path, instance: dg.DagsterInstance, *sources: Mapping[str, Any]) -> Iterator[CodeLocation]:
    """The code location of these sources, whose daemon records what it runs."""
    with loaded(*sources) as definitions:
        yield CodeLocation(definitions, instance, home)


def does(here: CodeLocation, sources: Sequence[Mapping[str, Any]], *words: str) -> Ended:
    declared = {str(item["name"]): Source.model_validate(item) for item in sources}
    contexts = [here.platform.source_context(source, declared) for source in declared.values()]
    runner = LocalRunner(here.definitions, here.instance, here.environment.home / "automation.json", str)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(project, "metadata", lambda: here.platform.metadata)
        patched.setattr(daily, "open_runner", lambda: nullcontext(runner))
        return dataops(contexts, *words)
