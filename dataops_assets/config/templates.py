"""Declarations that several sources share: templates of rules, and lists of parameters that repeat a source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ModelWrapValidatorHandler, model_validator

from dataops_assets.config.declared import Declared
from dataops_assets.config.rules import Rule, Validation
from dataops_assets.config.source import Source

Scalar = str | int | float | bool
Tokens = dict[str, Scalar]


class Use(Declared):
    """A template used by a source."""

    template: str = Field(description="Name of a declared template.")
    tokens: Tokens = Field({}, description="Value of each ${token} of the template in this source.")


class Template(Declared):
    """Named rules and validations with ${tokens} in their texts. A change applies to every source that uses them."""

    rules: tuple[Rule, ...] = Field((), description="Rules that are added to every source that uses the template.")
    validations: tuple[Validation, ...] = Field(
        (), description="Validations that are added to every source that uses the template."
    )
    description: str = Field("", description="Purpose of the template.")


class Templates(Declared):
    """Templates and parameters that several sources share, declared in a file of their own."""

    templates: dict[str, Template] = Field({}, description="Templates by name; sources name them in `use`.")
    parameters: dict[str, tuple[Tokens, ...]] = Field(
        {}, description="Lists by name. `for_each` of a source names one; the source is declared once for each entry."
    )


class SourceDeclaration(Source):
    """A source as in the YAML file: `use` adds rules of templates, `for_each` declares several sources at once."""

    use: tuple[Use, ...] = Field((), description="Templates whose rules and validations are added to this source.")
    for_each: str = Field(
        "", description="Name of a list of parameters. Each entry makes one source; its values replace ${tokens}."
    )

    @property
    def is_expanded(self) -> bool:
        """Return whether the sources have other attributes than the declaration."""
        return bool(self.use or self.for_each)

    @property
    def source(self) -> Source:
        """Return the source of a declaration that is not expanded. Its parts are checked already."""
        given = self.model_fields_set & Source.model_fields.keys()
        return Source.model_construct(given, **{name: getattr(self, name) for name in Source.model_fields})

    @model_validator(mode="wrap")
    @classmethod
    def _tokens_are_filled_later(
        cls, data: Any, handler: ModelWrapValidatorHandler[SourceDeclaration]
    ) -> SourceDeclaration:
        if isinstance(data, Mapping) and data.get("for_each"):
            # each source is validated later, when its tokens are filled; the values are in another file
            known: dict[str, Any] = {name: data[name] for name in ("name", "for_each") if name in data}
            return cls.model_construct(None, **known)
        return handler(data)
