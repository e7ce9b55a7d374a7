"""Clones a group of sources by parameters: the same ERP for another country."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dataops_assets.errors import ConfigError
from dataops_assets.operations.moving.bundle import Bundle


def parameters_of(given: list[str]) -> dict[str, str]:
    """Return parameters that are written as OLD=NEW. Raises ConfigError for another text."""
    found = {}
    for text in given:
        old, equals, new = text.partition("=")
        if not old or not equals or not new:
            raise ConfigError(
                "cloning declarations", received=f"--replace {text!r}", next_step="write it as erp_de=erp_fr"
            )
        found[old] = new
    if not found:
        raise ConfigError("cloning declarations", received="no --replace", next_step="give one, such as erp_de=erp_fr")
    return found


def cloned(group: Bundle, parameters: Mapping[str, str]) -> Bundle:
    """Return the files of a group with the parameters replaced, in texts and paths.

    A parameter is replaced where it is a word, or a part of a name between underscores, dots, slashes and hyphens; the
    longest first, all at once. Raises ConfigError if a file would keep its place, or two would get one.
    """
    longest = sorted(parameters, key=len, reverse=True)
    word = re.compile(rf"(?<![A-Za-z0-9])({'|'.join(map(re.escape, longest))})(?![A-Za-z0-9])")

    def replaced(text: str) -> str:
        return word.sub(lambda found: parameters[found[1]], text)

    files: dict[str, str] = {}
    for path, text in group.files.items():
        place = replaced(path)
        if place == path or place in files:
            raise ConfigError(
                "cloning declarations",
                received=f"{path} would be cloned to {place}",
                known=[f"{old}={new}" for old, new in parameters.items()],
                next_step="replace a part of its folder's name, too: each clone has a place of its own",
            )
        files[place] = replaced(text)
    return Bundle(files)
