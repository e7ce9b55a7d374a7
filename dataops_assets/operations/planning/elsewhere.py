"""The tables and metadata of a private environment, to plan what this working tree would change there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dataops_assets.components.platform import Platform
from dataops_assets.config.environment import environment_from
from dataops_assets.errors import ConfigError
from dataops_assets.operations.environments import environments
from dataops_assets.steps.source_context import SourceContext


def contexts_in(name: str, contexts: Sequence[SourceContext], project: Path) -> list[SourceContext] | None:
    """Return the contexts of these sources in the private environment `name`; None if there is no such environment.

    Raises ConfigError if the name is also that of a release.
    """
    here = contexts[0].environment
    found = {item.name: item for item in environments(here)}
    if name not in found:
        return None
    if any(item.release == name for item in contexts[0].metadata.releases.releases()):
        raise ConfigError(
            f"comparing with {name!r}",
            received="the name of a release and of a private environment",
            next_step="make the environment under another name: dataops env create NAME",
        )
    platform = Platform(environment_from(found[name].variables, project))
    return [platform.source_context(context.source, context.sources) for context in contexts]
