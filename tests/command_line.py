"""`dataops` as a person or a program starts it, on the sources of a test."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Collection, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import pytest

from dataops_assets.errors import ConfigError
from dataops_assets.operations import project
from dataops_assets.operations.cli import main
from dataops_assets.steps.source_context import SourceContext


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def data(self) -> Any:
        """The one JSON document on the standard output."""
        return json.loads(self.out)


def dataops(contexts: Sequence[SourceContext], *words: str) -> Ended:
    """Run a command where only these sources are declared. It reports to Dagster's instance if DAGSTER_HOME is set."""

    def chosen(command: str, names: Collection[str] = ()) -> list[SourceContext]:
        if unknown := set(names) - {one.source.name for one in contexts}:
            raise ConfigError(f"{command} of {unknown}")
        return [one for one in contexts if not names or one.source.name in names]

    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(out), redirect_stderr(err):
        patched.setattr(project, "contexts", chosen)
        patched.setattr(project, "use_instance", lambda _command, **_: None)
        patched.setattr(project, "choose_instance", lambda _command: "DAGSTER_HOME" in os.environ)
        code = main(words)
    return Ended(code, out.getvalue(), err.getvalue())
