"""Expand a declaration with `use` and `for_each` into the sources that it declares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dataops_assets.config.templates import Scalar, Template
from dataops_assets.errors import ConfigError, nearest
from dataops_assets.rules.tokens import filled, tokens_of, unused

_Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Shared:
    """All templates and lists of parameters of a code location, with the file and line of each."""

    templates: Mapping[str, Template]
    parameters: Mapping[str, tuple[Mapping[str, Scalar], ...]]
    places: Mapping[tuple[str, str], str]


@dataclass(frozen=True)
class Expanded:
    """The attributes of one source. `origins` gives, for each part from a template, the path in `use` and the template.

    `told` describes the entry of `for_each` as text; empty without `for_each`.
    """

    attributes: Mapping[str, Any]
    told: str = ""
    origins: Mapping[_Path, tuple[_Path, str]] = field(default_factory=dict)


def expand(attributes: Mapping[str, Any], shared: Shared) -> Iterator[Expanded]:
    """Return the sources of a declaration: one source, or one for each entry of `for_each`.

    Raises ConfigError for an unknown template or list, a token without a value, or a value without a token.
    """
    chosen = attributes.get("for_each")
    rest = {name: value for name, value in attributes.items() if name != "for_each"}
    if not chosen:
        yield _with_templates(rest, shared, "")
        return
    entries = _known("list of parameters", "parameters", chosen, shared.parameters)
    for entry in entries:
        told = ", ".join(f"{name}={value}" for name, value in entry.items())
        try:
            yield _with_templates(filled(rest, entry), shared, told)
        except ConfigError as error:
            raise ConfigError(f"for {told} ({shared.places['parameters', chosen]}): {error}") from error


def _with_templates(attributes: Mapping[str, Any], shared: Shared, told: str) -> Expanded:
    found = {name: value for name, value in attributes.items() if name != "use"}
    origins: dict[_Path, tuple[_Path, str]] = {}
    for place, used in enumerate(attributes.get("use", ())):
        name, tokens = used.get("template", ""), used.get("tokens", {})
        template = _known("template", "templates", name, shared.templates)
        where = f"template {name!r} ({shared.places['templates', name]})"
        parts = template.model_dump(mode="json", exclude={"description"})
        extra = list(unused(parts, tokens))
        if extra:
            raise ConfigError(f"{where}: it has no token {', '.join(extra)}", known=sorted(tokens_of(parts)))
        for key, items in parts.items():
            own = list(found.get(key, ()))
            for item in items:
                origins[key, len(own)] = (("use", place), where)
                try:
                    own.append(filled(item, tokens))
                except ConfigError as error:
                    raise ConfigError(f"{where}, {key[:-1]} {item['name']!r}: {error}") from error
            if own:
                found[key] = own
    return Expanded(found, told, origins)


def _known(what: str, key: str, name: Any, known: Mapping[str, Any]) -> Any:
    if name not in known:
        hint = nearest(str(name), list(known))
        raise ConfigError(
            f"unknown {what} {name!r}", known=sorted(known), next_step=hint or f"declare it below {key!r}"
        )
    return known[name]
