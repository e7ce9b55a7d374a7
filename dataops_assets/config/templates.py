"""What several sources share: rules with tokens, and lists of parameters by which whole sources are repeated."""

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
    tokens: Tokens = Field({}, description="What each ${token} of the template stands for here.")


class Template(Declared):
    """Rules and validations under one name, with ${tokens} in their texts. A change reaches every user."""

    rules: tuple[Rule, ...] = Field((), description="Rules that every user gets, after its own.")
    validations: tuple[Validation, ...] = Field((), description="Validations that every user gets, after its own.")
    description: str = Field("", description="What it is for.")


class Templates(Declared):
    """What several sources share; declared in a file of its own."""

    templates: dict[str, Template] = Field({}, description="Templates by name; sources name them in `use`.")
    parameters: dict[str, tuple[Tokens, ...]] = Field(
        {}, description="Lists by name; a source that names one in `for_each` is declared once for each entry."
    )


class SourceDeclaration(Source):
    """A source as a file declares it: what templates add comes with `use`, and `for_each` makes several of one."""

    use: tuple[Use, ...] = Field((), description="Templates whose rules and validations this source gets.")
    for_each: str = Field(
        "", description="Name of a list of parameters: one source for each entry, whose values replace ${tokens}."
    )

    @model_validator(mode="wrap")
    @classmethod
    def _tokens_are_filled_later(
        cls, data: Any, handler: ModelWrapValidatorHandler[SourceDeclaration]
    ) -> SourceDeclaration:
        if isinstance(data, Mapping) and data.get("for_each"):
            # valid is what comes of it with each entry's values, and these are in another file
            known: dict[str, Any] = {name: data[name] for name in ("name", "for_each") if name in data}
            return cls.model_construct(None, **known)
        return handler(data)
